"""Settings of HIRE that the paper does not specify, measured one at a time on held-out training images."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minihire.study.paper.outcome import Comparison, Outcome, compare, intervals, named, percent, spread
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.spec import NetworkSpec

DEFAULT = "default settings"


class Choice(NamedTuple):
    """One alternative value of a setting.

    question: the setting, in words. value: the alternative, in words. changes: the settings to change. steps: time steps at
    evaluation, None for those of training.
    """

    question: str
    value: str
    changes: dict
    steps: int | None = None


def choices(config) -> list[Choice]:
    """The alternatives that are tried, one at a time."""
    steps, periods, bound = config.steps, config.periods, config.noise_step
    counts = [n for n in (1, 2, 3, 6) if n != periods and n <= steps]
    factors = [f for f in (0.2, 0.3, 0.4) if f != config.scaling_factor]
    return [
        Choice("time steps", f"run with ⌊T/N⌋ = {steps // periods}, as trained", {}, steps // periods),
        Choice("time steps", f"trained with T = {steps} a period", dict(steps=steps * periods), steps),
        *(Choice("periods N", str(n), dict(periods=n)) for n in counts),
        Choice("membranes of a period", "carried over from the previous period", dict(carry_membranes=True)),
        Choice("κ crafted", "with the updated weights", dict(craft_after_update=True)),
        Choice("bound ε_t of κ", "4·ε_s", dict(noise_bound=4 * bound)),
        Choice("noisy image", "not clipped to [0, 1]", dict(clip_noise=False)),
        Choice("reset", "delayed, as in equation 1", dict(reset="delayed")),
        Choice("gradient through the reset", "yes", dict(reset_grad=True)),
        Choice("optimiser", "AMSGrad", dict(optimiser="amsgrad")),
        *(Choice("scaling of thresholds", f"{f:g}", dict(scaling_factor=f)) for f in factors),
    ]


def answers(study: PaperStudy, config, choice: Choice | None) -> list[list[np.ndarray]]:
    """Answers of every seed to clean, FGSM and PGD (white box) images of the held-out training images."""
    specs = [NetworkSpec(replace(config, **(choice.changes if choice else {})), "hire", seed) for seed in study.seeds]
    steps = choice.steps if choice else None
    parts = {attack: [(spec, attack) for spec in specs] for attack in (None, *config.attacks)}
    found = study.each_of(lambda study, part: study.answers(*part, steps=steps, part="heldout"), parts)
    return list(found.values())


def defaults(config) -> str:
    """The default settings, in words."""
    return (
        f"T = {config.steps}, N = {config.periods}, training with ⌊T/N⌋ time steps per period and evaluation with T, membranes "
        "reset in each period, κ carried from batch to batch and crafted in the pass that updates the weights, "
        f"ε_t = ε_s = {config.noise_step:g}, images clipped, immediate reset without gradient, Adam, thresholds scaled by "
        f"{config.scaling_factor:g}"
    )


def open_choices(study: PaperStudy) -> Outcome:
    """HIRE with one setting changed at a time, compared with the defaults."""
    config = _config(study)
    outcome = Outcome("choices", "Settings that the paper does not specify: one setting of HIRE changed at a time")
    return _changed(outcome, study, config, choices(config))


def moments(study: PaperStudy) -> Outcome:
    """HIRE trained by Adam with moments in 16 bits, compared with 32 bits."""
    outcome = Outcome("moments", "Adam's moments in 32 bits and in 16 (--optimiser adam16)")
    return _changed(
        outcome, study, _config(study), [Choice("optimiser", "Adam, moments in 16 bits", dict(optimiser="adam16"))]
    )


def _config(study):
    return replace(study.scale.config("vgg5"), **study.scale.choices)


def _changed(outcome, study, config, tried):
    every = study.each(lambda study, choice: answers(study, config, choice), (None, *tried))
    ours, others = every[0], every[1:]
    level = 0.05 / (3 * len(tried))
    outcome.text = (
        f"White box, on {config.heldout:,} training images set aside, {config.snn_epochs} SNN epochs. Defaults: "
        f"{defaults(config)}. A difference is listed where every seed shows it and McNemar's p over all seeds' images is below "
        f"0.05 / {3 * len(tried)} (Bonferroni: {len(tried)} value{'s' * (len(tried) > 1)}, three measurements)."
    )
    rows, gains = [[DEFAULT, "", *map(percent, ours)]], []
    for choice, found in zip(tried, others, strict=True):
        compared = [compare(a, b) for a, b in zip(found, ours, strict=True)]
        rows.append([choice.question, choice.value, *map(percent, found)])
        gains.append([choice.question, choice.value, *map(str, compared), shown_differences(compared, level)])
    columns = ["clean", "FGSM", "PGD"]
    if any("periods" in choice.changes for choice in tried):
        _over_periods(outcome, config, ours, zip(tried, others, strict=True), columns)
    caption = f"{named(config)}, width {config.width:g}: accuracy of HIRE in %, {intervals(len(study.seeds))}"
    outcome.table(caption, ["setting", "value", *columns], rows)
    outcome.table(
        f"Gain over HIRE with {DEFAULT}, in percentage points (each seed), McNemar's p",
        ["setting", "value", *columns, "significant"],
        gains,
    )
    return outcome


def _over_periods(outcome, config, ours, found, columns):
    """Add a chart of accuracy over the number of periods N."""
    by_count = {config.periods: ours} | {c.changes["periods"]: each for c, each in found if "periods" in c.changes}
    series = [
        {
            "name": "hire",
            "label": column,
            "dashed": column == "PGD",
            "points": [[n, *spread(by_count[n][i])] for n in sorted(by_count)],
        }
        for i, column in enumerate(columns)
    ]
    outcome.lines(f"{named(config)}, white box", "accuracy, %", "periods N", series)


def shown_differences(compared: list[Comparison], level: float) -> str:
    """The significant differences in clean, FGSM and PGD accuracy: "PGD higher, clean lower", or "nothing"."""
    found = [
        (word, [name for name, c in zip(("clean", "FGSM", "PGD"), compared, strict=True) if c.decided(level) is sign])
        for word, sign in (("higher", True), ("lower", False))
    ]
    return "; ".join(f"{', '.join(names)} {word}" for word, names in found if names) or "nothing"
