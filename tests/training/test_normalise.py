"""Conversion of networks with biases: scales, scaled weights, and rates that converge to the ANN's activations."""

import math
from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend, surrogates
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.engine.lif import NeuronOptions
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, Linear, Neuron, Readout, Residual
from minihire.models import assemble
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.training import Calibration, convert
from minihire.training.normalise import measure_scales, normalised

EVERYTHING = Calibration(images=40, percentile=100)


def layers():
    """A residual block between convolutions, weights without neurons after them, a pool, and two linear layers."""
    main = (Conv2d("a", 6, stride=2, bias=True), Neuron("neuron_a"), Conv2d("b", 6, bias=True))
    return [
        *(Conv2d("conv1", 4, bias=True), Neuron("neuron1"), Branches("sum", main, (Conv2d("shortcut", 6, 1, 2),))),
        *(
            Neuron("neuron2"),
            Conv2d("mixing", 5, 1, bias=True),
            Conv2d("conv2", 8, bias=True),
            AvgPool(),
            Neuron("neuron3"),
        ),
        *(Flatten(), Linear("linear1", 8, bias=True), Neuron("neuron4"), Readout("readout", 4, bias=True)),
    ]


@pytest.fixture
def make():
    """make(backend, layers): an ANN of these layers with random weights and biases."""

    def build(k, layers):
        model = assemble("mine", layers, (8, 8, 3), 4, mean=(0.5,) * 3, std=(0.25,) * 3)
        rng, arrays = np.random.default_rng(4), {}
        for name, p in model.parameters(spiking=False).items():
            spread = 0.3 if name.endswith("bias") else math.sqrt(2 / math.prod(p.shape[:-1]))
            arrays[name] = spread * rng.standard_normal(p.shape)
        return Network(model, k, arrays)

    return build


@pytest.fixture
def images(exact, data):
    """The images of `data`, as an array of the exact backend."""
    return Batches(data, exact, len(data)).load(0, 0)[0]


def test_scaled_weights_compute_the_same_logits_in_the_ann(exact, images, make):
    """Whatever the scales are: ReLU(c·x) = c·ReLU(x)."""
    ann, rng = make(exact, layers()), np.random.default_rng(1)
    channels = {"neuron1": 4, "neuron_a": 6, "neuron2": 6, "neuron3": 8, "neuron4": 1}
    scales = {name: rng.uniform(0.2, 3, count) for name, count in channels.items()}
    scaled = ann.copy(parameters=normalised(ann, scales))
    np.testing.assert_allclose(scaled.forward(images), ann.forward(images), rtol=1e-8, atol=1e-9)
    seen = {}
    for network in (ann, scaled):
        network.forward(images, observe=lambda event, name, array: seen.setdefault((event, name), []).append(array))
    for name, scale in scales.items():
        np.testing.assert_allclose(seen["spikes", name][1] * scale, seen["spikes", name][0], rtol=1e-8, atol=1e-9)


def test_rates_converge_to_the_activations(k, exact, data, images, make):
    """With the largest activation as scale, nothing is clipped, and the error of the logits falls as 1/T."""
    ann = make(k, layers())
    pixels = Batches(data, k, len(data)).load(0, 0)[0]
    expected = exact.to_numpy(make(exact, layers()).forward(images))
    errors = []
    for steps in (32, 512):
        snn = convert(ann, data, steps=steps, calibration=EVERYTHING, time_chunk=32)
        assert snn.spiking and all(
            np.all(k.to_numpy(a) == 1) for n, a in snn.parameters.items() if n.endswith(("threshold", "leak"))
        )
        errors.append(np.abs(k.to_numpy(snn.forward(pixels)) / steps - expected).max())
    assert errors[1] < 0.02 * np.abs(expected).max() and errors[1] < errors[0] / 4


def test_spikes_are_the_nearest_number(exact, data, make):
    """One layer of neurons on static currents: round(T·activation/scale), because the membrane starts from half a threshold."""
    ann = make(exact, [Conv2d("conv1", 4, bias=True), Neuron("neuron1"), Flatten(), Readout("readout", 4, bias=True)])
    batches, seen = Batches(data, exact, len(data)), {}
    scales = measure_scales(ann, batches, 100)
    snn = convert(ann, data, steps=7, calibration=EVERYTHING)
    for network in (ann, snn):
        network.forward(
            batches.load(0, 0)[0], observe=lambda event, name, a: seen.setdefault((event, name), []).append(a)
        )
    activations, spikes = seen["spikes", "neuron1"]
    share = 7 * activations[0] / scales["neuron1"]
    clear = np.abs(share % 1 - 0.5) > 1e-6
    np.testing.assert_array_equal(spikes.sum(axis=0)[clear], np.rint(share)[clear])
    assert len(np.unique(spikes.sum(axis=0))) == 8


@pytest.mark.parametrize("size", [40, 7])
@pytest.mark.parametrize("percentile", [100, 99.7, 90])
def test_units_are_percentiles_of_the_activations(exact, data, images, make, percentile, size):
    """Per channel of an image, but one for all features of a linear layer; whatever the batches."""
    ann, currents = make(exact, layers()), {}
    ann.forward(images, observe=lambda event, name, array: currents.setdefault((event, name), array[0]))
    found = measure_scales(ann, Batches(data, exact, size), percentile)
    assert {name: scale.shape for name, scale in found.items()} == {
        "neuron1": (4,),
        "neuron_a": (6,),
        "neuron2": (6,),
        "neuron3": (8,),
        "neuron4": (1,),
    }
    for name, scale in found.items():
        columns = np.sort(currents["current", name].reshape(-1, len(scale)), axis=0)
        expected = columns[math.ceil(percentile / 100 * len(columns)) - 1]
        positive = expected > 0
        np.testing.assert_allclose(scale[positive], expected[positive], rtol=1e-12)
        np.testing.assert_array_equal(scale[~positive], scale[positive].min())


def test_a_channel_that_is_never_active_gets_the_smallest_unit(exact, data, make):
    ann = make(exact, layers())
    ann.parameters["conv1.bias"][0, 2] = -100
    scales = measure_scales(ann, Batches(data, exact, 40), 100)["neuron1"]
    assert scales[2] == np.delete(scales, 2).min() > 0


@pytest.mark.parametrize("reset", ["immediate", "delayed"])
def test_membranes_start_from_half_a_threshold(exact, data, images, make, reset):
    """With λ = 1 both resets compute the same spikes; the other options of the neuron are kept."""
    neuron = NeuronOptions(reset, surrogates.exponential(1.0))
    snn = convert(make(exact, layers()), data, steps=6, calibration=EVERYTHING, neuron=neuron)
    assert snn.neuron == replace(neuron, initial=0.5)
    expected = snn.copy(neuron=replace(snn.neuron, reset="immediate")).forward(images)
    np.testing.assert_allclose(snn.forward(images), expected, rtol=1e-9)
    assert not np.allclose(snn.copy(neuron=neuron).forward(images), expected, rtol=0.1)


def test_the_ann_stays_as_it_was(exact, data, make):
    ann = make(exact, layers())
    before = {name: array.copy() for name, array in ann.parameters.items()}
    convert(ann, data, steps=4, calibration=EVERYTHING)
    assert all(np.array_equal(ann.parameters[name], array) for name, array in before.items())


def test_what_cannot_be_converted_is_refused(exact, data, make):
    ann = make(exact, layers())
    dead = ann.copy(parameters={**ann.parameters, "conv2.bias": np.full((1, 8), -100.0)})
    block = [
        Conv2d("conv1", 4, bias=True),
        Neuron("n"),
        Residual("block1", 4, 1, 0.0, 1),
        Flatten(),
        Readout("readout", 4),
    ]
    cases = [
        (ann, {"readout": "spikes"}, "only with the readout membrane"),
        (ann, {"coding": "rate"}, "mine normalises its images, but rate coding does not"),
        (dead, {}, "neuron3 receives no positive current in the ANN"),
        (make(exact, block), {}, "a layer Residual cannot be converted"),
    ]
    for network, options, says in cases:
        with pytest.raises(MinihireError) as error:
            convert(network, data, steps=4, calibration=EVERYTHING, **options)
        assert says in str(error.value) and "\n" not in str(error.value)


def test_rate_coding_of_images_that_are_not_normalised(data):
    """Poisson spikes: logits/T are near the ANN's."""
    k = get_backend("numba", threads=1)
    model = assemble("mine", layers(), (8, 8, 3), 4, mean=(0.0,) * 3, std=(1.0,) * 3)
    rng = np.random.default_rng(2)
    arrays = {n: rng.standard_normal(p.shape) * 0.3 for n, p in model.parameters(spiking=False).items()}
    ann = Network(model, k, arrays)
    dark = Dataset(data.name, data.images // 2, data.labels, data.classes, data.mean, data.std)
    snn = convert(ann, dark, steps=1000, calibration=EVERYTHING, coding="rate", time_chunk=50)
    pixels = Batches(dark, k, 40).load(0, 0)[0]
    expected = k.to_numpy(ann.forward(pixels))
    error = k.to_numpy(snn.forward(pixels)) / 1000 - expected
    assert np.abs(error).mean() < 0.1 * np.abs(expected).mean()
    assert replace(snn, coding="direct").forward(pixels).shape == expected.shape


def errors(ann, data, expected):
    """The largest error of the logits of the converted network, divided by T, at T = 32 and T = 512."""
    k, found = ann.backend, []
    pixels = Batches(data, k, len(data)).load(0, 0)[0]
    for steps in (32, 512):
        snn = convert(ann, data, steps=steps, calibration=EVERYTHING, time_chunk=32)
        found.append(np.abs(k.to_numpy(snn.forward(pixels)) / steps - expected).max())
    return found


FIRST = (Conv2d("conv1", 4, bias=True), Neuron("neuron1"))
BLOCK = (Conv2d("a", 4, bias=True), Neuron("neuron_a"), Conv2d("b", 4, bias=True))
SHORTCUT = (Conv2d("shortcut", 4, 1),)
SECOND = (Conv2d("conv2", 5, bias=True), Neuron("neuron2"))
LAST = (Flatten(), Readout("readout", 4, bias=True))


@pytest.mark.parametrize(
    "layers",
    [
        (*FIRST, Neuron("again"), *SECOND, *LAST),
        (*FIRST, AvgPool(), Neuron("pooled"), *SECOND, *LAST),
        (*FIRST, Flatten(), Neuron("flat"), Linear("linear", 8, bias=True), Neuron("neuron2"), LAST[1]),
        (*FIRST, Branches("sum", (Neuron("again"), *BLOCK), SHORTCUT), Neuron("neuron2"), *LAST),
        (AvgPool(), Neuron("pixels"), *FIRST, *LAST),
        (Branches("sum", (Conv2d("a", 3, bias=True), Neuron("neuron_a"), Conv2d("b", 3)), ()), *SECOND, *LAST),
    ],
    ids=["neurons", "pool", "flatten", "branch", "image", "shortcut of the image"],
)
def test_neurons_without_weights_keep_their_unit(data, make, layers):
    """Spikes, averages of spikes, and pixels of at most 1 do not exceed their scale, so that nothing has to be scaled."""
    ann = make(get_backend("numba", threads=1), layers)
    ann = replace(ann, model=replace(ann.model, std=(0.5,) * 3))  # pixels from -1 to 1
    expected = ann.forward(Batches(data, ann.backend, len(data)).load(0, 0)[0])
    few, many = errors(ann, data, expected)
    assert many < 0.02 * np.abs(expected).max() and many < few / 4


AT_THE_START = " is at the start of the network or of a branch, without weights that conversion could scale: put "
NO_END = " branch of sum has no weights after its last neurons that conversion could scale: end it with "
REST = (*SECOND, *LAST)


@pytest.mark.parametrize(
    ("layers", "identity", "says"),
    [
        (lambda more: (*more, Neuron("pixels"), *FIRST, *LAST), Conv2d("identity", 3, 1), f"pixels{AT_THE_START}"),
        (
            lambda more: (Flatten(), *more, Neuron("pixels"), Linear("a", 8, bias=True), Neuron("neuron_a"), LAST[1]),
            Linear("identity", 192),
            f"pixels{AT_THE_START}",
        ),
        (
            lambda more: (FIRST[0], Branches("sum", (*more, Neuron("inner"), *BLOCK), SHORTCUT), *REST),
            Conv2d("identity", 4, 1),
            f"inner{AT_THE_START}",
        ),
        (
            lambda more: (*FIRST, Branches("sum", BLOCK, more), *REST),
            Conv2d("identity", 4, 1),
            f"the shortcut{NO_END}",
        ),
        (
            lambda more: (*FIRST, Branches("sum", (*BLOCK[:2], *more), SHORTCUT), Neuron("outer"), *REST),
            Conv2d("identity", 4, 1),
            f"the main{NO_END}",
        ),
    ],
    ids=["image", "features", "start of a branch", "shortcut", "end of a branch"],
)
def test_where_weights_are_missing_the_message_says_which_layer_to_add(data, make, layers, identity, says):
    ann = make(get_backend("numba", threads=1), layers(()))
    with pytest.raises(MinihireError) as error:
        convert(ann, data, steps=4, calibration=EVERYTHING)
    size = ", 1" if isinstance(identity, Conv2d) else ""
    added = f"{type(identity).__name__}(name, {identity.features}{size}) with the identity matrix as its weight"
    assert str(error.value).removesuffix(" before it") == says + added

    followed = make(ann.backend, layers((identity,)))
    shape = followed.parameters["identity.weight"].shape
    followed.parameters |= {**ann.parameters, "identity.weight": ann.backend.asarray(np.eye(shape[-1]).reshape(shape))}
    expected = ann.forward(Batches(data, ann.backend, len(data)).load(0, 0)[0])
    few, many = errors(followed, data, expected)
    assert many < 0.02 * np.abs(expected).max() and many < few / 4


def test_options_of_neurons_that_are_none_are_refused(exact, data):
    layers = [Flatten(), Linear("a", 4, bias=True), Neuron("n"), Readout("out", 3, bias=True)]
    model = assemble("mine", layers, (8, 8, 3), 3, mean=[0.0] * 3, std=[1.0] * 3)
    ann = Network(model, exact, initialise(model, exact, 0))
    with pytest.raises(MinihireError, match="^the neurons' options are 'delayed': give NeuronOptions"):
        convert(ann, data, steps=4, neuron="delayed")
