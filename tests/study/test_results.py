"""results.json: written whole, read with care, and its clock adds up."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from backends import get_backend
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import FileError
from minihire.runtime.machine import peak_memory
from minihire.study.results import SCHEMA, Results
from minihire.study.settings import Config

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "run"


@pytest.fixture
def results(tmp_path):
    """A new file's content."""
    return Results.new(tmp_path / "results.json", Config().describe(), get_backend("reference"))


def test_saved_results_are_loaded_unchanged(results):
    results["examples"] = [{"model": "κ"}]
    results.save()
    assert Results.load(results.path).content == results.content


def test_the_machine_and_the_settings_are_kept(results):
    assert results["machine"]["backend"] == "reference" and results["machine"]["dtype"] == "float32"
    assert results["config"] == Config().describe() and results["schema"] == SCHEMA and not results["finished"]


def test_the_file_is_utf8_whatever_the_locale(results):
    results["warnings"].append("λ")
    results.save()
    assert "λ" in results.path.read_bytes().decode("utf-8")
    code = "import sys; from minihire.study.results import Results; print(ascii(Results.load(sys.argv[1])['warnings']))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(results.path)], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("['\\u03bb']\n", 0), done.stderr


def test_a_save_that_fails_leaves_the_old_file(results, monkeypatch):
    results.save()
    before = results.path.read_bytes()
    results["finished"] = True
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(FileError, match="No space left on device"):
        results.save()
    assert results.path.read_bytes() == before and os.listdir(results.path.parent) == ["results.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        "{}",
        '{"schema": "one"}',
        '{"schema": 1}',
        '{"schema": 1, "config": []}',
        "\xff",
        "{" * 2000,
        "[" * 100_000 + "]" * 100_000,
        '{"schema": 1' + "0" * 5000 + "}",
    ],
)
def test_damaged_files_are_refused(results, text):
    results.path.write_text(text, encoding="latin-1")
    with pytest.raises(MinihireError, match="is not a results file of minihire, or it is damaged") as caught:
        Results.load(results.path)
    assert str(results.path) in str(caught.value)


@pytest.mark.parametrize("missing", ["config", "models", "accuracy", "phases", "warnings"])
def test_a_file_that_lacks_something_is_refused(results, missing):
    results.path.write_text(json.dumps({key: value for key, value in results.content.items() if key != missing}))
    with pytest.raises(MinihireError, match="damaged"):
        Results.load(results.path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(results, number):
    results["distance"] = {"hire": {"pixels": 0.5}}
    results.save()
    text = results.path.read_text(encoding="utf-8")
    results.path.write_text(text.replace("0.5", number), encoding="utf-8")
    with pytest.raises(MinihireError, match="damaged"):
        Results.load(results.path)


def test_a_truncated_file_is_refused(results):
    results.save()
    content = results.path.read_bytes()
    for tenth in range(10):
        results.path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(MinihireError, match="damaged"):
            Results.load(results.path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(MinihireError, match=r"cannot read .*results.json: No such file"):
        Results.load(tmp_path / "results.json")


def test_a_newer_schema_is_refused(results):
    results["schema"] = SCHEMA + 1
    results.save()
    with pytest.raises(
        MinihireError, match=f"has schema {SCHEMA + 1}, this version reads up to {SCHEMA}: update minihire"
    ):
        Results.load(results.path)


def test_warnings_are_kept_once(results):
    for _ in range(2):
        results.warn("neuron1 never fires")
    assert results["warnings"] == ["neuron1 never fires"]


def test_a_phase_is_timed_and_saved_and_its_parts_add_up(results):
    for _ in range(2):
        with results.phase("train ann"):
            time.sleep(0.02)
    saved = Results.load(results.path)["phases"]["train ann"]
    assert saved["seconds"] >= 0.04 and saved["peak_memory_bytes"] > 10**6


def test_an_interrupted_phase_is_saved_too(results):
    with pytest.raises(KeyboardInterrupt), results.phase("train ann"):
        raise KeyboardInterrupt
    assert "train ann" in Results.load(results.path)["phases"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can start a new peak")
def test_the_peak_of_a_phase_is_its_own(results):
    with results.phase("large"):
        np.ones(16 << 20)
    with results.phase("small"):
        pass
    large, small = (results["phases"][name] for name in ("large", "small"))
    if large["peak_of_phase_alone"]:
        assert large["peak_memory_bytes"] - small["peak_memory_bytes"] > 100 << 20


def test_peak_memory_is_a_plausible_number_of_bytes():
    assert 10 << 20 < peak_memory() < 1 << 40


BROKEN = {
    "finished is missing": lambda content: content.pop("finished"),
    "finished is a number": lambda content: content.update(finished=1),
    "an interval without an end": lambda content: content["accuracy"][0].update(low=None),
    "an accuracy in words": lambda content: content["accuracy"][0].update(accuracy="high"),
    "an accuracy without a network": lambda content: content["accuracy"][0].pop("model"),
    "a number as accuracy": lambda content: content["accuracy"].append(3),
    "a network without a file": lambda content: content["models"]["ann"].pop("checkpoint"),
    "a network that is a list": lambda content: content["models"].update(ann=[]),
    "a seed that is a fraction": lambda content: content["models"]["ann"].update(seed=0.5),
    "a phase without its time": lambda content: content["phases"]["train ann"].pop("seconds"),
    "a phase that is a text": lambda content: content["phases"].update(x="y"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_field_of_another_type_is_refused(tmp_path, change):
    content = json.loads((GOLDEN / "results.json").read_text())
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    assert Results.load(path).content == content
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(MinihireError, match="is not a results file of minihire, or it is damaged"):
        Results.load(path)


def test_every_changed_character_is_noticed(results):
    """In numbers, names and pictures: either the file is refused, or all of its content is unchanged."""
    results["data"], results["examples"] = {"train": 4000}, [{"model": "κ", "image": "iVBORw0KGgo="}]
    results.save()
    text = results.path.read_text(encoding="utf-8")
    for position, character in enumerate(text):
        results.path.write_text(text[:position] + chr(ord(character) ^ 1) + text[position + 1 :], encoding="utf-8")
        try:
            found = Results.load(results.path).content
            assert found.keys() >= results.content.keys() and all(found[key] == results[key] for key in results.content)
        except MinihireError:
            continue


def test_an_edited_file_is_read_without_its_checksum(results):
    results.save()
    content = json.loads(results.path.read_bytes())
    content["seconds"] = 3
    results.path.write_text(json.dumps(content))
    with pytest.raises(MinihireError, match="its checksum differs; restore it, or remove its entry"):
        Results.load(results.path)
    del content["checksum"]
    results.path.write_text(json.dumps(content))
    assert Results.load(results.path)["seconds"] == 3
