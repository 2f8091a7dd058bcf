"""`minihire run --resume` adds methods and the black box to a finished run, and trains nothing again."""

import json

import pytest
from run_files import command, scores, weights, write_cifar10

from minihire.study import study as study_module

FLAGS = """
    --data cifar10 --heldout 5 --width 1/32 --hidden 12 --dropout 0 --steps 4 --ann-epochs 4 --ann-batch-size 10
    --ann-learning-rate 0.05 --ann-schedule one-cycle --snn-epochs 1 --batch-size 20 --learning-rate 0.001
    --calibration-images 40 --calibration-steps 10 --iterations 1 --threads 1 --quiet
"""


@pytest.fixture
def trained(monkeypatch):
    """The labels of all trainings from now on."""
    labels, train = [], study_module.train
    monkeypatch.setattr(study_module, "train", lambda *a, **o: labels.append(o["label"]) or train(*a, **o))
    return labels


def test_a_finished_run_is_given_more_methods_and_then_the_black_box(tmp_path, trained):
    data, out = write_cifar10(tmp_path / "cifar", train=9, test=20), tmp_path / "run"
    results = lambda: json.loads((out / "results.json").read_text(encoding="utf-8"))
    methods = "traditional,hire"
    code, _ = command("run", "--data-dir", data, "--out", out, "--methods", methods, "--no-black-box", *FLAGS.split())
    assert code == 0 and trained == ["ann", "traditional", "hire"]
    first, kept = scores(results()), {p.name: weights(p) for p in (out / "models").glob("*.npz")}

    trained.clear()
    assert command("run", "--resume", "--out", out, "--methods", f"{methods},control", "--threads", 1)[0] == 0
    second = scores(results())
    assert trained == ["control"] and first.items() < second.items()
    assert {key[0] for key in second.keys() - first.keys()} == {"control"} and "control" in results()["activity"]
    assert {p.name: weights(p) for p in (out / "models").glob("*.npz")}.items() > kept.items()

    trained.clear()
    assert command("run", "--resume", "--out", out, "--black-box", "--threads", 1)[0] == 0
    third = scores(results())
    assert trained == ["second ann", "second traditional", "second hire", "second control"]
    assert second.items() < third.items() and {key[1] for key in third.keys() - second.keys()} == {"black_box"}
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["methods"] == ["traditional", "hire", "control"] and config["black_box"] and results()["finished"]
