"""How sure a measured accuracy is: the Wilson interval, and McNemar's test for two models on the same images."""

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtri

from minihire.errors import MinihireError


def wilson(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) in [0, 1]: the score interval of correct out of count images (Wilson, 1927).

    Raises MinihireError unless 0 ≤ correct ≤ count, 1 ≤ count and 0 < confidence < 1.
    """
    if not 0 <= correct <= count or count < 1:
        raise MinihireError(
            f"an interval needs 0 to count correct answers among at least 1 image, not {correct} among {count}"
        )
    if not 0 < confidence < 1:
        raise MinihireError(f"a confidence lies between 0 and 1 (0.95 for 95 %), not {confidence}")
    square = float(ndtri((1 + confidence) / 2)) ** 2
    share, spread = correct / count, square / count
    centre = share + spread / 2
    half = (spread * (share * (1 - share) + spread / 4)) ** 0.5
    low = 0.0 if correct == 0 else (centre - half) / (1 + spread)  # exactly 0 and 1 at the ends, whatever is rounded
    high = 1.0 if correct == count else (centre + half) / (1 + spread)
    return low, high


@dataclass(frozen=True)
class Score:
    """Correct answers among `count` images; everything derived from them is a fraction of 1, not percent.

    Raises MinihireError unless 0 ≤ correct ≤ count and 1 ≤ count.
    """

    correct: int
    count: int

    def __post_init__(self):
        wilson(self.correct, self.count)

    @property
    def accuracy(self) -> float:
        """correct / count, in 0 … 1."""
        return self.correct / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval (low, high), in 0 … 1."""
        return wilson(self.correct, self.count)

    def as_dict(self) -> dict:
        """For a results file: correct, count, and accuracy, low, high as fractions of 1."""
        low, high = self.interval
        return {
            "correct": int(self.correct),
            "count": int(self.count),
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
        }


def mcnemar(first_correct, second_correct) -> float:
    """Two-sided p-value of "both models are equally often right", from bool [N] of each on the same images.

    Exact: of the images that just one model gets right, each is either's with probability ½ (McNemar, 1947; binomial
    form). Raises MinihireError for arrays that are not boolean or not of one length.
    """
    first, second = np.asarray(first_correct), np.asarray(second_correct)
    if first.dtype != bool or second.dtype != bool:
        raise MinihireError(
            f"McNemar's test compares booleans (right or wrong per image), not {first.dtype} and {second.dtype}"
        )
    if first.ndim != 1 or first.shape != second.shape:
        raise MinihireError(
            f"McNemar's test needs the same images for both models, not {list(first.shape)} and {list(second.shape)}"
        )
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))
