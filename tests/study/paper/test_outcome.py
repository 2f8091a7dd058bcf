"""What may be said of answers: intervals, comparisons of two ways of training, verdicts."""

import re

import numpy as np
import pytest

from minihire.report import paper_charts as charts
from minihire.report import paper_page as page
from minihire.study.paper.outcome import Outcome, all_alike, all_of, compare, of_paper, percent, spread
from minihire.study.paper.scales import MINI, SCALES


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
    assert compare([right(50)], [~right(50)]).p == pytest.approx(1.0)
    assert compare([right(51)], [right(50)]).p == 1.0
    assert compare([right(60)], [right(50)]).p == pytest.approx(2 * 0.5**10)


@pytest.mark.parametrize(
    ("reason", "holds", "verdict"),
    [("", True, "agrees"), ("", False, "differs"), ("", None, "undecided"), ("toys", True, "not comparable")],
)
def test_a_verdict_follows_from_the_evidence(reason, holds, verdict):
    class AnyStudy:
        class scale:
            pass

    AnyStudy.scale.reason = reason
    outcome = Outcome("x", "X")
    outcome.claim(AnyStudy, "a claim", "1", "2", holds)
    assert outcome.claims[0]["verdict"] == verdict and outcome.claims[0]["reason"] == reason


def test_no_noticeable_gain_needs_images_enough():
    """A point is noticeable: 20 more of 10,000 are not, 300 more are, and of 50 images nothing can be said."""
    many = lambda count: [right(count, 10_000)]
    assert compare(many(5020), many(5000)).below() is True
    assert compare(many(5300), many(5000)).below() is False
    assert compare([right(21, 50)], [right(20, 50)]).below() is None
    assert compare(many(5000), many(5300)).below() is True  # a loss is no gain


def test_seeds_that_err_on_the_same_images_are_no_more_evidence():
    one, three = compare([right(60)], [right(54)]), compare([right(60)] * 3, [right(54)] * 3)
    assert one.p == pytest.approx(three.p) and (one.low, one.high) == pytest.approx((three.low, three.high))


def test_a_claim_that_this_scale_cannot_test_says_why():
    class AnyStudy:
        class scale:
            reason = ""

    outcome = Outcome("x", "X")
    outcome.claim(AnyStudy, "a claim", "1", "2", True, "nothing like it was measured")
    assert outcome.claims[0]["verdict"] == "not comparable" and "nothing like it" in outcome.claims[0]["reason"]


def test_a_claim_about_another_network_says_which():
    full = SCALES["full"].settings
    assert of_paper(MINI.settings[0], "vgg11") == " (VGG11 on CIFAR-100)"
    assert [of_paper(c, "vgg11") for c in full if c.model == "vgg11"] == [""]


def test_all_alike_is_undecided_if_the_values_differ():
    assert (all_alike([True, True]), all_alike([True, False]), all_alike([False])) == (True, None, False)


def test_all_of():
    assert (all_of([True, True]), all_of([True, None]), all_of([None, False])) == (True, None, False)


def test_the_page_puts_p_in_a_line_of_its_own_and_names_its_source():
    compared = str(compare([right(60), right(61)], [right(30), right(31)]))
    outcome = Outcome("table9", "Table 9: a <b>table</b>", "what it shows")
    outcome.table(
        "gains", ["ε_s", "FGSM"], [["HIRE less ANN", compared], ["both", "FGSM +1.0, p = 0.2; PGD +2.0, p = 0.1"]]
    )
    content = {"scale": "mini", "command": "minihire paper", "machine": "here", "seeds": 2, "seconds": 3.0}
    html = page.as_page(content | {"outcomes": [outcome.as_dict()]})
    gain, p = compared.split(", p = ")
    assert f"<td>{gain}<span hidden>, </span><small>p = {p}</small></td>" in html
    assert "<td>FGSM +1.0, p = 0.2; PGD +2.0, p = 0.1</td>" in html and ">ε<sub>s</sub></th>" in html
    assert "Made from paper.json by minihire." in html and "<b>table</b>" not in html


def test_labels_at_the_ends_of_lines_lie_apart():
    points = lambda y: [[0, y, y, y], [1, y, y, y]]
    series = [
        {"name": "hire", "label": str(y), "dashed": False, "points": points(y)} for y in (64.0, 67.0, 65.0, 2.0, 0.0)
    ]
    drawn = charts.lines({"title": "", "unit": "%", "across": "T", "series": series})
    at = {label: float(y) for y, label in re.findall(r'y="([\d.]+)" text-anchor="start">([\d.]+)<', drawn)}
    assert sorted(at, key=at.get) == ["67.0", "65.0", "64.0", "2.0", "0.0"]
    assert min(b - a for a, b in zip(sorted(at.values()), sorted(at.values())[1:], strict=False)) >= 12.9
