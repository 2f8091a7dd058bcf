"""Attackers with surrogate gradients other than the network's own, which the paper does not test, on HIRE and its controls."""

import numpy as np

from backends.surrogates import arctan, exponential, rate, unit_triangle
from minihire.attacks import pgd
from minihire.study.paper.accuracy import share_of_the_noise, ways
from minihire.study.paper.outcome import Outcome, compare, named, percent
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.printed import FROZEN
from minihire.study.titles import TITLES

ITERATIONS = 10
IMAGES = 200  # test images at most
SHARES = (1, 0.25)  # factors on the bound ε
SURROGATES = {
    "the defender's own": None,
    "triangle of width 2": unit_triangle(2.0),
    "exponential, b = 1": exponential(1.0),
    "arctan, a = 2": arctan(2.0),
    "rate gradient": rate(),
}
WORST = "worst of all, image by image"


def attackers(study: PaperStudy) -> Outcome:
    """PGD with every surrogate gradient, and the share of images that withstand all of them."""
    outcome = Outcome("attackers", "Attackers with other surrogate gradients, on HIRE and its controls")
    config, images = study.scale.config("vgg5"), min(study.scale.sweep_images, IMAGES)
    outcome.text = (
        f"White-box PGD, K = {ITERATIONS}, α = 2.5·ε/K, random start, on {images} test images; networks of tables 2 and 5. An "
        "attacker may use any surrogate gradient; the last row counts the images that withstand all of them. With a quarter of "
        "the paper's bound ε more images withstand, which makes differences visible."
    )
    study.each(lambda study, share: _at(study, outcome, config, images, share), SHARES)
    return outcome


def _at(study, outcome, config, images, share):
    """Add the tables and the note for a bound of `share` times the configuration's ε."""
    epsilon = share * config.epsilon
    chosen = ways(
        study, "traditional", "frozen traditional", "control", "not carried", "hire", "hire-4x", "frozen hire"
    )
    wanted = [
        (way.spec(config, seed), pgd(epsilon, 2.5 * epsilon / ITERATIONS, ITERATIONS, surrogate=surrogate))
        for way in chosen
        for surrogate in SURROGATES.values()
        for seed in study.seeds
    ]
    right = study.each(lambda study, part: study.answers(*part, images=images), wanted)
    right = np.array(right).reshape(len(chosen), len(SURROGATES), len(study.seeds), -1)
    rows = [[name, *(percent(list(answers)) for answers in right[:, i])] for i, name in enumerate(SURROGATES)]
    worst = {way.title: list(answers) for way, answers in zip(chosen, right.all(axis=1), strict=True)}
    rows.append([WORST, *map(percent, worst.values())])
    bound = f"ε = {255 * epsilon:g}/255"
    outcome.table(f"{named(config)}, {bound}: accuracy in %", ["surrogate", *worst], rows)
    hire = worst[TITLES["hire"]]
    gains = [[f"HIRE less {title}", str(compare(hire, found))] for title, found in worst.items() if found is not hire]
    frozen = {way.title: worst[way.title] for way in chosen if way.printed.endswith(FROZEN)}
    gains.append([" less ".join(reversed(frozen)), str(compare(*reversed(frozen.values())))])
    outcome.table(f"{bound}: gain in points (each seed), McNemar's p", ["", WORST], gains)
    control, traditional = worst[TITLES["control"]], worst[TITLES["traditional"]]
    outcome.notes.append(share_of_the_noise(config, f"{bound}, {WORST}", hire, control, traditional))
