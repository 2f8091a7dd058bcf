"""minihire demo: the list, one lesson, notebooks that hold the same cells, and one sentence for what does not fit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minihire.app.demo
from minihire.app.cli import main
from minihire.app.demo import lessons, notebook

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "demos").glob("[0-9][0-9]_*.py"))


def test_the_list_has_every_number_title_and_question(capsys):
    assert main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines[: len(FILES)]] == [file.name[:2] for file in FILES]
    assert all(re.fullmatch(r"\d\d  \S.*?  +[A-Z].*\?", line) for line in lines[: len(FILES)])
    assert lines[0] == "01  One neuron                              How does a current become spikes?"


@pytest.mark.slow
@pytest.mark.parametrize("number", ("1", "01"))
def test_a_number_runs_that_lesson(number, tmp_path):
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "minihire", "demo", number, "--quick", "--out", tmp_path / "here"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["01_lif_neuron.png"]
    assert "λ = 1.0, v = 1.0" in done.stdout


def test_notebooks_of_all_lessons_hold_their_cells(tmp_path, capsys):
    assert main(["demo", "--notebook", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / f"{file.stem}.ipynb") for file in FILES]
    for file in FILES:
        written = json.loads((tmp_path / f"{file.stem}.ipynb").read_text("utf-8"))
        assert (written["nbformat"], written["nbformat_minor"]) == (4, 4)
        first, *cells = [(cell["cell_type"], "".join(cell["source"])) for cell in written["cells"]]
        assert repr(str(ROOT / "demos")) in first[1]
        source = file.read_text("utf-8")
        marks = re.findall(r"^# %%( \[markdown\])?$", source, re.MULTILINE)
        assert [kind for kind, _ in cells] == ["markdown" if mark else "code" for mark in marks]
        for kind, text in cells:
            lines = [f"# {line}".rstrip() if kind == "markdown" else line for line in text.splitlines()]
            assert "\n".join(lines) in source  # no line is lost or changed
        for kind, text in cells:
            if kind == "code":
                compile(text, file.name, "exec")


def test_notebooks_are_valid(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    for lesson in lessons():
        nbformat.validate(nbformat.from_dict(notebook(lesson)))


@pytest.mark.slow
def test_one_notebook_runs_from_elsewhere(tmp_path, monkeypatch):
    """Its cells, one after the other, in another folder and a fresh interpreter that knows nothing of the clone."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "03", "--notebook"]) == 0
    written = json.loads((tmp_path / "notebooks" / "03_bptt_by_hand.ipynb").read_text("utf-8"))
    code = "\n".join("".join(cell["source"]) for cell in written["cells"] if cell["cell_type"] == "code")
    command = [sys.executable, "-I", "-c", code, "--quick", "--out", str(tmp_path / "figures")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", env={"PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figures" / "03_bptt_by_hand.png").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    {
        "no such number": ("12", "there is no lesson '12': choose 1 to 10"),
        "no number": ("zero", "there is no lesson 'zero': choose 1 to 10"),
        "quick notebook": ("1 --quick --notebook", "leave out --quick or --notebook"),
        "quick list": ("--quick", "give its number"),
        "taken": ("1 --notebook --out taken", "01_lif_neuron.ipynb exists: choose another --out"),
        "a file": ("1 --notebook --out file", "cannot write"),
    }.values(),
)
def test_bad_input_is_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "01_lif_neuron.ipynb").write_text("mine")
    (tmp_path / "file").write_text("a file")
    assert main(["demo", *arguments.split()]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert (tmp_path / "taken" / "01_lif_neuron.ipynb").read_text() == "mine"


def test_without_a_clone_one_sentence_says_where_lessons_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(minihire.app.demo, "__file__", str(tmp_path / "site-packages" / "minihire" / "demo.py"))
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 2
    assert "clone the repository" in capsys.readouterr().err
    monkeypatch.chdir(ROOT)  # an installed minihire, called in a clone
    assert main(["demo"]) == 0


@pytest.mark.slow
def test_a_lesson_that_fails_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos" / "lesson.py").write_text("")
    (tmp_path / "demos" / "01_bad.py").write_text(
        "# %% [markdown]\n# # 1 · Bad: does it fail?\n# %%\nraise SystemExit(3)\n"
    )
    monkeypatch.setattr(minihire.app.demo, "__file__", str(tmp_path / "minihire" / "app" / "demo.py"))
    assert main(["demo", "1"]) == 2
    assert "lesson 1 ended with exit code 3" in capsys.readouterr().err
