"""Imports run one way: a package imports only packages of its own level and of lower levels.

docs/architecture.md shows the same levels as a diagram.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = (  # the lowest first
    ("backends",),
    ("minihire.engine", "minihire.runtime"),
    ("minihire.layers", "minihire.encoding", "minihire.models", "minihire.network"),
    ("minihire.data", "minihire.training", "minihire.attacks", "minihire.analysis", "minihire.interop"),
    ("minihire.study",),
    ("minihire.report",),
    ("minihire.app", "minihire.__main__"),
    ("demos", "benchmarks", "tests"),
)
EVERYWHERE = {
    "minihire.__version__"
}  # minihire/__init__.py re-exports names of all levels; modules inside the package import only this one from it
FILES = [path.relative_to(ROOT) for top in ("backends", "minihire") for path in sorted((ROOT / top).rglob("*.py"))]


def level_of(name):
    """The level of a dotted name, 0 is the lowest; None if the name has no level."""
    parts = name.split(".")
    prefixes = {".".join(parts[: i + 1]) for i in range(len(parts))}
    return next((level for level, packages in enumerate(LEVELS) if prefixes & {*packages}), None)


def imports(path, source):
    """(line, dotted name) of every import in a file, also inside functions, except those that only type checkers read."""
    module = [*path.with_suffix("").parts]
    package = module[:-1]
    for node in walk_code(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *([node.module] if node.module else [])]
            yield from ((node.lineno, ".".join([*stem, alias.name])) for alias in node.names)


def walk_code(node):
    """Every node below this one, without the bodies of `if TYPE_CHECKING`."""
    yield node
    if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from walk_code(child)


def upward_imports(path, source):
    """The imports of a file from higher levels, one sentence each."""
    own = level_of(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    for line, name in imports(path, source):
        ours = name.split(".")[0] in ("backends", "minihire", "demos", "benchmarks", "tests")
        if own is None or not ours or name in EVERYWHERE:
            continue
        other = level_of(name)
        if other is None:
            yield f"{path}:{line} imports {name}: import it from the module that defines it"
        elif other > own:
            yield f"{path}:{line} imports {name}, which has a higher level"


def test_no_import_runs_upward_imports():
    found = [line for path in FILES for line in upward_imports(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert found == []


def test_every_file_has_a_level():
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    assert {name for name in names if level_of(name) is None} == {"minihire"}
    assert (
        len([path for path in (ROOT / "minihire").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()])
        <= 16
    )


@pytest.mark.parametrize(
    "path, source, found",
    [
        ("backends/lif.py", "import numpy\nfrom backends.surrogates import derivative", 0),
        ("backends/lif.py", "def f():\n    from minihire.engine import ops", 1),
        ("minihire/network.py", "import minihire.training.loop", 1),
        ("minihire/network.py", "from minihire import Recipe", 1),
        ("minihire/network.py", "from minihire import __version__", 0),
        ("minihire/network.py", "from .app import cli", 1),
        ("minihire/app/cli.py", "from minihire.study import settings", 0),
        ("minihire/report/__init__.py", "from . import tables\nfrom ..app import cli", 1),
    ],
)
def test_the_check_finds_what_runs_upward_imports(path, source, found):
    assert len(list(upward_imports(Path(path), source))) == found
