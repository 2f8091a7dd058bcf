"""Counter-based random numbers: Philox4x32-10 (Salmon et al., 2011).

Every random number is a function of (seed, stream, step, layer) and its index; there is no generator with a state. So the
numbers are the same on every backend, for any number of threads and order of evaluation, and after a training resumes.
Number i is lane i mod 4 of the Philox block with counter (i // 4, step, stream, layer) and key seed.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
UNIFORM_STEP = np.float32(2.0**-24)  # a float32 has 24 significant bits

# The 65,536 midpoint quantiles of N(0, 1). A table gives the same bits everywhere; logarithms differ between libraries.
NORMAL_QUANTILES = ndtri((np.arange(65536) + 0.5) / 65536).astype(np.float32)


class Draw(NamedTuple):
    """The key of a draw: seed (64 bits), stream (the purpose of the draw), step (32 bits), and layer or time step (32 bits)."""

    seed: int
    stream: int
    step: int = 0
    layer: int = 0


class Draws(NamedTuple):
    """What all draws of one forward pass share: seed, training step, and index of its first image in the batch or data set."""

    seed: int = 0
    step: int = 0
    first: int = 0

    def key(self, stream: int, layer: int = 0) -> Draw:
        """The key of the draw of this purpose."""
        return Draw(self.seed, stream, self.step, layer)

    def skipped(self, shape) -> int:
        """How many numbers of a draw belong to earlier images, if an array [B, …] of this shape has one for each entry."""
        return self.first * math.prod(shape[1:])


def philox(counter, key):
    """Compute Philox4x32-10 for four uint64 arrays of 32-bit counter words and two 32-bit key words.

    Returns four uint64 arrays of 32-bit words. Tests compare them with the known answers of the authors' Random123.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for _ in range(ROUNDS):
        p0 = c0 * np.uint64(MULTIPLIERS[0])
        p1 = c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ np.uint64(k0), p1 & low, (p0 >> half) ^ c3 ^ np.uint64(k1), p0 & low
        k0 = (k0 + WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def random_bits(draw: Draw, count: int, first: int = 0) -> np.ndarray:
    """Numbers first … first + count − 1 of a draw: uint32 [count]."""
    blocks = np.arange(first // 4, (first + count + 3) // 4, dtype=np.uint64)
    word = [np.full_like(blocks, value & 0xFFFFFFFF) for value in (draw.step, int(draw.stream), draw.layer)]
    lanes = philox((blocks, *word), (draw.seed & 0xFFFFFFFF, (draw.seed >> 32) & 0xFFFFFFFF))
    return np.stack(lanes, axis=1).reshape(-1)[first % 4 : first % 4 + count].astype(np.uint32)


def uniform(draw: Draw, shape, first: int = 0) -> np.ndarray:
    """Uniform numbers in [0, 1): float32 of the given shape, multiples of 2⁻²⁴."""
    bits = random_bits(draw, int(np.prod(shape)), first)
    return ((bits >> np.uint32(8)).astype(np.float32) * UNIFORM_STEP).reshape(shape)


def normal(draw: Draw, shape, first: int = 0) -> np.ndarray:
    """Numbers from N(0, 1), rounded to its 65,536 midpoint quantiles (|value| ≤ 4.33): float32 of the given shape."""
    bits = random_bits(draw, int(np.prod(shape)), first)
    return NORMAL_QUANTILES[bits >> np.uint32(16)].reshape(shape)


def integers(draw: Draw, shape, high: int) -> np.ndarray:
    """Integers 0 … high − 1, for high ≤ 2¹⁶: int64 of the given shape. Their bias is below 2⁻¹⁶."""
    bits = random_bits(draw, int(np.prod(shape)))
    return ((bits.astype(np.uint64) * np.uint64(high)) >> np.uint64(32)).astype(np.int64).reshape(shape)


def permutation(draw: Draw, count: int) -> np.ndarray:
    """A random permutation of 0 … count − 1: int64 [count]. The indices that sort random bits, by a stable sort."""
    return np.argsort(random_bits(draw, count), kind="stable").astype(np.int64)
