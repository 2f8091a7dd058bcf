"""A search for training recipes that are more robust than HIRE at HIRE's cost, on held-out training images."""

from dataclasses import replace

import numpy as np

from backends.surrogates import arctan
from minihire.attacks import apgd
from minihire.study.paper.accuracy import Way
from minihire.study.paper.adversarial import adversarial_way, cost_cells
from minihire.study.paper.cost import train_batches
from minihire.study.paper.outcome import Outcome, compare, intervals, named, percent, spread
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.titles import TITLES
from minihire.training import epochs_at_equal_cost

BOUNDS = (2 / 255, 4 / 255)
STEPS = 50  # of APGD, through arctan with a = 2, the strongest single surrogate of the ensemble
IMAGES = 256  # held-out training images
ROUNDS, BATCHES = 3, 10  # of the measurement of time
LONGER = 1.05  # times HIRE's time; recipes that take longer are marked


def recipe(config, name: str, *changes) -> Way:
    """HIRE with some settings changed, with fewer epochs where a batch costs more than HIRE's. name: in words."""
    changed = replace(config, **dict(changes))
    equal = epochs_at_equal_cost(changed.recipe("hire"), config.recipe("hire"), config.steps)
    fewer = [("snn_epochs", equal)] if equal < config.snn_epochs else []
    return Way(name, "", "hire", (*changes, *fewer))


def candidates(config) -> list[Way]:
    """HIRE, the recipes that are tried, and the trainings that HIRE is compared with."""
    size, steps = config.noise_step, config.steps
    zero, bound, craft = ("carry_noise", False), ("noise_bound", 4 * size), ("craft_surrogate", "arctan:2")
    tried: list[tuple] = [("HIRE",)]
    for periods in sorted(n for n in {1, 2, 3, steps} if n <= steps):
        if periods != config.periods:
            tried.append((f"N = {periods}", ("periods", periods)))
        tried.append((f"N = {periods}, κ from zero", ("periods", periods), zero))
    tried.append((f"ε_s = {0.5 * size:.3g}", ("noise_step", 0.5 * size)))
    most = ("periods", steps)
    for factor in (2, 4):
        step, words = ("noise_step", factor * size), f"ε_s = {factor * size:.3g}"
        tried += [(words, step), (f"{words}, κ from zero", step, zero)]
        tried += [(f"N = {steps}, {words}", most, step), (f"N = {steps}, {words}, κ from zero", most, step, zero)]
    words = f"ε_t = {bound[1]:.3g}"
    tried += [(words, bound), (f"N = {steps}, {words}", most, bound)]
    tried.append((f"N = {steps}, {words}, κ from zero", most, bound, zero))
    for first in sorted({1, steps // 3, steps - steps // 3, steps - 1} - {0, steps}):
        parts = f"{first}+{steps - first}"
        tried.append((f"T = {parts}", ("periods", 2), ("time_division", parts)))
    tried.append(("κ crafted through arctan", craft))
    tried.append((f"κ crafted through arctan, ε_s = {2 * size:.3g}", craft, ("noise_step", 2 * size)))
    tried.append((f"{words}, two steps of κ, from zero", ("noise_iterations", 2), bound, zero))
    tried.append(("membranes carried over", ("carry_membranes", True)))
    found = [recipe(config, *one) for one in tried]
    found += [Way(TITLES[method], "", method) for method in ("traditional", "control")]
    return found + [adversarial_way(config, "FGSM-RS", True, epsilon) for epsilon in (*BOUNDS, 8 / 255)]


def best(config) -> list[Way]:
    """The three recipes with the highest mean over both ε in the search at scale medium (docs/robustness.md), and a fourth one.

    The first, ε_s = 4 times HIRE's, is the method "hire-4x". The fourth is the best of those whose clean accuracy is not below
    HIRE's.
    """
    large, most = 4 * config.noise_step, ("periods", config.steps)
    step, bound = ("noise_step", large), ("noise_bound", large)
    name = f"N = {config.steps}, "
    return [
        Way(TITLES["hire-4x"], "", "hire-4x"),
        recipe(config, f"{name}ε_t = {large:.3g}, κ from zero", most, bound, ("carry_noise", False)),
        recipe(config, f"{name}ε_s = {large:.3g}", most, step),
        recipe(config, f"ε_t = {large:.3g}", bound),
    ]


def recipes(study: PaperStudy) -> Outcome:
    """Clean and strong robust accuracy of every candidate, and which are better than HIRE."""
    config = replace(study.scale.config("vgg5"), **study.scale.choices)
    outcome = Outcome("recipes", "Recipes at HIRE's cost: a search on held-out images")
    tried = candidates(config)
    images = min(study.scale.suite_images, IMAGES)
    bounds = " and ".join(f"{255 * epsilon:g}/255" for epsilon in BOUNDS)
    outcome.text = (
        f"White box: APGD with {STEPS} steps through arctan (a = 2), ε = {bounds}, on {images} training images set aside; "
        f"{config.snn_epochs} epochs of HIRE. Cost: time steps of all gradient passes for a batch, times epochs. A recipe "
        f"whose batch costs more than HIRE's has fewer epochs. Time: HIRE = 1, measured in {ROUNDS} times {BATCHES} batches with "
        f"untrained weights; recipes that do the same work differ by up to a quarter. * marks recipes above {LONGER}. In the "
        "chart, the points that no other point exceeds have the numbers of their rows. The p values are not corrected for the "
        "number of recipes. The best recipe is the one with the highest mean over both ε."
    )
    attacks = (None, *(apgd(epsilon, STEPS, surrogate=arctan(2.0)) for epsilon in BOUNDS))
    parts = {
        (one.title, i): [(one.spec(config, seed), attack) for seed in study.seeds]
        for one in tried
        for i, attack in enumerate(attacks)
    }
    found = study.each_of(lambda study, part: study.answers(*part, images=images, part="heldout"), parts)
    times = [1.0, *study.each(lambda study, one: _time(study, config, one, tried[0]), tried[1:])]
    columns = ["clean", *(f"APGD at ε = {255 * epsilon:g}/255" for epsilon in BOUNDS)]
    rows, gains, points, scores = [], [], [], {}
    hire = [found[tried[0].title, i] for i in range(len(attacks))]
    for number, one in enumerate(tried, 1):
        answers = [found[one.title, i] for i in range(len(attacks))]
        scores[one.title] = float(np.mean([np.mean(a) for a in answers[1:]]))
        mark = " *" if times[number - 1] > LONGER else ""
        cost = [*cost_cells(config, one), f"{times[number - 1]:.2f}"]
        rows.append([f"{number} {one.title}{mark}", *map(percent, answers), *cost])
        if one is not tried[0]:
            gains.append([f"{number} {one.title}", *(str(compare(*pair)) for pair in zip(answers, hire, strict=True))])
        strong = [np.concatenate(each) for each in zip(*answers[1:], strict=True)]
        points.append({"name": one.method, "label": one.title, "x": spread(answers[0])[0], "y": spread(strong)[0]})
    caption = f"{named(config)}, width {config.width:g}: accuracy in %, {intervals(len(study.seeds))}"
    outcome.table(caption, ["", *columns, "passes", "time steps", "epochs", "cost", "time"], rows)
    outcome.table("Gain over HIRE in points (each seed), McNemar's p", ["", *columns], gains)
    outcome.points("Clean and robust accuracy", "mean over both ε, %", "clean accuracy, %", points)
    ranked = sorted((one.title for one in tried if one.method == "hire"), key=lambda name: -scores[name])
    outcome.notes.append(
        "The best of HIRE's recipes: "
        + ", ".join(f"{name} ({100 * scores[name]:.1f} %)" for name in ranked[:3])
        + f"; HIRE {100 * scores[tried[0].title]:.1f} %."
    )
    return outcome


def _time(study, config, one, hire) -> float:
    """The time of a training, HIRE's = 1: the ratio of the median times of a batch, in turn, times the ratio of the epochs."""
    k = study.backend
    key = {
        "time": one.spec(config, 0).describe(),
        "beside": hire.spec(config, 0).describe(),
        "batches": [ROUNDS, BATCHES],
        "by": [k.name, k.device, k.precision, k.threads],
    }
    options = dict(device=k.device, dtype=k.dtype, threads=k.threads, precision=k.precision)

    def compute():
        seconds: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for way in (one, hire):
                changed = replace(config, **dict(way.changes))
                seconds.setdefault(way.title, []).extend(
                    train_batches(changed, way.method, BATCHES, k.name, options)[0]
                )
        return float(np.median(seconds[one.title]) / np.median(seconds[hire.title]))

    epochs = [replace(config, **dict(way.changes)).recipe(way.method).epochs for way in (one, hire)]
    return study.measure_once(key, compute, title=f"time of {one.title}") * epochs[0] / epochs[1]
