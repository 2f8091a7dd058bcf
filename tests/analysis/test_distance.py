"""Distances by hand and against spike counts taken with NumPy."""

import numpy as np
import pytest

from backends.randomness import Draws
from minihire.analysis import perturbation_distance, spike_distance
from minihire.runtime.errors import MinihireError


def test_perturbation_distance_by_hand():
    clean = np.zeros((2, 2, 2, 1), np.float32)
    perturbed = clean.copy()
    perturbed[0, 0, 0], perturbed[0, 1, 1] = 3, -4
    assert perturbation_distance(clean, perturbed).tolist() == [5.0, 0.0]


def test_no_images_have_no_distances():
    assert perturbation_distance(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0,)


def test_perturbation_distance_of_a_full_epsilon_step():
    clean = np.full((3, 32, 32, 3), 0.5, np.float32)
    assert perturbation_distance(clean, clean + np.float32(8 / 255)) == pytest.approx(
        [8 / 255 * 3072**0.5] * 3, rel=1e-6
    )


def test_spike_distance_by_hand(toy):
    clean = np.array([0.3, 0.6, 0.0, 1.0]).reshape(1, 2, 2, 1)  # 1, 2, 0, 3 spikes in 4 steps
    perturbed = np.array([0.6, 0.6, 0.0, 0.3]).reshape(1, 2, 2, 1)  # 2, 2, 0, 1
    found = spike_distance(toy(), clean, perturbed)
    assert list(found) == ["neuron1"]
    assert found["neuron1"] == pytest.approx([5**0.5 / 4])


@pytest.mark.parametrize(
    ("name", "coding", "chunk"),
    [("vgg5", "direct", None), ("vgg5", "rate", 2), ("resnet12", "rate", None), ("resnet12", "direct", 1)],
)
def test_spike_distance_equals_a_recount(random_network, images, name, coding, chunk):
    perturbed = np.clip(images + 0.1, 0, 1)
    rates = []
    for x in (images, perturbed):
        trains = {}
        random_network(name, coding=coding).forward(
            x,
            draws=Draws(4),
            observe=lambda event, layer, array, trains=trains: (
                trains.update({layer: array}) if event == "spikes" else None
            ),
        )
        rates.append({layer: train.mean(axis=0, dtype=np.float64) for layer, train in trains.items()})
    found = spike_distance(random_network(name, coding=coding, time_chunk=chunk), images, perturbed, seed=4)
    assert list(found) == list(rates[0])
    for layer, distance in found.items():
        expected = [np.linalg.norm(a - b) for a, b in zip(rates[0][layer], rates[1][layer], strict=True)]
        assert distance == pytest.approx(expected) and max(expected) > 0


def test_the_same_images_are_no_distance_apart(random_network, images):
    found = spike_distance(random_network(coding="rate"), images, images, seed=2)
    assert all((distance == 0).all() and distance.shape == (6,) for distance in found.values())


def test_steps_are_used(toy):
    one, network = np.array([0.15, 0.3, 0.0, 0.6]).reshape(1, 2, 2, 1), toy()
    network.parameters["conv1.weight"] = np.full((1, 1, 1, 1), 2.0)  # so 0.6 is a current of 1.2
    found = spike_distance(network, one, np.zeros_like(one), steps=1)
    assert found["neuron1"].tolist() == [1.0]  # only 0.6 fires at t = 0


def test_distances_of_arrays_or_networks_that_do_not_fit_are_refused(random_network, images):
    with pytest.raises(MinihireError, match="spiking network"):
        spike_distance(random_network(spiking=False, steps=1), images, images)
    with pytest.raises(MinihireError, match="give arrays of the same shape"):
        spike_distance(random_network(), images, images[:3])
    with pytest.raises(MinihireError, match="give arrays of the same shape"):
        perturbation_distance(images, images[0])
    with pytest.raises(MinihireError, match="the number of time steps is 0: give a whole number of at least 1"):
        spike_distance(random_network(), images, images, steps=0)
