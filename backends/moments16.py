"""Adam's moments in 16 bits each: the upper part of a float32, rounded up or down by chance, so that nothing is lost on average.

A float32 is a sign, 8 bits of exponent and 23 of mantissa. Of a mean the upper 16 bits are kept (sign, exponent, 7 bits
of mantissa); of a square, which has no sign, the 16 below the sign (8 bits of mantissa). The range is that of a float32,
but for the last 1/256 below its end, which becomes infinite.

A second moment moves by a thousandth of itself in a step, and its neighbours are 1/256 to 1/512 away: rounded to the nearest
it would stay where it is. So a number below one unit of what is kept is added before the rest is cut off, a different one for
each entry and step. It is a hash of both: every backend rounds alike, and a training that is resumed goes on as if it had not
been stopped. (A regular sequence, multiples of the golden ratio, was 3 % off on average where gradients alternate.)

Source: stochastic rounding as in Gupta et al., Deep Learning with Limited Numerical Precision (ICML 2015); the hash is
lowbias32 of https://github.com/skeeto/hash-prospector (public domain).
"""

import functools

import numpy as np

CUT_MEAN, CUT_SQUARE = (
    16,
    15,
)  # lower bits of a float32 that are cut off: as many of a hash's 32, from its top or bottom, are added
CUTS = {"mean": CUT_MEAN, "square": CUT_SQUARE}
BY_STEP = 2654435769  # an odd number that leads from one step to one far away
SHIFTS, FACTORS = (16, 15, 16), (0x7FEB352D, 0x846CA68B)
TYPE = np.uint16


def start(step: int) -> int:
    """What entry 0 hashes at this step, entry i that much plus i (mod 2³²)."""
    return step * BY_STEP % 2**32


def rounding_bits(count: int, step: int) -> np.ndarray:
    """uint32 [count]: the hash of every entry at this step."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(start(step))
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x


def widen(codes: np.ndarray, cut: int) -> np.ndarray:
    """The float32 numbers that uint16 codes stand for."""
    return (codes.astype(np.uint32) << np.uint32(cut)).view(np.float32)


def narrow(values: np.ndarray, cut: int, step: int) -> np.ndarray:
    """uint16 codes of finite numbers (none negative, if CUT_SQUARE are cut), rounded as in step number `step`."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    added = rounding_bits(bits.size, step).reshape(bits.shape)
    added = added >> np.uint32(32 - CUT_MEAN) if cut == CUT_MEAN else added & np.uint32(2**CUT_SQUARE - 1)
    return ((bits + added) >> np.uint32(cut)).astype(TYPE)


@functools.cache
def _is_narrow(dtype) -> bool:
    return "uint16" in str(dtype)


def are_narrow(mean, square, largest) -> bool:
    """Whether these moments, of any backend, are kept in 16 bits. Raises ValueError for a mixture, or with AMSGrad's maximum."""
    narrow = _is_narrow(mean.dtype), _is_narrow(square.dtype)
    if narrow[0] != narrow[1] or (narrow[0] and largest is not None):
        raise ValueError("mean and square are both of 16 bits or neither, and AMSGrad's maximum goes with neither")
    return narrow[0]
