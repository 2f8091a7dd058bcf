"""FGSM and PGD equal equations 3 and 4 written out by hand; attacks stay within their bounds and change nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import get_backend
from backends.randomness import Draws
from backends.surrogates import arctan, rate, straight_through
from minihire.attacks import Attack, fgsm, perturb, pgd, pgd_l2
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError

KINDS = ["ann", "direct", "rate"]


@pytest.mark.parametrize("kind", KINDS)
def test_fgsm_is_one_step_of_pgd_without_a_random_start(k, network, data, images, kind):
    net = network(k, kind)
    one = perturb(net, images, data.labels, pgd(0.05, 0.05, 1, random_start=False))
    assert np.array_equal(perturb(net, images, data.labels, fgsm(0.05)), one) and not np.array_equal(one, images)


@pytest.mark.parametrize("kind", KINDS)
def test_fgsm_is_equation_3(k, network, data, images, kind):
    net = network(k, kind)
    draws = Draws(0, 1)  # never those of an evaluation, which are Draws(0, 0)
    grad = net.gradients(images, data.labels, weights=False, image=True, training=False, draws=draws).image
    expected = np.clip(images + np.float32(0.05) * np.sign(grad), 0, 1)
    np.testing.assert_allclose(perturb(net, images, data.labels, fgsm(0.05)), expected, atol=1e-7)


@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_pgd_is_equation_4(k, network, data, images, kind):
    net, epsilon, alpha = network(k, kind), np.float32(0.03), np.float32(0.012)
    expected = images
    for _ in range(5):
        grad = net.gradients(expected, data.labels, weights=False, image=True, training=False).image
        moved = expected + alpha * np.sign(grad)
        expected = np.clip(np.clip(moved, images - epsilon, images + epsilon), 0, 1)
    found = perturb(net, images, data.labels, pgd(0.03, 0.012, 5, random_start=False))
    np.testing.assert_allclose(found, expected, atol=1e-7)


@given(
    st.floats(0, 1),
    st.floats(0, 0.3),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from(KINDS),
    st.sampled_from(["reference", "numba"]),
)
def test_attacks_stay_in_the_ball_and_in_the_range_of_pixels(epsilon, alpha, iterations, random_start, kind, backend):
    k, model = get_backend(backend, threads=1), build("vgg5", 4, (8, 8, 3), width=1 / 32, hidden=4)
    net = Network(
        model,
        k,
        initialise(model, k, 1, kind != "ann"),
        spiking=kind != "ann",
        steps=2,
        coding="rate" if kind == "rate" else "direct",
    )
    images = np.random.default_rng(iterations).integers(0, 256, (3, 8, 8, 3)).astype(np.float32) / 255
    found = perturb(net, images, np.array([0, 1, 2]), pgd(epsilon, alpha, iterations, random_start))
    assert found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1
    assert abs(found - images).max() <= epsilon + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attack", [fgsm(0.0), pgd(0.0)], ids=lambda a: a.name)
def test_an_epsilon_of_zero_changes_no_image(k, network, data, images, kind, attack):
    assert np.array_equal(perturb(network(k, kind), images, data.labels, attack), images)


def test_the_given_images_are_not_modified(k, network, data, images):
    before = images.copy()
    perturb(network(k), images, data.labels, pgd())
    assert np.array_equal(images, before)


@pytest.mark.parametrize("attack", [fgsm(0.002), pgd(0.004, 0.001, 4, random_start=False)], ids=lambda a: a.name)
def test_small_steps_raise_the_loss_of_an_ann(k, network, data, images, attack):
    net = network(k, "ann")
    losses = [
        net.gradients(x, data.labels, weights=False, training=False).losses
        for x in (images, perturb(net, images, data.labels, attack))
    ]
    assert (losses[1] > losses[0]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_is_attacked_independently_of_its_batch(k, network, data, images, kind):
    net = network(k, kind)
    together = perturb(net, images, data.labels, pgd(iterations=3), Draws(2))
    for i in range(3):
        alone = perturb(net, images[i : i + 1], data.labels[i : i + 1], pgd(iterations=3), Draws(2, first=i))
        assert np.mean(alone[0] != together[i]) < 0.02  # a sign may turn where the gradient is rounding


@pytest.mark.parametrize("surrogate", [straight_through(), arctan(), rate()], ids=lambda s: s.kind)
def test_the_attackers_surrogate_changes_the_gradient_but_not_the_network(k, network, data, images, surrogate):
    net = network(k)
    before, neuron = {name: np.array(a) for name, a in net.parameters.items()}, net.neuron
    found = perturb(net, images, data.labels, fgsm(0.05, surrogate))
    assert not np.array_equal(found, perturb(net, images, data.labels, fgsm(0.05)))
    assert net.neuron is neuron and all(np.array_equal(net.parameters[name], a) for name, a in before.items())


def test_a_surrogate_has_no_effect_on_an_ann(k, network, data, images):
    net = network(k, "ann")
    assert np.array_equal(
        perturb(net, images, data.labels, fgsm(0.05, arctan())), perturb(net, images, data.labels, fgsm(0.05))
    )


def start(k, net, data, images, draws):
    """The images from which PGD starts; with α = 0 it does not move."""
    return np.array(perturb(net, k.asarray(images), data.labels, pgd(0.1, 0.0, 1), draws))


def test_random_starts_differ_from_draw_to_draw(k, network, data, images):
    starts = [
        start(k, network(k), data, images, draws) for draws in (Draws(0, 0), Draws(0, 1), Draws(1, 0), Draws(0, 0))
    ]
    assert np.array_equal(starts[0], starts[3])
    assert len({x.tobytes() for x in starts}) == 3


def test_random_starts_are_uniform_in_the_ball(k, network, data, images):
    images = np.full_like(images, 0.5)
    offset = start(k, network(k), data, images, Draws(0, 0)) - images
    assert abs(offset).max() <= 0.1 + 1e-6
    assert np.histogram(offset, 4, (-0.1, 0.1))[0] == pytest.approx([offset.size / 4] * 4, rel=0.2)


def test_random_starts_are_the_same_on_every_backend(network, data, images):
    found = [
        start(k, network(k), data, images, Draws(3, 5))
        for k in (get_backend("reference"), get_backend("numba", threads=1))
    ]
    assert np.array_equal(*found)


def test_rate_coding_draws_new_spikes_in_every_iteration_and_batch(network, data, images, monkeypatch):
    seen, gradients = [], Network.gradients
    monkeypatch.setattr(
        Network, "gradients", lambda *a, **options: seen.append(options["draws"]) or gradients(*a, **options)
    )
    net = network(get_backend("reference"), "rate")
    for step in range(3):
        perturb(net, images, data.labels, pgd(iterations=4), Draws(7, step))
    assert len(set(seen)) == 12 and {draws.seed for draws in seen} == {7}


def test_attacks_use_no_dropout(k, network, data, images):
    net = network(k)
    assert np.array_equal(
        perturb(net, images, data.labels, fgsm(), Draws(0, 0)), perturb(net, images, data.labels, fgsm(), Draws(1, 1))
    )


def test_the_paper_s_settings_are_the_defaults():
    assert pgd() == Attack("pgd", 8 / 255, 0.01, 7, True) and fgsm() == Attack("fgsm", 8 / 255, 8 / 255, 1, False)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(epsilon=-0.1), dict(epsilon=float("nan")), dict(epsilon=8), dict(epsilon="8/255"), dict(alpha=-1),
        dict(alpha=float("nan")), dict(alpha=2), dict(iterations=0), dict(iterations=2.5), dict(iterations=True),
    ],
)  # fmt: skip
def test_impossible_attacks_are_refused(wrong):
    with pytest.raises(MinihireError, match=r"^the attack's (ε|α|number of iterations) is .*: give a (whole )?number"):
        pgd(**wrong)


def test_levels_of_pixels_are_refused_but_not_euclidean_lengths():
    with pytest.raises(MinihireError, match=r"the attack's ε is 8: .* \(such as 8/255 for 8 of 255 levels\)"):
        fgsm(8)
    assert pgd_l2(8, 2).epsilon == 8


def test_numbers_of_numpy_become_those_of_python():
    attack = pgd(np.float32(0.5), np.float64(0.25), np.int64(3))
    assert [type(n) for n in (attack.epsilon, attack.alpha, attack.iterations)] == [float, float, int]
