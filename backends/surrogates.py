"""Surrogate gradients, which replace the derivative of the step function in the backward pass.

    ds/dz := f(z) = γ·max(0, 1 − |z|),   z = m/v − 1     (equation 5, the default: `triangle`; γ = 0.3 is from the authors' code)

All surrogates are functions of the normalised membrane z = m/v − 1, so ds/dz = f(z) and ds/dm = f(z)/v. Each row of TABLE
has a derivative f and its antiderivative F. If F replaces the step in the forward pass ("soft" spikes), the surrogate gradients
equal finite differences: with reset_grad those of the whole neuron, without it those of a neuron whose reset stays constant.
tests/backends/test_lif.py checks both.
"""

import math
from typing import NamedTuple

import numpy as np

from backends.errors import BackendError


class Surrogate(NamedTuple):
    """A surrogate: its kind (a key of TABLE, "rate" or "adaptive"), its height f(0), and its width or sharpness in units of z."""

    kind: str
    height: float
    width: float

    @property
    def code(self) -> int:
        """The kind as a number, for compiled kernels. Raises BackendError for a kind that they do not compute."""
        if self.kind not in CODES:
            raise BackendError(
                f"the compiled kernels do not compute the surrogate {self.kind!r}: use the reference backend, or add a branch to "
                "the kernels and a number to CODES"
            )
        return CODES[self.kind]


def triangle(gamma: float = 0.3, width: float = 1.0) -> Surrogate:
    """γ·max(0, 1 − |z|/w). w = 1 is equation 5; γ = 0.3 is the value in the authors' code."""
    return Surrogate("triangle", gamma, width)


def unit_triangle(width: float) -> Surrogate:
    """max(0, w − |z|)/w²: a triangle of area 1. Attacks vary its width w."""
    return Surrogate("triangle", 1 / width, width)


def exponential(sharpness: float = 1.0) -> Surrogate:
    """e^(−b|z|), where b is the sharpness."""
    return Surrogate("exponential", 1.0, sharpness)


def rectangle(width: float = 1.0) -> Surrogate:
    """1[|z| < w/2]/w: a rectangle of area 1."""
    return Surrogate("rectangle", 1 / width, width)


def arctan(sharpness: float = 2.0) -> Surrogate:
    """(a/2) / (1 + (π·a·z/2)²), where a is the sharpness."""
    return Surrogate("arctan", sharpness / 2, sharpness)


def straight_through() -> Surrogate:
    """1 everywhere: the gradient passes unchanged, as if there were no threshold."""
    return Surrogate("straight_through", 1.0, 1.0)


def rate() -> Surrogate:
    """The rate gradient, which treats a neuron as a function from mean current to firing rate (`lif.lif_rate_backward`)."""
    return Surrogate("rate", 1.0, 1.0)


def adaptive() -> Surrogate:
    """An arctan whose sharpness follows the membranes of each neuron and step; see `adapted_slopes`."""
    return Surrogate("adaptive", 1.0, 1.0)


def _triangle_integral(z, h, w):
    left = 0.5 * h / w * np.maximum(0, z + w) ** 2
    right = h * w - 0.5 * h / w * np.maximum(0, w - z) ** 2
    return np.where(z < 0, left, right)


def _exponential_integral(z, h, b):
    tail = np.exp(-b * np.abs(z)) / b
    return h * np.where(z < 0, tail, 2 / b - tail)


#                     f(z; height, width)                                     F(z), with F(−∞) = 0 if that is finite
TABLE = {
    "triangle": (lambda z, h, w: h * np.maximum(0, 1 - np.abs(z) / w), _triangle_integral),
    "exponential": (lambda z, h, b: h * np.exp(-b * np.abs(z)), _exponential_integral),
    "rectangle": (lambda z, h, w: h * (np.abs(z) < w / 2), lambda z, h, w: h * w * np.clip(z / w + 0.5, 0, 1)),
    "arctan": (
        lambda z, h, a: h / (1 + (np.pi * a * z / 2) ** 2),
        lambda z, h, a: 2 * h / a * (np.arctan(np.pi * a * z / 2) / np.pi + 0.5),
    ),
    "straight_through": (lambda z, h, w: np.ones_like(z), lambda z, h, w: z),
}
WITHOUT_ROW = ("rate", "adaptive")  # the kinds that are not functions of z alone
# The numbers of the kinds in compiled kernels: numba_cpu/kernels/lif.py and torch_any/triton_lif.py have a branch for each.
CODES = {"triangle": 0, "exponential": 1, "rectangle": 2, "arctan": 3, "straight_through": 4}

# Constants of the adaptive surrogate, as in the authors' released code.
DECAY = 0.9  # of the running means
SPREAD, FLOOR = 1.5, 1e-4
ADAPTIVE_SHARPNESS = 2 * math.tan(0.425 * math.pi) / math.pi


def adapted_slopes(membrane, threshold, adaptation=None):
    """f(z) [T, B, …] of the adaptive surrogate (ASSG, arXiv 2512.22522) for membranes m before their reset, [T, B, …].

    With x = m − v, and the running means M (mean) and D (deviation) of `interface.Adaptation`, updated in place first:

        M ← 0.9·M + 0.1·|x|      D ← 0.9·D + 0.1·||x| − M|      b = a / (M + 1.5·D + 1e-4),   a = 2·tan(0.425·π)/π
        ds/dx = (b/2) / (1 + (π·b·x/2)²)      f(z) = ds/dz = v·ds/dx, because z = x/v

    At |x| = M + 1.5·D + 1e-4, π·b·|x|/2 = tan(0.425·π): the slope there is about 5 % of the largest, which is at x = 0.
    """
    x = membrane - threshold
    size = np.abs(x)
    mean, deviation = adaptation or (np.ones_like(x), np.zeros_like(x))
    mean *= DECAY
    mean += (1 - DECAY) * size
    deviation *= DECAY
    deviation += (1 - DECAY) * np.abs(size - mean)
    sharpness = ADAPTIVE_SHARPNESS / (mean + SPREAD * deviation + FLOOR)
    return threshold * (sharpness / 2) / (1 + (math.pi / 2 * sharpness * x) ** 2)


def derivative(surrogate: Surrogate, z):
    """f(z), elementwise, in z's dtype. Raises BackendError for "rate" and "adaptive", which are not functions of z alone."""
    if surrogate.kind not in TABLE:
        raise BackendError(
            f"the surrogate {surrogate.kind!r} is not a function of z alone, so only the built-in neuron can compute it: "
            "choose another surrogate or attack"
        )
    return TABLE[surrogate.kind][0](z, surrogate.height, surrogate.width).astype(z.dtype, copy=False)


def antiderivative(surrogate: Surrogate, z):
    """F(z), elementwise, in z's dtype: the soft spike whose true derivative is f(z)."""
    return TABLE[surrogate.kind][1](z, surrogate.height, surrogate.width).astype(z.dtype, copy=False)
