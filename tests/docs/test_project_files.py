"""CONTRIBUTING, CHANGELOG, CITATION and the workflow agree with the package and with each other."""

import configparser
import re

from handbook_pages import ROOT, links

import minihire


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_has_the_package_s_version_and_the_paper():
    text = read("CITATION.cff")
    assert re.search(r"^version: (.+)$", text, re.M).group(1) == minihire.__version__
    assert "arxiv.org/abs/2110.11417" in text


def test_the_newest_section_of_the_changelog_is_the_package_s_version():
    assert re.search(r"^## \[(.+)\]$", read("CHANGELOG.md"), re.M).group(1) == minihire.__version__


def test_pages_name_the_oldest_pytorch_that_the_package_accepts():
    (oldest,) = set(re.findall(r"^ +torch>=(\S+)", read("setup.cfg"), re.M))
    for page in ("torch.md", "gpu.md", "for-pytorch-users.md"):
        assert f"PyTorch {oldest} or newer" in read(f"docs/{page}")


def test_the_workflow_tests_every_supported_python():
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg", encoding="utf-8")
    supported = re.findall(r"Python :: (3\.\d+)", listed["metadata"]["classifiers"])
    matrix = re.search(r"python-version: \[(.*)\]", read(".github/workflows/tests.yml")).group(1)
    assert re.findall(r"3\.\d+", matrix) == supported


def test_contributing_is_one_page_and_its_links_lead_somewhere():
    assert len(read("CONTRIBUTING.md").splitlines()) <= 80
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        assert [link for link in links(ROOT / name) if not (ROOT / link).exists()] == [], name


def test_every_command_of_contributing_is_one_that_ci_runs():
    ci = read(".github/workflows/tests.yml") + read(".ci/run")
    for command in ("ruff check .", "ruff format --check .", "mypy", 'pytest -m "not slow"'):
        assert command in read("CONTRIBUTING.md") and command in ci
