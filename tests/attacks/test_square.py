"""The Square attack: equal to the authors' reference (pip install --no-deps pyautoattack) on the same squares."""

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.attacks import perturb, square
from minihire.attacks.square import SquareAttacker, side_of_square
from minihire.network import Network

QUERIES = 21


class OneForAll(SquareAttacker):
    """Squares of the reference: one for the whole batch. Signs and corners come from a list that both attacks read."""

    def square(self, iteration, shape, draws):
        height, width = shape[1:3]
        side = side_of_square(iteration, height, width)
        top, left, signs = numbers(iteration)
        out = np.zeros(shape)
        at = int(top * (height - side)), int(left * (width - side))
        out[:, at[0] : at[0] + side, at[1] : at[1] + side] = signs
        return out


def numbers(iteration):
    """Two uniform numbers and three signs of an iteration."""
    rng = np.random.default_rng(iteration)
    return rng.random(), rng.random(), rng.choice([-1.0, 1.0], 3)


@pytest.mark.parametrize("epsilon", [0.02, 0.2])
@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_every_iterate_is_that_of_the_reference(network, data, images, monkeypatch, kind, epsilon):
    torch = pytest.importorskip("torch")
    oracle = pytest.importorskip("pyautoattack.square")
    from minihire.interop import torch_module

    k = get_backend("reference", dtype="float64")
    net = network(k, kind)
    net.parameters |= {name: k.asarray([0.1]) for name in net.parameters if name.endswith("threshold")}
    images = images.astype(np.float64)
    labels = net.forward(images).argmax(axis=1)
    attacker, seen, forward = OneForAll(net, square(epsilon, QUERIES)), [], Network.forward
    stripes = attacker.stripes(images.shape, Draws())
    with monkeypatch.context() as patched:
        patched.setattr(Network, "forward", lambda *a, **o: seen.append(a[1].copy()) or forward(*a, **o))
        found = attacker.run(images, labels, Draws(), None)

    theirs, calls = (
        oracle.SquareAttack(None, eps=epsilon, n_queries=QUERIES - 1, loss="margin", resc_schedule=False, device="cpu"),
        [],
    )
    module, tensor = torch_module(net), lambda a: torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))

    def predict(x):
        calls.append(x.numpy().transpose(0, 2, 3, 1).copy())
        return module(x)

    choices = iter([tensor(np.broadcast_to(stripes[:, :1], (len(images), 1, 8, 3)) * 1.0)])

    def random_choice(shape):  # the stripes, then the signs of each square
        return next(choices, None) if len(shape) == 4 else torch.from_numpy(numbers(len(calls) - 1)[2]).view(3, 1, 1)

    corners = []

    def random_int(low, high):
        corners.append(high)
        return torch.tensor([int(numbers(len(calls) - 1)[1 - len(corners) % 2] * high)])

    theirs.predict, theirs.random_choice, theirs.random_int = predict, random_choice, random_int
    theirs.init_hyperparam(tensor(images))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        expected = theirs.attack_single_run(tensor(images), torch.from_numpy(labels))[1]
    finally:
        torch.set_default_dtype(before)
    expected = expected.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(found - seen[0]).max() > epsilon / 2  # some proposals were taken
    active, kept = np.arange(len(images)), 0
    # the reference drops images that are fooled, and stops when there are none left
    for ours, one in zip(seen, calls, strict=False):
        np.testing.assert_allclose(ours[active], one, rtol=0, atol=1e-6)
        active, kept = active[net.forward(ours[active]).argmax(axis=1) == labels[active]], kept + len(active)
    assert len(calls) == QUERIES or not len(active)
    assert kept > 40


def test_images_do_not_depend_on_the_batch_and_stay_in_the_ball(k, network, data, images):
    net, attack = network(k), square(0.05, 15)
    together = perturb(net, images, data.labels, attack, Draws(2))
    assert together.dtype == np.float32 and 0 <= together.min() <= together.max() <= 1
    assert abs(together - images).max() <= 0.05 + 1e-6
    for i in range(3):
        alone = perturb(net, images[i : i + 1], data.labels[i : i + 1], attack, Draws(2, first=i))
        np.testing.assert_array_equal(alone[0], together[i])


def test_squares_are_drawn_for_each_image_and_query(network, images):
    attacker = square().attacker(network(get_backend("reference")))
    first, second = (attacker.square(i, (200, 8, 8, 3), Draws(1)) for i in (12, 13))
    side = side_of_square(12, 8, 8)
    assert (np.abs(first).sum(axis=(1, 2)) == side**2).all() and not np.array_equal(first, second)
    corners = {tuple(np.argwhere(np.abs(x).sum(axis=2))[0]) for x in first}
    assert corners == {(i, j) for i in range(9 - side) for j in range(9 - side)}
    assert len({tuple(x[np.abs(x).sum(axis=2) > 0][0]) for x in first}) == 8  # all signs of three channels
    np.testing.assert_array_equal(attacker.square(12, (3, 8, 8, 3), Draws(1, first=7)), first[7:10])


def test_the_square_shrinks_as_published():
    sides = [side_of_square(i, 32, 32) for i in (0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)]
    assert sides == [29, 29, 20, 20, 14, 10, 7, 5, 4, 3, 2, 1]


def test_margins_never_rise(k, network, data, images):
    net, margins = network(k), []
    for queries in (1, 3, 9, 27):
        x = perturb(net, images, data.labels, square(0.05, queries))
        logits = k.to_numpy(net.forward(x))
        margins.append(k.logit_loss(k.asarray(logits), k.asarray(data.labels), "margin")[0])
    assert all((after <= before).all() for before, after in zip(margins, margins[1:], strict=False))
    assert margins[-1].sum() < margins[0].sum()
