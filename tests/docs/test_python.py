"""docs/python.md: lists the public names of each package once; its example runs, with fewer images."""

import importlib
import re

import pytest
from handbook_pages import DOCS, blocks, run

import minihire
from minihire.interop import MODULES
from minihire.runtime.progress import Progress

PAGE = "python.md"
SECTIONS = {
    title: re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.+?) \|", body, re.M)))
    for title, body in re.findall(
        r"^## (\S+)\n(.*?)(?=^## |\Z)", (DOCS / PAGE).read_text(encoding="utf-8"), re.M | re.S
    )
}


def public(package):
    """The public names of a package; those that minihire has, too, belong to its own section."""
    names = MODULES if package == "minihire.interop" else importlib.import_module(package).__all__
    return sorted(set(names) - (set() if package == "minihire" else set(minihire.__all__)))


@pytest.mark.parametrize("package", SECTIONS)
def test_a_section_lists_the_public_names_of_its_package(package):
    assert sorted(SECTIONS[package]) == public(package)


def test_every_package_with_public_names_has_a_section():
    packages = {"minihire", "backends", "minihire.interop"}
    for name in ("data", "training", "attacks", "analysis", "engine", "report", "runtime", "study", "app"):
        if hasattr(importlib.import_module(f"minihire.{name}"), "__all__"):
            packages.add(f"minihire.{name}")
    assert set(SECTIONS) == packages


@pytest.mark.slow
def test_the_comparison_of_two_recipes_runs(monkeypatch):
    (code,) = blocks(PAGE)["Three seeds and a test"]
    smaller = {"train_limit=2000": "train_limit=64", "test_limit=200": "test_limit=20", "epochs=12": "epochs=1"}
    smaller |= {"width=0.125, hidden=64": "width=0.0625, hidden=16", "255, 20)": "255, 2)"}
    for old, new in smaller.items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    monkeypatch.setenv("MINIHIRE_BACKEND", "reference")
    monkeypatch.setattr(Progress, "quiet", True)
    printed = []
    names = run(code, "python_page", monkeypatch, print=lambda *words: printed.append(words))
    assert [words[:2] for words in printed[:-1]] == [(n, s) for s in range(3) for n in ("traditional", "mine")]
    assert -1 <= names["low"] <= names["high"] <= 1 and 0 < names["p"] <= 1
