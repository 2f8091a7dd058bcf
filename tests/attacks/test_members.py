"""The surrogate ensemble: each member's gradient is that of the smooth network that it stands for."""

from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend
from minihire.attacks import MEMBERS, attack_accuracy, fgsm
from minihire.attacks.members import relu_network
from minihire.engine.check import gradient_error
from minihire.engine.lif import NeuronOptions
from minihire.layers import Branches, Conv2d, Flatten, Linear, Neuron, Readout, Residual
from minihire.models import assemble, build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError

BY_NAME = {member.name: member for member in MEMBERS}


def spiking(steps=3, coding="direct", neuron=NeuronOptions()):
    """A float64 network in which every layer has neurons near their threshold, images and labels. neuron: emits the spikes."""
    k, model = get_backend("reference", dtype="float64"), build("vgg5", 4, (8, 8, 3), width=1 / 8, hidden=32)
    parameters = initialise(model, k, 3, spiking=True)
    parameters |= {name: k.asarray([0.8]) for name in parameters if name.endswith("leak")}
    net = Network(model, k, parameters, spiking=True, steps=steps, coding=coding, neuron=neuron)
    images = np.random.default_rng(0).random((4, 8, 8, 3))
    currents = {}
    for name in [name for name in parameters if name.endswith("threshold")]:
        net.forward(images, observe=lambda event, layer, x: currents.update({(event, layer): x}))
        found = currents["current", name.removesuffix(".threshold")]
        net.parameters[name] = k.asarray([np.quantile(found[found > 0], 0.5)])
    return net.view(neuron=NeuronOptions()), images, np.array([1, 2, 0, 3])


def with_blocks(readout="membrane", bias=True):
    """A network with two kinds of blocks, whose thresholds are 1.1 to 2.7 times the largest current; and images."""
    block = (Conv2d("a", 4, bias=bias), Neuron("neuron_a"), Conv2d("b", 4, bias=bias))
    layers = [
        *(Conv2d("conv1", 4, bias=bias), Neuron("neuron1"), Branches("sum", block, ()), Neuron("neuron2")),
        *(Residual("block", 6, 2, 0.0, 1), Flatten(), Linear("linear1", 8, bias=bias), Neuron("neuron3")),
        Readout("readout", 4, bias=bias),
    ]
    k = get_backend("numba", threads=1, dtype="float64")
    model = assemble("mine", layers, (8, 8, 3), 4, mean=(0.5,) * 3, std=(0.25,) * 3)
    rng, parameters = np.random.default_rng(4), initialise(model, k, 3, True, readout)
    parameters |= {n: rng.normal(0, 0.3, p.shape) for n, p in parameters.items() if n.endswith("bias")}
    net = Network(model, k, parameters, spiking=True, steps=64, time_chunk=64, readout=readout)
    images, currents = k.asarray(rng.random((4, 8, 8, 3))), {}
    names = [name.removesuffix(".threshold") for name in parameters if name.endswith("threshold")]
    for name, factor in zip(names, np.linspace(1.1, 2.7, len(names)), strict=True):
        net.forward(images, observe=lambda event, layer, x: currents.update({(event, layer): x}))
        net.parameters[f"{name}.threshold"] = k.asarray([factor * k.to_numpy(currents["current", name]).max()])
    return net, images


def image_gradient(network, images, labels):
    return network.gradients(images, labels, weights=False, image=True, training=False).image


def test_the_table_is_complete():
    names = [member.name for member in MEMBERS]
    assert names[0] == "arctan-2" and len(names) == len(set(names)) == 25
    widths = [m.surrogate.width for m in MEMBERS if m.surrogate.kind == "triangle" and not m.reset_grad and not m.relu]
    assert widths == [0.25, 0.5, 1, 2, 3]
    assert sum(member.reset_grad for member in MEMBERS) == 8


@pytest.mark.parametrize("name", [m.name for m in MEMBERS if not m.relu and m.name != "rate"])
def test_a_member_s_gradient_is_that_of_its_smooth_network(name):
    """Soft spikes, whose derivative is the surrogate; a gradient that does not flow through the reset needs T = 1 for that."""
    member = BY_NAME[name]
    soft = NeuronOptions(surrogate=member.surrogate, soft=True)
    network, images, labels = spiking(steps=3 if member.reset_grad else 1, neuron=soft)
    source = member.source(network)
    assert source.neuron.surrogate == member.surrogate and source.neuron.reset_grad == member.reset_grad
    smooth = source.view(neuron=replace(source.neuron, soft=True))
    grad = image_gradient(smooth, images, labels)
    loss = lambda x: smooth.gradients(x, labels, weights=False, training=False).losses.mean()
    assert np.abs(grad).max() > 0
    assert gradient_error(loss, [images], [grad], step=1e-8) < 1e-5


@pytest.mark.parametrize("name", [m.name for m in MEMBERS if not m.relu])
def test_a_member_changes_the_gradient_and_not_the_network(name):
    network, images, labels = spiking()
    source = BY_NAME[name].source(network)
    np.testing.assert_array_equal(source.forward(images), network.forward(images))
    assert source.parameters["conv1.weight"] is network.parameters["conv1.weight"]
    assert not np.array_equal(image_gradient(source, images, labels), image_gradient(network, images, labels))


def test_the_rate_gradient_is_its_formula():
    """One layer by hand: ∂r/∂I = 1/(v·T) inside the ramp."""
    network, images, labels = spiking()
    k, neuron = network.backend, BY_NAME["rate"].source(network).neuron
    current, grad = images[None, :, :2, :2] * 2 - 0.2, np.random.default_rng(1).standard_normal((3, 4, 2, 2, 3))
    saved = k.lif_forward(current, None, np.array([0.8]), np.array([0.7]), 3)[2]
    found = k.lif_backward(saved, grad, None, neuron.surrogate)[0]
    rate = current / 0.7 - 0.1
    np.testing.assert_allclose(found, np.where((rate > 0) & (rate < 1), grad.sum(axis=0) / 0.7, 0), rtol=1e-12)


@pytest.mark.parametrize("coding", ["direct", "rate"])
def test_the_activation_only_gradient_is_that_of_the_relu_network(coding):
    network, images, labels = spiking(coding=coding)
    source = BY_NAME["activation-only"].source(network)
    assert not source.spiking
    grad = image_gradient(source, images, labels)
    loss = lambda x: source.gradients(x, labels, weights=False, training=False).losses.mean()
    assert np.abs(grad).max() > 0 and gradient_error(loss, [images], [grad], step=1e-8) < 1e-5
    thresholds = [array[0] for name, array in network.parameters.items() if name.endswith("threshold")]
    for name, array in source.parameters.items():
        factor = 3 / np.prod(thresholds) if name == "readout.weight" else 1
        np.testing.assert_allclose(array, network.parameters[name] * factor, rtol=1e-12)
    if coding == "rate":  # the pixels themselves, as the rate code has them
        assert source.model.mean == (0, 0, 0) and source.model.std == (1, 1, 1)


@pytest.mark.parametrize("readout, bias", [("membrane", True), ("spikes", True), ("membrane", False)])
def test_the_relu_network_of_a_network_with_biases_or_blocks_has_its_logits(readout, bias):
    """Nearer with T. At T = 2048: 0.2 % of the largest logit, readout "spikes" 0.6 %, no biases 3 %."""
    network, images = with_blocks(readout, bias)
    k, errors = network.backend, []
    for steps in (64, 2048):
        snn = network.view(steps=steps)
        logits, found = (k.to_numpy(n.forward(images)) for n in (snn, relu_network(snn)))
        found = np.maximum(found, 0) if readout == "spikes" else found  # output neurons do not fire less than never
        errors.append(np.abs(found - logits).max() / np.abs(logits).max())
    assert errors[1] < (0.01 if bias else 0.04) and errors[1] < errors[0] / 10


def test_the_gradient_of_the_relu_network_with_blocks():
    network, images = with_blocks()
    source, images, labels = relu_network(network), images[:1], np.array([1])
    grad = image_gradient(source, images, labels)
    loss = lambda x: source.gradients(x, labels, weights=False, training=False).losses.mean()
    assert np.abs(grad).max() > 0 and gradient_error(loss, [images], [grad], step=1e-8) < 1e-5


def test_crafting_on_a_member_is_a_white_box_attack(network, data):
    net = network(get_backend("reference"))
    found = {m.name: attack_accuracy(net, data, fgsm(0.05), source=m.source(net)).mean() for m in MEMBERS}
    assert len(set(found.values())) > 1
    with pytest.raises(MinihireError, match="the surrogate ensemble is for spiking networks"):
        MEMBERS[0].source(network(get_backend("reference"), "ann"))


def test_the_relu_network_is_not_changed_by_its_copy(network):
    net = network(get_backend("reference"))
    relu_network(net).parameters["conv1.weight"][...] = 0
    assert net.parameters["conv1.weight"].any()
