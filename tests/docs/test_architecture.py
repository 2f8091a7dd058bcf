"""docs/architecture.md: the diagram shows the levels of test_import_levels.py, and each file defines the name beside it."""

import ast
import re
import sys

from handbook_pages import DOCS, ROOT, blocks, rows

from backends.interface import Backend

sys.path.insert(0, str(ROOT / "tests"))
from test_import_levels import LEVELS

PAGE = "architecture.md"
HOPS = [row for row in rows(PAGE) if len(row) == 4 and row[2].startswith("`")]


def defined(path):
    """Every function, class and method of a file, methods with their class."""
    names = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


def test_the_diagram_shows_the_levels():
    (diagram,) = blocks(PAGE, "")["Packages"]
    shown = [line for line in diagram.splitlines() if line]
    for line, (level, packages) in zip(shown[::-1], enumerate(LEVELS, 1), strict=True):
        assert line.split()[: len(packages) + 1] == [str(level), *(name.removeprefix("minihire.") for name in packages)]


def test_every_hop_names_what_its_file_defines():
    assert len(HOPS) > 15
    for _, link, name, _ in HOPS:
        path = re.fullmatch(r"\[(.+)\]\(\.\./(.+)\)", link)
        assert path.group(1) == path.group(2)
        assert name.strip("`") in defined(path.group(1)), (link, name)


def test_the_page_is_one_page():
    assert len((DOCS / PAGE).read_text(encoding="utf-8").splitlines()) <= 160


def test_the_kernels_are_those_of_the_contract():
    listed = [name for row in rows(PAGE) if len(row) == 2 for name in re.findall(r"`(\w+)`", row[1])]
    contract = {name for name, value in vars(Backend).items() if callable(value) and not name.startswith("_")}
    assert len(listed) == len(set(listed)) and set(listed) == contract
