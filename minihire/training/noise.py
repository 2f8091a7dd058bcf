"""Noise rules: the noise κ that is added to training images. Training methods differ only in their rule and their periods."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from backends.interface import Array, Backend
from backends.randomness import Draw, Draws
from minihire.runtime import checks
from minihire.runtime.random_streams import Stream


@dataclass(frozen=True)
class NoiseRule:
    """Base class of noise rules. It does not change κ.

    crafted: whether `after_period` needs ∂L/∂κ. carried: whether κ continues in the next batch; otherwise it starts from zero.
    """

    crafted: ClassVar[bool] = False
    carried = True  # a ClassVar annotation would forbid a subclass to make it a field, as CraftedNoise does

    def start(self, k: Backend, shape: tuple[int, ...]) -> Array | None:
        """Return κ before the first batch, [B, H, W, C], or None for no noise."""

    def before_period(self, k: Backend, kappa: Array | None, draws: Draws) -> Array | None:
        """Return the κ that is added to the images in a period. draws: the key of its random numbers."""
        return kappa

    def after_period(self, k: Backend, kappa: Array | None, grad: Array | None) -> Array | None:
        """Return κ after a period. grad: ∂L/∂κ for a crafted rule, else None."""
        return kappa


@dataclass(frozen=True)
class NoNoise(NoiseRule):
    """κ = 0. With one period this is traditional training; with several periods it is the control experiment."""


@dataclass(frozen=True)
class GaussianNoise(NoiseRule):
    """κ ~ N(0, ε_s²), drawn anew in each period (section 5.3, figure 9); std = ε_s in pixels of [0, 1]."""

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", checks.number("the noise's std", self.std))

    def start(self, k: Backend, shape: tuple[int, ...]) -> Array:
        """Zeros. `before_period` replaces them."""
        return k.zeros(shape)

    def before_period(self, k: Backend, kappa: Array, draws: Draws) -> Array:
        """Return a new draw."""
        channels = kappa.shape[-1]
        first = draws.first * math.prod(kappa.shape[1:])
        values = k.random(Draw(draws.seed, Stream.NOISE, draws.step), kappa.shape, first, "normal")
        return k.scale_shift(values, (self.std,) * channels, (0.0,) * channels)


@dataclass(frozen=True)
class CraftedNoise(NoiseRule):
    """HIRE: κ ← clip(κ + ε_s·sign(∂L/∂x), −ε_t, ε_t) after each period (equation 6), carried from batch to batch.

    step = ε_s, bound = ε_t, in pixels of [0, 1]. carried=False starts from zero in each batch.

    >>> from minihire import CraftedNoise, get_backend
    >>> k, rule = get_backend("reference"), CraftedNoise(step=0.25, bound=0.5)
    >>> rule.after_period(k, k.asarray([0.0, 0.5, 0.25]), k.asarray([0.1, 3.0, -1.0])).tolist()
    [0.25, 0.5, 0.0]
    """

    crafted: ClassVar[bool] = True
    step: float
    bound: float
    carried: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("step", "bound"):
            advice = ", in pixels of [0, 1]"
            object.__setattr__(self, name, checks.number(f"the noise's {name}", getattr(self, name), 0, 1, advice))

    def start(self, k: Backend, shape: tuple[int, ...]) -> Array:
        """Zeros."""
        return k.zeros(shape)

    def after_period(self, k: Backend, kappa: Array, grad: Array) -> Array:
        """Equation 6."""
        return k.sign_step(kappa, grad, self.step, -self.bound, self.bound)
