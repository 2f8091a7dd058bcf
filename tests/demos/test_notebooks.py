"""The committed notebooks: the cells of the lessons with outputs, without errors and without paths of a machine."""

import json
import re
from pathlib import Path

import pytest

from minihire.app.demo import lessons, notebook

FOLDER = Path(__file__).parent.parent.parent / "demos" / "notebooks"
LESSONS = lessons()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.path.stem)
def test_a_notebook_has_the_lesson_s_cells_and_their_outputs(lesson):
    path = FOLDER / f"{lesson.path.stem}.ipynb"
    text = path.read_text("utf-8")
    book = json.loads(text)
    cells = [[(cell["cell_type"], cell["source"]) for cell in one["cells"]] for one in (book, notebook(lesson))]
    assert cells[0] == cells[1], "the lesson has changed: python demos/run_notebooks.py"
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    printed = "".join(part for output in outputs for part in output.get("text", []))
    assert len(re.findall(r"^─+(?:  ─+)+$", printed, re.MULTILINE)) == 1  # below the table's header
    assert [list(output["data"])[0] for output in outputs if "data" in output] == ["image/png"]
    assert not re.search(r"(?<![\w.)])(?:/(?:home|root|tmp|Users|opt|mnt|work)/|[A-Z]:\\\\)", printed)
    assert path.stat().st_size < 200_000


def test_there_is_a_notebook_for_every_lesson():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == [lesson.path.stem for lesson in LESSONS]
