"""Run the lessons as notebooks and write them with their outputs to demos/notebooks: `python demos/run_notebooks.py`.

It runs the lessons whose code is not that of their notebook, and updates only the text of the others. With numbers, as in
`python demos/run_notebooks.py 3 5`, it also runs these lessons. It needs `pip install nbclient ipykernel`.
"""
import argparse
import json
import sys
from importlib.util import find_spec

import lesson as clone  # makes minihire importable without an installation

from minihire.app.demo import lessons, notebook

FOLDER = clone.HERE / "notebooks"


def code_cells(book):
    """The cells of a notebook that have outputs."""
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def run(book):
    """A copy of the notebook with the outputs of its cells. Raises CellExecutionError if a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    ran = nbformat.reads(json.dumps(book), as_version=4)
    NotebookClient(ran, timeout=None, record_timing=False, coalesce_streams=True, resources={"metadata": {"path": str(FOLDER)}}).execute()
    return json.loads(nbformat.writes(ran))


def main():
    """Write every lesson's notebook. An unchanged lesson keeps its outputs."""
    every = [lesson.number for lesson in lessons()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, metavar="LESSON", help="also run these lessons")
    numbers = parser.parse_args().numbers  # no choices=every: Python 3.11 then refuses an empty list
    if unknown := [number for number in numbers if number not in every]:
        parser.error(f"there is no lesson {unknown[0]}: lessons are {every[0]} to {every[-1]}")
    if missing := [name for name in ("nbclient", "ipykernel") if find_spec(name) is None]:
        sys.exit(print(f"not installed: {' and '.join(missing)}; run `pip install nbclient ipykernel`", file=sys.stderr) or 2)
    FOLDER.mkdir(exist_ok=True)
    for lesson in lessons():
        path, book = FOLDER / f"{lesson.path.stem}.ipynb", notebook(lesson)
        with_outputs = json.loads(path.read_text("utf-8")) if path.is_file() else {"cells": []}
        sources = [[cell["source"] for cell in code_cells(old)] for old in (with_outputs, book)]
        if lesson.number in numbers or sources[0] != sources[1]:
            with_outputs = run(book)
        for new, old in zip(code_cells(book), code_cells(with_outputs), strict=True):
            new.update(outputs=old["outputs"], execution_count=old["execution_count"])
        path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(path, flush=True)


if __name__ == "__main__":
    main()
