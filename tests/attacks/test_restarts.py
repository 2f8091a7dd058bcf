"""Restarts, expectation over the draws of a rate-coded network (EOT), other losses, and uniform noise."""

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.analysis.accuracy import accuracy, mean_logits, predict, sample_draws
from minihire.attacks import attack_accuracy, perturb, pgd, uniform_noise
from minihire.engine.check import gradient_error
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.study.study import describe_attack


@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_an_image_withstands_restarts_only_if_it_withstands_each_of_them(k, network, data, images, kind):
    net, one, three = network(k, kind), pgd(0.01, 0.004, 2), pgd(0.01, 0.004, 2, restarts=3)
    runs = [predict(net, perturb(net, images, data.labels, one, Draws(5, step))) == data.labels for step in range(3)]
    found = attack_accuracy(net, data, three, seed=5)
    assert found.tolist() == np.all(runs, axis=0).tolist()


def test_without_success_the_smallest_margin_is_taken(k, network, data, images):
    net, labels = network(k, "ann"), data.labels
    margin = lambda x: k.logit_loss(k.asarray(k.to_numpy(net.forward(x))), labels, "margin")[0]
    one, three = pgd(0.001, 0.001, 1), pgd(0.001, 0.001, 1, restarts=3)
    runs = np.stack([margin(perturb(net, images, labels, one, Draws(5, step))) for step in range(3)])
    found, withstood = margin(perturb(net, images, labels, three, Draws(5))), (runs > 0).all(axis=0)
    assert 0 < withstood.sum() < len(labels) and len(set(runs[:, withstood].argmin(axis=0))) > 1
    np.testing.assert_allclose(found[withstood], runs.min(axis=0)[withstood], rtol=1e-5)
    assert (found[~withstood] < 0).all()


def test_one_restart_is_the_attack_itself_and_changes_no_key_of_a_study():
    assert pgd(restarts=1, samples=1) == pgd()
    assert set(describe_attack(pgd())) == {"name", "epsilon", "alpha", "iterations", "random_start", "surrogate"}
    assert describe_attack(pgd(restarts=2))["restarts"] == 2
    for wrong in (dict(restarts=0), dict(samples=0)):
        with pytest.raises(
            MinihireError, match="the attack's number of (restarts|samples) is 0: give a whole number of at least 1"
        ):
            pgd(**wrong)


def test_samples_have_draws_of_their_own():
    """Of each other, of other iterations, and of evaluations."""
    evaluated = sample_draws(Draws(1, 0), 4)
    crafted = [draws for step in range(1, 9) for draws in sample_draws(Draws(1, step), 4)]
    assert evaluated[0] == Draws(1, 0) and crafted[0] == Draws(1, 1)
    assert len({*evaluated, *crafted}) == 4 * 9


def test_the_gradient_is_the_mean_over_the_samples(k, network, data, images):
    net = network(k, "rate")
    attacker = pgd(samples=5).attacker(net)
    x, y = k.asarray(images), k.asarray(data.labels)
    found = attacker.gradient(x, y, Draws(0, 3))
    options = dict(weights=False, image=True, training=False, scale=1.0)
    each = [net.gradients(x, y, draws=draws, **options) for draws in sample_draws(Draws(0, 3), 5)]
    for name in ("image", "losses", "logits"):
        mean = np.mean([k.to_numpy(getattr(one, name)) for one in each], axis=0)
        np.testing.assert_allclose(k.to_numpy(getattr(found, name)), mean, rtol=1e-4, atol=1e-6)
    assert not np.array_equal(k.to_numpy(each[0].image), k.to_numpy(found.image))


def test_an_evaluation_averages_the_logits_of_as_many_samples(k, network, data, images, monkeypatch):
    net, x = network(k, "rate"), k.asarray(images)
    each = [k.to_numpy(net.forward(x, draws=draws)) for draws in sample_draws(Draws(2), 3)]
    np.testing.assert_allclose(k.to_numpy(mean_logits(net, x, Draws(2), 3)), np.mean(each, axis=0), rtol=1e-5)
    answers = np.mean(each, axis=0).argmax(axis=1) == data.labels
    assert accuracy(net, data, seed=2, samples=3).tolist() == answers.tolist()
    assert attack_accuracy(net, data, pgd(0.0, samples=3), seed=2).tolist() == answers.tolist()
    with pytest.raises(MinihireError, match="the number of samples is 0: give a whole number of at least 1"):
        accuracy(net, data, samples=0)
    calls, forward = [], Network.forward
    monkeypatch.setattr(Network, "forward", lambda *a, **o: calls.append(1) or forward(*a, **o))
    mean_logits(network(k, "direct"), x, samples=9)  # which has nothing to average
    assert len(calls) == 1


@pytest.mark.parametrize("loss", ["margin", "dlr", "dlr-targeted"])
def test_gradients_of_other_losses_are_finite_differences(network, data, images, loss):
    net, images = network(get_backend("reference", dtype="float64"), "ann"), images.astype(np.float64)
    options = dict(weights=False, training=False, scale=0.5, loss=loss)
    options |= {"targets": (data.labels + 1) % 4} if loss == "dlr-targeted" else {}
    grad = net.gradients(images, data.labels, image=True, **options).image
    value = lambda x: 0.5 * net.gradients(x, data.labels, **options).losses.sum()
    assert gradient_error(value, [images], [grad], step=1e-7) < 1e-5


def test_unknown_losses_are_refused_in_one_sentence(k, network, data, images):
    for options in (dict(loss="hinge"), dict(loss="dlr-targeted"), dict(targets=data.labels)):
        with pytest.raises(MinihireError, match="a loss is one of cross-entropy, dlr, dlr-targeted, margin"):
            network(k).gradients(images, data.labels, **options)


def test_noise_is_the_random_start_of_pgd(k, network, data, images):
    net = network(k)
    noisy = perturb(net, images, data.labels, uniform_noise(0.1), Draws(4))
    np.testing.assert_array_equal(noisy, perturb(net, images, data.labels, pgd(0.1, 0.0, 1), Draws(4)))
    assert np.abs(noisy - images).max() > 0.09
