"""Two kinds of network: random ones that fire in every layer, and one small enough to follow by hand."""

import numpy as np
import pytest

from backends import get_backend
from minihire.layers import AvgPool, Conv2d, Flatten, Neuron, Readout
from minihire.models import Model, build
from minihire.network import Network, initialise


@pytest.fixture
def random_network():
    """A factory of small networks with random weights and thresholds of 0.2, so that deep layers fire too."""

    def make(name="vgg5", backend="reference", spiking=True, readout="membrane", **options):
        k = get_backend(backend)
        model = build(name, image_shape=(8, 8, 3), width=0.1, hidden=12)
        parameters = initialise(model, k, 1, spiking, readout)
        parameters |= {p: k.asarray([0.2]) for p in parameters if p.endswith("threshold")}
        return Network(model, k, parameters, spiking=spiking, readout=readout, **{"steps": 5, **options})

    return make


@pytest.fixture
def images():
    """Six fixed images [6, 8, 8, 3] in [0, 1]."""
    return np.random.default_rng(3).random((6, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def toy():
    """A factory of four neurons that receive one pixel each (weight 1, v = λ = 1), pooled or not, and a readout of 3 classes."""

    def make(pool=False, coding="direct", spiking=True, steps=4):
        k = get_backend("reference", dtype="float64")
        layers = (
            Conv2d("conv1", 1, size=1),
            Neuron("neuron1"),
            *([AvgPool()] if pool else []),
            Flatten(),
            Readout("readout", 3),
        )
        model = Model("toy", layers, (2, 2, 1), 3, (0.0,), (1.0,), steps, 1.0, None, 0.0)
        ones = {name: k.asarray(np.ones(p.shape)) for name, p in model.parameters(spiking).items()}
        return Network(model, k, ones, spiking=spiking, steps=steps, coding=coding)

    return make
