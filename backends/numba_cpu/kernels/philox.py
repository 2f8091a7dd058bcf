"""The counter-based draws of backends/randomness.py, in parallel, equal to the bit.

`_philox` is written for numbers; for dropout masks, which are wanted at every step, it is given sixteen counters at once.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.simd.lanes import LANES, arange, broadcast, store
from backends.randomness import MULTIPLIERS, ROUNDS, UNIT, WEYL

M0, M1 = (np.uint64(m) for m in MULTIPLIERS)
W0, W1 = (np.uint64(w) for w in WEYL)
LOW, HALF, BYTE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(8)
BLOCK = 4096
FOURS = 4 * LANES  # numbers of so many counters
ALL = np.uint64(0x01010101)
SIGN, SECOND, THIRD, FOURTH = (np.uint64(bits) for bits in (63, 8, 16, 24))


@njit(cache=True, inline="always")
def _philox(c0, c1, c2, c3, k0, k1):
    for _ in range(ROUNDS):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


@njit(parallel=True, cache=True)
def uniform(step, stream, layer, k0, k1, first, out):
    """out[i] = number first + i of the draw, in [0, 1); see backends.randomness."""
    count = len(out)
    for task in prange((count + BLOCK - 1) // BLOCK):
        i = np.int64(task) * BLOCK
        last = min(i + BLOCK, count)
        while i < last:
            words = _philox(np.uint64((first + i) // 4), step, stream, layer, k0, k1)
            lane = (first + i) % 4
            for word in words[:]:
                if lane <= 0 and i < last:
                    out[i] = np.float32(word >> BYTE) * UNIT
                    i += 1
                lane -= 1


@njit(cache=True)
def _at_least(counter, step, stream, layer, k0, k1, minimum, out, fours):
    """Fill out from number FOURS·fours on with those of LANES counters, four to a number of 32 bits."""
    c0, c1, c2, c3 = _philox(arange(counter), broadcast(step), broadcast(stream), broadcast(layer), k0, k1)
    below = ((c0 >> BYTE) - minimum) >> SIGN  # the sign: 1 or 0
    below = below | ((c1 >> BYTE) - minimum) >> SIGN << SECOND
    below = below | ((c2 >> BYTE) - minimum) >> SIGN << THIRD
    below = below | ((c3 >> BYTE) - minimum) >> SIGN << FOURTH
    store(out, fours * LANES, below ^ ALL)


@njit(parallel=True, cache=True)
def at_least(counter, step, stream, layer, k0, k1, minimum, out):
    """1 where the 24 bits of `uniform` are `least` or more, else 0, of the numbers from this counter on.

    out: uint32 [a multiple of LANES], each the bytes of a counter's four numbers, the first one the lowest.
    """
    count = len(out) // LANES
    for task in prange((count + BLOCK // FOURS - 1) // (BLOCK // FOURS)):
        begin = np.int64(task) * (BLOCK // FOURS)
        for fours in range(begin, min(begin + BLOCK // FOURS, count)):
            now = counter + np.uint64(fours * LANES)
            _at_least(now, step, stream, layer, k0, k1, minimum, out, fours)
