"""minihire demo: the list, one lesson, notebooks that hold the same cells, and one sentence for what does not fit."""

import json
import re
import shutil
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
        assert str(ROOT) not in "".join(text for _, text in (first, *cells))
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


JUPYTER = """\
import sys, types
for name in ("ipykernel", "IPython", "IPython.display"):
    sys.modules[name] = types.ModuleType(name)
vars(sys.modules["IPython"]).update(get_ipython=lambda: None, version_info=(9, 0))  # Matplotlib asks for these
sys.modules["IPython.display"].Image = lambda filename: filename
sys.modules["IPython.display"].display = lambda image: print("shown:", image)
"""


@pytest.mark.slow
def test_one_notebook_runs_in_a_folder_of_the_clone(tmp_path, monkeypatch):
    """Its cells, one after the other, in a fresh interpreter with what Jupyter offers and in another clone."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "demos", tmp_path / "demos", ignore=shutil.ignore_patterns("figures", "__pycache__"))
    for name in ("minihire", "backends"):
        (tmp_path / name).symlink_to(ROOT / name)
    assert main(["demo", "03", "--notebook"]) == 0
    written = json.loads((tmp_path / "notebooks" / "03_bptt_by_hand.ipynb").read_text("utf-8"))
    code = "\n".join("".join(cell["source"]) for cell in written["cells"] if cell["cell_type"] == "code")
    command = [sys.executable, "-I", "-c", JUPYTER + code]
    place = tmp_path / "notebooks"
    done = subprocess.run(command, cwd=place, capture_output=True, encoding="utf-8", env={"PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    figure = tmp_path / "demos" / "figures" / "03_bptt_by_hand.png"
    assert figure.exists() and done.stdout.endswith(f"figure: ../demos/figures/{figure.name}\nshown: {figure}\n")


@pytest.mark.parametrize("where", ("folder of the clone", "installed from the clone", "nowhere"))
def test_the_first_cell_of_a_notebook_finds_the_clone_or_says_what_to_do(where, tmp_path):
    clone, elsewhere = tmp_path / "a clone", tmp_path / "elsewhere"
    for folder in (clone / "demos", clone / "minihire", clone / "notebooks", elsewhere):
        folder.mkdir(parents=True)
    (clone / "demos" / "lesson.py").write_text("")
    (clone / "minihire" / "__init__.py").write_text("")
    first = "".join(notebook(lessons()[0])["cells"][0]["source"])
    environment = {"PYTHONUTF8": "1", **({"PYTHONPATH": str(clone)} if "installed" in where else {})}
    command = [sys.executable, "-S", "-c", f"{first}\nprint(sys.path[0])"]  # -S: without the minihire that is installed
    place = clone / "notebooks" if "folder" in where else elsewhere
    done = subprocess.run(command, cwd=place, capture_output=True, encoding="utf-8", env=environment)
    if where == "nowhere":
        assert (
            done.returncode == 1
            and done.stderr.startswith("The lessons need a clone")
            and "pip install -e ." in done.stderr
        )
    else:
        assert done.stdout == f"{clone / 'demos'}\n", done.stderr


@pytest.mark.parametrize(
    "arguments, sentence",
    {
        "no such number": ("12", "there is no lesson '12': choose 1 to 10"),
        "no number": ("zero", "there is no lesson 'zero': choose 1 to 10"),
        "quick notebook": ("1 --quick --notebook", "leave out --quick or --notebook"),
        "quick list": ("--quick", "give its number"),
        "two things": ("1 --notebook --stub", "--notebook and --stub are different things to do"),
        "quick check": ("1 --check mine.py --quick", "leave out --quick or --check"),
        "check to a folder": ("1 --check mine.py --out here", "--check writes no file: leave out --out"),
        "stub without a lesson": ("--stub", "--stub is for one lesson: give its number"),
        "lesson without an exercise": ("2 --stub", "has no exercise to fill in: lessons 1, 3, 5 and 6 have one"),
        "nothing to check there": ("4 --check mine.py", "has no exercise to fill in"),
        "stub taken": ("1 --stub --out taken", "exercise_1.py exists: choose another --out"),
        "taken": ("1 --notebook --out taken", "01_lif_neuron.ipynb exists: choose another --out"),
        "a file": ("1 --notebook --out file", "cannot write"),
    }.values(),
)
def test_bad_input_is_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "01_lif_neuron.ipynb").write_text("mine")
    (tmp_path / "taken" / "exercise_1.py").write_text("mine")
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
