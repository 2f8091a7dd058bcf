"""Adversarial training, which the paper does not compare with, beside HIRE: at equal cost and at equal epochs."""

from dataclasses import replace

from minihire.attacks import pgd
from minihire.study.paper.accuracy import Way, ways
from minihire.study.paper.outcome import Outcome, compare, intervals, named, percent
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.settings import ANN_METHODS
from minihire.study.titles import TITLES
from minihire.training import cost_per_batch, epochs_at_equal_cost

ITERATIONS = 7
SMALL = 0.25  # factor on ε of the second PGD
KINDS = {"FGSM-RS": 1, f"PGD-{ITERATIONS}": ITERATIONS}


def adversarial(study: PaperStudy) -> Outcome:
    """SNNs and an ANN trained adversarially, beside HIRE, traditional training and the ANN."""
    outcome = Outcome("adversarial", "Adversarial training beside HIRE, at equal cost and at equal epochs")
    config = study.scale.config("vgg5")
    chosen = [*ways(study, "ann", "traditional", "control", "hire", "hire-4x"), *adversarial_ways(config)]
    small = SMALL * config.epsilon
    outcome.text = (
        f"White box. Adversarial training attacks with ε = {255 * config.epsilon:g}/255, with FGSM-RS (one step of 1.25·ε from a "
        f"random start) or PGD-{ITERATIONS} (steps of 2.5·ε/K). Cost: time steps of all gradient passes for one batch, times "
        "epochs. At equal cost, a training has as many epochs as cost no more than HIRE's, but at least one; at equal epochs it "
        "has as many as HIRE."
    )
    attacks = (None, *config.attacks, pgd(small, 2.5 * small / ITERATIONS, ITERATIONS))
    parts = {
        (way.title, i): [(way.spec(config, seed), attack) for seed in study.seeds]
        for way in chosen
        for i, attack in enumerate(attacks)
    }
    found = study.each_of(lambda study, part: study.answers(*part), parts)
    rows = []
    for way in chosen:
        answers = [found[way.title, i] for i in range(len(attacks))]
        rows.append([way.title, *map(percent, answers), *cost_cells(config, way)])
    columns = ["clean", "FGSM", "PGD", f"PGD at ε = {255 * small:g}/255"]
    caption = (
        f"{named(config)}, width {config.width:g}, T = {config.steps}: accuracy in %, {intervals(len(study.seeds))}"
    )
    outcome.table(caption, ["", *columns, "passes per batch", "time steps per batch", "epochs", "cost"], rows)
    hire = TITLES["hire"]
    gains = [
        [f"HIRE less {way.title}", *(str(compare(found[hire, i], found[way.title, i])) for i in range(len(attacks)))]
        for way in chosen
        if way.title != hire
    ]
    outcome.table("Gains in percentage points (each seed), McNemar's p over all seeds", ["", *columns], gains)
    return outcome


def adversarial_ways(config) -> list[Way]:
    """Adversarial training of the SNN with each attack, at equal cost and at equal epochs, and of the ANN."""
    found = [adversarial_way(config, name, equal_cost) for name in KINDS for equal_cost in (True, False)]
    return [*found, adversarial_ann(config, f"PGD-{ITERATIONS}")]


def adversarial_ann(config, name: str) -> Way:
    """Adversarial training of the ANN with an attack of KINDS, with the number of epochs of the other ANN."""
    attack = (("adversarial_epsilon", config.epsilon), ("adversarial_iterations", KINDS[name]))
    return Way(f"{TITLES['adversarial-ann']}, {name}, equal epochs", "", "adversarial-ann", attack)


def adversarial_way(config, name: str, equal_cost: bool, epsilon: float | None = None) -> Way:
    """Adversarial training of the SNN with an attack of KINDS, at HIRE's cost or with HIRE's number of epochs.

    epsilon: the bound of the training's attack, by default that of the configuration's attacks.
    """
    bound = epsilon or config.epsilon
    attack = (("adversarial_epsilon", bound), ("adversarial_iterations", KINDS[name]))
    changed = replace(config, **dict(attack))
    equal = epochs_at_equal_cost(changed.recipe("adversarial"), config.recipe("hire"), config.steps)
    words = f"{name}, equal {'cost' if equal_cost else 'epochs'}" + (f", ε = {255 * epsilon:g}/255" if epsilon else "")
    changes = (*attack, ("adversarial_epochs", equal if equal_cost else config.snn_epochs))
    return Way(f"{TITLES['adversarial']}, {words}", "", "adversarial", changes)


def cost_cells(config, way: Way) -> list[str]:
    """The cost of a training as table cells: passes and time steps per batch, epochs, time steps times epochs.

    "–" for a converted network, which is not trained as an SNN.
    """
    if way.method == "converted":
        return 4 * ["–"]
    recipe = replace(config, **dict(way.changes)).recipe(way.method)
    cost = cost_per_batch(recipe, 1 if way.method in ANN_METHODS else config.steps)
    return [str(cost.passes), str(cost.time_steps), str(recipe.epochs), f"{cost.time_steps * recipe.epochs:,}"]
