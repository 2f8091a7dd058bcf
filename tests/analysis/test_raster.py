"""Spike trains: by hand on four neurons, and equal to the network's own spikes."""

import numpy as np
import pytest

from minihire.analysis import raster, spike_distance, spike_trains
from minihire.runtime.errors import MinihireError


def pixels(network, *values):
    return network.backend.asarray(np.array(values, float).reshape(1, 2, 2, 1))


def test_raster_by_hand(toy):
    """A current x fires at step t where the sum of x so far exceeds the threshold: x = 1.5 at steps 0, 1, 2, 3 …"""
    network = toy(steps=4)
    network.parameters["conv1.weight"] = np.full((1, 1, 1, 1), 2.0)  # a current is twice its pixel
    (layer,) = spike_trains(network, pixels(network, 0.75, 0.3, 0.0, 0.3), pixels(network, 0.75, 0.0, 0.0, 0.45))
    assert layer == {
        "name": "neuron1",
        "neurons": 4,
        "fired_clean": 3,
        "fired_attacked": 2,
        "rate_clean": [
            0.25,
            0.75,
            0.25,
            0.75,
        ],  # 0.6 reaches 1.2 at the second step, leaves 0.2, reaches 1.4 at the fourth
        "rate_attacked": [0.25, 0.5, 0.5, 0.5],  # 0.9 needs two steps to pass 1, and then one each
        "shown": [0, 1, 3],
        "trains": ["bbbb", ".c.c", ".bab"],
    }


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("name", ["vgg5", "resnet12"])
def test_trains_and_rates_are_the_networks_spikes(random_network, images, name, chunk):
    network = random_network(name, time_chunk=chunk)
    clean, attacked = (network.backend.asarray(x) for x in (images[:1], images[1:2]))
    found = spike_trains(network, clean, attacked)
    seen = {}

    def keep(event, layer, array):
        if event == "spikes":
            seen.setdefault(layer, []).append(np.asarray(array)[:, 0])

    network.forward(clean, observe=keep)
    assert [layer["name"] for layer in found] == list(seen) == list(spike_distance(network, clean, attacked))
    for layer in found:
        spikes = np.concatenate(seen[layer["name"]])
        spikes = spikes.reshape(len(spikes), -1) > 0
        assert layer["rate_clean"] == pytest.approx(spikes.mean(axis=1), abs=1e-5)
        assert layer["fired_clean"] == spikes.any(axis=0).sum()
        assert (
            layer["shown"] == sorted(set(layer["shown"]))
            and len(layer["trains"]) == len(layer["shown"]) <= raster.MAX_NEURONS
        )
        for neuron, train in zip(layer["shown"], layer["trains"], strict=True):
            assert [letter in "bc" for letter in train] == spikes[:, neuron].tolist() and set(train) != {"."}


def test_equal_images_differ_nowhere_and_long_trains_are_cut(random_network, images):
    network = random_network(steps=raster.MAX_STEPS + 3)
    image = network.backend.asarray(images[:1])
    for layer in spike_trains(network, image, image):
        assert set("".join(layer["trains"])) <= {"b", "."} and layer["rate_clean"] == layer["rate_attacked"]
        assert (
            len(layer["rate_clean"]) == raster.MAX_STEPS
            and 0 < len(layer["shown"]) <= raster.MAX_MARKS // raster.MAX_STEPS
        )
        assert {len(train) for train in layer["trains"]} <= {raster.MAX_STEPS}


def test_rate_coding_draws_the_same_for_both(random_network, images):
    network = random_network(coding="rate")
    image = network.backend.asarray(images[:1])
    for layer in spike_trains(network, image, image, seed=3):
        assert layer["rate_clean"] == layer["rate_attacked"]


def test_a_silent_layer_shows_no_neuron(toy):
    network = toy()
    dark = pixels(network, 0, 0, 0, 0)
    (layer,) = spike_trains(network, dark, dark)
    assert (layer["shown"], layer["trains"], layer["fired_clean"]) == ([], [], 0)


def test_an_ann_has_no_raster(toy):
    network = toy(spiking=False, steps=1)
    with pytest.raises(MinihireError, match="an ANN has no spike trains"):
        spike_trains(network, pixels(network, 1, 1, 1, 1), pixels(network, 1, 1, 1, 1))
