"""Statistics of accuracies: the Wilson confidence interval, and tests that compare two models or two training methods.

McNemar's test compares two models on the same images. Its extension here compares two methods, each with several seeds.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, gammaln, ndtri, stdtrit

from minihire.runtime.errors import MinihireError


def wilson(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of an accuracy, (low, high) in [0, 1], for `correct` out of `count` images (Wilson, 1927).

    Raises MinihireError unless 0 ≤ correct ≤ count, 1 ≤ count and 0 < confidence < 1.
    """
    if not 0 <= correct <= count or count < 1:
        raise MinihireError(
            f"{correct} correct answers among {count} images were given; give 0 to count correct answers, and count ≥ 1"
        )
    if not 0 < confidence < 1:
        raise MinihireError(
            f"the confidence given is {confidence}; give a number between 0 and 1, such as 0.95 for 95 %"
        )
    square = float(ndtri((1 + confidence) / 2)) ** 2
    share, spread = correct / count, square / count
    centre = share + spread / 2
    half = (spread * (share * (1 - share) + spread / 4)) ** 0.5
    # exactly 0 and 1 at the ends, where the formula would give a rounding error
    low = 0.0 if correct == 0 else (centre - half) / (1 + spread)
    high = 1.0 if correct == count else (centre + half) / (1 + spread)
    return low, high


@dataclass(frozen=True)
class Score:
    """`correct` answers among `count` images. Accuracies are fractions of 1, not percent.

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
        """The entry of a results file: correct, count, and accuracy, low, high as fractions of 1."""
        low, high = self.interval
        return {
            "correct": int(self.correct),
            "count": int(self.count),
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
        }


def mcnemar(first_correct, second_correct) -> float:
    """Two-sided p-value of the hypothesis that two models have the same accuracy (McNemar, 1947).

    first_correct, second_correct: bool [N] per model, whether it classifies each of the same N images correctly. The test
    is exact. It uses only the images that one model classifies correctly and the other does not. Under the hypothesis, the
    first and the second model are equally likely to be the correct one. Raises MinihireError if the arrays are not boolean
    or differ in shape.
    """
    first, second = np.asarray(first_correct), np.asarray(second_correct)
    if first.dtype != bool or second.dtype != bool:
        raise MinihireError(
            f"McNemar's test needs booleans (correct or not, per image), but got {first.dtype} and {second.dtype}"
        )
    if first.ndim != 1 or first.shape != second.shape:
        raise MinihireError(
            f"McNemar's test needs arrays [N] for the same images, but got shapes {list(first.shape)} and {list(second.shape)}"
        )
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def mcnemar_over_seeds(first_correct, second_correct) -> float:
    """Two-sided p-value of the hypothesis that two training methods have the same accuracy, from several seeds of each.

    first_correct, second_correct: bool [seeds, N] per method, on the same N images.
    Networks of one method tend to fail on the same images, so they are not independent. Therefore each image counts once.
    Let d be the number of networks of the first method that classify an image correctly, minus that of the second method.
    Under the hypothesis, d and −d are equally likely for each image, independently of other images. The test is exact.
    With one seed the result equals `mcnemar`. Raises MinihireError if the arrays are not boolean or differ in shape.
    """
    differences = _differences(first_correct, second_correct).astype(np.int64)
    # Probability of each possible sum of ±|d| with random signs, from the smallest sum to the largest. The images with the
    # same |d| give a binomial distribution. The distribution of the total is the convolution of these distributions.
    distribution = np.ones(1)
    for size in range(1, int(np.abs(differences).max(initial=0)) + 1):
        count = int(np.sum(np.abs(differences) == size))
        positive = np.arange(count + 1)
        log_binomial = gammaln(count + 1) - gammaln(positive + 1) - gammaln(count - positive + 1) - count * np.log(2)
        of_this_size = np.zeros(2 * size * count + 1)
        of_this_size[:: 2 * size] = np.exp(log_binomial)
        distribution = np.convolve(distribution, of_this_size)
    sums = np.arange(len(distribution)) - len(distribution) // 2
    return min(1.0, float(distribution[np.abs(sums) >= abs(differences.sum())].sum()))


def gain(first_correct, second_correct, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval (low, high), in −1 … 1, of the first method's accuracy minus the second's.

    first_correct, second_correct: bool [seeds, N] per method, on the same N images. For each image, take the difference of
    the two methods, averaged over the seeds. The interval is Student's t interval for the mean of these N differences. It
    accounts for the random choice of the images, not of the seeds. If all N differences are equal, the interval reaches
    −ln(1 − confidence)/N to both sides, as in the rule of three. Raises MinihireError as
    `mcnemar_over_seeds` does, and for fewer than 2 images.
    """
    differences = _differences(first_correct, second_correct) / len(first_correct)
    count = len(differences)
    if count < 2:
        raise MinihireError(f"the interval of a gain needs at least 2 images, but got {count}")
    half = float(stdtrit(count - 1, (1 + confidence) / 2) * differences.std(ddof=1) / count**0.5)
    if np.ptp(differences) == 0:
        half = -math.log(1 - confidence) / count
    middle = float(differences.mean())
    return max(middle - half, -1.0), min(middle + half, 1.0)


def _differences(first_correct, second_correct):
    """int64 [N]: the number of correct networks of the first method minus that of the second, for each image."""
    rows = [np.asarray(row) for method in (first_correct, second_correct) for row in method]
    shapes = {row.shape for row in rows}
    comparable = len(first_correct) == len(second_correct) > 0 and [len(shape) for shape in shapes] == [1]
    if not comparable or any(row.dtype != bool for row in rows):
        raise MinihireError(
            "two methods are compared with booleans [seeds, N] for the same seeds and images, but got "
            f"{len(first_correct)} and {len(second_correct)} rows of shapes {sorted(map(list, shapes))}"
        )
    first, second = np.array(first_correct), np.array(second_correct)
    return first.sum(axis=0) - second.sum(axis=0, dtype=np.int64)
