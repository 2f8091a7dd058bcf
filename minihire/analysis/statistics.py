"""How sure a measured accuracy is: the Wilson interval, and McNemar's test for two models on the same images, or for two ways
of training with several seeds each.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, gammaln, ndtri, stdtrit

from minihire.runtime.errors import MinihireError


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


def mcnemar_over_seeds(first_correct, second_correct) -> float:
    """Two-sided p-value of "both ways are equally often right", from bool [seeds, N] of each on the same N images.

    The seeds of a way err on the same images, so seeds times N pairs would be too many: an image counts once, with the
    difference d of the seeds that get it right. Exact: under the hypothesis d is as likely as -d, of each image for itself.
    Of one seed this is `mcnemar`. Raises MinihireError for arrays that are not boolean or not of one shape.
    """
    found = _differences(first_correct, second_correct).astype(np.int64)
    chances = np.ones(1)  # of the sum, from its smallest to its largest value
    for size in range(1, int(np.abs(found).max(initial=0)) + 1):
        count = int(np.sum(np.abs(found) == size))
        heads = np.arange(count + 1)
        coins = gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1) - count * np.log(2)
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = np.exp(coins)
        chances = np.convolve(chances, spread)
    far = np.abs(np.arange(len(chances)) - len(chances) // 2) >= abs(found.sum())
    return min(1.0, float(chances[far].sum()))


def gain(first_correct, second_correct, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high): the interval of how much more often the first way is right, in -1 … 1, from bool [seeds, N] of each.

    Student's, over the images, each with the mean difference of its seeds: how other seeds would do is not in it. Raises
    MinihireError as `mcnemar_over_seeds` and for fewer than 2 images.
    """
    found = _differences(first_correct, second_correct) / len(first_correct)
    if len(found) < 2:
        raise MinihireError(f"the interval of a gain needs at least 2 images, not {len(found)}")
    half = float(stdtrit(len(found) - 1, (1 + confidence) / 2) * found.std(ddof=1) / len(found) ** 0.5)
    return float(found.mean()) - half, float(found.mean()) + half


def _differences(first_correct, second_correct):
    """[N]: by how many more seeds of the first way an image is answered right."""
    kinds = [{(np.asarray(row).dtype, np.shape(row)) for row in rows} for rows in (first_correct, second_correct)]
    sizes = {shape for kind in kinds for _, shape in kind}
    if len(first_correct) != len(second_correct) or any(kind != {(np.dtype(bool), *sizes)} for kind in kinds):
        raise MinihireError(
            "two ways are compared by booleans (right or wrong) of as many seeds of each on the same images, not by "
            f"{len(first_correct)} and {len(second_correct)} arrays of shapes {sorted(map(list, sizes))}"
        )
    first, second = np.array(first_correct), np.array(second_correct)
    return first.sum(axis=0) - second.sum(axis=0, dtype=np.int64)
