"""benchmarks.scaling: what it measures and keeps, what it draws, and wrong input in one sentence."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import charts, scaling
from benchmarks.command import run
from benchmarks.peers import PEERS, missing
from minihire.runtime.errors import MinihireError

ROOT = Path(__file__).parent.parent.parent
SIZE = {
    "width": 0.0625,
    "hidden": 16,
    "batch": 2,
    "steps": 2,
    "rounds": 1,
    "warm-up": 0,
    "threads": 1,
    "moment-steps": 1,
}
SMALL = [part for name, value in SIZE.items() for part in (f"--{name}", str(value))]
PNG = b"\x89PNG"
NO_FIGURES = importlib.util.find_spec("matplotlib") is None


def measured(options) -> dict:
    """What `measure` returns, with invented times in proportion to the work."""
    work = options.batch * options.steps * options.width
    sides = [
        {
            "side": side,
            "title": title,
            "median_s": slower * work,
            "samples_s": [0.9 * slower * work, slower * work, 1.2 * slower * work],
            "peak_bytes": 2**20 * work,
        }
        for side, title, slower in (("minihire", "minihire", 1.0), ("torch", "dense PyTorch", 2.0))
    ]
    result = {"threads": options.threads[0], "ratios": {"torch": 2.0}, "sides": sides}
    return {"machine": {"busy_cores_before": 0.0}, "memory": "", "allocator": {}, "results": [result]}


@pytest.fixture
def calls(monkeypatch):
    """The options of every contest that would have run; one at batch 13 is interrupted, one at batch 7 impossible."""
    seen = []

    def measure(options, task):
        seen.append(options)
        if options.batch == 13:
            raise KeyboardInterrupt
        if options.batch == 7:
            raise MinihireError("no memory for this")
        return measured(options)

    monkeypatch.setattr(scaling, "measure", measure)
    return seen


@pytest.mark.slow
def test_a_tiny_measurement(tmp_path):
    path, figure = tmp_path / "found.json", tmp_path / "found.png"
    flags = [*SMALL, "--only", "batch", "--batches", "3", "--json", str(path)]
    flags += [] if NO_FIGURES else ["--figure", str(figure)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2: batch 3, T = 2, width 0.0625, density 0.1" in done.stdout
    assert "dense PyTorch" in done.stdout, "measured, or left out with a sentence"
    content = json.loads(path.read_text())
    assert [point["batch"] for point in content["points"]] == [2, 3] and content["left_out"] == []
    there = [name for name in ("torch",) if not missing(PEERS[name])]
    for point in content["points"]:
        assert [side["side"] for side in point["sides"]] == ["minihire", *there] and point["hidden"] == 16
        assert all(side["median_s"] > 0 and len(side["samples_s"]) == 1 for side in point["sides"])
    assert content["machine"]["processor"] and content["memory"]
    assert NO_FIGURES or figure.read_bytes().startswith(PNG)


def test_one_factor_at_a_time_and_the_base_once(calls):
    scaling.main(["--threads", "1"])
    points = [(o.batch, o.steps, o.width, float(o.density)) for o in calls]
    base = (32, 6, 1.0, 0.1)
    assert points[0] == base and len(points) == len(set(points)) == 1 + 3 + 3 + 2 + 4
    assert all(sum(a != b for a, b in zip(point, base, strict=True)) == 1 for point in points[1:])
    assert {o.width: o.hidden for o in calls} == {1.0: 4096, 0.5: 2048, 0.25: 1024}
    assert all(o.rounds == 3 and o.peers == "torch" and o.json is None for o in calls)


def test_the_hidden_layers_of_a_width(calls):
    scaling.main(["--only", "width", "--widths", "0.001", "0.3", "--hidden", "50"])
    assert {o.hidden for o in calls} == {50}
    calls.clear()
    scaling.main(["--only", "width", "--widths", "0.001", "0.3"])
    assert {o.width: o.hidden for o in calls} == {1.0: 4096, 0.001: 8, 0.3: 1232}
    calls.clear()
    scaling.main(["--only", "width", "--widths", "0.5", "--model", "resnet12"])
    assert {o.hidden for o in calls} == {None}


def test_an_impossible_point_is_left_out(calls, tmp_path, capsys):
    path = tmp_path / "found.json"
    scaling.main(["--only", "batch", "--batches", "7", "8", "--json", str(path)])
    content = json.loads(path.read_text())
    assert [point["batch"] for point in content["points"]] == [32, 8]
    assert [(point["batch"], point["reason"]) for point in content["left_out"]] == [(7, "no memory for this")]
    assert "skipped: no memory for this" in capsys.readouterr().out
    assert run(scaling.main, ["--batch", "7"]) == 2


def test_an_interrupted_measurement_keeps_its_points(calls, tmp_path):
    pytest.importorskip("matplotlib")
    path, figure = tmp_path / "found.json", tmp_path / "found.png"
    flags = ["--batches", "8", "13", "16", "--json", str(path), "--figure", str(figure)]
    assert run(scaling.main, flags) == 130
    assert [point["batch"] for point in json.loads(path.read_text())["points"]] == [32, 8]
    assert figure.read_bytes().startswith(PNG)


def test_a_figure_of_what_was_measured(calls, tmp_path):
    plt = charts.pyplot() if not NO_FIGURES else pytest.skip("matplotlib is not installed")
    path, figure = tmp_path / "found.json", tmp_path / "found.png"
    scaling.main(["--batches", "16", "8", "--json", str(path)])
    calls.clear()
    assert run(scaling.main, ["--from", str(path), "--figure", str(figure)]) == 0
    assert not calls and figure.read_bytes().startswith(PNG)
    drawn = charts.scaling(plt, scaling.load(path))
    assert len(drawn.axes) == 8
    ours, theirs = (container.lines[0] for container in drawn.axes[0].containers)
    assert list(ours.get_xdata()) == [8, 16, 32]
    assert list(ours.get_ydata()) == [1000 * 6 * batch for batch in (8, 16, 32)]
    assert list(theirs.get_ydata()) == [2000 * 6 * batch for batch in (8, 16, 32)]
    assert {text.get_text() for text in drawn.axes[0].texts} == {"2.0×"}
    plt.close(drawn)


def test_without_matplotlib_nothing_is_measured(calls, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(scaling.main, ["--figure", "found.png"]) == 2
    assert "needs matplotlib" in capsys.readouterr().err and not calls


@pytest.mark.parametrize(
    "arguments, word",
    [
        ("--batches 0", "--batches"),
        ("--batches two", "two"),
        ("--times 4 -1", "--times"),
        ("--widths nan", "--widths"),
        ("--densities 1", "--densities"),
        ("--density trained", "--density"),
        ("--density 0", "--density"),
        ("--batch 0", "--batch"),
        ("--only depth", "depth"),
        ("--only ,", "--only"),
        ("--model vgg4 --steps 2", "vgg4"),
        ("--threads 1 2", "--threads"),
        ("--checkpoint snn.npz", "--checkpoint"),
        ("--figure found.pdf", ".png"),
        ("--from found.json", "--figure"),
    ],
    ids=lambda x: x,
)
def test_wrong_input_is_one_sentence(arguments, word, calls, capsys):
    assert run(scaling.main, arguments.split()) == 2
    said = capsys.readouterr().err
    assert word in said and "Traceback" not in said and len(said.strip().splitlines()) == 1 and not calls


@pytest.mark.parametrize("text", [None, "no json", "[]", '{"settings": {}}', '{"settings": {"base": {"batch": 1}}}'])
def test_a_file_of_another_kind_is_refused(text, tmp_path):
    path = tmp_path / "found.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MinihireError, match="found.json"):
        scaling.load(path)
