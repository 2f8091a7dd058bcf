"""docs/paper-to-code.md: every name exists, and the page lists all equations, tables and figures."""

import importlib
import inspect
import re

import pytest
from handbook_pages import DOCS, ROOT, rows

from minihire.app.paper import EXPERIMENTS, GROUPS

PAGE = "paper-to-code.md"
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")
NAMED = re.findall(r"\[`((?:minihire|backends)[\w.]*)`\]\(([^)]+)\)", TEXT)


def found(dotted):
    """(module, object) of a dotted name."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        value = module
        for name in parts[cut:]:
            value = getattr(value, name)
        return module, value
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("dotted, target", sorted(set(NAMED)))
def test_a_name_is_there_and_its_link_opens_its_file(dotted, target):
    module, value = found(dotted)
    assert value is not None
    assert (DOCS / target).resolve() == ROOT / inspect.getsourcefile(module)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == module.__name__, "the link is to where it is defined"


def test_names_are_many_and_all_are_links():
    assert len(NAMED) > 50
    assert re.findall(r"(?<!\[)`((?:minihire|backends)\.[\w.]+)`", TEXT) == []


def test_attributes_beside_a_name_belong_to_it():
    """In [`a.b.C`](…)`.d`, C has an attribute d; `train_period` of `b.C`: C has it too."""
    pairs = re.findall(r"\[`([\w.]+)`\]\([^)]+\)`\.(\w+)`", TEXT)
    assert len(pairs) >= 3
    for dotted, attribute in pairs:
        _, cls = found(dotted)
        assert attribute in getattr(cls, "__dataclass_fields__", {}) or re.search(
            rf"self\.{attribute}\b", inspect.getsource(cls)
        )
    _, training = found("minihire.training.loop.Training")
    _, activity = found("minihire.analysis.activity.LayerActivity")
    assert all(hasattr(training, name) for name in ("train_batch", "train_period"))
    assert all(hasattr(activity, name) for name in ("spiking_activity", "time_averaged"))


FIRST = [row[0] for row in rows(PAGE)]


@pytest.mark.parametrize(
    "kind, numbers",
    [("eq.", range(1, 9)), ("definition", range(1, 3)), ("observation", range(1, 4)), ("table", range(1, 8))],
)
def test_everything_of_the_paper_is_listed(kind, numbers):
    assert {cell for cell in FIRST if cell.startswith(f"{kind} ")} == {f"{kind} {n}" for n in numbers}


def test_every_figure_is_listed_with_its_parts():
    figures = {re.match(r"figure (\d+)", cell).group(1) for cell in FIRST if cell.startswith("figure ")}
    assert figures == {str(n) for n in range(1, 12)}
    assert {"figure 1a", "figure 1b", "figure 1c", "figure 5a", "figure 5b"} <= set(FIRST)


def test_every_line_of_the_algorithm_is_listed_once():
    lines = []
    for cell in FIRST:
        if match := re.fullmatch(r"(\d+)(?:-(\d+))?", cell):
            lines += range(int(match[1]), int(match[2] or match[1]) + 1)
    assert lines == list(range(1, 26))


def test_the_experiments_are_those_of_minihire_paper():
    """The names in the column are exactly those that the command knows."""
    column = {row[2].strip("`") for row in rows(PAGE) if len(row) == 4 and row[0].split()[0] in ("table", "figure")}
    assert column - {"–"} == set(GROUPS["all"])
    assert all(f"`{name}`" in TEXT for name in EXPERIMENTS)


def test_equation_5_is_one_click_from_the_readme():
    """The README's table links the file, which has the equation in its docstring and defines the function."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if "equation 5" in line]
    (target,) = re.findall(r"\]\(([^)]+)\)", row)
    head = "\n".join((ROOT / target).read_text(encoding="utf-8").splitlines()[:12])
    assert "equation 5" in head.lower() and "γ·max(0, 1 − |z|)" in head
