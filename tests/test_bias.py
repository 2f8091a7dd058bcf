"""Biases of convolutions and linear layers: a constant current at every time step, on every backend.

Weights, biases and pixels are multiples of powers of two, so that every backend computes the same spikes and logits exactly.
"""

import numpy as np
import pytest

from backends import get_backend, surrogates
from backends.interface import NeuronState
from backends.randomness import Draws
from minihire.data.dataset import Dataset
from minihire.engine import Tape, Variable
from minihire.engine.lif import NeuronOptions
from minihire.layers import AvgPool, Conv2d, Flatten, ForwardContext, Linear, Neuron, Readout
from minihire.models import MODELS, assemble, build
from minihire.network import Network, initialise
from minihire.runtime.progress import Progress
from minihire.training import Recipe, train
from minihire.training.checkpoint import load, save


class Biased:
    """Two convolutions, the second without padding, and a hidden linear layer, all with a bias."""

    steps = 3

    def layers(self, width, hidden, dropout):
        return [
            *(Conv2d("conv1", 4, bias=True), Neuron("neuron1"), AvgPool()),
            *(Conv2d("conv2", 8, size=2, padding=0, bias=True), Neuron("neuron2", dropout, 1), Flatten()),
            *(Linear("linear1", 8, bias=True), Neuron("neuron3")),
        ]


@pytest.fixture
def make(monkeypatch):
    """make(backend, …): a network of `Biased` layers; biased=False sets all biases to zero."""
    monkeypatch.setitem(MODELS, "biased", Biased())

    def build_network(k, spiking=True, biased=True, initial=0.0, reset="immediate", **options):
        model, rng = build("biased", 4, (8, 8, 3), mean=(0.5,) * 3, std=(0.25,) * 3), np.random.default_rng(3)
        arrays = {}
        for name, p in model.parameters(spiking, options.get("readout", "membrane")).items():
            values = {"threshold": [0.5], "leak": [0.75]}.get(name.split(".")[1])
            if values is None:
                values = rng.integers(-6, 9, p.shape) / 16 * (biased or not name.endswith("bias"))
            arrays[name] = k.asarray(values)
        neuron = NeuronOptions(reset, surrogates.triangle(1.0), initial=initial)
        return Network(model, k, arrays, spiking=spiking, steps=3 if spiking else 1, neuron=neuron, **options)

    return build_network


def batch(k):
    """Images and labels."""
    rng = np.random.default_rng(5)
    return k.asarray(rng.integers(0, 17, (5, 8, 8, 3)) / 16), k.asarray(rng.integers(0, 4, 5))


SETTINGS = [
    {"spiking": False},
    {"spiking": True},
    {"spiking": True, "readout": "spikes"},
    {"spiking": True, "coding": "rate"},
    {"spiking": True, "time_chunk": 2},
    {"spiking": True, "time_chunk": 2, "initial": 0.25},
    {"spiking": True, "reset": "delayed", "initial": 0.25},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_every_backend_computes_the_same_logits_and_gradients(backend, exact, agrees, make, setting):
    """Forward and backward, with dropout, against the reference in float64."""
    found, expected = (make(k, **setting).gradients(*batch(k), image=True, draws=Draws(1, 2)) for k in (backend, exact))
    if setting["spiking"]:
        np.testing.assert_array_equal(backend.to_numpy(found.logits), exact.to_numpy(expected.logits))
    agrees(found.logits, exact.to_numpy(expected.logits))
    assert found.weights.keys() == expected.weights.keys() >= {"conv1.bias", "conv2.bias", "linear1.bias"}
    for name in expected.weights:
        agrees(found.weights[name], exact.to_numpy(expected.weights[name]))
    agrees(found.image, exact.to_numpy(expected.image))
    assert all(np.abs(exact.to_numpy(expected.weights[f"{name}.bias"])).max() > 0 for name in ("conv1", "linear1"))


def test_the_readout_s_bias_counts_once_per_step(exact, make):
    """Logits = Σ_t (W·s[t] + b), although the product is computed once, for the sum over time."""
    rng = np.random.default_rng(0)
    spikes, weight, bias = rng.integers(0, 2, (5, 2, 6)) * 1.0, rng.standard_normal((6, 3)), rng.standard_normal((1, 3))
    weights = {"readout.weight": Variable(weight), "readout.bias": Variable(bias)}
    ctx = ForwardContext(Tape(exact), weights, True, 5)
    logits = Readout("readout", 3, bias=True)(ctx, Variable(spikes)).value
    np.testing.assert_allclose(logits, spikes.sum(0) @ weight + 5 * bias, rtol=1e-12)


@pytest.mark.parametrize("chunk", [None, 1, 2, 3])
def test_a_readout_of_the_image_counts_every_step(exact, chunk):
    """Without neurons the readout gets one step, which stands for all T."""
    model = assemble("linear", [Flatten(), Readout("r", 3, bias=True)], (2, 2, 1), 3, mean=[0], std=[1])
    images = np.arange(8.0).reshape(2, 2, 2, 1) / 8
    network = initialise(model, exact, seed=0)
    network = Network(
        model, exact, {**network, "r.bias": np.array([[1.0, 2.0, 3.0]])}, spiking=True, steps=4, time_chunk=chunk
    )
    once = images.reshape(2, 4) @ network.parameters["r.weight"] + network.parameters["r.bias"]
    np.testing.assert_allclose(network.forward(images), 4 * once, rtol=1e-12)


@pytest.mark.parametrize("spiking", [False, True])
def test_gradients_are_those_of_finite_differences(exact, check_gradient, make, spiking):
    """An ANN, and an SNN whose spikes are soft."""
    network = make(exact, spiking)
    network.neuron = NeuronOptions(surrogate=surrogates.triangle(1.0), soft=True, reset_grad=True)
    rng = np.random.default_rng(1)
    for name, array in network.parameters.items():  # off the kinks
        network.parameters[name] = array + rng.uniform(-0.01, 0.01, array.shape)
    images, labels = batch(exact)
    names = [name for name in network.parameters if name.endswith("bias")]

    def loss(*biases):
        other = network.copy(parameters={**network.parameters, **dict(zip(names, biases, strict=True))})
        return other.gradients(images, labels, training=False, weights=False).losses.mean()

    grads = network.gradients(images, labels, training=False).weights
    check_gradient(loss, [network.parameters[n] for n in names], [exact.to_numpy(grads[n]) for n in names])


@pytest.mark.parametrize("spiking", [False, True])
def test_biases_of_zero_change_no_bit(backend, make, spiking):
    """Compared with the network without biases."""
    network = make(backend, spiking, biased=False)
    layers = [type(x)(**{**vars(x), "bias": False}) if hasattr(x, "bias") else x for x in network.model.layers]
    plain = type(network.model)(**{**vars(network.model), "layers": tuple(layers)})
    weights = {name: a for name, a in network.parameters.items() if not name.endswith("bias")}
    images = batch(backend)[0]
    expected = network.copy(model=plain, parameters=weights).forward(images)
    np.testing.assert_array_equal(backend.to_numpy(network.forward(images)), backend.to_numpy(expected))


def test_frozen_neurons_do_not_freeze_biases(make, monkeypatch):
    monkeypatch.setattr(Progress, "quiet", True)
    k = get_backend("reference")
    network = make(k)
    before = {name: k.to_numpy(a) for name, a in network.parameters.items()}
    rng = np.random.default_rng(2)
    pixels, labels = rng.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8), np.arange(20) % 4
    data = Dataset("noise", pixels, labels, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)
    train(network, Recipe(epochs=1, batch_size=20, freeze=True), data)
    same = {name for name, a in network.parameters.items() if np.array_equal(a, before[name])}
    assert same == {name for name in before if name.endswith(("threshold", "leak"))}


def test_a_checkpoint_stores_the_biases(make, tmp_path):
    k = get_backend("reference")
    network = make(k)
    save(tmp_path / "biased.npz", network)
    again = load(tmp_path / "biased.npz").network(k)
    images = batch(k)[0]
    np.testing.assert_array_equal(again.forward(images), network.forward(images))
    assert np.abs(again.parameters["conv2.bias"]).max() > 0


@pytest.mark.parametrize("reset", ["immediate", "delayed"])
def test_the_initial_membrane_is_that_of_a_state(backend, make, reset):
    """Compared with a state before the first step in which every membrane has this value."""
    images, labels = batch(backend)
    network = make(backend, initial=0.25, reset=reset)
    found = network.gradients(images, labels, image=True, training=False)
    shapes = {"neuron1": (5, 8, 8, 4), "neuron2": (5, 3, 3, 8), "neuron3": (5, 8)}
    full = lambda shape, value: backend.asarray(np.full(shape, value))
    spikes = {name: full(shape, 0.0) if reset == "delayed" else None for name, shape in shapes.items()}
    state = {name: NeuronState(full(shape, 0.25), spikes[name]) for name, shape in shapes.items()}
    plain = make(backend, reset=reset)
    expected = plain.gradients(images, labels, image=True, training=False, state=state)
    np.testing.assert_array_equal(backend.to_numpy(found.logits), backend.to_numpy(expected.logits))
    np.testing.assert_array_equal(backend.to_numpy(found.image), backend.to_numpy(expected.image))
    without = plain.gradients(images, labels, training=False)
    assert np.abs(backend.to_numpy(found.logits) - backend.to_numpy(without.logits)).max() > 0.1


def test_biases_start_at_zero(make):
    k = get_backend("reference")
    started = initialise(make(k).model, k, seed=0)
    assert started["conv1.bias"].shape == (1, 4) and not started["conv1.bias"].any() and started["conv1.weight"].any()
