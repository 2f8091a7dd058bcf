"""The recipe of a training: how a network is trained."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.training.noise import NoiseRule, NoNoise
from minihire.training.optimisers import OPTIMISERS, SCHEDULES, Schedule

# What messages of a training call the settings that they advise to change. The command line passes its flags instead.
NAMES = {
    "epochs": "epochs",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "epsilon": "epsilon",  # of the attack in adversarial training
    "layer_sizes": "width or hidden",
    "data": "data",
    "path": "path",
}
# Settings that version 0.1.0 did not have. A recipe's description has them only if they differ from the default, so that
# trainings of version 0.1.0 resume.
LATER = ("period_steps", "iterations", "surrogate")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are the paper's traditional training, with Adam: the paper names no optimiser.

    batch_size: images per rank. period_steps: time steps of each period, if they are not to be ⌊T/N⌋. carry_membranes: start a
    period from the (detached) membranes at the end of the previous one. clip_noise: clip x + κ to [0, 1]. craft_after_update:
    craft κ in a second pass, with the updated weights (caption of figure 6). freeze: keep thresholds and leaks constant (table
    5). Raises MinihireError for values out of range.

    >>> from minihire import CraftedNoise, Recipe
    >>> Recipe(epochs=2, periods=2, noise=CraftedNoise(step=0.013, bound=0.013)).optimiser
    'adam'
    """

    epochs: int = 30
    batch_size: int = 32
    optimiser: str = "adam"
    learning_rate: float = 1e-4
    schedule: Schedule = Schedule()
    weight_decay: float = 0.0
    momentum: float = 0.9
    augment: bool = True
    periods: int = 1
    noise: NoiseRule = NoNoise()
    carry_membranes: bool = False
    clip_noise: bool = True
    craft_after_update: bool = False
    freeze: bool = False
    period_steps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise MinihireError(f"there is no optimiser {self.optimiser!r}: choose {', '.join(OPTIMISERS)}")
        checks.instance("the recipe's schedule", self.schedule, Schedule)
        checks.instance("the recipe's noise", self.noise, NoiseRule, "CraftedNoise(step=0.013, bound=0.013)")
        checks.methods(f"the noise rule {type(self.noise).__name__}", self.noise, NoiseRule)
        if self.schedule.kind not in SCHEDULES:
            raise MinihireError(f"there is no schedule {self.schedule.kind!r}: choose {', '.join(SCHEDULES)}")
        given = checks.several("the schedule's milestones", self.schedule.milestones)
        milestones = tuple(checks.number("a milestone of the schedule", m) for m in given)
        factor = checks.number("the schedule's factor", self.schedule.factor)
        object.__setattr__(self, "schedule", self.schedule._replace(milestones=milestones, factor=factor))
        for name in ("augment", "carry_membranes", "clip_noise", "craft_after_update", "freeze"):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_):
                raise MinihireError(f"the recipe's {name} is {value!r}: give True or False")
            object.__setattr__(self, name, bool(value))
        for name in ("epochs", "batch_size", "periods"):
            object.__setattr__(self, name, checks.whole(f"the recipe's {name}", getattr(self, name)))
        for name in ("weight_decay", "momentum"):
            object.__setattr__(self, name, checks.number(f"the recipe's {name}", getattr(self, name)))
        if self.weight_decay > 0 and self.optimiser != "sgd":
            raise MinihireError(
                f"weight_decay is {self.weight_decay:g}, but only the optimiser sgd has weight decay, not {self.optimiser}: "
                "leave weight_decay out"
            )
        object.__setattr__(self, "learning_rate", checks.positive("the recipe's learning_rate", self.learning_rate))
        if self.period_steps is not None:
            given = checks.several("the recipe's period_steps", self.period_steps)
            given = tuple(checks.whole("a period's number of time steps", steps) for steps in given)
            object.__setattr__(self, "period_steps", given)
            if len(given) != self.periods:
                raise MinihireError(
                    f"{self.periods} periods need {self.periods} numbers of time steps, not {list(given)}"
                )

    @property
    def crafting(self) -> str:
        """The gradient pass that crafts κ for the next period.

        "none". "shared": that of the update, as in algorithm 1. "before", "after": an additional one, before or after the update.
        """
        if not self.noise.crafted:
            return "none"
        if self.craft_after_update:
            return "after"
        return "shared" if self.noise.surrogate is None else "before"

    def steps_of_periods(self, steps: int) -> tuple[int, ...]:
        """The time steps of each period of a network with T = steps. Raises MinihireError where T is less than N.

        >>> from minihire import Recipe
        >>> Recipe(periods=3).steps_of_periods(7), Recipe(periods=2, period_steps=(4, 3)).steps_of_periods(7)
        ((2, 2, 2), (4, 3))
        """
        if self.period_steps is not None:
            return self.period_steps
        if self.periods > steps:
            raise MinihireError(
                f"{self.periods} periods do not fit into {steps} time steps: choose periods N ≤ steps T"
            )
        return (steps // self.periods,) * self.periods

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data, for checkpoints and results."""
        return {
            **_described(self),
            "noise": {"rule": type(self.noise).__name__, **_described(self.noise)},
            "schedule": self.schedule._asdict(),
        }


def _described(recipe: Any) -> dict[str, Any]:
    """The settings of a recipe or a noise rule as plain data, those of LATER only if they differ from the default.

    They include attributes of a user's rule or attack that are no fields of a dataclass.
    """
    usual = {f.name for f in fields(recipe) if f.name in LATER and getattr(recipe, f.name) == f.default}
    return {name: _plain(value) for name, value in vars(recipe).items() if name not in usual}


def _plain(value: Any) -> Any:
    """The value, with a dictionary of all attributes for a rule, an attack or another dataclass."""
    return {name: _plain(each) for name, each in vars(value).items()} if is_dataclass(value) else value
