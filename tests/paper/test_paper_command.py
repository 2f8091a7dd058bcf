"""`minihire paper`: every experiment at a tiny scale, the files it leaves, the second time, the plan, bad input."""

import html
import json
import re
import shutil
from dataclasses import replace

import pytest
from tiny_scale import TINY

from minihire import cli
from minihire.paper import command, page
from minihire.paper import lab as module
from minihire.paper.lab import Lab
from minihire.paper.plan import Plan
from minihire.paper.scales import SCALES
from minihire.report.paper import accuracies


def outcome(made, name):
    (found,) = [o for o in made[1]["outcomes"] if o["name"] == name]
    return found


def test_every_experiment_has_a_table_and_every_claim_a_verdict(made):
    assert [o["name"] for o in made[1]["outcomes"]] == list(command.EXPERIMENTS)
    for o in made[1]["outcomes"]:
        assert o["tables"] or o["name"] == "fig5", o["name"]
        for table in o["tables"]:
            assert table["rows"] and all(len(row) == len(table["header"]) for row in table["rows"]), o["name"]
        assert all(c["verdict"] in page.VERDICTS and c["ours"] for c in o["claims"])
    assert sum(len(o["claims"]) for o in made[1]["outcomes"]) > 30


def test_the_paper_s_figures_stand_beside_ours(made):
    rows = {(row[0], row[1]): row for row in outcome(made, "table1")["tables"][0]["rows"]}
    assert len(rows) == 6
    paper = next(a for a in accuracies() if (a.table, a.model, a.method, a.access) == (1, "vgg5", "traditional", "bb"))
    assert rows["traditional SNN", "black box"][3::2] == [f"{x:g}" for x in (paper.clean, paper.fgsm, paper.pgd)]


def test_the_controls_stand_beside_hire(made):
    names = [row[0] for row in outcome(made, "table2")["tables"][0]["rows"]]
    assert names[-1] == "HIRE-SNN" and {"N periods, κ = 0", "Gaussian noise SNN", "HIRE, κ from zero in each batch"} < {
        *names
    }
    assert any("come with the N updates alone" in note for note in outcome(made, "table2")["notes"])


def test_the_files_say_the_same(made):
    folder, content = made
    assert json.loads((folder / "paper.json").read_text(encoding="utf-8")) == json.loads(json.dumps(content))
    shown, markdown = ((folder / f"paper.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    text = html.unescape(re.sub(r"<[^>]*>", "", shown))
    for o in content["outcomes"]:
        for table in o["tables"]:
            for row in table["rows"]:
                assert all(cell in text for cell in row), row
                assert f"| {' | '.join(row)} |" in markdown
    assert "nan" not in shown.lower().replace("nance", "") and "://" not in shown.replace("https://arxiv.org", "")
    assert shown.count("<svg") >= 12


def test_the_second_time_nothing_is_trained_or_attacked(made, backend, monkeypatch, tmp_path):
    for name in ("train", "convert", "attack_accuracy", "accuracy"):
        monkeypatch.setattr(module, name, None)
    again = command.reproduce(Lab(TINY, backend, made[0], seeds=2), list(command.EXPERIMENTS), tmp_path)
    assert json.dumps(again["outcomes"]) == json.dumps(made[1]["outcomes"])
    assert again["seconds"] == pytest.approx(made[1]["seconds"], abs=2.0) and again["seconds"] > 1


def test_a_plan_counts_what_is_missing_and_makes_nothing(made, lab, backend, tmp_path):
    plan = Plan(lab)
    for name in ("table1", "table2", "fig8"):
        needs = plan.needs(command.EXPERIMENTS[name].make)
        assert len(needs.missing_networks) == len(needs.networks) > 3 and needs.missing_measurements > 5
        assert plan.seconds(needs) is None
    assert not list(lab.folder.glob("*/*"))
    shutil.copytree(made[0] / "cache", tmp_path / "copy" / "cache")
    full = Lab(TINY, backend, tmp_path / "copy", seeds=2)
    lines = command.listing(full, ["table1", "table2", "fig8"]).splitlines()[2:]
    assert all(line.endswith("nothing") for line in lines)
    next((full.folder / "models").glob("*hire*.done")).unlink()
    needs = Plan(full).needs(command.EXPERIMENTS["fig8"].make)
    assert len(needs.missing_networks) <= 1


def test_needs_of_the_whole_are_each_counted_once(backend, lab):
    needs = Plan(lab).needs(command.EXPERIMENTS["table2"].make)
    assert sorted(s.method for s in needs.networks.values()) == sorted(
        ["ann", "converted", "traditional", "control", "gaussian", "hire", "hire"]
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table9"], "the paper has no 'table9': choose table1"),
        (["--scale", "huge"], "there is no scale 'huge': choose mini, small, full"),
        (["--scale", "small"], "scale small trains on cifar10: give its folder with --data-dir"),
        (["--scale", "full", "--data-dir", ".", "--models", "vgg16"], "scale full has no vgg16: choose vgg5"),
        (["--seeds", "0"], "--seeds must be 1 or more, not 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments, says, capsys, tmp_path):
    assert cli.main(["paper", *arguments, "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert says in shown.err and len(shown.err.strip().splitlines()) == 1


def test_the_list_is_shown_without_data(capsys, tmp_path):
    assert cli.main(["paper", "--list", "--out", str(tmp_path / "new")]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in command.EXPERIMENTS) and not (tmp_path / "new").exists()


def test_scales_have_the_paper_s_settings():
    full = {(c.model, c.data): (c.steps, c.noise_step) for c in SCALES["full"].settings}
    assert full["vgg5", "cifar10"] == (6, 0.013) and full["vgg11", "cifar100"] == (8, 0.025) and len(full) == 4
    assert all(replace(c, **s.rate).coding == "rate" for s in SCALES.values() for c in s.settings)
