"""Neurons that a convolution of spikes drives, given its result as the layers give it: equal to the reference, to the bit.

A backend may compute the convolution when the neurons fire. All numbers are dyadic.
"""

import numpy as np
import pytest
from every_backend import event_driven
from exact_spikes import choose, dyadic, fire, same
from plain_calls import avg_pool, conv2d, conv2d_weight_gradient

from backends import get_backend
from backends.interface import NeuronState
from backends.surrogates import arctan, rectangle
from minihire.models import build
from minihire.network import Network, initialise


def drive(k, x, weight, padding, mask, start, reset, wanted, fused=True):
    """What the neurons do, and the gradients of their current's input and weight."""
    state = None if start is None else NeuronState(*(None if s is None else k.asarray(s) for s in start))
    constants = k.asarray([0.5]), k.asarray([1.0]), x.shape[0]
    options = {"reset": reset, "mask": None if mask is None else k.asarray(mask), "want_state": wanted}
    if fused:
        spikes, end, saved, conv_saved = k.conv_lif_forward(
            x, k.asarray(weight), 1, padding, state, *constants, **options
        )
    else:
        current, conv_saved = k.conv2d(x, k.asarray(weight), 1, padding)
        spikes, end, saved = k.lif_forward(current, state, *constants, **options)
    grad = k.asarray(dyadic(np.random.default_rng(9), spikes.shape))
    grad_current, *others = k.lif_backward(saved, grad, None, rectangle(0.5))
    return spikes, end, grad_current, *others, *k.conv2d_backward(conv_saved, grad_current)


def agree(k, mine, expected):
    for got, wanted in zip(mine, expected, strict=True):
        assert (got is None) == (wanted is None)
        if isinstance(wanted, list | tuple):
            agree(k, got, wanted)
        elif wanted is not None:
            same(k, got, wanted)


@event_driven("kept, density", [(0.0, 0.0), (0.0, 0.1), (0.9, 0.4), (0.0, 0.6), (0.0, 1.0)], otherwise=[(0.9, 0.4)])
@pytest.mark.parametrize("masked, started", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    "side, channels, features, padding, pooled",
    [(4, 64, 64, 1, False), (5, 20, 16, 1, True), (3, 70, 128, 0, False), (4, 8, 8, 2, True), (3, 16, 8, 1, False)],
)
def test_neurons_driven_by_a_convolution(
    backend, exact, side, channels, features, padding, pooled, kept, density, masked, started
):
    reset = "delayed" if (side + masked) % 2 else "immediate"  # every mask and state meets both, at sides of 3 to 5
    rng = np.random.default_rng(side + features)
    shape = (3, 9, side * (1 + pooled), side * (1 + pooled), channels)
    wanted = choose(rng, shape, density)
    for t in range(1, 3):
        wanted[t] = np.where(rng.uniform(size=wanted[t].shape) < kept, wanted[t - 1], wanted[t])
    weight, out = dyadic(rng, (3, 3, channels, features)), side + 2 * padding - 2
    mask = 2 * choose(rng, (9, out, out, features), 0.5) if masked else None
    start = None
    if started:
        membrane = dyadic(rng, (9, out, out, features))
        start = NeuronState(membrane, choose(rng, membrane.shape, 0.3) if reset == "delayed" else None)
    results = []
    for k in (backend, exact):
        x = fire(k, wanted)
        x = avg_pool(k, x) if pooled else x
        results.append(drive(k, x, weight, padding, mask, start, reset, wanted=started))
    agree(backend, *results)


@event_driven(
    "batch, kept, pooled",
    # Few images, and sums of four spikes that all change, are convolved before the neurons fire; others with them.
    [(8, 0.0, False), (8, 1.0, False), (7, 0.0, False), (8, 0.0, True)],
    otherwise=[],
)
def test_neurons_fire_alike_with_their_convolution_and_after_it(backend, exact, kept, batch, pooled):
    rng = np.random.default_rng(1)
    wanted, weight = choose(rng, (3, batch, 8, 8, 32), 0.1), dyadic(rng, (3, 3, 32, 16))
    wanted[1:] = np.where(rng.uniform(size=wanted[1:].shape) < kept, wanted[0], wanted[1:])
    if pooled:
        wanted[:, :, ::2, ::2] = 1
        wanted[:, :, 1::2] = np.array([0, 1, 0]).reshape(3, 1, 1, 1, 1)  # sums that are never zero, never the same
    results = []
    for k in (backend, exact):
        x = fire(k, wanted)
        x = avg_pool(k, x) if pooled else x
        results.append(drive(k, x, weight, 1, None, None, "immediate", wanted=True))
    agree(backend, *results)


def test_soft_spikes_of_a_convolution_are_those_of_its_current(backend, agrees):
    rng, k = np.random.default_rng(3), backend
    x, weight = k.asarray(rng.normal(size=(3, 2, 6, 6, 8))), k.asarray(rng.normal(size=(3, 3, 8, 16)) / 8)
    leak, threshold, soft = k.asarray([0.9]), k.asarray([0.7]), arctan(2.0)
    spikes, *_ = k.conv_lif_forward(x, weight, 1, 1, None, leak, threshold, 3, soft=soft)
    current, _ = k.conv2d(x, weight, 1, 1)
    expected, *_ = k.lif_forward(current, None, leak, threshold, 3, soft=soft)
    agrees(spikes, k.to_numpy(expected))


def test_one_kernel_gives_what_two_give(backend):
    rng = np.random.default_rng(2)
    wanted, weight = choose(rng, (3, 8, 4, 4, 32), 0.2), dyadic(rng, (3, 3, 32, 16))
    x = fire(backend, wanted)
    fused, apart = (drive(backend, x, weight, 1, None, None, "immediate", True, fused) for fused in (True, False))
    agree(backend, fused, [backend.to_numpy(a) if hasattr(a, "shape") else a for a in apart])


def test_an_observer_of_the_currents_does_not_change_the_logits():
    k, seen = get_backend("numba"), []
    model = build("vgg5", width=0.25, hidden=16)
    network = Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=3)
    images = np.random.default_rng(5).random((8, 32, 32, 3))
    expected = k.to_numpy(network.forward(k.asarray(images)))

    def observe(event, layer, array):
        seen.append((event, layer, k.to_numpy(array).sum() + k.to_numpy(k.rows(array, 0, 1)).sum()))

    observed = k.to_numpy(network.forward(k.asarray(images), observe=observe))
    np.testing.assert_allclose(observed, expected, atol=1e-6)
    assert [event for event, *_ in seen].count("current") == 5


def test_a_convolution_of_a_convolution_and_its_weight_gradient():
    """No neurons lie between them."""
    k, exact, rng = get_backend("numba"), get_backend("reference"), np.random.default_rng(6)
    first, second = (k.asarray(dyadic(rng, (3, 3, 16, 16))) for _ in range(2))
    wanted = choose(rng, (2, 8, 4, 4, 16), 0.3)
    between = conv2d(k, fire(k, wanted), first, 1, 1)
    out = conv2d(k, between, second, 1, 1)
    gradient = conv2d_weight_gradient(k, out, between, 3, 1, 1)
    inner = conv2d(exact, wanted, first.astype(float), 1, 1)
    outer = conv2d(exact, inner, second.astype(float), 1, 1)
    same(k, out, outer)
    same(k, gradient, conv2d_weight_gradient(exact, outer, inner, 3, 1, 1))


@pytest.mark.parametrize("steps", [2, 4])
def test_a_current_of_other_steps_is_refused(steps):
    k = get_backend("numba")
    x, weight, one = fire(k, np.ones((3, 8, 4, 4, 16))), k.zeros((3, 3, 16, 16)), k.asarray([1.0])
    current = conv2d(k, x, weight, 1, 1)
    with pytest.raises(ValueError, match=f"was given steps = {steps}, expected .*I = 3"):
        k.lif_forward(current, None, one, one, steps)
    with pytest.raises(ValueError, match=f"was given steps = {steps}, expected .*I = 3"):
        k.conv_lif_forward(x, weight, 1, 1, None, one, one, steps)
    with pytest.raises(
        ValueError, match=r"was given state = NeuronState of \[\[8, 4, 16\], \[\]\], expected .*8, 4, 4, 16"
    ):
        k.lif_forward(current, NeuronState(k.zeros((8, 4, 16)), None), one, one, 3)
    with pytest.raises(ValueError, match="was given mask = .*7, 4, 4, 16"):
        k.conv_lif_forward(x, weight, 1, 1, None, one, one, 3, mask=k.zeros((7, 4, 4, 16)))


def test_a_convolution_without_a_result_is_refused():
    k = get_backend("numba")
    x = fire(k, np.ones((3, 8, 2, 2, 16)))
    with pytest.raises(ValueError, match="the 3×3 kernel is larger than the padded 2×2 images"):
        conv2d(k, x, k.zeros((3, 3, 16, 16)), 1, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_images_have_no_spikes(dtype):
    k = get_backend("numba", dtype=dtype)
    for model in ("vgg5", "resnet12"):
        model = build(model, width=0.125, **({"hidden": 16} if model == "vgg5" else {}))
        for spiking in (False, True):
            network = Network(model, k, initialise(model, k, 0, spiking), spiking=spiking, steps=2)
            assert network.forward(k.zeros((0, 32, 32, 3))).shape == (0, 10)


def test_a_weight_that_is_not_finite_changes_only_the_step_that_uses_it():
    """Where lists hold all that fires, as here nothing fires twice, a sum begins anew at each step."""
    k, wanted, weight = get_backend("numba"), np.zeros((3, 8, 4, 4, 16)), np.ones((3, 3, 16, 16))
    for step, channel in enumerate((5, 3, 6)):
        wanted[step, :, 1, 1, channel] = 1
    weight[:, :, 3] = np.inf
    half = k.asarray([0.5])
    spikes, *_ = k.conv_lif_forward(fire(k, wanted), k.asarray(weight), 1, 1, None, half, half, 3)
    assert (k.to_numpy(spikes)[:, :, :3, :3] == 1).all()


@pytest.mark.parametrize("count", [1, 1023, 1024, 2050, 50_000])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_densities_of_events_and_of_changes_are_estimated(count, steps):
    """Of spikes as of gradients that leak, from the first step to the last and back."""
    from backends.numba_cpu.kernels.density import estimate_density

    rng = np.random.default_rng(count)
    spikes = (rng.random((steps, count)) < 0.3).astype(np.uint8)
    spikes[1:] = np.where(rng.random((steps - 1, count)) < 0.8, spikes[:-1], spikes[1:])
    changes = np.diff(spikes.astype(float), axis=0, prepend=0)
    grad = np.where(rng.random((steps, count)) < 0.2, rng.integers(1, 9, (steps, count)), 0).astype(np.float32)
    for t in range(steps - 2, -1, -1):
        grad[t] += 0.5 * grad[t + 1]
    inputs = grad - 0.5 * np.concatenate([grad[1:], np.zeros((1, count), np.float32)])
    near = 1e-9 if steps * count < 2048 else 0.06  # all of them, or a sample
    for array, before, leak, new in ((spikes, -count, 1, changes), (grad, count, 0.5, inputs)):
        found = estimate_density(array.reshape(-1), before, np.float32(leak))
        assert found == pytest.approx((np.mean(array != 0), np.mean(new != 0)), abs=near)


def test_their_results_do_not_depend_on_the_number_of_threads():
    rng, results = np.random.default_rng(3), []
    wanted, weight = choose(rng, (4, 11, 6, 6, 64), 0.2), rng.normal(size=(3, 3, 64, 128)) / 8
    for threads in (1, 2):
        k = get_backend("numba", threads=threads)
        found = drive(k, fire(k, wanted), weight, 1, None, None, "immediate", True)
        results.append([k.to_numpy(array) for array in (found[0], found[1].membrane, found[2])])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
