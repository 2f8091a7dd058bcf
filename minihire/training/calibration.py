"""The calibration of a conversion: its settings, its images, and percentiles of values that arrive in pieces."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from backends.interface import Backend
from backends.randomness import Draw, permutation
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.runtime import checks
from minihire.runtime.random_streams import Stream

IMAGES_AT_ONCE = 32


@dataclass(frozen=True)
class Calibration:
    """Settings of a conversion.

    images: number of calibration images. steps: their time steps T_cal. percentile: of the input current, in percent.
    scaling: factor on all thresholds at the end. fallback_threshold: of a layer without a positive current, before the scaling;
    None: raise an error. A network with biases uses `images` and `percentile` only; see normalise.py.

    >>> from minihire import Calibration
    >>> Calibration(images=64, steps=10).scaling
    0.3
    """

    images: int = 512
    steps: int = 100
    percentile: float = 99.7
    scaling: float = 0.3
    fallback_threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("images", "steps"):
            object.__setattr__(self, name, checks.whole(f"the calibration's {name}", getattr(self, name)))
        for name in ("percentile", "scaling"):
            object.__setattr__(self, name, checks.positive(f"the calibration's {name}", getattr(self, name)))
        if self.fallback_threshold is not None:
            fallback = checks.positive("the calibration's fallback_threshold", self.fallback_threshold)
            object.__setattr__(self, "fallback_threshold", fallback)
        checks.number("the calibration's percentile", self.percentile, 0, 100)


def calibration_batches(data: Dataset, backend: Backend, calibration: Calibration, seed: int) -> Batches:
    """Batches of `calibration.images` images of the data set, which the seed selects."""
    index = permutation(Draw(seed, Stream.CALIBRATION), len(data))[: calibration.images]
    return Batches(data.take(index), backend, IMAGES_AT_ONCE)


class LargestValues:
    """The `keep` largest values of each of `steps` streams of numbers. The numbers of a stream arrive in pieces, by `add`."""

    def __init__(self, steps: int, keep: int):
        self.keep, self.pools = keep, [np.empty(0, np.float32) for _ in range(steps)]

    def add(self, step: int, values: np.ndarray) -> None:
        """Add values to one stream."""
        pool = np.concatenate([self.pools[step], values])
        if len(pool) > self.keep:
            pool = np.partition(pool, len(pool) - self.keep)[-self.keep :]
        self.pools[step] = pool

    def smallest_kept(self) -> float:
        """Take the smallest kept value of each stream, and return the largest of these.

        If each stream has N values and keep = keep_for(N, percentile), the smallest kept value is the stream's percentile.
        """
        return float(max(pool.min() for pool in self.pools if len(pool)))


def keep_for(count: int, percentile: float) -> int:
    """How many of the largest of `count` values to keep, so that the smallest one kept is the nearest-rank percentile."""
    exact = Fraction(str(percentile))  # as a float, 99.9 / 100 * 1000 is above 999
    return count - math.ceil(exact * count / 100) + 1
