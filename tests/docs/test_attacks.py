"""docs/attacks.md: the table has the names and defaults of the code; the code and the commands of the page run."""

import inspect
import io
import shlex
import shutil
from contextlib import redirect_stdout

import numpy as np
import pytest
from handbook_pages import ROOT, blocks, rows, run

from minihire.app import cli
from minihire.attacks import ATTACKS
from minihire.runtime.progress import Progress

PAGE = "attacks.md"
TABLE = {row[0].strip("`"): row[3:7] for row in rows(PAGE) if row[0].startswith("`")}


def test_the_table_has_every_attack_once_in_the_order_of_the_code():
    assert [row[0].strip("`") for row in rows(PAGE) if row[0].startswith("`")] == list(ATTACKS)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_defaults_of_the_table_are_those_of_the_code(name):
    attack, parameters = ATTACKS[name](), inspect.signature(ATTACKS[name]).parameters
    step = f"{attack.alpha:g}" if "alpha" in parameters else "ε" if name == "fgsm" else "own"
    start = "yes" if attack.random_start else "no"
    assert TABLE[name] == [str(attack.iterations), step, start, ", ".join(map(str, attack.cost(10)))]
    assert attack.restarts == 1 and attack.epsilon == (0.5 if name == "pgd-l2" else 8 / 255)
    assert name != "fgsm" or attack.alpha == attack.epsilon


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a run in runs/mini, and the reference backend as the default."""
    (tmp_path / "runs").mkdir()
    shutil.copytree(ROOT / "tests" / "golden" / "run", tmp_path / "runs" / "mini")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIHIRE_BACKEND", "reference")
    monkeypatch.setattr(Progress, "quiet", True)
    return tmp_path


def minihire(block, *extra):
    """Run the command of a block; returns its output."""
    with redirect_stdout(io.StringIO()) as out:
        assert cli.main([*shlex.split(block)[1:], *extra]) == 0
    return out.getvalue()


@pytest.mark.slow
def test_the_code_and_the_commands_run(folder, monkeypatch):
    pytest.importorskip("torch")
    (combined,), (own,), (theirs,) = blocks(PAGE).values()
    named, loaded = (block for found in blocks(PAGE, "bash").values() for block in found)
    few = combined.replace("test_limit=100", "test_limit=10").replace("iterations=20", "iterations=2")
    assert few.count("=10)") == 1 and few.count("=2)") == 2
    printed = []
    names = run(few + theirs, "attacks_page", monkeypatch, print=lambda *words: printed.append(words))
    assert [words[0] for words in printed] == ["sa-pgd", "apgd", "withstand both", "accuracy"]
    assert printed[2][1] <= min(printed[0][1], printed[1][1])
    table = minihire(loaded)
    assert "images" in table and "rounded" in table
    with np.load(folder / "mine.npz") as file:
        assert file["images"].shape == (10, 32, 32, 3)
        assert np.abs(file["images"] - names["test"].images / 255).max() == pytest.approx(8 / 255, rel=1e-5)
    (folder / "mine.py").write_text(own, encoding="utf-8")
    monkeypatch.setitem(ATTACKS, "brighter", None)  # removed after the test
    assert "brighter" in minihire(named, "--test-limit", "10")
