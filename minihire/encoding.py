"""How an image becomes the input of the first layer.

direct: the analog image, normalised, is the input at every step. It does not change, so it has one step (T = 1): the
first convolution is computed once and the neuron repeats its current.
rate: a Poisson generator; a pixel of value p spikes with probability p at every step. No normalisation, so that the
first layer only accumulates too. The gradient is straight-through: ∂L/∂x = Σ_t ∂L/∂s[t].
"""

from backends.randomness import Draw, Stream
from minihire.engine import ops

CODINGS = ("direct", "rate")


def encode(tape, image, coding, mean, std, draws, first_step, steps):
    """image [1, B, H, W, C] in [0, 1] → [1 or steps, B, H, W, C]; draws as in `layers.Draws`."""
    if coding == "direct":
        return ops.normalise(tape, image, mean, std)
    pixels = image.shape[2] * image.shape[3] * image.shape[4]
    return ops.rate_code(
        tape, image, Draw(draws.seed, Stream.RATE_CODE, draws.step), first_step, steps, draws.first * pixels
    )
