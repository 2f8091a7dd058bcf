"""`minihire paper robustness` at the tiny scale, with a suite of few and short attacks."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_scale import TINY

from minihire.attacks import suite
from minihire.study.paper import robustness as module
from minihire.study.paper.dry_run import Plan
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.robustness import robustness, withstood


@pytest.fixture
def short(monkeypatch):
    """Two attackers, few steps and one red flag that is up."""
    monkeypatch.setattr(suite, "MEMBERS", suite.MEMBERS[:1])
    for name, value in dict(PGD_STEPS=2, APGD_STEPS=2, RESTARTS=1, QUERIES={"small": 2}).items():
        monkeypatch.setattr(suite, name, value)
    monkeypatch.setattr(suite, "red_flags", lambda *_, **__: [{"name": "planted", "up": True, "text": "for the test"}])


@pytest.mark.slow
def test_the_tables_have_a_row_for_every_network_and_a_second_call_measures_nothing(short, backend, tmp_path):
    study = PaperStudy(TINY, backend, tmp_path)
    assert Plan(study).needs(robustness).missing
    outcome = robustness(study)
    accuracies = [table for table in outcome.tables if "with a red flag" in table["header"]]
    assert [len(table["rows"]) for table in accuracies] == [5, 5, 5, 5, 10]  # ε = 8, 2: main; 8, 2: others; 4: all
    for table in outcome.tables:
        assert all(len(row) == len(table["header"]) for row in table["rows"])
    assert all(row[5] == "1 of 1" for table in accuracies for row in table["rows"])
    assert sum("planted (for the test)" in note for note in outcome.notes) == 30
    (chart,) = outcome.charts
    assert [series["label"] for series in chart["series"]] == [row[0] for row in accuracies[0]["rows"]]
    assert [point[0] for point in chart["series"][0]["points"]] == pytest.approx([2, 4, 8])
    again = PaperStudy(TINY, backend, tmp_path)
    assert not Plan(again).needs(robustness).missing
    assert robustness(again).as_dict() == outcome.as_dict()


def test_no_image_withstands_the_suite_but_falls_to_the_paper_s_attacks(short, backend, tmp_path):
    study = PaperStudy(TINY, backend, tmp_path)
    config = TINY.config("vgg5")
    (hire,) = module.ways(study, "hire")
    answers, found = module._part(study, config, (), hire, 0, 2 / 255, 4)
    for right in answers.values():
        assert not (found.right & ~right[:4]).any()
    assert found.found["robust"]["correct"] == found.right.sum()
    assert not list((tmp_path / "cache" / "measured").glob("*.suite"))  # the state of a finished suite is deleted


def test_other_images_and_other_bounds_are_other_measurements(short, backend, tmp_path):
    study = PaperStudy(replace(TINY, suite_images=3), backend, tmp_path)
    (hire,) = module.ways(study, "traditional")
    spec = hire.spec(TINY.config("vgg5"), 0)
    sizes = [
        len(withstood(study, spec, epsilon, images, {}).right) for epsilon, images in ((0.01, 3), (0.02, 3), (0.01, 2))
    ]
    assert sizes == [3, 3, 2]
    found = list((tmp_path / "cache" / "measured").glob("*.json"))
    assert len(found) == 3
    assert withstood(study, spec, 0.01, 3, {}).right.dtype == np.bool_
