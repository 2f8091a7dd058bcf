"""The hooks of the attack loop: attacks built on them equal their equations, and no step reads a value on the host."""

import math

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.attacks import (
    Attack,
    Attacker,
    L2Attack,
    MomentumAttack,
    apgd,
    attack_accuracy,
    fgsm,
    momentum_pgd,
    perturb,
    pgd,
    pgd_l2,
    sa_pgd,
    square,
    uniform_noise,
)
from minihire.runtime.errors import MinihireError

ATTACKS = [
    *(fgsm(), pgd(restarts=2, samples=2), momentum_pgd(random_start=True), pgd_l2()),
    *(apgd(iterations=5), apgd(iterations=5, loss="dlr"), sa_pgd(iterations=5), square(queries=5), uniform_noise()),
]
AXES = (1, 2, 3)


def gradient(net, x, labels):
    return net.gradients(x, labels, weights=False, image=True, training=False, scale=1.0).image


@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_the_fused_update_equals_the_hooks_one_by_one(k, network, data, images, kind):
    attacker = Attacker(network(k, kind), pgd(0.05, 0.03, 2))
    rng = np.random.default_rng(0)
    current = np.clip(images + rng.uniform(-0.05, 0.05, images.shape), 0, 1).astype(np.float32)
    direction = rng.normal(size=images.shape).astype(np.float32)
    one_by_one = attacker.clip(attacker.project(attacker.step(current, direction), images))
    assert np.array_equal(attacker.update(current, direction, images), one_by_one)


@pytest.mark.parametrize("kind", ["ann", "direct"])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_momentum_is_its_equation(k, network, data, images, kind, decay):
    net, current, g = network(k, kind), images, np.zeros_like(images)
    for _ in range(4):
        grad = gradient(net, current, data.labels)
        size = np.abs(grad).mean(AXES, keepdims=True)
        g = np.float32(decay) * g + grad / np.where(size > 0, size, 1)
        moved = current + np.float32(0.012) * np.sign(g)
        current = np.clip(np.clip(moved, images - np.float32(0.03), images + np.float32(0.03)), 0, 1)
    found = perturb(net, images, data.labels, momentum_pgd(0.03, 0.012, 4, decay=decay))
    assert np.mean(found != current) < 0.01  # a sign may differ where g is rounding


@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_l2_is_its_equation(k, network, data, images, kind):
    net, current = network(k, kind), images
    for _ in range(4):
        grad = gradient(net, current, data.labels)
        norm = np.sqrt(np.square(grad).sum(AXES, keepdims=True))
        moved = current + np.float32(0.3) * grad / np.where(norm > 0, norm, 1) - images
        norm = np.sqrt(np.square(moved).sum(AXES, keepdims=True))
        current = np.clip(images + moved * np.minimum(1, 0.5 / np.where(norm > 0, norm, 1)), 0, 1).astype(np.float32)
    found = perturb(net, images, data.labels, pgd_l2(0.5, 0.3, 4, random_start=False))
    np.testing.assert_allclose(found, current, atol=1e-4 if kind == "direct" else 1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 1.0])
def test_l2_attacks_stay_in_the_ball_and_in_the_range_of_pixels(k, network, data, images, epsilon):
    found = perturb(network(k), images, data.labels, pgd_l2(epsilon, 0.4, 3), Draws(3, 1))
    assert found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1
    assert np.sqrt(np.square(found - images).sum(AXES)).max() <= epsilon * (1 + 1e-5) + 1e-6


def test_l2_starts_at_the_distance_epsilon(k, network, data, images):
    grey = np.full_like(images, 0.5)
    starts = [perturb(network(k), grey, data.labels, pgd_l2(0.5, 0.0, 1), Draws(0, step)) for step in (0, 1, 0)]
    assert np.array_equal(starts[0], starts[2]) and not np.array_equal(starts[0], starts[1])
    np.testing.assert_allclose(np.sqrt(np.square(starts[0] - grey).sum(AXES)), 0.5, rtol=1e-4)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
@pytest.mark.parametrize("kind", ["ann", "direct", "rate"])
def test_an_attack_reads_no_value_on_the_host(network, data, images, monkeypatch, attack, kind):
    reads, k = [], get_backend("numba", threads=1)
    net, labels = network(k, kind), k.asarray(data.labels)
    craft, x = attack.attacker(net), k.asarray(images)
    for where, name in ((k, "to_numpy"), (k, "events"), (k, "top_k"), (k.services, "fetch_async")):
        monkeypatch.setattr(where, name, lambda *a, name=name, **o: reads.append(name))
    craft(x, labels, Draws(1))
    assert reads == []


def test_a_targeted_attack_reads_the_clean_logits_once(network, data, images, monkeypatch):
    k = get_backend("numba", threads=1)
    reads, read = [], k.to_numpy
    monkeypatch.setattr(k, "to_numpy", lambda x: reads.append(tuple(x.shape)) or read(x))
    craft = apgd(iterations=5, loss="dlr-targeted").attacker(network(k))
    del reads[:]
    craft(k.asarray(images), k.asarray(data.labels), Draws(1))
    assert reads == [(12, 4)]


def test_a_subclass_may_replace_a_single_hook(k, network, data, images):
    class Still(Attacker):
        def step(self, current, direction):
            return current

    assert np.array_equal(Still(network(k), pgd(random_start=False))(images, data.labels), images)


def variant(kind, **methods):
    """A subclass with other methods."""
    return type("Mine", (kind,), methods)


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({"attacker": lambda self: None}, r"^attacker of the attack 'mine' is <lambda>\(\): let it take \(network\)$"),
        ({"cost": lambda self: None}, r"^cost of the attack 'mine' is <lambda>\(\): let it take \(classes\)$"),
        ({"cost": lambda self, classes=None: 3}, "^the cost of the attack 'mine' is 3: give an AttackCost$"),
        ({"distance": lambda self, crafted, images: None}, "^the distance of the attack 'mine' is None: return a number$"),
        ({"attacker": lambda self, network: None}, "^the attacker of 'mine' is None: give a function that takes"),
        ({"attacker": lambda self, network: lambda x, labels: x}, r"^the attacker .* let it take \(images, labels, draws\)$"),
        ({"attacker": lambda self, network: lambda x, *_: None}, "^the attack 'mine' returned NoneType: let it return images"),
        ({"attacker": lambda self, network: lambda x, *_: x[:1]}, r"^the attack 'mine' returned float32 \[1, 8, 8, 3\]: "),
        ({"attacker": lambda self, network: lambda x, *_: x.astype("U9")}, "^the attack 'mine' returned <U9"),
        (
            {"attacker": lambda self, network: variant(Attacker, normalise=lambda self, grad: grad)(network, self)},
            r"^normalise of the attacker of 'mine' is <lambda>\(grad\): let it take \(grad, memory\)$",
        ),
        (
            {"attacker": lambda self, network: variant(Attacker, normalise=lambda self, grad, memory: grad)(network, self)},
            "^normalise of Mine returned .*: let it return .direction, memory.$",
        ),
    ],
)  # fmt: skip
def test_an_attack_with_wrong_methods_is_refused_in_one_sentence(k, network, data, methods, says):
    with pytest.raises(MinihireError, match=says):
        attack_accuracy(network(k), data, variant(Attack, **methods)("mine", 0.1, 0.1, 1))


def test_names_and_settings():
    assert isinstance(momentum_pgd(), MomentumAttack) and isinstance(pgd_l2(), L2Attack)
    assert (momentum_pgd().name, pgd_l2().name) == ("momentum", "pgd-l2")
    for wrong in (-1.0, math.nan):
        with pytest.raises(MinihireError, match="the attack's decay μ is .*: give a number of at least 0"):
            momentum_pgd(decay=wrong)
