"""The lessons: each runs from any folder, prints a table, draws a figure, and has the same structure as the others."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DEMOS = Path(__file__).parent.parent.parent / "demos"
LESSONS = sorted(DEMOS.glob("[0-9][0-9]_*.py"))
RULE = re.compile(r"^─+(?:  ─+)+$", re.MULTILINE)  # below a table's header


def run(lesson, out, code=0, **environment):
    """Output of a lesson in quick mode, run from another folder and without PYTHONPATH. It ends with this exit code."""
    one_thread = {"NUMBA_NUM_THREADS": "1"}  # with arrays this small, a second thread would mostly wait
    environment = {**os.environ, **one_thread, "PYTHONPATH": "", "MPLBACKEND": "Agg", "PYTHONUTF8": "1", **environment}
    command = [sys.executable, "-W", "error::RuntimeWarning", lesson, "--quick", "--out", out / "figures"]
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_lessons_are_numbered_from_1_to_10():
    assert [int(lesson.name[:2]) for lesson in LESSONS] == list(range(1, 11))


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_prints_one_table_and_draws_one_figure(lesson, tmp_path):
    pytest.importorskip("matplotlib")
    printed = run(lesson, tmp_path)
    assert len(RULE.findall(printed)) == 1
    assert printed.startswith(f"{int(lesson.name[:2])} · ")
    assert printed.count("\n--quick only shows that it runs: its numbers do not support the text\n") == 1
    headings = [
        re.search(f"^{start} .", printed, re.MULTILINE).start()
        for start in ("You learn", "You need", "What to expect:")
    ]
    assert headings == sorted(headings)
    [figure] = (tmp_path / "figures").iterdir()
    assert figure.name == f"{lesson.stem}.png"
    with Image.open(figure) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] >= 1000  # legible when projected
    assert 0.01 < np.mean(pixels < 250) < 0.9


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE")
@pytest.mark.parametrize("command", [[LESSONS[0]], ["-m", "minihire", "demo", "1"]])
def test_a_lesson_whose_output_is_cut_off_ends_without_a_traceback(command, tmp_path):
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, *command, "--quick", "--out", tmp_path]
        done = subprocess.run(command, cwd=DEMOS.parent, stdout=write, stderr=subprocess.PIPE, text=True, timeout=300)
    finally:
        os.close(write)
    assert done.stderr == "" and done.returncode in (0, -signal.SIGPIPE)


def test_an_out_that_is_a_file_is_refused_before_the_lesson_computes(tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, LESSONS[0], "--quick", "--out", tmp_path / "file"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert (done.returncode, done.stdout) == (2, "") and "is not a folder; give another folder" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_prints_no_traceback_and_ends_with_the_signal():
    code = "import lesson, signal; signal.signal(signal.SIGINT, signal.default_int_handler); signal.raise_signal(signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], cwd=DEMOS, capture_output=True, encoding="utf-8", timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_an_out_whose_name_is_too_long_is_one_sentence():
    name = 300 * "n"
    done = subprocess.run([sys.executable, LESSONS[0], "--out", name], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"minihire: {Path(name).absolute()}: File name too long; give another file or folder\n"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_figure_is_not_written_through_a_link(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "other").write_text("mine")
    (tmp_path / "x.png").symlink_to(tmp_path / "other")
    code = (
        "import lesson, pathlib; from matplotlib.figure import Figure; lesson.save(Figure(), pathlib.Path.cwd(), 'x')"
    )
    path = {**os.environ, "PYTHONPATH": str(DEMOS)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and (tmp_path / "other").read_text() == "mine"
    assert done.stderr.startswith(f"minihire: cannot write {tmp_path / 'x.png'}, because it is not a regular file")


@pytest.mark.slow
def test_without_matplotlib_the_table_still_prints(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')\n")
    printed = run(LESSONS[0], tmp_path, code=1, PYTHONPATH=str(tmp_path))
    assert len(RULE.findall(printed)) == 1
    assert "matplotlib" in printed.splitlines()[-1]
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_asks_shows_and_ends_with_three_exercises(lesson):
    text = lesson.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    cells = re.split(r"^# %%", text, flags=re.MULTILINE)[1:]
    assert text.startswith("# %% [markdown]\n")
    number = int(lesson.name[:2])
    assert re.search(rf"^# # {number} · [^:]+: .+\?$", cells[0], re.MULTILINE)  # the question comes first
    assert re.search(r"^# \*\*You learn\*\* .+\.\s(# )?\*\*You need\*\* .+\.$", cells[0], re.MULTILINE)
    assert "**What to expect.**" in cells[0]
    assert sum(not cell.startswith(" [markdown]") for cell in cells) >= 3
    assert cells[-1].startswith(" [markdown]\n# ## Exercises\n")
    assert re.findall(r"^# (\d)\. ", cells[-1], re.MULTILINE) == ["1", "2", "3"]


def test_the_gallery_shows_every_lesson_with_its_question_and_its_figure():
    page = (DEMOS.parent / "docs" / "lessons.md").read_text(encoding="utf-8")
    for lesson in LESSONS:
        number, picture = int(lesson.name[:2]), f"figures/lessons/{lesson.stem}.png"
        question = re.search(r"^# # \d+ · [^:]+: (.+)$", lesson.read_text(encoding="utf-8"), re.MULTILINE).group(1)
        assert f"## {number} · {question[0].upper()}{question[1:]}\n" in page
        assert f"]({picture})" in page and f"`minihire demo {number} --out docs/figures/lessons`" in page
        assert (DEMOS.parent / "docs" / picture).stat().st_size < 120_000
