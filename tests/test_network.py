"""Whole networks against the same networks in torch.autograd, written here step by step in the order of time.

The numbers are chosen so that float32 rounds nothing away before a spike is decided (weights, pixels and thresholds are
multiples of powers of two), so spikes and logits must be equal on every backend, and gradients up to rounding.
"""

import copy
import dataclasses
import functools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from backends import randomness, surrogates
from backends.randomness import Draw, Draws
from minihire.encoding import unit_pixels
from minihire.engine import Tape, Variable, ops
from minihire.engine.lif import NeuronOptions
from minihire.layers import Branches, Flatten, ForwardContext, Linear, Readout
from minihire.models import assemble, build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream
from minihire.training.optimisers import Adam

ROOT = Path(__file__).parent.parent
BATCH, CLASSES, SIDE = 2, 10, 16
GAMMA = 1.0  # not 0.3: the gradients of eleven layers would vanish
DRAWS = Draws(seed=11, step=5, first=3)


class Setting(NamedTuple):
    """One network, and how it is run."""

    model: str = "vgg5"
    spiking: bool = True
    steps: int = 3
    reset: str = "immediate"
    reset_grad: bool = False
    coding: str = "direct"
    readout: str = "membrane"
    noise: bool = False

    @property
    def options(self):
        return NeuronOptions(self.reset, surrogates.triangle(GAMMA), self.reset_grad)


SETTINGS = [
    Setting(model, True, steps, reset, reset_grad)
    for model, steps in (("vgg5", 3), ("vgg11", 4), ("resnet12", 4))
    for reset in ("immediate", "delayed")
    for reset_grad in (False, True)
]
SETTINGS += [Setting(model, spiking=False, steps=1) for model in ("vgg5", "vgg11", "resnet12")]
SETTINGS += [
    Setting(noise=True),
    Setting(coding="rate", steps=4),
    Setting(readout="spikes"),
    Setting("resnet12", readout="spikes", steps=4),
    Setting("resnet12", coding="rate", noise=True, steps=4, reset="delayed"),
]
name_of = lambda s: "-".join(
    str(x)
    for x in (s.model, "snn" if s.spiking else "ann", s.reset, s.reset_grad, s.coding, s.readout, "noise" * s.noise)
)


def model_of(name):
    return build(name, CLASSES, (SIDE, SIDE, 3), width=1 / 16, hidden=16)


@functools.lru_cache
def data(model, spiking, readout):
    """Weights (multiples of 1/64), images and noise (of 1/16 and 1/32) and labels, in float64."""
    rng = np.random.default_rng(7)
    weights = {}
    for name, p in model_of(model).parameters(spiking, readout).items():
        if name.endswith("threshold"):
            weights[name] = rng.choice([0.25, 0.375], 1)
        elif name.endswith("leak"):
            weights[name] = rng.choice([0.5, 0.75], 1)
        else:
            spread, mean = (0.6, 0.15) if spiking else (1.2, 0.0)  # currents about as large as the thresholds; He's
            weights[name] = (
                np.rint((rng.standard_normal(p.shape) + mean) * spread / np.sqrt(np.prod(p.shape[:-1])) * 64) / 64
            )
    images, noise = rng.integers(0, 17, (BATCH, SIDE, SIDE, 3)) / 16, rng.integers(-3, 4, (BATCH, SIDE, SIDE, 3)) / 32
    return weights, images, noise, rng.integers(0, CLASSES, BATCH)


# ---------------------------------------------------------------- the same in torch

VGGS = {
    "vgg5": ["conv1", "A", "conv2", "conv3", "A"],
    "vgg11": ["conv1", "A", "conv2", "conv3", "A", "conv4", "conv5", "conv6", "A", "conv7", "conv8"],
}
BEFORE_A_POOL = {"vgg5": (1, 3), "vgg11": (1, 3, 6)}


class TorchNetwork:
    """All layers for one time step, then the next step: [B, C, H, W] inside, minihire's layouts outside."""

    def __init__(self, torch, setting, weights):
        self.torch, self.setting = torch, setting
        self.weights = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
        self.membrane, self.last = {}, {}
        self.spike = self.make_spike(torch)

    @staticmethod
    def make_spike(torch):
        class Spike(torch.autograd.Function):
            @staticmethod
            def forward(ctx, m, v):
                ctx.save_for_backward(m, v)
                return (m > v).to(m.dtype)

            @staticmethod
            def backward(ctx, grad):
                m, v = ctx.saved_tensors
                k = grad * GAMMA * torch.clamp(1 - (m / v - 1).abs(), min=0)
                return k / v, (-k * m / v**2).sum().reshape(1)

        return Spike.apply

    def neuron(self, name, current, index=0):
        """ReLU or one LIF step, times the dropout mask if the neuron has an index."""
        out = self.torch.relu(current) if not self.setting.spiking else self.lif(name, current)
        if not index:
            return out
        shape = (BATCH, *out.shape[2:], out.shape[1]) if out.ndim == 4 else tuple(out.shape)  # drawn channels last
        first = DRAWS.first * int(np.prod(shape[1:]))
        mask = np.where(
            randomness.uniform(Draw(DRAWS.seed, Stream.DROPOUT, DRAWS.step, index), shape, first) < 0.2, 0, 1.25
        )
        mask = self.torch.tensor(mask)
        return out * (mask.permute(0, 3, 1, 2) if out.ndim == 4 else mask)

    def lif(self, name, current):
        v, leak = self.weights[f"{name}.threshold"], self.weights[f"{name}.leak"]
        constant = (lambda s: s) if self.setting.reset_grad else (lambda s: s.detach())
        m = leak * self.membrane.get(name, 0) + current
        if self.setting.reset == "delayed" and name in self.last:
            m = m - v * constant(self.last[name])
        s = self.spike(m, v)
        self.membrane[name] = m - v * constant(s) if self.setting.reset == "immediate" else m
        self.last[name] = s
        return s

    def conv(self, name, x, stride=1):
        w = self.weights[f"{name}.weight"].permute(3, 2, 0, 1)  # [k, k, C_in, C_out] → [C_out, C_in, k, k]
        return self.torch.nn.functional.conv2d(x, w, stride=stride, padding=w.shape[2] // 2)

    def pool(self, x):
        return self.torch.nn.functional.avg_pool2d(x, 2)

    def step(self, x):
        """One time step: an input [B, H, W, C] to the logits [B, classes]."""
        x = x.permute(0, 3, 1, 2)
        x = self.vgg(x) if self.setting.model in VGGS else self.resnet(x)
        current = x @ self.weights["readout.weight"]
        return self.lif("readout", current) if self.setting.readout == "spikes" else current

    def vgg(self, x):
        n = 0
        for layer in VGGS[self.setting.model]:
            if layer == "A":
                x = self.pool(x)
            else:
                n += 1
                x = self.neuron(f"neuron{n}", self.conv(layer, x), 0 if n in BEFORE_A_POOL[self.setting.model] else n)
        x = x.permute(0, 2, 3, 1).reshape(BATCH, -1)  # flattened channels last
        for i in (1, 2):
            n += 1
            x = self.neuron(f"neuron{n}", x @ self.weights[f"linear{i}.weight"], n)
        return x

    def resnet(self, x):
        for n in (1, 2, 3):
            x = self.neuron(f"neuron{n}", self.conv(f"conv{n}", x), 0 if n == 3 else n)
        x = self.pool(x)
        for n, stride in enumerate((1, 2, 2, 2), 1):
            block = f"block{n}"
            inner = self.neuron(f"{block}.neuron1", self.conv(f"{block}.conv1", x, stride), 3 + n)
            shortcut = x if stride == 1 else self.conv(f"{block}.shortcut", x, stride)
            x = self.neuron(f"{block}.neuron2", self.conv(f"{block}.conv2", inner) + shortcut)
        return x.permute(0, 2, 3, 1).reshape(BATCH, -1)

    def logits(self, x):
        total = 0
        for t in range(self.setting.steps if self.setting.spiking else 1):
            if self.setting.coding == "rate":
                draw = Draw(DRAWS.seed, Stream.RATE_CODE, DRAWS.step, t)
                uniform = randomness.uniform(draw, tuple(x.shape), DRAWS.first * SIDE * SIDE * 3)
                now = x + (self.torch.tensor(uniform < x.detach().numpy()).to(x.dtype) - x).detach()  # straight-through
            else:
                now = (x - 0.5) / 0.25
            total = total + self.step(now)
        return total


@functools.lru_cache
def expected(setting):
    """(logits, losses, gradients by name, gradient of the image or of the noise) by torch in float64."""
    torch = pytest.importorskip("torch")
    weights, images, noise, labels = data(setting.model, setting.spiking, setting.readout)
    network = TorchNetwork(torch, setting, weights)
    x, kappa = torch.tensor(images, requires_grad=True), torch.tensor(noise, requires_grad=True)
    logits = network.logits(torch.clamp(x + kappa, 0, 1) if setting.noise else x)
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="none")
    losses.mean().backward()
    grads = {name: w.grad.numpy() for name, w in network.weights.items()}
    return logits.detach().numpy(), losses.detach().numpy(), grads, (kappa if setting.noise else x).grad.numpy()


# ---------------------------------------------------------------- gradients


def network_of(backend, setting, **options):
    weights, *_ = data(setting.model, setting.spiking, setting.readout)
    parameters = {name: backend.asarray(w) for name, w in weights.items()}
    return Network(
        model_of(setting.model),
        backend,
        parameters,
        setting.spiking,
        setting.steps,
        setting.coding,
        setting.readout,
        setting.options,
        **options,
    )


def gradients(backend, setting, time_chunk=None, image=True, **options):
    _, images, noise, labels = data(setting.model, setting.spiking, setting.readout)
    network = network_of(backend, setting, time_chunk=time_chunk)
    return network.gradients(
        backend.asarray(images),
        labels,
        image=image,
        noise=backend.asarray(noise) if setting.noise else None,
        draws=DRAWS,
        **options,
    )


def error(backend, got, expected):
    return np.linalg.norm(backend.to_numpy(got).astype(np.float64) - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    "setting", [s if s.model == "vgg5" else pytest.param(s, marks=pytest.mark.slow) for s in SETTINGS], ids=name_of
)
def test_gradients_of_whole_networks_equal_torch_s(backend, setting):
    """Weights, thresholds, leaks and the input (or the noise), dropout on; no gradient that is compared is zero."""
    logits, losses, weights, image = expected(setting)
    found = gradients(backend, setting)
    # an ANN's numbers grow by every layer's bits, so float32 rounds; an SNN's begin again with each layer's spikes
    if setting.spiking:
        np.testing.assert_array_equal(backend.to_numpy(found.logits), logits)
    tolerance = 1e-4 if backend.dtype == "float32" else 1e-9
    assert error(backend, found.logits, logits) < tolerance and error(backend, found.losses, losses) < tolerance
    assert found.weights.keys() == weights.keys()
    for name, grad in weights.items():
        assert np.linalg.norm(grad) > 1e-4, f"{name} is dead: nothing was compared"
        assert error(backend, found.weights[name], grad) < tolerance, name
    assert np.count_nonzero(image) > image.size / 4
    assert error(backend, found.image, image) < tolerance


@pytest.mark.parametrize("model", ["vgg5", "vgg11", "resnet12"])
def test_every_backend_fires_the_same_spikes(backend, exact, model):
    """Every neuron of every layer at every step, and none of the layers is silent or always firing."""
    trains = []
    for b in (exact, backend):
        seen = {}
        note = lambda event, layer, array, seen=seen, b=b: (
            seen.update({layer: b.to_numpy(array)}) if event == "spikes" else None
        )
        network_of(b, Setting(model)).forward(b.asarray(data(model, True, "membrane")[1]), observe=note)
        trains.append(seen)
    assert trains[0].keys() == trains[1].keys() == {row.name for row in model_of(model).table() if row.kind == "Neuron"}
    for layer, spikes in trains[0].items():
        np.testing.assert_array_equal(trains[1][layer], spikes, err_msg=layer)
        assert 0 < spikes.mean() < 1, layer


@pytest.mark.parametrize(
    "setting",
    [
        Setting(steps=3),
        pytest.param(Setting(steps=3, reset="delayed", reset_grad=True), marks=pytest.mark.slow),
        Setting(steps=3, coding="rate"),
        pytest.param(Setting("resnet12", steps=3, reset="delayed"), marks=pytest.mark.slow),
        pytest.param(Setting(steps=3, readout="spikes", noise=True), marks=pytest.mark.slow),
    ],
    ids=name_of,
)
def test_chunks_of_time_change_nothing(backend, agrees, setting):
    """time_chunk saves memory and leaves logits, gradients and the last state the same."""
    whole = gradients(backend, setting)
    for chunk in (1, 2):
        found = gradients(backend, setting, chunk)
        np.testing.assert_array_equal(backend.to_numpy(found.logits), backend.to_numpy(whole.logits))
        assert found.weights.keys() == whole.weights.keys()
        for name, grad in whole.weights.items():
            assert error(backend, found.weights[name], backend.to_numpy(grad)) < (
                1e-4 if backend.dtype == "float32" else 1e-10
            ), name
        agrees(found.image, backend.to_numpy(whole.image))
        for name, state in whole.state.items():
            for one, other in zip(found.state[name], state, strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))
        assert found.state.keys() == whole.state.keys()


def test_the_default_neuron_is_the_paper_s(exact):
    """Equation 5 with γ = 0.3; the reset of the released models, without a gradient."""
    with pytest.raises(MinihireError, match="soft spikes need a surrogate with an antiderivative .*, not 'rate'"):
        NeuronOptions(soft=True, surrogate=surrogates.rate())
    assert NeuronOptions() == NeuronOptions("immediate", surrogates.triangle(0.3, 1.0), reset_grad=False, soft=False)
    weights, *_ = data("vgg5", True, "membrane")
    assert Network(model_of("vgg5"), exact, weights, True).neuron == NeuronOptions()


def test_a_static_input_is_the_same_as_repeating_it(backend):
    """Direct coding computes the first convolution once; every step's current is that one."""
    setting = Setting(steps=4)
    network, images = network_of(backend, setting), backend.asarray(data("vgg5", True, "membrane")[1])
    tape = Tape(backend)
    x = ops.normalise(
        tape, ops.reshape(tape, Variable(images), (1, *images.shape)), network.model.mean, network.model.std
    )
    x = Variable(backend.repeat_time(x.value, 4))
    ctx = ForwardContext(tape, {name: Variable(w) for name, w in network.parameters.items()}, True, 4)
    for layer in network.model.layers:
        x = layer(ctx, x)
    np.testing.assert_array_equal(backend.to_numpy(x.value), backend.to_numpy(network.forward(images)))


def test_logits_of_an_snn_without_neurons_are_a_sum_over_all_steps(backend, agrees):
    """The readout counts the image once per step, whatever the time chunk."""
    layers = [Flatten(), Branches("sum", (Linear("linear1", 12, bias=True),), ()), Readout("readout", 3, bias=True)]
    model = assemble("linear", layers, (2, 2, 3), 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    weights = {name: backend.asarray(np.full(p.shape, 0.5)) for name, p in model.parameters(True).items()}
    images, labels = backend.asarray(np.random.default_rng(0).random((4, 2, 2, 3))), backend.asarray(np.arange(4) % 3)
    expected = 5 * backend.to_numpy(Network(model, backend, weights).forward(images))
    snn = Network(model, backend, weights, spiking=True, steps=5)
    whole = snn.gradients(images, labels, image=True)
    for network in (snn, snn.view(time_chunk=2), snn.view(time_chunk=1)):
        found = network.gradients(images, labels, image=True)
        agrees(found.logits, expected)
        agrees(network.forward(images), expected)
        agrees(found.image, backend.to_numpy(whole.image))
        agrees(found.weights["readout.bias"], backend.to_numpy(whole.weights["readout.bias"]))


@pytest.mark.parametrize("chunk", [None, 2])
def test_membranes_are_returned_only_on_request(backend, chunk):
    """All other results stay the same, also with chunks of time that pass the membranes on."""
    kept, dropped = (gradients(backend, Setting(steps=5), chunk, keep_state=wanted) for wanted in (True, False))
    assert kept.state and dropped.state == {}
    np.testing.assert_array_equal(backend.to_numpy(dropped.logits), backend.to_numpy(kept.logits))
    np.testing.assert_array_equal(backend.to_numpy(dropped.image), backend.to_numpy(kept.image))
    for name, grad in kept.weights.items():
        np.testing.assert_array_equal(backend.to_numpy(dropped.weights[name]), backend.to_numpy(grad))


def test_the_membranes_may_be_carried_on(backend):
    """Two steps, and two more from the state in which these ended, give the logits of four steps."""
    found = [gradients(backend, Setting(reset="delayed"), steps=steps, training=False) for steps in (4, 2)]
    more = gradients(backend, Setting(reset="delayed"), steps=2, training=False, state=found[1].state)
    np.testing.assert_array_equal(
        backend.to_numpy(backend.add(found[1].logits, more.logits)), backend.to_numpy(found[0].logits)
    )
    for name, state in found[0].state.items():
        np.testing.assert_array_equal(backend.to_numpy(more.state[name].membrane), backend.to_numpy(state.membrane))
    fresh = gradients(backend, Setting(reset="delayed"), steps=2, training=False)
    assert (backend.to_numpy(fresh.logits) != backend.to_numpy(more.logits)).any()


def test_evaluation_has_no_dropout(backend):
    images = backend.asarray(data("vgg5", True, "membrane")[1])
    evaluated = network_of(backend, Setting()).forward(images, draws=DRAWS)
    np.testing.assert_array_equal(
        backend.to_numpy(gradients(backend, Setting(), training=False).logits), backend.to_numpy(evaluated)
    )
    trained = backend.to_numpy(gradients(backend, Setting()).logits)
    assert (trained != backend.to_numpy(evaluated)).any()
    again = backend.to_numpy(gradients(backend, Setting()).logits)
    np.testing.assert_array_equal(trained, again)  # the same draws, the same masks


def test_part_of_a_batch_gets_its_own_part_of_the_dropout_masks(backend, agrees):
    """Image `first` of the batch gets the same dropout and rate code alone as among the others; `scale` keeps the mean."""
    for setting in (Setting(), Setting(coding="rate")):
        _, images, _, labels = data("vgg5", True, "membrane")
        network = network_of(backend, setting)
        whole = network.gradients(backend.asarray(images), labels, draws=DRAWS, image=True)
        parts = [
            network.gradients(
                backend.asarray(images[i : i + 1]),
                labels[i : i + 1],
                draws=DRAWS._replace(first=DRAWS.first + i),
                image=True,
                scale=1 / BATCH,
            )
            for i in range(BATCH)
        ]
        np.testing.assert_array_equal(
            np.concatenate([backend.to_numpy(p.logits) for p in parts]), backend.to_numpy(whole.logits)
        )
        for name, grad in whole.weights.items():
            total = functools.reduce(backend.add, [p.weights[name] for p in parts])
            assert error(backend, total, backend.to_numpy(grad)) < (1e-4 if backend.dtype == "float32" else 1e-10), name


def test_rate_coding_draws_new_spikes_at_every_step(backend):
    """Rate-coded input is not normalised: the first layer receives zeros and ones whose means are the pixels."""
    seen = []
    images = np.full((BATCH, SIDE, SIDE, 3), 0.25)
    images[1] = 0.75
    network = network_of(backend, Setting(coding="rate", steps=40))
    network.forward(
        backend.asarray(images),
        draws=DRAWS,
        observe=lambda event, layer, x: (
            seen.append(backend.to_numpy(x)) if (event, layer) == ("input", "conv1") else None
        ),
    )
    spikes = np.concatenate(seen)
    assert spikes.shape == (40, BATCH, SIDE, SIDE, 3) and set(np.unique(spikes)) == {0, 1}
    assert abs(spikes[:, 0].mean() - 0.25) < 0.02 and abs(spikes[:, 1].mean() - 0.75) < 0.02
    assert (spikes[0] != spikes[1]).any()


@pytest.mark.parametrize(("until", "last"), [("neuron2", "neuron2"), ("block2.neuron1", "block2.neuron2")])
def test_a_pass_ends_after_a_layer_or_its_block(exact, until, last):
    """The observer gets the same arrays as in a whole pass, but none of the layers after it."""
    network, images = (
        network_of(exact, Setting("resnet12")).view(time_chunk=2),
        exact.asarray(data("resnet12", True, "membrane")[1]),
    )
    found, whole = [], []
    result = network.forward(images, observe=lambda *seen: found.append(seen), until=until)
    network.forward(images, observe=lambda *seen: whole.append(seen))
    names = [row.name for row in network.model.table()]
    computed = names[: names.index(last) + 1]
    expected = [seen for seen in whole if seen[1] in computed]
    assert result is None and len(found) == len(expected) < len(whole)
    for (event, layer, array), (*other, same) in zip(found, expected, strict=True):
        assert [event, layer] == other
        np.testing.assert_array_equal(array, same)


def test_a_pass_until_an_unknown_layer_is_refused(exact):
    with pytest.raises(MinihireError, match="^vgg5 has no layer 'neuron9': choose conv1, neuron1, conv2"):
        network_of(exact, Setting()).forward(exact.asarray(data("vgg5", True, "membrane")[1]), until="neuron9")


@pytest.mark.parametrize("spiking", [True, False])
def test_only_the_wanted_gradients_are_computed(backend, spiking):
    setting = Setting(spiking=spiking)
    without_image = gradients(backend, setting, image=False)
    assert without_image.image is None and without_image.weights
    attack = gradients(backend, setting, weights=False, training=False)
    assert not attack.weights and attack.image.shape == (BATCH, SIDE, SIDE, 3)


def test_an_attacker_may_choose_the_surrogate(backend):
    """The forward pass stays, the gradient changes; the rate gradient needs all time steps at once."""
    base = gradients(backend, Setting(), weights=False, training=False)
    for surrogate in (surrogates.straight_through(), surrogates.unit_triangle(2.0), surrogates.rate()):
        other = gradients(backend, Setting(), weights=False, training=False, surrogate=surrogate)
        np.testing.assert_array_equal(backend.to_numpy(other.logits), backend.to_numpy(base.logits))
        grad = backend.to_numpy(other.image)
        assert np.isfinite(grad).all() and np.abs(grad).max() > 0
        assert (grad != backend.to_numpy(base.image)).any()
    with pytest.raises(MinihireError, match="all time steps at once"):
        gradients(backend, Setting(), time_chunk=1, weights=False, surrogate=surrogates.rate())


def test_an_ann_has_one_step_however_many_are_given(exact):
    weights, images, _, labels = data("vgg5", False, "membrane")
    one, many = (
        Network(model_of("vgg5"), exact, weights, steps=steps, time_chunk=chunk) for steps, chunk in ((1, None), (6, 2))
    )
    np.testing.assert_array_equal(one.forward(images), many.forward(images))
    np.testing.assert_array_equal(one.gradients(images, labels).logits, many.gradients(images, labels).logits)


# ---------------------------------------------------------------- what is refused


def test_images_of_another_shape_are_refused(exact):
    network = network_of(exact, Setting())
    for shape in ((2, 8, 8, 3), (2, SIDE, SIDE, 1)):
        with pytest.raises(MinihireError, match=r"vgg5 was built for images of \(16, 16, 3\), not "):
            network.forward(np.zeros(shape))
        with pytest.raises(MinihireError, match=r"vgg5 was built for images of \(16, 16, 3\), not "):
            network.gradients(np.zeros(shape), np.zeros(2, np.int64))


@pytest.mark.parametrize("coding", ["direct", "rate"])
def test_predictions_are_those_of_the_logits_for_any_kind_and_number_of_images(exact, coding):
    model = build("vgg5", 3, (8, 8, 3), width=1 / 16, hidden=8)
    network = Network(model, exact, initialise(model, exact, 0, True), spiking=True, steps=4, coding=coding)
    levels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    floats = levels.astype(np.float32) * np.float32(1 / 255)
    logits = exact.to_numpy(network.forward(exact.asarray(floats), draws=Draws(7)))
    whole = network.predict(levels, seed=7)
    assert whole.classes.dtype == np.int64 and whole.classes.tolist() == logits.argmax(axis=1).tolist()
    expected = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=1, keepdims=True)
    for given, size in ((levels, 100), (levels, 2), (floats, 3), (floats.astype(float), 5), (exact.asarray(floats), 1)):
        np.testing.assert_allclose(network.predict(given, seed=7, batch_size=size).probabilities, expected, atol=1e-5)


def test_pixels_of_a_prediction_are_those_of_training(backend):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    none = np.zeros((1, 2), np.int64)
    trained = backend.image_batch(backend.asarray(levels), np.zeros(1, np.int64), none, np.zeros(1, np.int64), 0)
    assert np.array_equal(
        backend.to_numpy(trained), backend.to_numpy(backend.asarray(unit_pixels(levels, backend.dtype)))
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.zeros((2, 8, 8, 1), np.uint8), "but an array of shape (2, 8, 8, 1) was given: give [N, 8, 8, 3]"),
        (np.zeros((8, 8, 3), np.uint8), "give [N, 8, 8, 3]; of a single image, give image[None]"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no images were given: give at least one"),
        (np.zeros((1, 8, 8, 3), int), "these images are int64: give uint8, from 0 to 255, or floats from 0 to 1"),
        (np.full((1, 8, 8, 3), 255.0), "these images have pixels from 255 to 255, expected 0 to 1"),
        (np.full((1, 8, 8, 3), -0.5), "these images have pixels from -0.5 to -0.5, expected 0 to 1"),
        (np.full((1, 8, 8, 3), np.nan), "these images have pixels from nan to nan, expected 0 to 1"),
        ([["a"]], "but an array of shape (1, 1) was given"),
    ],
)
def test_predictions_are_refused_for_images_of_another_shape_type_or_range(exact, given, sentence):
    model = build("vgg5", 3, (8, 8, 3), width=1 / 16, hidden=8)
    network = Network(model, exact, initialise(model, exact, 0))
    with pytest.raises(MinihireError, match=re.escape(sentence)):
        network.predict(given)


def test_gradients_of_no_images_are_refused(exact):
    model = build("vgg5", 3, (8, 8, 3), width=1 / 16, hidden=8)
    network = Network(model, exact, initialise(model, exact, 0))
    with pytest.raises(MinihireError, match="but none was given: give at least one image"):
        network.gradients(np.zeros((0, 8, 8, 3)), np.zeros(0, int))


def test_weights_of_another_network_are_refused(exact):
    weights, *_ = data("vgg5", True, "membrane")
    with pytest.raises(MinihireError, match=r"do not fit vgg5: linear1.weight is None, expected \(128, 16\)"):
        Network(model_of("vgg5"), exact, {name: w for name, w in weights.items() if name != "linear1.weight"}, True)
    with pytest.raises(
        MinihireError, match=r"do not fit vgg5: conv2.weight is \(3, 3, 4, 9\), expected \(3, 3, 4, 8\)"
    ):
        Network(model_of("vgg5"), exact, {**weights, "conv2.weight": np.zeros((3, 3, 4, 9))}, True)
    with pytest.raises(MinihireError, match=r"neuron1.leak is \(1,\), expected None"):
        Network(model_of("vgg5"), exact, weights, spiking=False)  # an SNN's weights in an ANN


@pytest.mark.parametrize("options", [{"coding": "morse"}, {"readout": "tea leaves"}, {"steps": 0}, {"time_chunk": 0}])
def test_impossible_options_are_refused_in_one_sentence(exact, options):
    weights, *_ = data("vgg5", True, "membrane")
    with pytest.raises(MinihireError) as caught:
        Network(model_of("vgg5"), exact, weights, **{"spiking": True, **options})
    assert "\n" not in str(caught.value) and repr(next(iter(options.values()))) in str(caught.value)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(exact, steps):
    with pytest.raises(MinihireError, match="the number of time steps is .*: give a whole number of at least 1"):
        network_of(exact, Setting()).forward(data("vgg5", True, "membrane")[1], steps=steps)


# ---------------------------------------------------------------- weights, and threads


def test_fresh_weights_follow_the_seed_and_the_layer(backend):
    model = build("vgg5", CLASSES, (SIDE, SIDE, 3), width=0.5, hidden=64)
    one, same, other = (initialise(model, backend, seed, spiking=True) for seed in (1, 1, 2))
    assert {name: tuple(a.shape) for name, a in one.items()} == {
        name: p.shape for name, p in model.parameters(True).items()
    }
    for name, array in one.items():
        values = backend.to_numpy(array)
        np.testing.assert_array_equal(values, backend.to_numpy(same[name]))
        if name.endswith("weight"):
            fan = 9 * values.shape[3] if name.startswith("conv") else values.shape[0]  # k²·C_out, or F_in
            assert values.std() == pytest.approx((2 / fan) ** 0.5, rel=0.15)
            assert (values != backend.to_numpy(other[name])).mean() > 0.99
        else:
            assert values.tolist() == [1.0]


THREADS = """
import hashlib
import numpy as np
from backends import get_backend
from backends.randomness import Draws
from minihire.models import build
from minihire.network import Network, initialise

for threads in (1, 2, 4):
    backend = get_backend("numba", threads=threads)
    assert backend.threads == threads
    for seed in (1, 2, 3):
        model = build("resnet12" if seed == 2 else "vgg5", width=0.125, hidden=48)
        parameters = initialise(model, backend, seed, spiking=True)
        louder = {name: backend.add(w, w) for name, w in parameters.items() if name.endswith("weight")}
        parameters |= louder  # so that all layers fire
        network = Network(model, backend, parameters, True, 3)
        images = backend.asarray(np.random.default_rng(seed).uniform(size=(7, 32, 32, 3)))
        found = network.gradients(images, np.arange(7), image=True, draws=Draws(seed))
        digest = hashlib.sha256()
        # a full-width layer, whose partial sums are few because each is large
        normal = np.random.default_rng(seed).standard_normal((2, 1, 8, 2, 2, 512))
        _, saved = backend.conv2d(backend.asarray(normal[1]), backend.zeros((3, 3, 512, 512)), 1, 1)
        _, wide = backend.conv2d_backward(saved, backend.asarray(normal[0]), False, True)
        for array in (network.forward(images), found.logits, found.losses, found.image, wide, *found.weights.values()):
            digest.update(np.ascontiguousarray(backend.to_numpy(array)).tobytes())
        print(threads, seed, digest.hexdigest(), float(np.abs(backend.to_numpy(found.image)).sum()) > 0)
"""


@pytest.mark.slow
def test_one_two_and_four_threads_give_the_same_bits():
    """Forward pass and every gradient, for several seeds, at a size at which all threads have work."""
    pytest.importorskip("numba")
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    by_seed = {}
    for line in done.stdout.split("\n")[:-1]:
        _, seed, digest, alive = line.split()
        assert alive == "True"
        by_seed.setdefault(seed, []).append(digest)
    assert [len(digests) for digests in by_seed.values()] == [3, 3, 3]
    assert all(len(set(digests)) == 1 for digests in by_seed.values())
    assert len({digests[0] for digests in by_seed.values()}) == 3


# ---------------------------------------------------------------- copies


def _small(backend, steps=3):
    model = build("vgg5", image_shape=(8, 8, 3), width=1 / 16, hidden=8)
    return Network(model, backend, initialise(model, backend, 0, spiking=True), spiking=True, steps=steps)


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda net: net.copy(),
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
        lambda net: dataclasses.replace(net, steps=3),
    ],
    ids=["copy", "deepcopy", "pickle", "replace"],
)
def test_a_copy_is_trained_without_the_original(backend, duplicate):
    net = _small(backend)
    other, k = duplicate(net), backend
    assert (other.steps, type(other.backend)) == (3, type(backend))
    before = {name: k.to_numpy(array) for name, array in net.parameters.items()}
    images = k.asarray(np.random.default_rng(0).random((4, 8, 8, 3)))
    np.testing.assert_array_equal(k.to_numpy(other.forward(images)), k.to_numpy(net.forward(images)))
    for array in other.parameters.values():
        ones, zeros = (k.asarray(np.full(tuple(array.shape), value)) for value in (1.0, 0.0))
        k.sgd_step(array, ones, zeros, 0.1, 0.9, 0.0, -9.0, 9.0)
    for name, array in net.parameters.items():
        np.testing.assert_array_equal(k.to_numpy(array), before[name])
        assert not np.array_equal(k.to_numpy(other.parameters[name]), before[name])


def test_a_view_has_the_same_weights_and_is_not_trained(backend):
    net = _small(backend)
    view = net.view(steps=5)
    assert (view.steps, net.steps, view.parameters is net.parameters) == (5, 3, True)
    with pytest.raises(MinihireError, match="a view shares its weights"):
        Adam(view, list(view.parameters))
    with pytest.raises(MinihireError, match="a view cannot have another spiking"):
        net.view(spiking=False)
    with pytest.raises(MinihireError, match="the number of time steps is .*: give a whole number of at least 1"):
        net.view(steps=0)
