"""docs/lessons.md and worksheets.md: the table is that of the scripts, courses last as long as they say, answers hold."""

import json
import re

import numpy as np
import pytest
from handbook_pages import DOCS, ROOT, rows

from backends import surrogates
from minihire.app.exercises import EXERCISES

PAGE = "lessons.md"
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")
LESSONS = {int(row[0].split("]")[0][1:]): row for row in rows(PAGE) if len(row) == 5 and row[0].startswith("[")}
SCRIPTS = {int(path.name[:2]): path.read_text(encoding="utf-8") for path in (ROOT / "demos").glob("[01][0-9]_*.py")}
SHEETS = (DOCS / "worksheets.md").read_text(encoding="utf-8")


def numbers(text):
    """The lessons that a sentence names."""
    return [int(n) for n in re.findall(r"\d+", "".join(re.findall(r"lessons? \d+(?:(?:,| and) \d+)*", text)))]


def test_the_table_has_every_lesson_with_what_it_needs():
    assert sorted(LESSONS) == sorted(SCRIPTS)
    for number, row in LESSONS.items():
        (need,) = re.findall(r"\*\*You need\*\* (.+)", SCRIPTS[number])
        assert numbers(row[1]) == numbers(need)
        assert row[4] == ("yes" if number in EXERCISES else "no")


def test_links_of_the_table_lead_to_the_headings():
    slugs = {
        re.sub(r"[^\w -]", "", line[3:].lower()).replace(" ", "-") for line in TEXT.splitlines() if line[:3] == "## "
    }
    assert {row[0].split("#")[1].rstrip(")") for row in LESSONS.values()} <= slugs


@pytest.mark.parametrize("hours, words", [(2, "two"), (4, "four")])
def test_a_course_lasts_as_long_as_it_says(hours, words):
    (course,) = re.findall(rf"\*\*A course of {words} hours\*\*: (.+?)\.\s", TEXT, re.S)
    assert sum(map(int, re.findall(r"\((\d+)(?: min)?\)", course))) == 60 * hours


def lif(exact, current, leak, threshold, steps, at=None):
    """(spikes, ∂L/∂I, ∂L/∂v) of a neuron with the start values of lif.html. at: L = s[at]; None: L = Σ s[t]."""
    drive = np.full((steps, 1, 1), current)
    spikes, _, saved = exact.lif_forward(drive, None, np.array([leak]), np.array([threshold]), steps)
    grad = np.ones((steps, 1, 1))
    if at is not None:
        grad[np.arange(steps) != at] = 0
    d, _, _, grad_threshold = exact.lif_backward(saved, grad, None, surrogates.triangle())
    return spikes.ravel(), d.ravel(), grad_threshold[0]


def test_the_answers_about_the_neuron(exact):
    assert np.flatnonzero(lif(exact, 0.25, 1.0, 1.0, 20)[0]).tolist() == [4, 8, 12, 16]
    assert "(1) 4, at t = 4, 8, 12 and 16" in SHEETS
    assert lif(exact, 0.5, 0.5, 1.0, 40)[0].sum() == 0 < lif(exact, 0.51, 0.5, 1.0, 40)[0].sum()
    assert all(lif(exact, current, 0.0, 1.0, 10)[0].sum() == 10 for current in (1.5, 3.0))
    _, d, _ = lif(exact, 0.35, 0.9, 1.0, 20, at=19)
    assert d[14] / d[19] == pytest.approx(0.9**5) and d[19] > 0
    for threshold in (1.0, 2.0):
        spikes, _, grad = lif(exact, 0.35, 0.9, threshold, 20)
        stated = f"{spikes.sum():.0f} spikes and " + (r"∂L/∂v = " if threshold == 1 else "") + f"−{-grad:.1f}"
        assert stated in SHEETS


def test_the_answer_about_the_accuracies():
    page = (DOCS / "attack.html").read_text(encoding="utf-8")
    found = json.loads(re.search(r'id="trained">(.+?)</script>', page, re.S).group(1))["accuracy"]
    fgsm, pgd = (found["hire"][i] - found["traditional"][i] for i in (1, 2))
    assert f"{fgsm:.1f} and {pgd:.1f} points" in SHEETS
