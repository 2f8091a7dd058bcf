"""Adam's moments in 16 bits each: the upper part of a float32, rounded stochastically, so that the mean error is zero.

A float32 has a sign, 8 bits of exponent and 23 bits of mantissa. A mean is stored as its upper 16 bits: sign, exponent and 7 bits
of mantissa. A square is never negative, so it is stored as the 16 bits below the sign: exponent and 8 bits of mantissa. The range
is that of a float32, except for its last 1/256, which becomes infinite.

A second moment changes by about a thousandth of its value in a step. The next larger code is 1/512 to 1/256 away, so a moment
that is rounded to the nearest code would never change. Stochastic rounding adds a random number below one unit of the last stored
bit, and then truncates the lower bits. The random number is a hash of the entry's position and the step. So every backend rounds
in the same way, and a training that resumes gives bit-identical results. (With a regular sequence, multiples of the golden ratio,
the result was 3 % off on average for gradients that alternate.)

Source: stochastic rounding as in Gupta et al., Deep Learning with Limited Numerical Precision (ICML 2015); the hash is
lowbias32 of https://github.com/skeeto/hash-prospector (public domain).
"""

import functools

import numpy as np

# Numbers of lower bits of a float32 that are truncated. As many bits of the 32-bit hash are added: its upper ones for a mean,
# its lower ones for a square.
CUT_MEAN, CUT_SQUARE = 16, 15
CUTS = {"mean": CUT_MEAN, "square": CUT_SQUARE}
BY_STEP = 2654435769  # an odd number that makes the hash inputs of successive steps very different
SHIFTS, FACTORS = (16, 15, 16), (0x7FEB352D, 0x846CA68B)
TYPE = np.uint16


def start(step: int) -> int:
    """The hash input of entry 0 at this step. The input of entry i is this plus i (mod 2³²)."""
    return step * BY_STEP % 2**32


def rounding_bits(count: int, step: int) -> np.ndarray:
    """The hash of every entry at this step: uint32 [count]."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(start(step))
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x


def widen(codes: np.ndarray, cut: int) -> np.ndarray:
    """Convert uint16 codes to float32 numbers. cut: CUT_MEAN or CUT_SQUARE."""
    return (codes.astype(np.uint32) << np.uint32(cut)).view(np.float32)


def narrow(values: np.ndarray, cut: int, step: int) -> np.ndarray:
    """Convert finite numbers to uint16 codes, with the stochastic rounding of step number `step`.

    cut: CUT_MEAN, or CUT_SQUARE for numbers that are not negative.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    added = rounding_bits(bits.size, step).reshape(bits.shape)
    added = added >> np.uint32(32 - CUT_MEAN) if cut == CUT_MEAN else added & np.uint32(2**CUT_SQUARE - 1)
    return ((bits + added) >> np.uint32(cut)).astype(TYPE)


@functools.cache
def _is_narrow(dtype) -> bool:
    return "uint16" in str(dtype)


def are_narrow(mean, square, largest) -> bool:
    """Whether these moments, of any backend, have 16 bits. Raises ValueError for a mixture, or with AMSGrad's maximum."""
    narrow = _is_narrow(mean.dtype), _is_narrow(square.dtype)
    if narrow[0] != narrow[1] or (narrow[0] and largest is not None):
        raise ValueError("mean and square are both of 16 bits or neither, and AMSGrad's maximum goes with neither")
    return narrow[0]
