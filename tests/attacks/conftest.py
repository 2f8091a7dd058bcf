"""The smallest networks with images of 8×8 pixels to attack."""

import numpy as np
import pytest

from backends import get_backend
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.progress import Progress


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress lines."""
    monkeypatch.setattr(Progress, "quiet", True)


@pytest.fixture(params=["reference", "numba"])
def k(request):
    """Both CPU backends in float32, on one thread."""
    return get_backend(request.param, threads=1)


@pytest.fixture
def network():
    """A factory: network(k) is an SNN of T = 4 that fires in every layer, network(k, "ann"), network(k, "rate")."""

    def make(k, kind="direct", seed=1, classes=4, shape=(8, 8, 3), **options):
        model, spiking = build("vgg5", classes, shape, width=1 / 16, hidden=12), kind != "ann"
        parameters = initialise(model, k, seed, spiking)
        parameters |= {p: k.asarray([0.4]) for p in parameters if p.endswith("threshold")}
        coding = "rate" if kind == "rate" else "direct"
        return Network(model, k, parameters, spiking=spiking, steps=4 if spiking else 1, coding=coding, **options)

    return make


@pytest.fixture
def data():
    """12 images [8, 8, 3] of 4 classes; a few pixels are black or white."""
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(128, 90, (12, 8, 8, 3)), 0, 255).astype(np.uint8)
    return Dataset("tiny", images, np.arange(12) % 4, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def images(data):
    """These images as float32 in [0, 1]."""
    return (data.images / 255).astype(np.float32)
