"""The backends on which a test runs.

The fixture `backend` of conftest.py stands for every backend in both precisions. Two marks narrow it:

- `compared` leaves out the reference, for tests that compare a backend with it.
- `event_driven` gives some parameters all their values on the Numba backend in float32 alone. Only its kernels choose by
  density, by the number of steps and by channels (backends/numba_cpu/dispatch.py). On the other backends the same code runs
  whatever these parameters are, so one value is enough.

float64 on the fast backends is marked slow: their users compute in float32, and the reference has both precisions.
"""

import importlib.util

import pytest

from backends import BACKENDS

EVENT_DRIVEN = ("numba", "cpu", "float32")


def _every_backend():
    """(backend, device, dtype): the reference first, CUDA where there is a GPU."""
    places = [("reference", "cpu"), *((name, "cpu") for name in sorted(BACKENDS) if name != "reference")]
    if importlib.util.find_spec("torch"):
        import torch

        places += [("torch", "cuda")] * torch.cuda.is_available()
    return [(*place, dtype) for place in places for dtype in ("float64", "float32")]


EVERY = _every_backend()
COMPARED = [place for place in EVERY if place[0] != "reference"]


def marked(place, *values):
    """A parameter set of a place and further values, with the marks of the place."""
    marks = [pytest.mark.slow] if place[0] != "reference" and place[2] == "float64" else []
    return pytest.param(place, *values, marks=marks)


compared = pytest.mark.parametrize("backend", list(map(marked, COMPARED)), indirect=True, scope="session", ids="-".join)


def event_driven(names: str, values: list, otherwise: list):
    """A mark that parametrises `backend`, without the reference, together with `names`.

    The event-driven kernels run with all `values`, the other backends with those of `otherwise`. Several names take tuples.
    """
    several = "," in names
    cases = [
        (place, *(value if several else (value,)))
        for place in COMPARED
        for value in (values if place == EVENT_DRIVEN else otherwise)
    ]
    ids = ["-".join([*place, *map(str, rest)]) for place, *rest in cases]
    marked_cases = [marked(*case) for case in cases]
    return pytest.mark.parametrize(f"backend, {names}", marked_cases, indirect=["backend"], scope="session", ids=ids)
