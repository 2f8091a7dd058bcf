"""`minihire paper robustness` and `recipes` at the tiny scale, with few and short attacks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_scale import TINY

from minihire.attacks import suite
from minihire.study import study as study_module
from minihire.study.paper import recipes
from minihire.study.paper import robustness as module
from minihire.study.paper.dry_run import DryRun, Needs, Plan
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.robustness import robustness, withstood
from minihire.study.paper.scales import SCALES
from minihire.study.spec import NetworkSpec

# the column "with a red flag", in all tables: ε = 8, 2: main; HIRE, hire-4x, other recipes, ANN; one-seed rows; 4: all
FLAGS = 10 * ["1 of 1"] + 2 * (2 * ["1 of 1"] + 3 * ["not evaluated"] + ["1 of 1"]) + 25 * ["not evaluated"]


@pytest.fixture
def short(monkeypatch):
    """Two attackers, few steps and draws, and one red flag that is up."""
    monkeypatch.setattr(suite, "MEMBERS", suite.MEMBERS[:1])
    monkeypatch.setitem(module.RATE, "samples", 2)
    for name, value in dict(PGD_STEPS=2, APGD_STEPS=2, SA_PGD_STEPS=(2, 3), RESTARTS=1, QUERIES={"small": 2}).items():
        monkeypatch.setattr(suite, name, value)
    monkeypatch.setattr(suite, "red_flags", lambda *_, **__: [{"name": "planted", "up": True, "text": "for the test"}])


@pytest.mark.slow
def test_the_tables_have_a_row_for_every_network_and_a_second_call_measures_nothing(short, backend, tmp_path):
    study = PaperStudy(TINY, backend, tmp_path)
    assert Plan(study).needs(robustness).missing
    outcome = robustness(study)
    accuracies = [table for table in outcome.tables if "with a red flag" in table["header"]]
    sizes = [len(table["rows"]) for table in accuracies]
    assert sizes == [5, 5, 6, 6, 6, 6, 13]  # ε = 8 and 2 each: main; best; others; ε = 4: all
    (rate,) = (table for table in outcome.tables if table["caption"].startswith("rate-coded"))
    assert [row[0] for row in rate["rows"]] == ["ε = 8/255", "ε = 2/255"]
    for table in outcome.tables:
        assert all(len(row) == len(table["header"]) for row in table["rows"])
    assert [row[5] for table in accuracies for row in table["rows"]] == FLAGS
    assert sum("planted (for the test)" in note for note in outcome.notes) == 14
    chart, points = outcome.charts
    assert [point["label"] for point in points["points"]] == [
        *(row[0] for row in accuracies[0]["rows"]),
        *(row[0] for row in accuracies[2]["rows"][1:]),
    ]
    assert [series["label"] for series in chart["series"]] == [row[0] for row in accuracies[0]["rows"]] + [
        "HIRE-SNN, 4× noise",
        "adversarial ANN, FGSM-RS, equal epochs",
    ]
    assert [point[0] for point in chart["series"][0]["points"]] == pytest.approx([2, 4, 8])
    again = PaperStudy(TINY, backend, tmp_path)
    assert not Plan(again).needs(robustness).missing
    assert robustness(again).as_dict() == outcome.as_dict()


@pytest.mark.slow
def test_no_image_withstands_the_suite_but_falls_to_the_paper_s_attacks(short, backend, tmp_path):
    study = PaperStudy(TINY, backend, tmp_path)
    config = TINY.config("vgg5")
    (hire,) = module.ways(study, "hire")
    answers, found = module.answers_of_part(study, config, (), hire, 0, 2 / 255, 4, True)
    for right in answers.values():
        assert not (found.right & ~right[:4]).any()
    assert found.found["robust"]["correct"] == found.right.sum()
    assert not list((tmp_path / "cache" / "measured").glob("*.suite"))  # the state of a finished suite is deleted


def test_the_state_of_a_suite_on_an_earlier_network_is_replaced_and_a_dry_run_deletes_none(
    short, study, backend, monkeypatch
):
    spec, options = NetworkSpec(TINY.config("vgg5"), "ann", 0), dict(flags=False)
    with monkeypatch.context() as patched:
        patched.setattr(module, "forget", lambda folder: None)
        withstood(study, spec, 0.02, 4, {}, **options)
    (measured,) = study.store.folder.glob("measured/*.json")
    state = measured.with_suffix(".suite") / "suite.json"
    withstood(DryRun(study, Needs()), spec, 0.02, 4, {}, **options)
    assert state.exists()
    measured.unlink()
    study.store.checkpoint(spec).unlink()
    new_ann = study_module.new_ann
    monkeypatch.setattr(study_module, "new_ann", lambda *a: new_ann(*a[:-1], 7))
    found = withstood(PaperStudy(TINY, backend, study.out), spec, 0.02, 4, {}, **options)
    expected = withstood(PaperStudy(TINY, backend, study.out / "afresh"), spec, 0.02, 4, {}, **options)
    assert np.array_equal(found.right, expected.right) and found.found["stages"] == expected.found["stages"]
    assert not state.parent.exists()


def test_only_the_first_seed_of_the_main_rows_and_of_two_methods_gets_the_whole_suite(backend, tmp_path, monkeypatch):
    asked = {}

    def invented(study, spec, epsilon, images, sources, **options):
        asked.setdefault(spec.seed, []).append(options)
        flags = [{"name": "planted", "up": True, "text": ""}] if options.get("flags", True) else []
        return module.Withstood(np.ones(4, bool), dict(flags=flags, gradients=1, queries=1, seconds=1.0))

    monkeypatch.setattr(module, "withstood", invented)
    monkeypatch.setattr(PaperStudy, "answers", lambda *_, **__: np.ones(4, bool))
    outcome = robustness(PaperStudy(TINY, backend, tmp_path, seeds=3))
    accuracies = [table for table in outcome.tables if "with a red flag" in table["header"]]
    assert [row[5] for table in accuracies for row in table["rows"]] == FLAGS
    assert "For all other networks, the surrogate ensemble is arctan-2 and the network's own" in outcome.text
    fewer = {"members": ("arctan-2",), "flags": False}
    for seed in (1, 2):  # 5 main, 4 best and the adversarial ANN at two bounds
        assert asked[seed] == 20 * [fewer]
    first = [options for options in asked[0] if "samples" not in options]  # samples: the rate-coded network
    assert first.count({}) == 14 and first.count(fewer) == len(first) - 14  # 5 main and 2 methods at two bounds


@pytest.mark.slow
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


def test_no_recipe_costs_more_than_hire():
    config = replace(SCALES["medium"].config("vgg5"), **SCALES["medium"].choices)
    tried = recipes.candidates(config)
    assert len({one.title for one in tried}) == len(tried) and sum(one.method == "hire" for one in tried) >= 24
    cells = {one.title: recipes.cost_cells(config, one) for one in tried}
    assert max(int(cost) for *_, cost in cells.values()) <= 60
    assert cells["HIRE"] == ["2", "6", "10", "60"] and cells["κ crafted through arctan"] == ["4", "12", "5", "60"]


def test_the_best_recipes_are_among_the_candidates():
    config = SCALES["medium"].config("vgg5")
    keys = lambda ways: {json.dumps(one.spec(config, 0).describe(), sort_keys=True) for one in ways}
    assert keys(recipes.best(config)) <= keys(recipes.candidates(config)) and len(keys(recipes.best(config))) == 4


@pytest.mark.slow
def test_every_recipe_is_compared_with_hire_and_the_best_are_named(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "STEPS", 2)
    monkeypatch.setattr(recipes, "ROUNDS", 1)
    tried = [
        one for one in recipes.candidates(TINY.config("vgg5")) if one.title in ("HIRE", "N = 1", "traditional SNN")
    ]
    monkeypatch.setattr(recipes, "candidates", lambda config: tried)
    outcome = recipes.recipes(PaperStudy(TINY, backend, tmp_path))
    accuracies, gains = outcome.tables
    assert [row[0].removesuffix(" *") for row in accuracies["rows"]] == ["1 HIRE", "2 N = 1", "3 traditional SNN"]
    assert accuracies["rows"][0][-1] == "1.00" and all(0.05 < float(row[-1]) < 20 for row in accuracies["rows"])
    assert [row[0].endswith(" *") for row in accuracies["rows"]] == [
        float(row[-1]) > 1.05 for row in accuracies["rows"]
    ]
    assert [row[0] for row in gains["rows"]] == ["2 N = 1", "3 traditional SNN"]
    (chart,), (note,) = outcome.charts, outcome.notes
    assert [point["label"] for point in chart["points"]] == ["HIRE", "N = 1", "traditional SNN"]
    assert note.startswith("The best of HIRE's recipes: ") and "traditional" not in note
