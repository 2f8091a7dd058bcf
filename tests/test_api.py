"""The public API: one import line, loaded when used, known to type checkers; the examples in its docstrings run."""

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import minihire
from minihire.runtime.progress import Progress

INIT = Path(minihire.__file__)
WITHOUT = ("Attack", "GaussianNoise", "MinihireError", "NoNoise")  # names that need no example


def test_the_promised_line_works():
    code = (
        "from minihire import get_backend, load_data, build, Network, convert, train, Recipe, CraftedNoise, fgsm, pgd, "
        "accuracy, attack_accuracy, load_checkpoint, save_checkpoint, initialise, Calibration, MinihireError"
    )
    names = {}
    exec(code, names)
    assert all(callable(names[name]) for name in names if not name.startswith("__"))


def test_every_public_name_can_be_imported_and_has_a_docstring():
    assert sorted(minihire.__all__) == minihire.__all__
    for name in minihire.__all__:
        assert getattr(minihire, name).__doc__, name
        assert name in dir(minihire)


def test_dir_has_the_public_names_once_and_no_helpers():
    names = dir(minihire)
    assert len(names) == len(set(names)) and "__file__" in names
    assert {name for name in names if not name.startswith("__")} == set(minihire.__all__)
    assert len(minihire.__dir__()) == len(names)  # dir() sorts, but would show a name twice


def test_a_repr_is_one_short_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    k, images = minihire.get_backend("reference"), minihire.load_data("shapes", train_limit=1200, test_limit=10)
    model = minihire.build("vgg5", width=1 / 16, hidden=16)
    ann = minihire.Network(model, k, minihire.initialise(model, k, 0))
    parameters = minihire.initialise(model, k, 0, spiking=True)
    snn = minihire.Network(model, k, parameters, spiking=True, steps=6)
    minihire.save_checkpoint("ann.npz", ann)
    assert repr(ann) == "Network(vgg5: ANN, 10 classes, reference backend)"
    assert repr(snn) == "Network(vgg5: SNN of 6 time steps, 10 classes, reference backend)"
    assert repr(minihire.load_checkpoint("ann.npz")) == f"Checkpoint('ann.npz': vgg5, {len(ann.parameters)} arrays)"
    assert repr(images.test) == "Dataset(shapes: 10 images of 32×32×3, 10 classes)"
    assert repr(images) == "Splits(shapes: 1,200 training, 500 held-out and 10 test images)"


def test_type_checkers_see_the_names_that_are_loaded():
    """The imports under TYPE_CHECKING name the same objects as the table that `__getattr__` reads."""
    (block,) = (node for node in ast.parse(INIT.read_text(encoding="utf-8")).body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: getattr(importlib.import_module(node.module), alias.name)
        for node in block.body
        for alias in node.names
    }
    assert seen == {name: getattr(minihire, name) for name in minihire.__all__}


def test_importing_minihire_imports_nothing_heavy():
    code = "import sys, minihire; print(sorted({'numpy', 'numba', 'torch', 'scipy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=INIT.parents[1], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_refused_with_the_public_ones():
    with pytest.raises(AttributeError, match="no 'fsgm': the public names are .*fgsm"):
        minihire.fsgm  # noqa: B018


@pytest.mark.parametrize("name", [None, *minihire.__all__])
def test_the_examples_in_the_docstrings_run(name, monkeypatch, tmp_path):
    monkeypatch.setattr(Progress, "quiet", True)
    monkeypatch.chdir(tmp_path)
    found = minihire if name is None else getattr(minihire, name)
    globs = {"__name__": "example"}
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for test in finder.find(found, name or "minihire", globs=globs):
        runner.run(test)
    assert runner.tries > 0 or name in WITHOUT
    assert runner.failures == 0
