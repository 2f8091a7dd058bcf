"""What may be said of answers: intervals, comparisons of two ways of training, verdicts."""

import numpy as np
import pytest

from minihire.paper.outcome import Outcome, all_of, compare, percent, spread


def right(count, of=100):
    return np.arange(of) < count


def test_one_seed_has_a_wilson_interval_and_several_their_range():
    assert percent([right(50)]) == "50.0 [40.4, 59.6]"
    assert percent([right(50), right(60), right(40)]) == "50.0 (40.0–60.0)"
    assert spread([right(0)])[1:] == pytest.approx((0.0, 3.7), abs=0.01)


@pytest.mark.parametrize(
    ("ours", "theirs", "better"),
    [
        ([60, 61], [30, 31], True),
        ([30, 31], [60, 61], False),
        ([60, 30], [30, 31], None),  # seeds part
        ([51, 52], [50, 50], None),  # luck would do
        ([50], [50], None),
    ],
)
def test_better_needs_every_seed_and_more_than_luck(ours, theirs, better):
    found = compare([right(n) for n in ours], [right(n) for n in theirs])
    assert found.better is better
    assert found.gains == pytest.approx([a - b for a, b in zip(ours, theirs, strict=True)])


def test_comparisons_are_paired():
    """As often right, but on other images: no difference to speak of; one image more on top of the same ones: little evidence."""
    assert compare([right(50)], [~right(50)]).p == 1.0
    assert compare([right(51)], [right(50)]).p == 1.0
    assert compare([right(60)], [right(50)]).p == pytest.approx(2 * 0.5**10)


@pytest.mark.parametrize(
    ("reason", "holds", "verdict"),
    [("", True, "agrees"), ("", False, "differs"), ("", None, "undecided"), ("toys", True, "not comparable")],
)
def test_verdicts(reason, holds, verdict):
    class AnyLab:
        class scale:
            pass

    AnyLab.scale.reason = reason
    outcome = Outcome("x", "X")
    outcome.claim(AnyLab, "a claim", "1", "2", holds)
    assert outcome.claims[0]["verdict"] == verdict and outcome.claims[0]["reason"] == reason


def test_all_of():
    assert (all_of([True, True]), all_of([True, None]), all_of([None, False])) == (True, None, False)
