"""What every test shares: the backends that can be built here, the exact one, and the numerical derivative."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # a plain clone needs no installation, and tests/backends must not be taken for backends

from allowed_skips import (  # noqa: E402, F401 (hooks)
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from every_backend import EVERY, marked  # noqa: E402 (it imports backends, which ROOT holds)

settings.register_profile(
    "minihire",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("minihire")


def pytest_report_header(config):
    """pytest prints it before the first test, unless -q is given."""
    return 'README.md says how long the tests take; -m "not slow" runs the fast ones'


@pytest.fixture(scope="session", params=list(map(marked, EVERY)), ids="-".join)
def backend(request):
    """Every registered backend in both precisions; skipped where what it needs is not installed."""
    from backends import BACKENDS, get_backend

    name, device, dtype = request.param
    package = BACKENDS[name][2].split()[-1]  # of "pip install torch"
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return get_backend(name, device, dtype=dtype)


@pytest.fixture(scope="session")
def exact():
    """The reference in float64: the backend whose derivatives are checked and to which the others are compared."""
    from backends import get_backend

    return get_backend("reference", dtype="float64")


@pytest.fixture(scope="session")
def agrees(backend):
    """agrees(got, expected): relative error in the norm below 1e-5 in float32, 1e-11 in float64, and equal shapes."""

    def check(got, expected, tolerance=1e-5 if backend.dtype == "float32" else 1e-11):
        got, expected = np.asarray(backend.to_numpy(got), np.float64), np.asarray(expected, np.float64)
        assert got.shape == expected.shape
        assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)

    return check


@pytest.fixture
def progress_shown(monkeypatch):
    """{label: (units done, units in all)} of all work that shows its progress."""
    from minihire.runtime.progress import Progress

    shown, add = {}, Progress.add

    def adding(self, *arguments):
        add(self, *arguments)
        shown[self.label] = self.done + self.count, self.total

    monkeypatch.setattr(Progress, "add", adding)
    return shown


@pytest.fixture(scope="session")
def check_gradient():
    """check_gradient(function, arrays, grads): within 1e-6 of central differences in float64; see minihire/engine/check.py."""
    from minihire.engine.check import gradient_error

    def check(function, arrays, grads, seed=0, step=1e-5):
        assert gradient_error(function, arrays, grads, seed=seed, step=step) < 1e-6

    return check
