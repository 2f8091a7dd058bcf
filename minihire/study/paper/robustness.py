"""The suite of strong attacks, which the paper does not run, on HIRE and its controls."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from minihire.attacks import evaluate_robustness, fgsm, pgd
from minihire.attacks.members import MEMBERS
from minihire.attacks.suite import SA_PGD_STEPS
from minihire.attacks.suite_state import OtherEvaluation, forget
from minihire.study.paper.accuracy import ways
from minihire.study.paper.adversarial import ITERATIONS, adversarial_ann, adversarial_way, cost_cells
from minihire.study.paper.outcome import Outcome, compare, intervals, named, percent, spread
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.recipes import best
from minihire.study.settings import ANN_METHODS
from minihire.study.spec import NetworkSpec
from minihire.study.study import pack_answers, unpack_answers
from minihire.study.titles import TITLES

SHARES = (1, 0.25)  # factors on the bound ε
BETWEEN = 0.5  # a third bound, for one seed
RATE = dict(  # of the rate-coded network, whose gradients take many time steps and draws; see `withstood`
    images=100, samples=10, members=("arctan-2", "triangle-2", "exponential-1"), flags=False
)
# of all networks but the main ones and `methods` with the first seed, to save time: the other members of the ensemble fool
# almost no image that these leave
FEWER = dict(members=("arctan-2",), flags=False)
IMAGES, FEW = 1000, 300  # test images of the suite: for the main ways, and for the others
MAIN = "ann", "traditional", "control", "hire"
OTHERS = "converted", "gaussian", "not carried", "frozen traditional", "frozen hire"
PARITY = {"FGSM": lambda epsilon: fgsm(epsilon), "PGD-7": lambda epsilon: pgd(epsilon, 0.01, 7)}


class Withstood(NamedTuple):
    """The result of the suite for one network: bool [N], whether each image withstood every attack, and `Robustness.as_dict`."""

    right: np.ndarray
    found: dict


def robustness(study: PaperStudy) -> Outcome:
    """Accuracy under the paper's attacks and under the strong suite, for HIRE, its controls and adversarial training."""
    config = study.scale.config("vgg5")
    outcome = Outcome("robustness", "The paper's attacks beside strong attacks, on HIRE and its controls")
    images = min(study.scale.suite_images, IMAGES)
    seeds = f"{len(study.seeds)} seed{'s' * (len(study.seeds) > 1)}"
    outcome.text = (
        "White box. FGSM and PGD-7 are the paper's attacks, on all test images. The suite runs on the first "
        f"{images:,} of them: an image counts as right only if the network classifies it correctly under every attack. "
        "docs/robustness.md describes the attacks. Transfer images come from the ANN, from the networks of the other methods "
        "and, for the main rows, from another seed. Main rows, the recipes that `minihire paper recipes` found, and an "
        f"adversarially trained ANN: {seeds}; other rows: one seed and the first "
        f"{min(images, FEW)} images, and so is the point of the chart between the two bounds."
    )
    outcome.text += (
        f" The main rows, {TITLES['hire-4x']} and the {TITLES['adversarial-ann']} get the whole suite with the first seed. For "
        "all other networks, the surrogate "
        f"ensemble is {' and '.join(FEWER['members'])} and the network's own surrogate, and no red flags are evaluated."
    )
    equal_cost = adversarial_way(config, "FGSM-RS", True)
    main = [*ways(study, *MAIN), equal_cost]
    others = [*ways(study, *OTHERS), adversarial_way(config, f"PGD-{ITERATIONS}", False)]
    recipes = [*best(config), adversarial_ann(config, "FGSM-RS")]
    methods = [recipes[0], recipes[-1]]  # methods of their own: hire-4x and adversarial-ann
    parts = [
        (way, seed, share * config.epsilon, images)
        for rows in (main, recipes)
        for seed in study.seeds
        for share in SHARES
        for way in rows
    ]
    few = min(images, FEW)
    first = study.seeds[0]
    parts += [(way, first, share * config.epsilon, few) for share in SHARES for way in others]
    parts += [(way, first, BETWEEN * config.epsilon, few) for way in (*main, *methods, *others)]
    whole = [(way, first, share * config.epsilon, images) for share in SHARES for way in (*main, *methods)]
    found = study.each(lambda study, part: answers_of_part(study, config, main, *part, part in whole), parts)
    by_part = dict(zip([(way.title, seed, epsilon) for way, seed, epsilon, _ in parts], found, strict=True))
    for share in SHARES:
        _table(outcome, config, by_part, main, study.seeds, share * config.epsilon, images)
    hire = [way for way in main if way.title == TITLES["hire"]]
    for share in SHARES:
        _table(outcome, config, by_part, [*hire, *recipes], study.seeds, share * config.epsilon, images)
    for share in (*SHARES, BETWEEN):
        rows = others if share in SHARES else [*main, *methods, *others]
        _table(outcome, config, by_part, rows, [first], share * config.epsilon, few)
    _rate(outcome, study, config)
    _chart(outcome, by_part, [*main, *methods])
    _trade_off(outcome, by_part, [*main, *recipes], study.seeds, min(SHARES) * config.epsilon)
    _flags(outcome, by_part)
    return outcome


def withstood(
    study: PaperStudy, spec: NetworkSpec, epsilon: float, images: int, sources: dict[str, NetworkSpec], **options
) -> Withstood:
    """The strong suite, budget small, on the first test images.

    sources: networks for the transfer attacks, by name. options: samples, flags and names of members, see
    `evaluate_robustness`.
    """
    key = {
        "suite": "strong",
        "robustness": spec.describe(),
        "epsilon": epsilon,
        "images": images,
        "sources": {name: source.describe() for name, source in sources.items()},
    }
    if spec.method not in ANN_METHODS:
        key["sa-pgd"] = list(SA_PGD_STEPS)
    if options:
        key["options"] = {name: list(value) if name == "members" else value for name, value in options.items()}
    if "members" in options:
        options["members"] = [member for member in MEMBERS if member.name in options["members"]]
    data = study.splits(spec.config).test.limit(images)
    folder = study.store.measurement(key).with_suffix(".suite")

    def compute():
        networks = [(name, study.network(source)) for name, source in sources.items()]
        given = dict(epsilon=epsilon, sources=networks, seed=spec.seed, folder=folder, **options)
        evaluate = partial(evaluate_robustness, study.network(spec), data, **given)
        try:
            found = evaluate()
        except OtherEvaluation:  # a network was trained again after the suite was interrupted
            study.backend.services.wait_for_all_ranks()  # every rank has read the state
            forget(folder)
            found = evaluate()
        return {"right": pack_answers(found.robust), "found": found.as_dict()}

    title = f"strong suite at ε = {255 * epsilon:g}/255 on {study.store.title(spec)}"
    read = lambda value: Withstood(unpack_answers(value["right"], len(data)), value["found"])
    found = study.measure_once(key, compute, spec, *sources.values(), title=title, read=read)
    if study.store.writes:  # not in a dry run
        forget(folder)  # the result is in the cache, so the state is not needed
    return found


def answers_of_part(study, config, main, way, seed, epsilon, images, whole):
    """(answers by name, `Withstood`) of one network at one bound. whole: with every member and the red flags."""
    spec = way.spec(config, seed)
    answers = {"clean": study.answers(spec)}
    answers |= {name: study.answers(spec, make(epsilon)) for name, make in PARITY.items()}
    sources = {"another seed": study.other(spec)} if way in main else {}
    if way.method != "ann":
        sources["ANN"] = NetworkSpec(config, "ann", seed)
    others = [other for other in main if other.method != "ann" and other.title != way.title]
    sources |= {other.title: other.spec(config, seed) for other in others}
    return answers, withstood(study, spec, epsilon, images, sources, **({} if whole else FEWER))


def _table(outcome, config, found, rows, seeds, epsilon, images):
    """Add the accuracies at one bound, and what HIRE gains over each other row."""
    columns = ["clean", *PARITY]
    cells, strong = [], {}
    for way in rows:
        parts = [found[way.title, seed, epsilon] for seed in seeds]
        accuracies = [percent([answers[column] for answers, _ in parts]) for column in columns]
        strong[way.title] = [suite.right for _, suite in parts]
        flags = [suite.found["flags"] for _, suite in parts if suite.found["flags"]]
        up = f"{sum(any(flag['up'] for flag in some) for some in flags)} of {len(flags)}" if flags else "not evaluated"
        cells.append([way.title, *accuracies, percent(strong[way.title]), up, *cost_cells(config, way)])
    caption = (
        f"{named(config)}, width {config.width:g}, ε = {255 * epsilon:g}/255: accuracy in %, {intervals(len(seeds))}"
    )
    header = ["", *columns, f"suite, {images:,} images", "with a red flag", "passes", "time steps", "epochs", "cost"]
    outcome.table(caption, header, cells)
    hire = TITLES["hire"]
    if hire in strong:
        gains = [
            [f"HIRE less {title}", str(compare(strong[hire], ours))] for title, ours in strong.items() if title != hire
        ]
        outcome.table(f"ε = {255 * epsilon:g}/255: gain in points (each seed), McNemar's p", ["", "suite"], gains)


def _rate(outcome, study, config):
    """Add the accuracies of the rate-coded network, whose gradients and answers are means over draws of the input spikes."""
    (way,), samples = ways(study, "rate"), RATE["samples"]
    images = min(study.scale.suite_images, RATE["images"])
    spec = way.spec(config, study.seeds[0])
    options = {name: value for name, value in RATE.items() if name != "images"}

    def measure(study, share):
        epsilon = share * config.epsilon
        attacks = [replace(make(epsilon), samples=samples) for make in PARITY.values()]
        answers = [study.answers(spec, None, images=images, samples=samples)]
        answers += [study.answers(spec, attack, images=images) for attack in attacks]
        return epsilon, answers, withstood(study, spec, epsilon, images, {}, **options)

    rows = [
        [f"ε = {255 * epsilon:g}/255", *(percent([a]) for a in answers), percent([suite.right])]
        for epsilon, answers, suite in study.each(measure, SHARES)
    ]
    caption = (
        f"{way.title}, T = {spec.config.steps}, {images} images, one seed: accuracy in %. Each gradient and each answer is the "
        f"mean of {samples} draws; surrogates: the network's own, {', '.join(RATE['members'])}; without red flags and transfer"
    )
    outcome.table(caption, ["", "clean", *PARITY, "suite"], rows)


def _chart(outcome, found, main):
    """Add the accuracy of the main ways under the suite, over ε."""
    series = []
    for way in main:
        answers = {}
        for (title, _, epsilon), (_, suite) in found.items():
            if title == way.title:
                answers.setdefault(epsilon, []).append(suite.right)
        points = [[255 * epsilon, *spread(answers[epsilon])] for epsilon in sorted(answers)]
        series.append({"name": way.method, "label": way.title, "dashed": False, "points": points})
    outcome.lines("Images that withstand the suite", "accuracy in %", "ε in 1/255", series)


def _trade_off(outcome, found, rows, seeds, epsilon):
    """Add the accuracy under the suite beside the clean accuracy, for one bound: a point for each way of training."""
    points = []
    for way in rows:
        parts = [found[way.title, seed, epsilon] for seed in seeds]
        clean, strong = [answers["clean"] for answers, _ in parts], [suite.right for _, suite in parts]
        points.append({"name": way.method, "label": way.title, "x": spread(clean)[0], "y": spread(strong)[0]})
    title = f"Clean and robust accuracy, ε = {255 * epsilon:g}/255"
    outcome.points(title, "under the suite, %", "clean accuracy, %", points)


def _flags(outcome, found):
    """Add the red flags that are up, and the work of the suite."""
    for (title, seed, epsilon), (_, suite) in found.items():
        up = [f"{flag['name']} ({flag['text']})" for flag in suite.found["flags"] if flag["up"]]
        if up:
            outcome.notes.append(f"Red flags, {title}, seed {seed}, ε = {255 * epsilon:g}/255: {'; '.join(up)}")
    gradients = sum(suite.found["gradients"] for _, suite in found.values())
    queries = sum(suite.found["queries"] for _, suite in found.values())
    seconds = sum(suite.found["seconds"] for _, suite in found.values())
    outcome.notes.append(
        f"The suite took {gradients:,} gradient evaluations, {queries:,} queries and {seconds / 3600:.1f} hours in all."
    )
