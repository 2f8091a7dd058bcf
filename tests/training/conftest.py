"""Forty images of 8×8 pixels, and the smallest networks that train on them."""

import hashlib
import signal

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


@pytest.fixture(params=["reference", "numba", "torch"])
def k(request):
    """Every backend on the CPU in float32, on one thread."""
    if request.param == "torch":
        pytest.importorskip("torch")
    return get_backend(request.param, threads=1)


@pytest.fixture
def make_data():
    """make_data(n): n images [8, 8, 3] of noise around a grey level for each of 4 classes."""

    def make(count, seed=0):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, count)
        images = np.clip(rng.normal(0, 40, (count, 8, 8, 3)) + 50 * labels[:, None, None, None] + 50, 0, 255).astype(
            np.uint8
        )
        return Dataset("tiny", images, labels, tuple("abcd"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    return make


@pytest.fixture
def data(make_data):
    """40 such images."""
    return make_data(40)


@pytest.fixture
def network():
    """A factory: network(k) is an SNN of T = 4 that fires in every layer, network(k, spiking=False) an ANN."""

    def make(k, name="vgg5", spiking=True, readout="membrane", seed=1, width=1 / 32, hidden=8, **options):
        model = build(name, 4, (8, 8, 3), width=width, hidden=hidden)
        parameters = initialise(model, k, seed, spiking, readout)
        parameters |= {p: k.asarray([0.5]) for p in parameters if p.endswith("threshold")}
        return Network(
            model, k, parameters, spiking=spiking, readout=readout, **{"steps": 4 if spiking else 1, **options}
        )

    return make


@pytest.fixture
def digest():
    """digest(arrays) of {name: backend array}: equal for arrays that are equal to the bit."""

    def make(arrays):
        found = hashlib.sha256()
        for name in sorted(arrays):
            found.update(name.encode() + np.asarray(arrays[name]).tobytes())
        return found.hexdigest()

    return make


@pytest.fixture
def press_ctrl_c(monkeypatch):
    """press_ctrl_c(n): SIGINT reaches this process when Progress.add is called for the n-th time from now."""

    def arrange(number):
        calls, add = [], Progress.add

        def counting(self, *arguments):
            calls.append(1)
            if len(calls) == number:
                signal.raise_signal(signal.SIGINT)
            add(self, *arguments)

        monkeypatch.setattr(Progress, "add", counting)

    return arrange


@pytest.fixture
def after_batches(monkeypatch):
    """after_batches(action): from now on, action() is called after every batch of a training."""

    def arrange(action):
        add = Progress.add

        def adding(self, *arguments):
            action()
            add(self, *arguments)

        monkeypatch.setattr(Progress, "add", adding)

    return arrange


@pytest.fixture
def before_update(monkeypatch):
    """before_update(n, action): action(network) is called before the n-th update from now computes its gradients."""

    def arrange(number, action):
        calls, gradients = [], Network.gradients

        def counting(self, *arguments, **options):
            calls.append(1)
            if len(calls) == number:
                action(self)
            return gradients(self, *arguments, **options)

        monkeypatch.setattr(Network, "gradients", counting)

    return arrange
