"""Kernels for the control flow of attacks: their values, the gradients of the losses, and the adaptive surrogate's formula."""

import math

import numpy as np
import pytest
from every_backend import compared

from backends import get_backend
from backends.errors import BackendError
from backends.interface import Adaptation, NeuronState
from backends.surrogates import TABLE, Surrogate, adaptive, straight_through, triangle

REFERENCE = get_backend("reference", dtype="float64")
LOSSES = ("margin", "dlr", "dlr-targeted")
RNG = np.random.default_rng


def tolerance(backend):
    return {"rtol": 1e-9, "atol": 1e-11} if backend.dtype == "float64" else {"rtol": 2e-5, "atol": 1e-5}


def logits_of(seed=0):
    """Logits [6, 5] without ties, labels (some the largest, some not) and targets that differ from them."""
    logits = np.stack([RNG(seed + i).permutation(5) for i in range(6)]) / 2 - 1.0
    labels = np.where(np.arange(6) % 2, logits.argmax(axis=1), np.arange(6) % 5)
    return logits, labels, (labels + 2) % 5


def test_values_by_hand(backend):
    k, z, y = backend, [[3.0, 1.0, -1.0, 0.0], [0.0, 2.0, 2.0, -2.0]], backend.asarray(np.array([1, 1]))
    found = {
        kind: k.to_numpy(k.logit_loss(k.asarray(z), y, kind, k.asarray(np.array([2, 0])) if "t" in kind else None)[0])
        for kind in ("margin", "dlr", "dlr-targeted")
    }
    np.testing.assert_allclose(found["margin"], [-2, 0])
    np.testing.assert_allclose(found["dlr"], [2 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(found["dlr-targeted"], [-2 / 3.5, -2 / 3], rtol=1e-5)
    losses, grad = k.logit_loss(k.asarray(z), y, "zero-one")
    assert k.to_numpy(losses).tolist() == [1, 0] and not k.to_numpy(grad).any()  # of equal logits the first one counts


@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_of_the_losses_are_finite_differences(kind):
    logits, labels, targets = logits_of()
    targets = targets if kind == "dlr-targeted" else None
    grad = REFERENCE.logit_loss(logits, labels, kind, targets)[1]
    for i in range(5):
        up, down = (REFERENCE.logit_loss(logits + h * np.eye(5)[i], labels, kind, targets)[0] for h in (1e-6, -1e-6))
        np.testing.assert_allclose(grad[:, i], (up - down) / 2e-6, atol=1e-8)


@compared
def test_losses_are_those_of_the_reference(backend):
    logits, labels, targets = logits_of(7)
    for kind in (*LOSSES, "zero-one"):
        aims = targets if kind == "dlr-targeted" else None
        expected = REFERENCE.logit_loss(logits, labels, kind, aims)
        k = backend
        given = k.asarray(logits), k.asarray(labels), kind, None if aims is None else k.asarray(aims)
        for got, want in zip(k.logit_loss(*given), expected, strict=True):
            np.testing.assert_allclose(k.to_numpy(got), want, **tolerance(k))


def test_elementwise_kernels_by_their_definition(backend):
    k, a, b = backend, RNG(1).integers(-8, 9, (5, 3, 4, 2)) / 8, RNG(2).integers(-8, 9, (5, 3, 4, 2)) / 8
    each = np.array([0.5, 0.0, -1.0, 2.0, 1.0])
    x, y, factors = k.asarray(a), k.asarray(b), k.asarray(each)
    wide = each[:, None, None, None]
    for got, want in (
        (k.multiply(x, y), a * b),
        (k.multiply(x, factors), a * wide),
        (k.greater(x, y), a > b),
        (k.greater(factors, 0.5), each > 0.5),
        (k.select(factors, x, y), np.where(wide > 0, a, b)),
        (k.power(k.asarray(a * a), 0.5), np.abs(a)),
        (k.power(k.asarray(2.0 ** np.arange(4)), -1.0), 0.5 ** np.arange(4)),
        (k.scale_to_norm(x, math.inf), a / np.abs(a).max(axis=(1, 2, 3), keepdims=True)),
    ):
        got = k.to_numpy(got)
        assert got.dtype == k.dtype
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_select_copies_no_infinity(backend):
    k = backend
    bad = k.asarray(np.full((2, 3), np.inf))
    found = k.to_numpy(k.select(k.asarray([0.0, 1.0]), bad, k.zeros((2, 3))))
    assert found[0].tolist() == [0, 0, 0] and np.isinf(found[1]).all()


def plain_adaptive(membrane, v, mean, deviation):
    """(slopes dz, mean, deviation), one number at a time, from the paper's formula for ds/dx with x = m − v."""
    slopes, a = np.empty_like(membrane), 2 * math.tan(0.425 * math.pi) / math.pi
    mean, deviation = mean.copy(), deviation.copy()
    for i in np.ndindex(membrane.shape):
        x = membrane[i] - v
        mean[i] = 0.9 * mean[i] + 0.1 * abs(x)
        deviation[i] = 0.9 * deviation[i] + 0.1 * abs(abs(x) - mean[i])
        alpha = a / (mean[i] + 1.5 * deviation[i] + 1e-4)
        slopes[i] = v * alpha / 2 / (1 + (math.pi / 2 * alpha * x) ** 2)
    return slopes, mean, deviation


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("reset", ["immediate", "delayed"])
def test_the_adaptive_surrogate_is_its_formula_over_three_passes(backend, static, reset):
    """The gradient through slopes f equals the straight-through one of f·g; 35 neurons fill no vector."""
    k, rng, shape = backend, RNG(3), (4, 5, 7)
    memory = Adaptation(k.asarray(np.ones(shape)), k.asarray(np.zeros(shape)))
    plain = np.ones(shape), np.zeros(shape)
    for _ in range(3):
        current, grad = rng.uniform(-0.5, 2, (1 if static else 4, 5, 7)), rng.standard_normal(shape)
        start = NeuronState(rng.random((5, 7)), rng.integers(0, 2, (5, 7)) * 1.0 if reset == "delayed" else None)

        def saved(b, current=current, start=start):
            state = NeuronState(*(None if x is None else b.asarray(x) for x in start))
            return b.lif_forward(b.asarray(current), state, b.asarray([0.5]), b.asarray([0.75]), 4, reset=reset)[2]

        membrane = saved(REFERENCE).open().membrane
        slopes, *plain = plain_adaptive(membrane, 0.75, *plain)
        expected = REFERENCE.lif_backward(saved(REFERENCE), grad * slopes, None, straight_through())
        found = k.lif_backward(saved(k), k.asarray(grad), None, adaptive(), reset_grad=True, adaptation=memory)
        for got, want in zip((*found[:1], *found[2:], *memory), (*expected[:1], *expected[2:], *plain), strict=True):
            np.testing.assert_allclose(k.to_numpy(got), want, **tolerance(k))


def test_without_a_memory_each_pass_starts_anew(backend):
    k, current = backend, RNG(0).uniform(0, 2, (3, 2, 4))

    def backward(adaptation):
        saved = k.lif_forward(k.asarray(current), None, k.asarray([0.5]), k.asarray([0.75]), 3)[2]
        return k.to_numpy(k.lif_backward(saved, k.asarray(current), None, adaptive(), adaptation=adaptation)[0])

    new = Adaptation(k.asarray(np.ones(current.shape)), k.asarray(np.zeros(current.shape)))
    first, again = backward(None), backward(None)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, backward(new))
    assert not np.array_equal(first, backward(new))


def test_the_adaptive_surrogate_learns_the_scale_of_the_membranes(backend):
    """A neuron at the mean distance from its threshold has about 5 % of the largest slope, whatever its units."""
    k = backend
    for unit in (1.0, 40.0):
        x = unit * np.array([0.0, 1.0, -1.0, 1.0])
        memory = Adaptation(k.asarray(np.full((1, 1, 4), unit)), k.zeros((1, 1, 4)))
        for _ in range(300):
            membrane = k.asarray((x + unit).reshape(1, 1, 4))
            saved = k.lif_forward(membrane, None, k.asarray([1.0]), k.asarray([unit]), 1)[2]
            grad = k.lif_backward(saved, k.asarray(np.ones((1, 1, 4))), None, adaptive(), adaptation=memory)[0]
        found = k.to_numpy(grad).ravel()
        np.testing.assert_allclose(k.to_numpy(memory.mean).ravel()[1:], unit, rtol=1e-3)
        at_mean = 1 / (1 + math.tan(0.425 * math.pi) ** 2)
        peak = unit * (2 * math.tan(0.425 * math.pi) / math.pi / unit) / 2 / unit
        np.testing.assert_allclose(found[1:], at_mean * peak, rtol=1e-2)
        assert found[0] > 10 * peak  # its mean distance is 0


def test_other_surrogates_leave_the_memory_alone(backend):
    k = backend
    memory = Adaptation(k.asarray(np.ones((2, 3, 4))), k.zeros((2, 3, 4)))
    saved = k.lif_forward(k.asarray(np.ones((2, 3, 4))), None, k.asarray([0.5]), k.asarray([0.75]), 2)[2]
    k.lif_backward(saved, k.asarray(np.ones((2, 3, 4))), None, triangle(), adaptation=memory)
    assert (k.to_numpy(memory.mean) == 1).all() and not k.to_numpy(memory.deviation).any()


def test_a_new_surrogate_is_not_taken_for_another_one(backend, monkeypatch):
    """A row of TABLE without a branch in the kernels: the reference computes it, the other backends refuse it."""
    monkeypatch.setitem(TABLE, "bell", (lambda z, h, w: h * np.exp(-w * z * z), None))
    k, current = backend, RNG(0).uniform(0, 2, (3, 2, 4))
    saved = k.lif_forward(k.asarray(current), None, k.asarray([0.5]), k.asarray([0.75]), 3)[2]
    backward = lambda: k.lif_backward(saved, k.asarray(current), None, Surrogate("bell", 1.0, 1.0))
    if k.name == "reference":
        assert np.isfinite(backward()[0]).all()
        return
    with pytest.raises(
        BackendError, match="compute the surrogate 'bell': use the reference backend, or add a branch to"
    ):
        backward()
