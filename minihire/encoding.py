"""Input encoding: turns an image into the input of the first layer.

direct: the normalised analog image is the input at every step. The result has one step (T = 1), because it does not
change over time. So the first convolution runs once, and the neuron repeats its current.
rate: a Poisson generator. At every step, a pixel of value p spikes with probability p. The image is not normalised, so
that the input is binary and the first layer needs no multiplications. The gradient is straight-through:
∂L/∂x = Σ_t ∂L/∂s[t].
"""

from typing import Any

import numpy as np

from minihire.engine import ops
from minihire.runtime.random_streams import Stream

CODINGS = ("direct", "rate")


def unit_pixels(levels: np.ndarray[Any, Any], dtype: str = "float32") -> np.ndarray[Any, Any]:
    """8-bit pixels in [0, 1], bit-identical to those of `Backend.image_batch` with this dtype, which training uses.

    It matters: a neuron fires if its membrane is above the threshold by any amount.
    """
    return levels.astype(dtype) * np.dtype(dtype).type(1 / 255)


def in_8_bits(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pixels in [0, 1], of any shape, rounded to 8 bits: uint8. The inverse of `unit_pixels`."""
    return np.round(pixels * 255).astype(np.uint8)


def encode(tape, image, coding, mean, std, draws, first_step, steps):
    """Encode image [1, B, H, W, C] with pixels in [0, 1]: [1, B, H, W, C] ("direct") or [steps, B, H, W, C] ("rate").

    mean, std: normalisation per channel, used by "direct". draws: see `backends.randomness.Draws`, used by "rate".
    first_step: number of the first time step, so that a long run can be encoded in chunks.
    """
    if coding == "direct":
        return ops.normalise(tape, image, mean, std)
    return ops.rate_code(tape, image, draws.key(Stream.RATE_CODE), first_step, steps, draws.skipped(image.shape[1:]))
