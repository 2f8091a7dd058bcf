"""Intervals and tests against printed values and against SciPy's own."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from minihire.analysis import Score, gain, mcnemar, mcnemar_over_seeds, wilson
from minihire.runtime.errors import MinihireError


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0)],
)
def test_wilson_by_hand(correct, count, low, high):
    assert wilson(correct, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_are_exact():
    assert all(wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0 for n in range(1, 300))


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_wilson_agrees_with_scipy(confidence):
    for correct in range(21):
        assert wilson(correct, 20, confidence) == pytest.approx(
            binomtest(correct, 20).proportion_ci(confidence, "wilson"), abs=1e-12
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 0), "0 correct answers among 0 images were given"),
        ((-1, 10), "-1 correct answers among 10 images were given"),
        ((11, 10), "11 correct answers among 10 images were given"),
        ((5, 10, 0.0), r"the confidence given is 0\.0"),
        ((5, 10, 95), "the confidence given is 95"),
    ],
)
def test_wilson_refuses_impossible_counts(arguments, sentence):
    with pytest.raises(MinihireError, match=sentence):
        wilson(*arguments)


def test_score_is_in_fractions():
    score = Score(50, 100)
    assert score.accuracy == 0.5 and score.interval == wilson(50, 100)
    assert score.as_dict() == pytest.approx(
        {"correct": 50, "count": 100, "accuracy": 0.5, "low": 0.4038, "high": 0.5962}, abs=5e-5
    )
    with pytest.raises(MinihireError, match="3 correct answers among 2 images"):
        Score(3, 2)


def _answers(both, only_first, only_second, neither):
    groups = (
        [(True, True)] * both
        + [(True, False)] * only_first
        + [(False, True)] * only_second
        + [(False, False)] * neither
    )
    return np.array(groups).T


def test_mcnemar_by_hand():
    # 1 against 9: 2·(C(10,0) + C(10,1))/2¹⁰ = 22/1024; the images on which both agree do not count
    assert mcnemar(*_answers(40, 1, 9, 7)) == pytest.approx(22 / 1024)
    assert mcnemar(*_answers(3, 9, 1, 0)) == pytest.approx(22 / 1024)
    assert mcnemar(*_answers(0, 5, 0, 2)) == pytest.approx(2 / 32)
    assert mcnemar(*_answers(4, 3, 3, 4)) == 1.0
    assert mcnemar(*_answers(5, 0, 0, 5)) == 1.0


def test_mcnemar_agrees_with_scipy():
    for only_first, only_second in [(2, 7), (12, 30), (150, 101), (400, 700)]:
        expected = binomtest(only_first, only_first + only_second).pvalue
        assert mcnemar(*_answers(11, only_first, only_second, 5)) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_refuses_answers_that_do_not_fit():
    right = np.array([True, False, True])
    with pytest.raises(MinihireError, match="same images"):
        mcnemar(right, right[:2])
    with pytest.raises(MinihireError, match="booleans"):
        mcnemar(np.array([3, 5, 1]), right)
    for compare in (mcnemar_over_seeds, gain):
        with pytest.raises(
            MinihireError, match=r"compared with booleans \[seeds, N\] for .* 3 rows of shapes \[\[\]\]$"
        ):
            compare(right, right)


def answers(seed, seeds, images):
    return np.random.default_rng(seed).random((2, seeds, images)) < np.array([0.7, 0.4])[:, None, None]


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_over_one_seed_is_mcnemar(seed):
    first, second = answers(seed, 1, 60)
    assert mcnemar_over_seeds(first, second) == pytest.approx(mcnemar(first[0], second[0]), rel=1e-9)


@pytest.mark.parametrize(("seeds", "images"), [(2, 6), (3, 9), (4, 7)])
def test_mcnemar_over_seeds_counts_every_change_of_signs(seeds, images):
    first, second = answers(seeds, seeds, images)
    d = first.sum(axis=0) - second.sum(axis=0, dtype=int)
    sums = [abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in product((-1, 1), repeat=images)]
    expected = np.mean([s >= abs(d.sum()) for s in sums])
    assert mcnemar_over_seeds(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_over_seeds_of_equal_answers_is_1():
    assert mcnemar_over_seeds([[True, False]], [[True, False]]) == 1.0


def test_the_interval_of_a_gain_is_student_s():
    first, second = answers(3, 3, 50)
    means = first.mean(axis=0) - second.mean(axis=0)
    assert gain(first, second) == pytest.approx(ttest_1samp(means, 0).confidence_interval(0.95), abs=1e-12)


def test_the_interval_of_a_gain_has_a_width_where_all_images_agree():
    always, never = [np.ones(300, bool)] * 2, [np.zeros(300, bool)] * 2
    rule_of_three = -math.log(0.05) / 300  # 0 of n: at most 3/n, with 95 % confidence
    assert gain(always, always) == pytest.approx((-rule_of_three, rule_of_three))
    assert gain(always, never) == pytest.approx((1 - rule_of_three, 1.0))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([np.ones(3, bool)], [np.ones(4, bool)]),
        ([np.ones(3, bool)] * 2, [np.ones(3, bool)]),
        ([np.ones(3, bool), np.ones(2, bool)], [np.ones(3, bool), np.ones(2, bool)]),
        ([np.ones(3)], [np.ones(3)]),
    ],
)
def test_methods_are_compared_on_the_same_images(first, second):
    with pytest.raises(MinihireError, match="for the same seeds and images"):
        mcnemar_over_seeds(first, second)


def test_one_image_has_no_interval():
    with pytest.raises(MinihireError, match="at least 2 images, but got 1"):
        gain([[True]], [[False]])
