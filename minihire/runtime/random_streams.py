"""The purposes of random numbers. Draws with different purposes are independent (see backends/randomness.py)."""

from enum import IntEnum


class Stream(IntEnum):
    """The purpose of a draw. The values are part of the checkpoint format: never change or reuse one."""

    INIT = 0
    SPLIT = 1
    SHUFFLE = 2
    CROP = 3
    FLIP = 4
    DROPOUT = 5
    NOISE = 6
    RATE_CODE = 7
    RANDOM_START = 8
    CALIBRATION = 9
    SUBSET = 10
    SQUARE = 11
