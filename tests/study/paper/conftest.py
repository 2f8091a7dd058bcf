"""A paper study at the tiny scale, and one run of all experiments."""

import pytest
from tiny_scale import NAMES, TINY

from backends import get_backend
from minihire.app import paper as command
from minihire.study.paper.paper_study import PaperStudy


@pytest.fixture(scope="session")
def backend():
    return get_backend()


@pytest.fixture
def study(backend, tmp_path):
    """A new study at the tiny scale."""
    return PaperStudy(TINY, backend, tmp_path)


@pytest.fixture(scope="session")
def made(backend, tmp_path_factory):
    """(folder, content of paper.json) of all experiments with two seeds, but for those of test_robustness.py."""
    folder = tmp_path_factory.mktemp("paper")
    return folder, command.reproduce(PaperStudy(TINY, backend, folder, seeds=2), NAMES, folder)
