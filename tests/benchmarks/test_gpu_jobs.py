"""The stages for a GPU: their commands, their notes, what is collected, and the sheets that the data travel as."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.services import Services
from benchmarks.gpu_jobs import collect as collecting
from benchmarks.gpu_jobs import pack, stages
from benchmarks.gpu_jobs.__main__ import main
from minihire.analysis import Score
from minihire.runtime.errors import MinihireError
from minihire.study.results import Results
from minihire.study.settings import preset

ROOT = Path(__file__).parents[2]


class Machine:
    """Stands in for the commands: notes them, and ends them with the codes given, else 0."""

    def __init__(self, *codes):
        self.codes, self.lines, self.limits = list(codes), [], []

    def run(self, words, timeout=None):
        self.lines.append(" ".join(words[1:]))
        self.limits.append(timeout)
        code = self.codes.pop(0) if self.codes else 0
        if code == "forever":
            raise subprocess.TimeoutExpired(words, timeout)
        return subprocess.CompletedProcess(words, code)


@pytest.fixture
def machine(monkeypatch):
    """machine(codes…) answers all commands; the page is not made."""

    def arrange(*codes):
        found = Machine(*codes)
        monkeypatch.setattr(stages.subprocess, "run", found.run)
        return found

    monkeypatch.setattr(stages, "collect", lambda work, out: [])
    return arrange


def go(tmp_path, stage, *more):
    return main([stage, "--work", str(tmp_path / "work"), "--data-dir", str(tmp_path), *more])


# ---------------------------------------------------------------- stages


def test_a_dry_run_prints_every_command_and_writes_nothing(tmp_path, machine, capsys):
    found = machine()
    assert go(tmp_path, "all", "--dry-run", "--precision", "bf16", "--", "--snn-epochs", "20") == 0
    lines = capsys.readouterr().out.splitlines()
    assert not found.lines and not (tmp_path / "work").exists()
    runs = [line for line in lines if "minihire run" in line]
    assert [line.split(":")[0] for line in runs] == ["train", "second", "more"]
    for line in runs:
        assert "--preset vgg5-cifar10" in line and "--device cuda --precision bf16 --snn-epochs 20 --methods" in line
    assert "traditional,hire --no-black-box" in runs[0] and "control,gaussian,hire --black-box" in runs[2]
    assert (
        sum("minihire attack" in line for line in lines) == 10 and sum("benchmarks.gpu " in line for line in lines) == 1
    )


def test_each_call_continues_the_previous_one(tmp_path, machine):
    first = machine(0, 0, 0, 3)
    assert go(tmp_path, "all") == 3
    assert [line.split()[1] for line in first.lines] == [
        "benchmarks.gpu_jobs.parity",
        "pytest",
        "benchmarks.gpu",
        "minihire",
    ]
    (tmp_path / "work" / "run").mkdir()
    (tmp_path / "work" / "run" / "results.json").write_text("{}")
    again = machine()
    assert go(tmp_path, "all") == 0
    assert all("minihire run" in line and "--resume" in line for line in again.lines) and len(again.lines) == 3
    notes = json.loads((tmp_path / "work" / "stages.json").read_text())
    (command,) = notes["stages"]["train"]["commands"]
    assert command.endswith("--methods traditional,hire --no-black-box")
    assert notes["stages"]["train"]["calls"] == 2 and all(stage["done"] for stage in notes["stages"].values())
    assert go(tmp_path, "all") == 0 and len(again.lines) == 3


def test_a_call_with_other_flags_is_refused(tmp_path, machine, capsys):
    machine(3)
    assert go(tmp_path, "train") == 3
    assert go(tmp_path, "train", "--", "--snn-epochs", "3") == 2
    assert "was begun with" in capsys.readouterr().err
    assert go(tmp_path, "collect") == 0, "which takes what is there"


def test_parity_that_fails_ends_the_call_and_tests_that_fail_do_not(tmp_path, machine, capsys):
    found = machine(1, 0)
    stages_of = lambda: json.loads((tmp_path / "work" / "stages.json").read_text())["stages"]
    assert go(tmp_path, "check") == 1 and "a command ended with code 1" in capsys.readouterr().err
    assert len(found.lines) == 1 and not stages_of()["check"]["done"]
    assert go(tmp_path, "check") == 0, "the stage is not finished, so that the next call repeats it"
    assert [line.split()[1] for line in found.lines[1:]] == ["benchmarks.gpu_jobs.parity", "pytest"]
    assert stages_of()["check"]["done"]
    (tmp_path / "work" / "stages.json").unlink()
    tests = machine(0, "forever")
    assert go(tmp_path, "check", "--minutes", "2") == 0
    assert tests.limits[0] is None and 60 < tests.limits[1] <= 90
    assert "code 124 (the time was over)" in capsys.readouterr().out


def test_without_pytest_parity_is_all_and_that_is_said(tmp_path, machine, monkeypatch, capsys):
    found, spec = machine(), stages.importlib.util.find_spec
    monkeypatch.setattr(stages.importlib.util, "find_spec", lambda name: None if name == "pytest" else spec(name))
    assert go(tmp_path, "check") == 0 and len(found.lines) == 1
    assert "pytest is not installed here" in capsys.readouterr().out


def test_no_command_begins_without_time(tmp_path, machine, monkeypatch, capsys):
    found = machine()
    assert go(tmp_path, "train", "--minutes", "0.4") == 2 and not found.lines
    assert "--minutes 0.4 is too little to start a command: give at least 0.5" in capsys.readouterr().err
    monkeypatch.setattr(stages.Job, "left", 0.4)
    assert go(tmp_path, "train") == 3 and not found.lines
    assert "train: the time is over; call again" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"settings": 3, "stages": {}}'])
def test_a_damaged_record_is_one_sentence(tmp_path, machine, capsys, content):
    machine()
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / "stages.json").write_text(content)
    assert go(tmp_path, "train") == 2
    assert "stages.json is damaged: delete it" in capsys.readouterr().err


def test_training_needs_data(tmp_path, machine, capsys):
    machine()
    assert main(["train", "--work", str(tmp_path)]) == 2
    assert "train needs --data-dir" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wrong_flag_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu_jobs", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "invalid choice" in done.stderr


# ---------------------------------------------------------------- what is collected


def score(model, access, attack, correct, count=60):
    return {"model": model, "access": access, "attack": attack, "source": None, **Score(correct, count).as_dict()}


@pytest.fixture
def work(tmp_path):
    """A folder with two tiny results: of the run, and of an attack on the second seed."""
    work = tmp_path / "work"
    config = preset("vgg5-cifar10", snn_epochs=3).describe()
    k = type(
        "Backend",
        (),
        dict(name="torch", device="cuda", dtype="float32", precision="tf32", threads=1, services=Services),
    )
    results = Results.new(work / "run" / "results.json", config, k)
    results["data"] = {
        "name": "cifar10",
        "classes": [],
        "image_shape": [32, 32, 3],
        "train": 200,
        "heldout": 0,
        "test": 60,
    }
    rows = [("hire", "clean", "none", 31), ("ann", "clean", "none", 42), ("ann", "white_box", "pgd", 0)]
    results["accuracy"] = [score(*row) for row in [*rows, ("hire", "black_box", "fgsm", 12)]]
    results["phases"] = {
        "train ann": {
            "seconds": 61.0,
            "peak_memory_bytes": 1,
            "computed_by": "torch backend, cuda, tf32",
            "peak_device_memory_bytes": 5 << 20,
        }
    }
    results.save()
    (work / "run" / "figures").mkdir()
    (work / "run" / "figures" / "accuracy.png").write_bytes(b"picture")
    second = {"accuracy": {"clean": Score(29, 60).as_dict(), "fgsm": Score(6, 60).as_dict()}}
    (work / "attacks").mkdir()
    for access in ("white_box", "black_box"):
        (work / "attacks" / f"hire-{access}.json").write_text(json.dumps(second))
    check = {"device": "A GPU", "machine": {"versions": {"torch": "2.11"}}}
    (work / "check.json").write_text(json.dumps(check))
    stage = {"done": True, "seconds": 90.0, "calls": 2, "commands": ["python -m minihire run"]}
    (work / "stages.json").write_text(json.dumps({"settings": {}, "stages": {"train": stage}}))
    return work


def test_the_page_is_made_of_what_was_measured(work, tmp_path):
    paths = collecting.collect(work, tmp_path / "out")
    text = paths[0].read_text()
    assert {p.name for p in paths} == {
        f"vgg5-cifar10{end}" for end in (".md", "-results.json", "-machine.json", "-accuracy.png")
    }
    low, high = (100 * Score(42, 60).as_dict()[end] for end in ("low", "high"))
    assert f"| ANN | 70.0 [{low:.1f}, {high:.1f}] | – | 0.0 [0.0, 6.0] | – | – |" in text
    assert "| *the paper's* | *90.2* | *13.3* | *2.0* | *24.0* | *6.4* |" in text
    assert text.index("| ANN |") < text.index("| HIRE-SNN |") < text.index("Seed 1:")
    assert "| HIRE-SNN | 48.3 [36.2, 60.7] | 10.0 [4.7, 20.1] | – | 10.0 [4.7, 20.1] | – |" in text
    assert "**These are not the paper's settings**: snn_epochs = 3, not 30." in text
    assert "**The run is not finished**" in text and "on A GPU" in text and "| train ann | 1 min 01 s | 5 MiB |" in text
    assert "train 1 min 30 s in 2 calls" in text and "python -m minihire run" in text
    assert "traditional" not in text.lower(), "nothing that was not measured"


def test_the_paper_s_settings_are_not_called_others(work, tmp_path):
    results = Results.load(work / "run" / "results.json")
    results["config"] = preset("vgg5-cifar10", methods=("hire",), black_box=False, data_dir="/x").describe()
    results["finished"] = True
    results.save()
    text = collecting.collect(work, tmp_path / "out")[0].read_text()
    assert "not the paper's settings" not in text and "not finished" not in text


def test_nothing_to_collect_is_one_sentence(tmp_path, capsys):
    assert main(["collect", "--work", str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err


# ---------------------------------------------------------------- the data's way there


def test_sheets_give_back_every_image_and_label(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "SHEET", (2, 3))
    folder, rng = tmp_path / "data" / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (4, 3073), np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / name)
    pack.main([str(tmp_path / "data"), str(tmp_path / "packed")])
    pack.main(["--unpack", str(tmp_path / "packed"), str(tmp_path / "again")])
    for path in folder.iterdir():
        assert (tmp_path / "again" / "cifar-10-batches-bin" / path.name).read_bytes() == path.read_bytes()
    shutil.rmtree(tmp_path / "packed" / "part0")
    with pytest.raises(MinihireError, match="copy every part there"):
        pack.main(["--unpack", str(tmp_path / "packed"), str(tmp_path / "third")])
