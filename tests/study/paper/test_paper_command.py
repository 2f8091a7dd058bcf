"""`minihire paper`: every experiment at a tiny scale, the files it leaves, the second time, the plan, bad input."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_scale import NAMES, TINY, edit_note

from minihire.app import cli
from minihire.app import paper as command
from minihire.report import paper_page as page
from minihire.runtime.files import write_atomically
from minihire.study import study as study_module
from minihire.study.paper import adversarial, attackers, choices
from minihire.study.paper.dry_run import Plan
from minihire.study.paper.outcome import Comparison
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.printed import accuracies
from minihire.study.paper.scales import SCALES

ROOT = Path(__file__).parents[3]


def outcome(made, name):
    (found,) = [o for o in made[1]["outcomes"] if o["name"] == name]
    return found


@pytest.mark.slow
def test_every_experiment_has_a_table_and_every_claim_a_verdict(made):
    assert [o["name"] for o in made[1]["outcomes"]] == NAMES
    for o in made[1]["outcomes"]:
        assert o["tables"] or o["name"] == "fig5", o["name"]
        for table in o["tables"]:
            assert table["rows"] and all(len(row) == len(table["header"]) for row in table["rows"]), o["name"]
        assert all(c["verdict"] in page.VERDICTS and c["ours"] for c in o["claims"])
    assert sum(len(o["claims"]) for o in made[1]["outcomes"]) > 30


@pytest.mark.slow
def test_every_figure_is_drawn(made):
    figures = [o for o in made[1]["outcomes"] if o["name"].startswith("fig")]
    assert len(figures) >= 9 and all(o["charts"] for o in figures)
    bars = [chart for chart in outcome(made, "fig9")["charts"] if chart["title"] == "PGD, black box"]
    rows = outcome(made, "fig9")["tables"][1]["rows"]
    assert [(bar["label"], bar["words"]) for bar in bars[0]["rows"]] == [(row[0], row[6]) for row in rows]
    ratios = [bar["value"] for chart in outcome(made, "fig7")["charts"] for bar in chart["rows"]]
    assert (
        ratios[::2] == [1.0, 1.0]
        and [f"{x:.2f}" for x in ratios[1::2]] == outcome(made, "fig7")["tables"][0]["rows"][0][3::3]
    )


@pytest.mark.slow
def test_the_paper_s_figures_stand_beside_ours(made):
    rows = {(row[0], row[1]): row for row in outcome(made, "table1")["tables"][0]["rows"]}
    assert len(rows) == 6
    paper = next(a for a in accuracies() if (a.table, a.model, a.method, a.access) == (1, "vgg5", "traditional", "bb"))
    assert rows["traditional SNN", "black box"][3::2] == [f"{x:g}" for x in (paper.clean, paper.fgsm, paper.pgd)]


@pytest.mark.slow
def test_a_swept_setting_stands_in_the_unit_of_its_heading(made):
    table = outcome(made, "fig10")["tables"][0]
    assert table["header"][0] == "noise step ε_s" and [row[0] for row in table["rows"]] == ["0", "0.01", "0.02"]


@pytest.mark.slow
def test_the_controls_stand_beside_hire(made):
    names = [row[0] for row in outcome(made, "table2")["tables"][0]["rows"]]
    assert names[-1] == "HIRE-SNN" and {"N periods, κ = 0", "Gaussian noise SNN", "HIRE, κ from zero in each batch"} < {
        *names
    }
    assert any("come from the N updates alone" in note for note in outcome(made, "table2")["notes"])


@pytest.mark.slow
def test_the_files_say_the_same(made):
    folder, content = made
    assert json.loads((folder / "paper.json").read_text(encoding="utf-8")) == json.loads(json.dumps(content))
    shown, markdown = ((folder / f"paper.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    text = html.unescape(re.sub(r"<[^>]*>", "", shown))
    for o in content["outcomes"]:
        for table in o["tables"]:
            for row in table["rows"]:
                assert all(re.sub("_([a-z])", r"\1", cell) in text for cell in row), row  # ε_s has its s below the line
                assert f"| {' | '.join(row)} |" in markdown
    assert "nan" not in shown.lower().replace("nance", "") and "://" not in shown.replace("https://arxiv.org", "")
    assert shown.count("<svg") >= 12


def test_the_page_of_the_schema_lists_the_entries_of_paper_json(study, tmp_path):
    content = command.reproduce(study, ["table7"], tmp_path)
    section = (ROOT / "docs" / "results-schema.md").read_text(encoding="utf-8").partition("# paper.json")[2]
    keys = re.findall(r"^\| (`.+?`) \|", section.partition("An outcome has")[0], re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(keys)) == list(json.loads((tmp_path / "paper.json").read_text("utf-8")))
    assert set(content["outcomes"][0]) == {"name", "title", "text", "notes", "tables", "charts", "claims"}


def test_a_page_with_more_tables_is_replaced_only_at_the_end(study, tmp_path, monkeypatch, capsys):
    seen, table7 = [], command.EXPERIMENTS["table7"]

    def watched(study):
        path = tmp_path / "paper.json"
        seen.append(len(json.loads(path.read_text("utf-8"))["outcomes"]) if path.exists() else 0)
        return table7.make(study)

    monkeypatch.setitem(command.EXPERIMENTS, "table7", table7._replace(make=watched))
    command.reproduce(study, ["table7"] * 3, tmp_path)
    assert seen == [0, 1, 2] and "was replaced" not in capsys.readouterr().out
    command.reproduce(study, ["table7"] * 4, tmp_path)
    assert seen[3:] == [3, 3, 3, 3]
    capsys.readouterr()
    command.reproduce(study, ["table7"] * 2, tmp_path)
    assert seen[7:] == [4, 4]
    assert capsys.readouterr().out.endswith(
        "the page of `minihire paper table7 table7 table7 table7 --scale tiny --seeds 1` was replaced: that command, with the "
        "same --out, makes it again from the cache\n"
    )
    watched(study)
    assert seen[9:] == [2]


@pytest.mark.slow
def test_the_second_time_nothing_is_trained_or_attacked(made, backend, monkeypatch, tmp_path):
    for module, name in (
        (study_module, "train"),
        (study_module, "converted_snn"),
        (study_module, "attacked_predictions"),
        (study_module, "predictions"),
    ):
        monkeypatch.setattr(module, name, None)
    again = command.reproduce(PaperStudy(TINY, backend, made[0], seeds=2), NAMES, tmp_path)
    assert json.dumps(again["outcomes"]) == json.dumps(made[1]["outcomes"])
    assert again["seconds"] == pytest.approx(made[1]["seconds"]) and again["seconds"] > 1


@pytest.mark.slow
def test_a_plan_counts_what_is_missing_and_makes_nothing(made, study, backend, tmp_path):
    plan = Plan(study)
    for name in ("table1", "table2", "fig8"):
        needs = plan.needs(command.EXPERIMENTS[name].make)
        assert len(needs.missing_networks) == len(needs.networks) > 3 and needs.missing_measurements > 5
        assert plan.seconds(needs) is None
    assert not list(study.store.folder.glob("*/*"))
    shutil.copytree(made[0] / "cache", tmp_path / "copy" / "cache")
    full = PaperStudy(TINY, backend, tmp_path / "copy", seeds=2)
    lines = command.listing(full, ["table1", "table2", "fig8"]).splitlines()[2:]
    assert all(line.endswith("nothing") for line in lines)
    next((full.store.folder / "models").glob("*hire*.done")).unlink()
    needs = Plan(full).needs(command.EXPERIMENTS["fig8"].make)
    assert len(needs.missing_networks) <= 1


@pytest.mark.slow
def test_a_plan_of_nothing_asks_for_what_is_measured_in_the_end(made, backend, tmp_path):
    """What an empty cache lacks is what a full one has, whatever the values of what is missing."""
    full = Plan(PaperStudy(TINY, backend, made[0], seeds=2))
    for name in NAMES:
        experiment = command.EXPERIMENTS[name]
        empty = Plan(PaperStudy(TINY, backend, tmp_path, seeds=2)).needs(experiment.make)
        found = full.needs(experiment.make)
        assert empty.measurements == empty.missing_measurements == found.measurements, name
        assert {p.name for p in empty.networks} == {p.name for p in found.networks} and not found.missing, name


@pytest.mark.slow
def test_a_plan_of_a_half_filled_cache(made, backend, tmp_path):
    """Real answers beside those that are only guessed at: no experiment may stumble over the number of images."""
    half = tmp_path / "cache" / "measured"
    shutil.copytree(made[0] / "cache", tmp_path / "cache")
    for path in sorted(half.iterdir())[::2]:
        path.unlink()
    lines = command.listing(PaperStudy(TINY, backend, tmp_path, seeds=2), list(command.EXPERIMENTS)).splitlines()[2:]
    assert len(lines) == len(command.EXPERIMENTS) and sum("about" in line for line in lines) > 10


@pytest.mark.slow
def test_open_settings_are_varied_one_at_a_time_on_held_out_images(made, backend):
    config = replace(TINY.settings[0], **TINY.choices)
    tried = choices.choices(config)
    assert len({(c.question, c.value) for c in tried}) == len(tried) > 10
    for choice in tried:
        changed = {f for f in choice.changes if getattr(config, f) == choice.changes[f]}
        assert len(choice.changes) + bool(choice.steps) <= 2 and not changed, choice
    notes = [
        json.loads(path.read_text(encoding="utf-8"))["what"] for path in (made[0] / "cache/measured").glob("*.json")
    ]
    heldout = [note for note in notes if note.get("part") == "heldout"]
    assert len(heldout) == 2 * 3 * (len(tried) + 2)  # seeds, attacks and clean; the defaults, and moments in 16 bits
    assert all(note["images"] == 20 and note["answers"]["heldout"] == 20 for note in heldout)
    assert {note["steps"] for note in heldout} == {1, 2}
    first, second = outcome(made, "choices")["tables"]
    assert len(first["rows"]) == len(tried) + 1 and len(second["rows"]) == len(tried)


@pytest.mark.slow
def test_moments_in_16_bits_are_set_beside_those_in_32(made):
    first, second = outcome(made, "moments")["tables"]
    assert [row[:2] for row in first["rows"]] == [["default settings", ""], ["optimiser", "Adam, moments in 16 bits"]]
    assert first["rows"][0] == outcome(made, "choices")["tables"][0]["rows"][0] and len(second["rows"]) == 1
    notes = [json.loads(path.read_text(encoding="utf-8"))["of"] for path in (made[0] / "cache/models").glob("*.done")]
    assert sum("adam16" in json.dumps(note) for note in notes) == 2


def test_adversarial_training_is_planned_at_equal_cost_and_at_equal_epochs():
    """Scale small has T = 6, N = 2 and 10 epochs of HIRE: 60 time steps per image in all."""
    config = SCALES["small"].config("vgg5")
    found = {way.title: adversarial.cost_cells(config, way) for way in adversarial.adversarial_ways(config)}
    assert found == {
        "adversarial SNN, FGSM-RS, equal cost": ["2", "12", "5", "60"],
        "adversarial SNN, FGSM-RS, equal epochs": ["2", "12", "10", "120"],
        "adversarial SNN, PGD-7, equal cost": ["8", "48", "1", "48"],
        "adversarial SNN, PGD-7, equal epochs": ["8", "48", "10", "480"],
        "adversarial ANN, PGD-7, equal epochs": ["8", "8", "40", "320"],
    }


@pytest.mark.slow
def test_adversarial_training_stands_beside_hire_with_its_cost(made):
    first, second = outcome(made, "adversarial")["tables"]
    rows = {row[0]: row for row in first["rows"]}
    assert first["header"][-1] == "cost" and len(rows) == 10 and len(second["rows"]) == 9
    assert rows["HIRE-SNN"][-4:] == ["2", "2", "1", "2"] and rows["traditional SNN"][-4:] == ["1", "2", "1", "2"]
    assert rows["ANN"][-4:] == ["1", "1", "2", "2"]
    assert rows["adversarial SNN, PGD-7, equal epochs"][-4:] == ["8", "16", "1", "16"]


@pytest.mark.slow
def test_accuracy_under_all_attackers_is_at_most_that_under_each(made):
    tables = [t for t in outcome(made, "attackers")["tables"] if t["header"][0] == "surrogate"]
    assert len(tables) == len(attackers.SHARES)
    for table in tables:
        *each, worst = [[float(cell.split()[0]) for cell in row[1:]] for row in table["rows"]]
        assert len(each) == len(attackers.SURROGATES) and all(
            w <= min(c) for w, c in zip(worst, zip(*each, strict=True), strict=True)
        )


@pytest.mark.parametrize(
    ("gains", "p", "found"),
    [
        (([1, 2], [3, 4], [-1, -2]), 1e-6, "clean, FGSM higher; PGD lower"),
        (([1, -2], [3, 4], [0, 0]), 1e-6, "FGSM higher"),
        (([1, 2], [3, 4], [5, 6]), 0.04, "nothing"),
    ],
)
def test_what_can_be_told_of_many_comparisons(gains, p, found):
    assert choices.shown_differences([Comparison(g, p, 0.0, 0.0) for g in gains], 0.001) == found


def test_needs_of_the_whole_are_each_counted_once(backend, study):
    needs = Plan(study).needs(command.EXPERIMENTS["table2"].make)
    assert sorted(s.method for s in needs.networks.values()) == sorted(
        ["ann", "converted", "traditional", "control", "gaussian", "hire", "hire", "hire-4x"]
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table9"], "the paper has no 'table9': choose table1"),
        (["--scale", "huge"], "there is no scale 'huge': choose mini, small, medium, full"),
        (["--scale", "small"], "scale small trains on cifar10: give its folder with --data-dir"),
        (["--scale", "full", "--data-dir", ".", "--models", "vgg16"], "scale full has no vgg16: choose vgg5"),
        (["--seeds", "0"], "--seeds must be 1 … 1000, not 0"),
        (["--seeds", "1" + 20 * "0"], "--seeds must be 1 … 1000, not 1"),
    ],
)
def test_bad_input_is_one_sentence(arguments, says, capsys, tmp_path):
    assert cli.main(["paper", *arguments, "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert says in shown.err and len(shown.err.strip().splitlines()) == 1


def test_the_list_is_shown_without_data(capsys, tmp_path):
    assert cli.main(["paper", "--list", "--out", str(tmp_path / "new")]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in command.GROUPS["all"]) and not (tmp_path / "new").exists()


def test_scales_have_the_paper_s_settings():
    full = {(c.model, c.data): (c.steps, c.noise_step) for c in SCALES["full"].settings}
    assert full["vgg5", "cifar10"] == (6, 0.013) and full["vgg11", "cifar100"] == (8, 0.025) and len(full) == 4
    rates = [replace(c, **s.rate) for s in SCALES.values() for c in s.settings]
    assert all(c.coding == "rate" and c.scaling_factor == 1.0 and c.learning_rate == 1e-4 for c in rates)


def test_foreign_files_in_the_cache_do_not_keep_the_list_from_being_made(study):
    for name in ("measured/a.json", "measured/b.json", "models/c.done", "models/d.done"):
        path = study.store.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text({"a": "[]", "b": "{}", "c": "{", "d": '{"of": 3}'}[path.stem], encoding="utf-8")
    assert "not known yet" in command.listing(study, ["table2"])


def test_work_that_stops_says_that_the_same_command_goes_on(capsys, tmp_path):
    assert cli.main(["paper", "table2", "--max-minutes", "0.0001", "--out", str(tmp_path)]) == 3
    error = capsys.readouterr().err
    assert "the same command resumes it" in error and "--resume" not in error


def test_ctrl_c_says_that_the_same_command_goes_on(capsys, tmp_path, monkeypatch):
    def interrupted(study, names, out):
        write_atomically(out / "paper.md", lambda file: None)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "reproduce", interrupted)
    assert cli.main(["paper", "table7", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "minihire: stopped; finished work was kept (the same command resumes it)\n"


@pytest.mark.slow
def test_results_of_another_backend_are_named(made, backend, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    assert "made earlier" not in made[1]["machine"]
    for path in (tmp_path / "copy" / "cache" / "measured").glob("*.json"):
        edit_note(path, backend="other")
    content = command.reproduce(PaperStudy(TINY, backend, tmp_path / "copy", seeds=2), ["table2"], tmp_path)
    assert content["machine"].endswith("(in part made earlier by other)")


@pytest.mark.slow
def test_the_command_that_is_shown_asks_for_the_same(made, backend, tmp_path):
    assert made[1]["command"] == "minihire paper all attackers adversarial choices moments --scale tiny --seeds 2"
    part = replace(SCALES["full"], settings=SCALES["full"].settings[:1])
    content = command.reproduce(PaperStudy(part, backend, tmp_path), ["table7"], tmp_path)
    assert content["command"] == "minihire paper table7 --scale full --seeds 1 --models vgg5"
