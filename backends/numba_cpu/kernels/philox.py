"""The counter-based random numbers of backends/randomness.py, in parallel and bit-identical.

`_philox` works on single numbers; dropout masks, which are drawn at every step, give it vectors of sixteen counters.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.lanes import LANES, arange, broadcast, store
from backends.randomness import MULTIPLIERS, ROUNDS, UNIFORM_STEP, WEYL

M0, M1 = (np.uint64(m) for m in MULTIPLIERS)
W0, W1 = (np.uint64(w) for w in WEYL)
LOW, HALF, BYTE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(8)
BLOCK = 4096  # numbers per task
NUMBERS = 4 * LANES  # that LANES counters give: four each
ALL_ONES = np.uint64(0x01010101)
SIGN, SECOND, THIRD, FOURTH = (np.uint64(bits) for bits in (63, 8, 16, 24))


class DrawWords(NamedTuple):
    """The 32-bit words of a draw, each as uint64."""

    step: Any
    stream: Any
    layer: Any
    key0: Any  # the low and high halves of the seed
    key1: Any


@compiled(inline="always")
def _philox(c0, c1, c2, c3, k0, k1):
    for _ in range(ROUNDS):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


@compiled(parallel=True)
def uniform(draw, first, out):
    """out[i] = number first + i of the draw (`DrawWords`), in [0, 1); see backends.randomness."""
    count = len(out)
    for task in prange((count + BLOCK - 1) // BLOCK):
        i = np.int64(task) * BLOCK
        last = min(i + BLOCK, count)
        while i < last:
            words = _philox(np.uint64((first + i) // 4), draw.step, draw.stream, draw.layer, draw.key0, draw.key1)
            lane = (first + i) % 4
            for word in words[:]:
                if lane <= 0 and i < last:
                    out[i] = np.float32(word >> BYTE) * UNIFORM_STEP
                    i += 1
                lane -= 1


@compiled
def _at_least(counter, draw, minimum, out, vector):
    """Write the numbers of LANES counters to out as vector number `vector`, four numbers to a uint32."""
    c0, c1, c2, c3 = _philox(
        arange(counter), broadcast(draw.step), broadcast(draw.stream), broadcast(draw.layer), draw.key0, draw.key1
    )
    below = ((c0 >> BYTE) - minimum) >> SIGN  # the sign bit: 1 or 0
    below = below | ((c1 >> BYTE) - minimum) >> SIGN << SECOND
    below = below | ((c2 >> BYTE) - minimum) >> SIGN << THIRD
    below = below | ((c3 >> BYTE) - minimum) >> SIGN << FOURTH
    store(out, vector * LANES, below ^ ALL_ONES)


@compiled(parallel=True)
def at_least(counter, draw, minimum, out):
    """1 where the 24 bits of a number of `uniform` are `minimum` or more, else 0; of the numbers from this counter on.

    out: uint32 [a multiple of LANES], each with the bytes of a counter's four numbers, the first number in the lowest byte.
    """
    count = len(out) // LANES
    for task in prange((count + BLOCK // NUMBERS - 1) // (BLOCK // NUMBERS)):
        begin = np.int64(task) * (BLOCK // NUMBERS)
        for vector in range(begin, min(begin + BLOCK // NUMBERS, count)):
            _at_least(counter + np.uint64(vector * LANES), draw, minimum, out, vector)
