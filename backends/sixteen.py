"""Adam's moments in 16 bits each: the upper part of a float32, rounded so that the errors of many steps do not add up.

A float32 is a sign, 8 bits of exponent and 23 of mantissa. Of a mean the upper 16 bits are kept (sign, exponent, 7 bits
of mantissa); of a square, which has no sign, the 16 below the sign (8 bits of mantissa). The range is that of a float32.

A second moment moves by a thousandth of itself in a step, and its neighbours are 1/256 to 1/512 away: rounded to the nearest
it would stay where it is. So a number below one unit of what is kept is added before the rest is cut off, another one
for each entry and step:

    walk(i, step) = (i·BY_ENTRY + step·BY_STEP) mod 2³², its upper bits

BY_STEP / 2³² is the golden ratio, whose multiples fill [0, 1) more evenly than random numbers would: of n steps, as many are
rounded up as the part that is cut off says, to within a few. On average nothing is lost, and every backend rounds alike.

Source: stochastic rounding as in Gupta et al., Deep Learning with Limited Numerical Precision (ICML 2015), with Weyl's
sequence in place of random numbers.
"""

import numpy as np

CUT_MEAN, CUT_SQUARE = 16, 15  # lower bits of a float32 that are cut off
BY_STEP = 2654435769  # 2³² · 0.6180 (golden ratio)
BY_ENTRY = 3242174889  # 2³² · 0.7549 (1 / plastic number): neighbours are rounded otherwise
TYPE = np.uint16


def walk(first: int, count: int, step: int) -> np.ndarray:
    """uint32 [count]: where entries first … first + count − 1 stand at this step."""
    return np.arange(count, dtype=np.uint32) * np.uint32(BY_ENTRY) + np.uint32(start(first, step))


def start(first: int, step: int) -> int:
    """Where entry `first` stands at this step."""
    return (first * BY_ENTRY + step * BY_STEP) % 2**32


def widen(codes: np.ndarray, cut: int) -> np.ndarray:
    """The float32 numbers that uint16 codes stand for."""
    return (codes.astype(np.uint32) << np.uint32(cut)).view(np.float32)


def narrow(values: np.ndarray, cut: int, step: int) -> np.ndarray:
    """uint16 codes of finite numbers (not negative, if 15 bits are cut), rounded as in step number `step`."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    added = walk(0, bits.size, step).reshape(bits.shape) >> np.uint32(32 - cut)
    return ((bits + added) >> np.uint32(cut)).astype(TYPE)
