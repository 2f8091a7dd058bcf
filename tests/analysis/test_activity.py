"""Activity against hand counts and against arrays recounted with NumPy."""

import json
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from backends.randomness import Draws
from minihire.analysis import measure_activity
from minihire.analysis.activity import _find_analog
from minihire.layers import Branches, Flatten, Linear, Neuron
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError

PIXELS = np.array([[0.3, 0.6], [0.0, 1.0]]).reshape(1, 2, 2, 1)
# membranes over T = 4 with v = 1: 0.3 fires at t = 3; 0.6 at 1 and 3; 1.0 at 1, 2 and 3 (m = v does not fire)


def _recount(network, images, seed=0):
    seen = Counter()
    network.forward(
        images,
        draws=Draws(seed),
        observe=lambda event, name, x: seen.update({(event, name): int((network.backend.to_numpy(x) != 0).sum())}),
    )
    return seen


def _counts(rows):
    return [(row.name, row.kind, row.images, row.events) for row in rows]


def test_activity_by_hand(toy):
    conv, neuron, readout = measure_activity(toy(), [PIXELS, np.zeros_like(PIXELS)])
    assert (conv.name, conv.received, conv.spiking_activity) == ("conv1", 1.0, None)  # analog: 1 by definition
    assert (neuron.name, neuron.neurons, neuron.images, neuron.steps, neuron.spikes) == ("neuron1", 4, 2, 4, 6)
    assert (neuron.spiking_activity, neuron.time_averaged, neuron.received) == (6 / 8, 6 / 32, None)
    assert (readout.name, readout.neurons, readout.received, readout.spikes) == ("readout", 4, 6 / 8, None)


def test_a_pooled_input_is_one_event_a_step(toy):
    _, neuron, readout = measure_activity(toy(pool=True), [PIXELS])
    assert neuron.spikes == 6
    assert (readout.neurons, readout.events, readout.received) == (1, 3, 3.0)  # something fires at t = 1, 2 and 3


@pytest.mark.parametrize(
    ("name", "backend", "coding"),
    [
        ("vgg5", "reference", "direct"),
        ("vgg5", "reference", "rate"),
        ("vgg5", "numba", "rate"),
        ("resnet12", "reference", "direct"),
    ],
)
def test_activity_equals_a_recount(random_network, images, name, backend, coding):
    network = random_network(name, backend, coding=coding)
    rows, seen = measure_activity(network, [images], seed=7), _recount(network, images, seed=7)
    assert [(r.name, r.kind) for r in rows] == [(r.name, r.kind) for r in network.model.table()]
    for index, row in enumerate(rows):
        if index == 0 and coding == "direct":
            assert row.events is None and row.received == 1.0
        else:
            assert row.events == seen["spikes" if row.kind == "Neuron" else "input", row.name] > 0
    assert all(0 < row.time_averaged < 1 for row in rows if row.kind == "Neuron")


def test_readout_receives_the_spikes_of_all_steps(random_network, images):
    *_, neuron, readout = measure_activity(random_network(), [images])
    assert readout.events == neuron.spikes > readout.images * readout.neurons  # more than the sum over time has entries


def test_shortcuts_receive_what_their_block_receives(random_network, images):
    rows = {row.name: row for row in measure_activity(random_network("resnet12"), [images])}
    for block in ("block2", "block3", "block4"):
        assert rows[f"{block}.shortcut"].events == rows[f"{block}.conv1"].events > 0
        assert rows[f"{block}.shortcut"].neurons == rows[f"{block}.conv1"].neurons
    assert "block1.shortcut" not in rows  # the identity has no weights


@pytest.mark.parametrize("coding", ["direct", "rate"])
@pytest.mark.parametrize("name", ["vgg5", "resnet12"])
def test_chunks_and_batches_change_nothing(random_network, images, name, coding):
    whole = _counts(measure_activity(random_network(name, coding=coding), [images]))
    for chunk in (1, 2):
        assert _counts(measure_activity(random_network(name, coding=coding, time_chunk=chunk), [images])) == whole
    assert _counts(measure_activity(random_network(name, coding=coding), iter([images[:1], images[1:]]))) == whole


def test_inputs_are_analog_until_the_first_neurons(analog, images):
    make, names = analog
    rows = measure_activity(make(), [images])
    assert {row.name for row in rows if row.events is None} == names
    for chunk in (1, 2):
        assert measure_activity(make(time_chunk=chunk), [images]) == rows
    assert all(row.events is not None for row in measure_activity(make(coding="rate"), [images]))
    model, k = make().model, make().backend
    ann = Network(model, k, initialise(model, k, 1))
    assert all(row.events is None for row in measure_activity(ann, [images]))


def test_steps_and_seed_are_used(random_network, images):
    network = random_network(coding="rate")
    short, again, other = (measure_activity(network, [images], steps=t, seed=s)[0] for t, s in ((2, 0), (2, 0), (2, 1)))
    assert short.steps == 2 and 0 < short.received < 2
    assert short.events == again.events != other.events


def test_firing_output_neurons_have_a_row(random_network, images):
    network = random_network(readout="spikes")
    *_, readout, output = measure_activity(network, [images])
    assert (readout.name, readout.kind) == ("readout", "Readout")
    assert (output.name, output.kind, output.neurons) == ("readout", "Neuron", 10)
    assert output.spikes == int(network.forward(images).sum())  # these logits are the spikes


def test_ann_is_dense(random_network, images):
    rows = measure_activity(random_network(spiking=False), [images, images[:2]])  # steps = 5 means nothing to an ANN
    assert {row.images for row in rows} == {8} and {row.steps for row in rows} == {1}
    for row in rows:
        assert row.spiking_activity is None and row.time_averaged is None
        assert row.received == (None if row.kind == "Neuron" else 1.0)


def test_rows_go_into_a_results_file(random_network, images):
    rows = [row.as_dict() for row in measure_activity(random_network(), [images])]
    assert json.loads(json.dumps(rows)) == rows
    assert rows[1]["tasa"] == pytest.approx(rows[1]["spikes"] / (rows[1]["neurons"] * 6 * 5))
    assert [row["neurons"] for row in rows[:3]] == [192, math.prod((8, 8, 6)), 4 * 4 * 6]


def test_impossible_measurements_of_activity_are_refused(random_network, images):
    network = random_network()
    for batches, steps, sentence in (
        ([], None, "without images"),
        (images, None, "batches of images"),
        ([images[:, :4]], None, "batches of images"),
        ([images], 0, "the number of time steps is 0: give a whole number"),
    ):
        with pytest.raises(MinihireError, match=sentence):
            measure_activity(network, batches, steps=steps)


def test_the_parts_of_another_block_have_their_own_inputs():
    """A block of one's own, as in docs/extending.md: its parts are not one chain of shapes."""
    both = Branches("both", (Flatten(), Linear("main", 4), Neuron("neuron1")), (Flatten(), Linear("side", 4)))
    block, found = SimpleNamespace(children=both.children, output_shape=both.output_shape), set()
    assert not _find_analog([block, Linear("last", 2)], (8, 8, 3), True, found)
    assert "main" in found and "last" not in found
