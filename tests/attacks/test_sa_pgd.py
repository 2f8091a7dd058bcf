"""SA-PGD equals its equations, written out by hand, with an adaptive surrogate whose memory lasts over the iterations."""

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from backends.surrogates import adaptive
from minihire.attacks import attack_accuracy, perturb, pgd, sa_pgd
from minihire.runtime.errors import MinihireError

AXES = (1, 2, 3)


@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_sa_pgd_is_its_equations(network, data, images, kind):
    net, epsilon, steps = network(get_backend("reference", dtype="float64"), kind), 0.02, 20
    attacker = sa_pgd(epsilon, steps).attacker(net)
    images = images.astype(np.float64)
    labels = net.forward(images).argmax(axis=1)
    x, p, q, memory = attacker.start(images, Draws(1)), 0.0, 0.0, {}
    fooling, best, best_loss = images.copy(), images.copy(), np.full(len(labels), -np.inf)
    fooled = np.zeros(len(labels), bool)
    for i in range(steps + 1):
        found = net.gradients(
            x, labels, weights=False, image=True, training=False, scale=1.0, surrogate=adaptive(), adaptation=memory
        )
        wrong, larger = found.logits.argmax(axis=1) != labels, found.losses > best_loss
        fooled |= wrong
        fooling[wrong], best[larger], best_loss[larger] = x[wrong], x[larger], found.losses[larger]
        g, mean = found.image, np.abs(found.image).mean(AXES, keepdims=True)
        square = np.square(g).mean(AXES, keepdims=True)
        p = 0.5 * p + g / np.where(mean > 0, mean, 1)
        q = 0.8 * q + g * g / np.where(square > 0, square, 1)
        eta = epsilon / 2 ** sum(i >= check for check in (4, 7, *range(9, 20)))
        x = x + np.clip(eta * p / (np.sqrt(q) + 1e-12), -eta, eta)
        x = np.clip(np.clip(x, images - epsilon, images + epsilon), 0, 1)
    expected = np.where(fooled[:, None, None, None], fooling, best)
    found = attacker.run(images, labels, Draws(1), None)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found - images).max() <= epsilon + 1e-12


def test_the_memory_of_the_surrogate_lasts_from_iteration_to_iteration(k, network, data, images, monkeypatch):
    net, seen = network(k), []
    gradients = type(net).gradients

    def record(*arguments, **options):
        memory = options["adaptation"]
        seen.append(k.to_numpy(memory["neuron1"].mean).mean() if memory else 1.0)
        return gradients(*arguments, **options)

    monkeypatch.setattr(type(net), "gradients", record)
    attack = sa_pgd(0.02, 4, restarts=2).attacker(net)
    attack(k.asarray(images), k.asarray(data.labels), Draws(1))
    assert len(seen) == 8 and seen[0] == seen[4] == 1.0  # each run starts anew
    assert len(set(seen[:4])) == 4


def test_sa_pgd_is_about_as_strong_as_pgd(k, network, data):
    net = network(k)
    strong, weak = (attack_accuracy(net, data, a) for a in (sa_pgd(0.05, 20), pgd(0.05, 0.01, 20)))
    assert strong.sum() <= weak.sum() + 1


def test_time_chunks_are_refused_in_one_sentence(k, network, data, images):
    net = network(k, time_chunk=2)
    with pytest.raises(
        MinihireError, match="adaptive surrogate needs all time steps at once: leave out the time chunk"
    ):
        perturb(net, k.asarray(images), k.asarray(data.labels), sa_pgd(iterations=1))
