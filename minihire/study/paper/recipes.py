"""A search for training recipes that are more robust than HIRE at HIRE's cost, on held-out training images."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from backends.surrogates import arctan
from minihire.attacks import apgd
from minihire.study.paper.adversarial import adversarial_way
from minihire.study.paper.outcome import Outcome, compare, named, percent, spread
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.spec import NetworkSpec
from minihire.study.titles import TITLES
from minihire.training import cost_per_batch, epochs_at_equal_cost

BOUNDS = (2 / 255, 4 / 255)
STEPS = 50  # of APGD, through arctan with a = 2, the strongest single surrogate of the ensemble
IMAGES = 256  # held-out training images


class Candidate(NamedTuple):
    """One recipe: a method and the settings that differ from the scale's. name: in words."""

    name: str
    method: str = "hire"
    changes: tuple = ()

    def config(self, config):
        """The configuration of its training, with fewer epochs where a batch costs more than HIRE's."""
        changed = replace(config, **dict(self.changes))
        if self.method == "adversarial":
            return changed
        equal = epochs_at_equal_cost(changed.recipe(self.method), config.recipe("hire"), config.steps)
        return replace(changed, snn_epochs=min(equal, config.snn_epochs))


def candidates(config) -> list[Candidate]:
    """HIRE, the recipes that are tried, and the trainings that HIRE is compared with."""
    size, steps = config.noise_step, config.steps
    zero = ("carry_noise", False)
    found = [Candidate("HIRE")]
    for periods in sorted(n for n in {1, 2, 3, steps} if n <= steps):
        if periods != config.periods:
            found.append(Candidate(f"N = {periods}", changes=(("periods", periods),)))
        found.append(Candidate(f"N = {periods}, κ from zero", changes=(("periods", periods), zero)))
    for factor in (0.5, 2, 4):
        found.append(Candidate(f"ε_s = {factor * size:.3g}", changes=(("noise_step", factor * size),)))
    for factor in (2, 4):
        found.append(
            Candidate(f"ε_s = {factor * size:.3g}, κ from zero", changes=(("noise_step", factor * size), zero))
        )
        most = (("periods", steps), ("noise_step", factor * size))
        found.append(Candidate(f"N = {steps}, ε_s = {factor * size:.3g}", changes=most))
        found.append(Candidate(f"N = {steps}, ε_s = {factor * size:.3g}, κ from zero", changes=(*most, zero)))
    bound = ("noise_bound", 4 * size)
    found.append(Candidate(f"ε_t = {4 * size:.3g}", changes=(bound,)))
    found.append(Candidate(f"N = {steps}, ε_t = {4 * size:.3g}", changes=(("periods", steps), bound)))
    found.append(
        Candidate(f"N = {steps}, ε_t = {4 * size:.3g}, κ from zero", changes=(("periods", steps), bound, zero))
    )
    for first in sorted({1, steps // 3, steps - steps // 3, steps - 1} - {0, steps}):
        parts = f"{first}+{steps - first}"
        found.append(Candidate(f"T = {parts}", changes=(("periods", 2), ("time_division", parts))))
    craft = ("craft_surrogate", "arctan:2")
    found.append(Candidate("κ crafted through arctan", changes=(craft,)))
    found.append(
        Candidate(f"κ crafted through arctan, ε_s = {2 * size:.3g}", changes=(craft, ("noise_step", 2 * size)))
    )
    found.append(Candidate("two steps of κ, from zero", changes=(("noise_iterations", 2), bound, zero)))
    found.append(Candidate("membranes carried over", changes=(("carry_membranes", True),)))
    found += [Candidate(TITLES[method], method) for method in ("traditional", "control")]
    for epsilon in (*BOUNDS, 8 / 255):
        way = adversarial_way(config, "FGSM-RS", True, epsilon)
        found.append(Candidate(way.title, way.method, way.changes))
    return found


def recipes(study: PaperStudy) -> Outcome:
    """Clean and strong robust accuracy of every candidate, and which are better than HIRE."""
    config = replace(study.scale.config("vgg5"), **study.scale.choices)
    outcome = Outcome("recipes", "Recipes at HIRE's cost: a search on held-out images")
    tried = candidates(config)
    images = min(study.scale.suite_images, IMAGES)
    bounds = " and ".join(f"{255 * epsilon:g}/255" for epsilon in BOUNDS)
    outcome.text = (
        f"White box: APGD with {STEPS} steps through arctan (a = 2), ε = {bounds}, on {images} training images set aside; "
        f"{config.snn_epochs} epochs of HIRE. Cost: time steps of all gradient passes, times epochs; HIRE = 1. A recipe whose "
        "batch costs more than HIRE's has fewer epochs. The chart numbers the points that no other point exceeds, as the "
        "table does. The p values are not corrected for the number "
        "of recipes. The best recipe is the one with the highest mean over both ε."
    )
    attacks = (None, *(apgd(epsilon, STEPS, surrogate=arctan(2.0)) for epsilon in BOUNDS))
    parts = {
        (one.name, i): [(NetworkSpec(one.config(config), one.method, seed), attack) for seed in study.seeds]
        for one in tried
        for i, attack in enumerate(attacks)
    }
    found = study.each_of(lambda study, part: study.answers(*part, images=images, part="heldout"), parts)
    columns = ["clean", *(f"APGD at ε = {255 * epsilon:g}/255" for epsilon in BOUNDS)]
    rows, gains, points, scores = [], [], [], {}
    hire = [found[tried[0].name, i] for i in range(len(attacks))]
    for number, one in enumerate(tried, 1):
        answers = [found[one.name, i] for i in range(len(attacks))]
        scores[one.name] = float(np.mean([np.mean(a) for a in answers[1:]]))
        rows.append([f"{number} {one.name}", *map(percent, answers), *cost_cells(config, one)])
        if one is not tried[0]:
            gains.append([f"{number} {one.name}", *(str(compare(*pair)) for pair in zip(answers, hire, strict=True))])
        strong = [np.concatenate(each) for each in zip(*answers[1:], strict=True)]
        points.append({"name": one.method, "label": one.name, "x": spread(answers[0])[0], "y": spread(strong)[0]})
    ends = f"mean and range of {len(study.seeds)} seeds" if len(study.seeds) > 1 else "one seed, 95 % Wilson intervals"
    caption = f"{named(config)}, width {config.width:g}: accuracy in %, {ends}"
    outcome.table(caption, ["", *columns, "passes", "time steps", "epochs", "cost"], rows)
    outcome.table("Gain over HIRE in points (each seed), McNemar's p", ["", *columns], gains)
    outcome.points("Clean and robust accuracy", "mean over both ε, %", "clean accuracy, %", points)
    ranked = sorted((one.name for one in tried if one.method == "hire"), key=lambda name: -scores[name])
    outcome.notes.append(
        "The best of HIRE's recipes: "
        + ", ".join(f"{name} ({100 * scores[name]:.1f} %)" for name in ranked[:3])
        + f"; HIRE {100 * scores[tried[0].name]:.1f} %."
    )
    return outcome


def cost_cells(config, one):
    """Table cells: passes and time steps per batch, epochs, and time steps times epochs, HIRE = 1."""
    recipe, hire = one.config(config).recipe(one.method), config.recipe("hire")
    cost, base = (cost_per_batch(each, config.steps) for each in (recipe, hire))
    ratio = cost.time_steps * recipe.epochs / (base.time_steps * hire.epochs)
    return [str(cost.passes), str(cost.time_steps), str(recipe.epochs), f"{ratio:.2f}"]
