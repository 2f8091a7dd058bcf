"""The noise rule: with the number of periods, the only difference between the ways of training.

A rule has `crafted` (whether it needs ∂L/∂κ), `carried` (whether κ goes on to the next batch), `start(k, shape)` → κ or None
before the first batch, `before(k, kappa, draws)` → the κ that a period sees, and `after(k, kappa, grad)` → the κ that it
leaves behind.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from backends.randomness import Draw, Stream


@dataclass(frozen=True)
class NoNoise:
    """κ = 0: traditional training with one period, the control with more."""

    crafted: ClassVar[bool] = False
    carried: ClassVar[bool] = True

    def start(self, k, shape):
        """None: nothing is added to the images."""

    def before(self, k, kappa, draws):
        """Unchanged."""
        return kappa

    def after(self, k, kappa, grad):
        """Unchanged."""
        return kappa


@dataclass(frozen=True)
class GaussianNoise(NoNoise):
    """κ ~ N(0, ε_s²), fresh in each period (section 5.3, figure 9); std = ε_s in pixels of [0, 1]."""

    std: float

    def start(self, k, shape):
        """Zeros."""
        return k.zeros(shape)

    def before(self, k, kappa, draws):
        """A fresh draw."""
        channels = kappa.shape[-1]
        first = draws.first * math.prod(kappa.shape[1:])
        values = k.normal(Draw(draws.seed, Stream.NOISE, draws.step), kappa.shape, first)
        return k.scale_shift(values, (self.std,) * channels, (0.0,) * channels)


@dataclass(frozen=True)
class CraftedNoise(NoNoise):
    """HIRE: κ ← clip(κ + ε_s·sign(∂L/∂x), −ε_t, ε_t) after each period (equation 6), carried from batch to batch.

    step = ε_s, bound = ε_t, in pixels of [0, 1]. carried: from batch to batch, or from zero in each batch.
    """

    crafted: ClassVar[bool] = True
    step: float
    bound: float
    carried: bool = field(default=True, kw_only=True)

    def start(self, k, shape):
        """Zeros."""
        return k.zeros(shape)

    def after(self, k, kappa, grad):
        """Equation 6."""
        return k.sign_step(kappa, grad, self.step, -self.bound, self.bound)
