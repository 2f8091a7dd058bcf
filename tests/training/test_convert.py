"""Threshold balancing against a direct computation: all currents at once, sorted."""

import importlib
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import get_backend
from backends.randomness import Draw, Draws, permutation
from minihire.data.batches import Batches
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted
from minihire.runtime.random_streams import Stream
from minihire.training import Calibration, convert
from minihire.training.calibration import LargestValues, keep_for

MODULE = importlib.import_module("minihire.training.convert")  # the package has a function of that name
CALIBRATION = Calibration(images=30, steps=12, scaling=0.25)
CASES = [
    ("vgg5", "direct", 1 / 32),
    ("vgg5", "rate", 1 / 32),
    ("resnet12", "direct", 1 / 8),
    ("resnet12", "rate", 1 / 8),
]


def balanced_directly(ann, data, coding, seed=0):
    """{layer: unscaled threshold}: each layer's currents of every image and step, sorted, earlier layers firing."""
    k = ann.backend
    images, _ = Batches(
        data.take(permutation(Draw(seed, Stream.CALIBRATION), len(data))[: CALIBRATION.images]), k, CALIBRATION.images
    ).load(0, 0)
    specification = ann.model.parameters(True)
    parameters = {name: ann.parameters.get(name, k.asarray([1.0])) for name in specification}
    found = {}
    for layer in (name.removesuffix(".threshold") for name in specification if name.endswith(".threshold")):
        currents = {}
        snn = replace(ann, parameters=parameters, spiking=True, steps=CALIBRATION.steps, coding=coding)
        snn.forward(
            images,
            draws=Draws(seed),
            observe=lambda event, name, array, currents=currents: currents.setdefault((event, name), k.to_numpy(array)),
        )
        rank = math.ceil(Fraction(997, 1000) * currents["current", layer][0].size)
        found[layer] = max(np.sort(step, axis=None)[rank - 1] for step in currents["current", layer])
        parameters[f"{layer}.threshold"] = k.asarray([found[layer]])
    return found


def unnormalised(ann):
    """The network without a normalisation of its images, as rate coding needs it."""
    return replace(ann, model=replace(ann.model, mean=(0.0,) * 3, std=(1.0,) * 3))


@pytest.fixture
def one_pass(monkeypatch):
    """All images and steps at once, as in the direct computation."""
    monkeypatch.setattr("minihire.training.calibration.IMAGES_AT_ONCE", CALIBRATION.images)
    monkeypatch.setattr(MODULE, "STEPS_AT_ONCE", CALIBRATION.steps)


@pytest.mark.parametrize(("name", "coding", "width"), CASES)
def test_thresholds_are_the_largest_percentile_over_the_steps(k, network, data, one_pass, name, coding, width):
    ann = network(k, name, spiking=False, width=width)
    ann = unnormalised(ann) if coding == "rate" else ann
    snn = convert(ann, data, steps=4, calibration=CALIBRATION, coding=coding)
    found = {
        name.removesuffix(".threshold"): float(a[0])
        for name, a in snn.parameters.items()
        if name.endswith(".threshold")
    }
    expected = balanced_directly(ann, data, coding)
    assert found.keys() == expected.keys() and len(set(expected.values())) == len(expected)
    assert list(found.values()) == pytest.approx([0.25 * expected[name] for name in found], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "steps"), [(30, 12), (7, 5), (1, 1), (11, 12)])
@pytest.mark.parametrize(("name", "coding", "width"), CASES)
def test_thresholds_do_not_depend_on_the_chunks(network, data, monkeypatch, name, coding, width, images, steps):
    ann = network(get_backend("numba", threads=1, dtype="float64"), name, spiking=False, width=width)
    ann = unnormalised(ann) if coding == "rate" else ann
    expected = convert(ann, data, steps=4, calibration=CALIBRATION, coding=coding).parameters
    monkeypatch.setattr("minihire.training.calibration.IMAGES_AT_ONCE", images)
    monkeypatch.setattr(MODULE, "STEPS_AT_ONCE", steps)
    found = convert(ann, data, steps=4, calibration=CALIBRATION, coding=coding).parameters
    for layer in (name for name in found if name.endswith(".threshold")):
        assert found[layer][0] == pytest.approx(expected[layer][0], rel=1e-9), layer


def test_output_neurons_are_balanced_too(k, network, data):
    snn = convert(network(k, spiking=False), data, steps=4, calibration=CALIBRATION, readout="spikes")
    assert 0 < snn.parameters["readout.threshold"][0] != 1


def test_leaks_are_one(k, network, data):
    snn = convert(network(k, spiking=False), data, steps=4, calibration=CALIBRATION)
    assert all(a[0] == 1 for name, a in snn.parameters.items() if name.endswith(".leak"))


def test_weights_are_copied_not_shared(k, network, data, digest):
    ann = network(k, spiking=False)
    before = digest(ann.parameters)
    snn = convert(ann, data, steps=4, calibration=CALIBRATION)
    assert digest({name: snn.parameters[name] for name in ann.parameters}) == before
    for name in ann.parameters:
        snn.parameters[name][...] = 0
    assert digest(ann.parameters) == before


def test_options_reach_the_network(network, data):
    k = get_backend("reference")
    ann = unnormalised(network(k, spiking=False))
    snn = convert(ann, data, steps=5, calibration=CALIBRATION, coding="rate", time_chunk=2)
    assert (snn.spiking, snn.steps, snn.coding, snn.time_chunk) == (True, 5, "rate", 2)


def test_the_seed_chooses_the_calibration_images(network, data):
    ann = network(get_backend("reference"), spiking=False)
    thresholds = [
        convert(ann, data, steps=4, calibration=replace(CALIBRATION, images=5), seed=seed).parameters[
            "neuron1.threshold"
        ][0]
        for seed in (0, 1, 0)
    ]
    assert thresholds[0] == thresholds[2] != thresholds[1]


def test_a_dead_layer_is_refused(k, network, data):
    ann = network(k, spiking=False)
    ann.parameters["conv2.weight"][...] = 0
    with pytest.raises(MinihireError, match="neuron2 receives no positive current .* train the ANN for longer"):
        convert(ann, data, steps=4, calibration=CALIBRATION)
    snn = convert(ann, data, steps=4, calibration=replace(CALIBRATION, fallback_threshold=2.0))
    thresholds = {name: float(a[0]) for name, a in snn.parameters.items() if name.endswith(".threshold")}
    assert [name for name, threshold in thresholds.items() if threshold != 0.5] == ["neuron1.threshold"]


def test_an_snn_is_refused(network, data):
    snn = network(get_backend("reference"))
    with pytest.raises(MinihireError, match="^this network is an SNN already: give an ANN to convert$"):
        convert(snn, data, steps=4, calibration=CALIBRATION)


def test_an_unknown_option_is_refused(network, data):
    ann = network(get_backend("reference"), spiking=False)
    with pytest.raises(MinihireError, match="^convert has no option 'cooding': did you mean coding[?]$"):
        convert(ann, data, steps=4, cooding="rate")


def test_ctrl_c_stops_the_conversion(network, data, press_ctrl_c):
    press_ctrl_c(2)
    with pytest.raises(Interrupted, match="stopped during the conversion; its results were discarded, so start it"):
        convert(network(get_backend("reference"), spiking=False), data, steps=4, calibration=CALIBRATION)


@pytest.mark.parametrize(
    "wrong",
    [
        *(dict(images=0), dict(steps=0), dict(percentile=0), dict(percentile=101)),
        *(dict(scaling=0), dict(scaling=math.nan), dict(fallback_threshold=0)),
    ],
)
def test_impossible_calibrations_are_refused(wrong):
    with pytest.raises(MinihireError, match=f"^the calibration's {next(iter(wrong))} is .*: give a (whole )?number"):
        Calibration(**wrong)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30), min_size=1, max_size=6),
    st.integers(1, 40),
)
def test_largest_values_are_those_of_a_sort(pieces, keep):
    values = np.concatenate([np.array(piece, np.float32) for piece in pieces])
    keep = min(keep, len(values))
    largest = LargestValues(2, keep)
    for piece in pieces:
        largest.add(1, np.array(piece, np.float32))
    assert np.sort(largest.pools[1]).tolist() == np.sort(values)[-keep:].tolist()
    assert largest.smallest_kept() == np.sort(values)[-keep]


def test_smallest_kept_is_the_largest_over_the_steps():
    largest = LargestValues(2, 2)
    for step, values in enumerate([[5.0, 1.0, 2.0], [3.0, 4.0, 0.0]]):
        largest.add(step, np.array(values, np.float32))
    assert largest.smallest_kept() == 3


@given(st.integers(1, 10**7))
def test_the_number_of_values_kept_follows_the_nearest_rank(count):
    assert keep_for(count, 99.7) == count - math.ceil(Fraction(997, 1000) * count) + 1
    assert keep_for(count, 100) == 1


@pytest.mark.parametrize(("count", "percentile", "keep"), [(1000, 99.9, 2), (100, 7, 94)])
def test_a_rank_that_is_a_whole_number_is_not_rounded_up(count, percentile, keep):
    assert keep_for(count, percentile) == keep


def test_rate_coding_of_a_network_that_normalises_its_images_is_refused(network, data):
    """Rate coding would give it the pixels themselves."""
    ann = network(get_backend("reference"), spiking=False)
    for model in (ann.model, replace(ann.model, mean=(0.0,) * 3), replace(ann.model, std=(1.0,) * 3)):
        with pytest.raises(
            MinihireError, match="^vgg5 normalises its images, but rate coding does not: convert it with"
        ):
            convert(replace(ann, model=model), data, steps=4, calibration=CALIBRATION, coding="rate")
