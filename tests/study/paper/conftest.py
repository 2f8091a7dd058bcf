"""A paper study at the tiny scale, and one run of all experiments."""

import pytest
from tiny_scale import NAMES, TINY

from backends import get_backend
from minihire.app import paper as command
from minihire.study.paper import attackers, cost
from minihire.study.paper.paper_study import PaperStudy


@pytest.fixture(scope="session")
def backend():
    """One thread: arrays are so small that a second one would mostly wait."""
    return get_backend(threads=1)


@pytest.fixture(scope="package", autouse=True)
def short_experiments():
    """Fewer repetitions of what experiments do at every scale alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attackers, "ITERATIONS", 2)
        patch.setattr(cost, "ROUNDS", 1)
        yield


@pytest.fixture
def study(backend, tmp_path):
    """A new study at the tiny scale."""
    return PaperStudy(TINY, backend, tmp_path)


@pytest.fixture(scope="package")
def made(short_experiments, backend, tmp_path_factory):
    """(folder, content of paper.json) of all experiments with two seeds, but for those of test_robustness.py."""
    folder = tmp_path_factory.mktemp("paper")
    return folder, command.reproduce(PaperStudy(TINY, backend, folder, seeds=2), NAMES, folder)
