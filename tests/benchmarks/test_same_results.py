"""The comparison of two results.json finds every number that differs, and nothing that may differ."""

import json
from pathlib import Path

import pytest

from benchmarks.same_results import main

GOLDEN = Path(__file__).parents[1] / "golden" / "run" / "results.json"


@pytest.fixture
def changed(tmp_path):
    """changed(function): exit code of comparing the golden results with a copy that the function changed in place."""

    def compare(change):
        content = json.loads(GOLDEN.read_text(encoding="utf-8"))
        change(content)
        copy = tmp_path / "results.json"
        copy.write_text(json.dumps(content), encoding="utf-8")
        return main([str(GOLDEN), str(tmp_path)])

    return compare


def test_a_file_equals_itself(capsys):
    assert main([str(GOLDEN), str(GOLDEN.parent)]) == 0
    assert capsys.readouterr().out.startswith("equal: ")


def test_time_memory_machine_and_texts_may_differ(changed):
    def change(content):
        content["phases"]["train ann"]["seconds"] += 1
        content["machine"]["threads"] = 64
        content["minihire"] = "9.9"
        content["warnings"].append("something")
        content["models"]["hire"]["checkpoint"] = "elsewhere.npz"

    assert changed(change) == 0


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda c: c["accuracy"][3].update(correct=-1), "accuracy[3].correct: "),
        (lambda c: c["models"]["hire"]["history"][0].update(loss=0.5), "models.hire.history[0].loss: "),
        (lambda c: c["models"]["hire"]["thresholds"].pop("neuron1"), "models.hire.thresholds.neuron1: only in A"),
        (lambda c: c["accuracy"].pop(), "accuracy: "),
        (lambda c: c["config"].update(seed=7), "config.seed: 0 in A, 7 in B"),
        (lambda c: c["config"].update(carry_noise=1), "config.carry_noise: true in A, 1 in B"),
        (lambda c: c.update(finished=False), "finished: true in A, false in B"),
    ],
)
def test_a_difference_is_named(changed, capsys, change, line):
    assert changed(change) == 1
    assert capsys.readouterr().out.startswith(line)


def test_what_cannot_be_read_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path), str(GOLDEN)]) == 2 and main([str(GOLDEN)]) == 2
    assert "cannot read" in capsys.readouterr().err
