"""Networks: random ones that fire in every layer, one small enough to follow by hand, and some with several analog layers."""

import numpy as np
import pytest

from backends import get_backend
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, Neuron, Readout, Residual
from minihire.models import Model, assemble, build
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


NORM, CONV, NEURON = Conv2d("norm", 3, 1, bias=True), Conv2d("conv", 4), Neuron("neuron")
SHORTCUT = (Conv2d("shortcut", 4, 1),)
BEFORE_NEURONS = {  # the layers, and the names of those with analog inputs
    "norm": ((NORM, CONV, NEURON), {"norm", "conv"}),
    "pool": ((NORM, AvgPool(), CONV, NEURON), {"norm", "conv"}),
    "shortcut": ((Branches("sum", (CONV, NEURON, Conv2d("next", 4)), SHORTCUT), Neuron("end")), {"conv", "shortcut"}),
    "two branches": ((Branches("sum", (CONV,), SHORTCUT), Conv2d("next", 4), NEURON), {"conv", "shortcut", "next"}),
    "mixed": ((Branches("sum", (CONV, NEURON), SHORTCUT), Conv2d("next", 4), Neuron("end")), {"conv", "shortcut"}),
    "residual": ((Residual("block", 4, 1, 0.0, 1),), {"block.conv1", "block.shortcut"}),
}


@pytest.fixture(params=BEFORE_NEURONS)
def analog(request):
    """(make, names): make(**options) is an SNN of T = 5, in which these layers have analog inputs with direct coding."""
    layers, names = BEFORE_NEURONS[request.param]

    def make(**options):
        k = get_backend("reference")
        model = assemble(
            "mine", [*layers, Flatten(), Readout("readout", 3)], (8, 8, 3), 3, mean=(0.0,) * 3, std=(1.0,) * 3
        )
        parameters = initialise(model, k, 1, True)
        return Network(model, k, parameters, spiking=True, **{"steps": 5, **options})

    return make, names
