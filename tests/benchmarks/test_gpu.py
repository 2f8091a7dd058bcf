"""benchmarks.gpu: rehearsed on the CPU. Nothing here says how fast anything is."""

import json

import pytest

from benchmarks.gpu import summary
from benchmarks.gpu.cells import ANY_ALGORITHM, Cell, Settings, planned, sides
from minihire.runtime.errors import MinihireError

torch = pytest.importorskip("torch")
from benchmarks.gpu import measure  # noqa: E402
from benchmarks.gpu.__main__ import main  # noqa: E402

SETTINGS = Settings(
    "cuda", ("vgg5", "vgg11", "resnet12"), (32, 256), ("tf32", "bf16", "float32"), 7, False, False, True
)


def quick(*more):
    return main(["--device", "cpu", "--quick", "--precisions", "bf16", *more])


@pytest.mark.slow
def test_a_rehearsal_measures_every_side_of_every_task(tmp_path, capsys):
    content = quick("--json", str(tmp_path / "gpu.json"))
    assert json.loads((tmp_path / "gpu.json").read_text()) == json.loads(json.dumps(content)) and content["finished"]
    assert [cell["task"] for cell in content["cells"]] == ["train", "attack", "forward"]
    for cell in content["cells"]:
        assert {"torch", "ANN in torch"} <= cell["sides"].keys()
        for name, side in cell["sides"].items():
            assert side.get("median_s", 0) > 0 and len(side["samples_s"]) == 2, (name, side)
    assert content["summary"][0]["hire_time_ratio"] > 0 and len(content["kernels"]["adam"]) == 4
    assert "HIRE (N = 2) / traditional training" in capsys.readouterr().out


@pytest.mark.slow
def test_a_side_that_fails_is_a_note_and_the_time_limit_leaves_out_what_matters_least(monkeypatch, tmp_path, capsys):
    now, cell = [0.0], measure.measured

    def a_minute_a_cell(*arguments):
        now[0] += 60
        return cell(*arguments)

    def full(self):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr(measure, "measured", a_minute_a_cell)
    monkeypatch.setattr("benchmarks.gpu.__main__.time.monotonic", lambda: now[0])
    monkeypatch.setattr(measure.OnDevice, "step", full)
    content = quick("--minutes", "0.5", "--json", str(tmp_path / "gpu.json"))
    assert content["left_out"] == ["vgg5, batch 2, bf16, attack", "vgg5, batch 2, bf16, forward"]
    found = content["cells"][0]["sides"]
    assert found["minihire eager"]["note"] == "too little memory" and found["torch"]["median_s"] > 0
    out = capsys.readouterr().out
    assert "too little memory" in out and "not measured, because the time was over: vgg5, batch 2, bf16, attack;" in out


def test_peers_may_use_any_algorithm_and_minihire_deterministic_ones(monkeypatch):
    """At every step; and afterwards the switches are as they were."""
    seen, settings = {}, SETTINGS._replace(device="cpu", quick=True)
    switches = lambda: (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    monkeypatch.setattr(measure.OnDevice, "step", lambda self: seen.update({how: switches()}))
    cell = Cell("vgg5", 2, "tf32", "train")
    for how in ("eager", "free"):
        measure.Side(measure.problem(cell, settings), cell, settings, None, "train", how).seconds("tf32", 1)
    assert seen == {"eager": (True, False), "free": (False, True)} and switches() == (True, False)


def test_the_most_important_cells_come_first():
    cells = planned(SETTINGS)
    assert len(cells) == 3 * 2 * 3 * 3
    assert cells[:4] == [Cell("vgg5", b, p, "train") for p in ("tf32", "bf16") for b in (32, 256)]
    assert {c.model for c in cells[4:8]} == {"vgg11", "resnet12"} and {c.precision for c in cells[-12:]} == {"float32"}


def test_the_sides_of_a_cell_on_a_gpu():
    train, forward = (sides(Cell("vgg5", 32, "tf32", task), SETTINGS) for task in ("train", "forward"))
    assert train["minihire HIRE"] == (None, "hire", "recorded") and train["torch recorded"] == (
        "torch",
        "train",
        "recorded",
    )
    assert forward["minihire"] == (None, "forward", "eager") and "minihire HIRE" not in forward
    assert "torch compiled" not in train and train[ANY_ALGORITHM] == (None, "train", "free")
    assert "torch compiled" in sides(Cell("vgg5", 32, "tf32", "train"), SETTINGS._replace(compiled=True))


def test_the_summary_takes_the_fastest_spiking_peer():
    side = lambda seconds, peak: {
        "how": "recorded", "median_s": seconds, "images_per_s": 32 / seconds, "peak_bytes": peak, "held_bytes": 100
    }  # fmt: skip
    cell = Cell("vgg5", 32, "tf32", "train")._asdict() | {
        "sides": {
            "minihire": side(0.002, 300),
            "minihire HIRE": side(0.0021, 220),
            "torch": {"how": "eager", "note": "too little memory"},
            "torch recorded": side(0.003, 900),
            "SpikingJelly": side(0.004, 900),
            "ANN in torch": side(0.001, 50),
        }
    }
    (row,) = summary.figures({"cells": [cell]})
    assert row["fastest_peer"] == "torch recorded" and row["times_fastest_peer"] == pytest.approx(1.5)
    assert row["hire_time_ratio"] == pytest.approx(1.05) and row["hire_scratch_ratio"] == pytest.approx(0.6)
    assert row["hire_peak_ratio"] == pytest.approx(220 / 300) and row["epoch_s"] == pytest.approx(50_000 / 16_000)
    assert "too little memory" in summary.cell_table(cell)


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--models", "vgg6"], "--models must be one or more of vgg5, vgg11, resnet12"),
        (["--precisions", ""], "--precisions must be one or more of tf32"),
        (["--device", "cpu"], "on a CPU give --quick"),
        (["--batches", "0"], "must be 1 or more"),
        (["--minutes", "-1"], "--minutes"),
    ],
)
def test_wrong_flags_are_one_sentence(flags, says):
    with pytest.raises(MinihireError, match=says):
        main(flags)


def test_no_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MinihireError, match="no CUDA device was found: give --device cpu --quick"):
        main([])
