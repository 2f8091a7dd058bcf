"""Spikes as a layer of neurons emits them, at every density, into every kernel that takes them: equal to the reference.

A backend may keep spikes in bytes, bits or lists; here they come from its own neurons and go on as the layers pass
them. All numbers are dyadic, so that the products must be equal to the bit.
"""

import numpy as np
import pytest
from every_backend import compared, event_driven
from exact_spikes import choose, dyadic, fire, same
from plain_calls import (
    avg_pool,
    avg_pool_gradient,
    conv2d,
    conv2d_input_gradient,
    conv2d_weight_gradient,
    linear,
    linear_input_gradient,
    linear_weight_gradient,
    relu_gradient,
)

from backends import get_backend
from backends.interface import NeuronState
from backends.randomness import Draw
from backends.surrogates import rectangle

# With three quarters of the neurons kept, and after pooling, the arrays of the first test have densities of 0, 0.015, 0.06,
# 0.075, 0.27, 0.3, 0.75, 0.76 and 1: on both sides of every crossover that dispatch.limit names (0.15, 0.5, 0.6, 0.75, 0.9).
DENSITIES = [0.0, 0.02, 0.1, 0.4, 1.0]
LEAKS = [0.0, 0.5, 1.0]


@event_driven("density", DENSITIES, otherwise=[0.4])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    "shape, features, size",
    [
        ((2, 3, 7, 5, 24), 16, 3),
        ((1, 1, 6, 6, 64), 64, 3),
        ((1, 2, 4, 9, 128), 32, 3),
        ((3, 1, 5, 5, 8), 48, 1),
        ((2, 2, 5, 4, 20), 64, 3),
        ((2, 40, 4, 3, 8), 16, 3),
        ((1, 2, 5, 6, 100), 48, 3),
        ((2, 1, 2, 3, 64), 96, 3),
        ((1, 2, 3, 2, 64), 192, 3),
    ],
)
def test_convolutions_of_spikes_and_their_weight_gradients_equal_the_reference(
    backend, exact, shape, features, size, pooled, density
):
    """Forward and weight gradient, stride 1 and 2, of spikes scaled by dropout and of 2×2 means of spikes."""
    rng = np.random.default_rng(features)
    wanted, keep = choose(rng, shape, density), choose(rng, shape[1:], 0.75)
    x, plain = fire(backend, wanted, backend.asarray(keep * 2)), wanted * keep * 2
    if pooled:
        x, plain = avg_pool(backend, x), avg_pool(exact, plain)
    same(backend, x, plain)
    assert backend.events(x) == np.count_nonzero(plain)
    weight = dyadic(rng, (size, size, shape[4], features))
    for stride in (1, 2):
        expected = conv2d(exact, plain, weight, stride, size // 2)
        same(backend, conv2d(backend, x, backend.asarray(weight), stride, size // 2), expected)
        grad = dyadic(rng, expected.shape)
        got = conv2d_weight_gradient(backend, backend.asarray(grad), x, size, stride, size // 2)
        same(backend, got, conv2d_weight_gradient(exact, grad, plain, size, stride, size // 2))


@event_driven(
    "steps, channels, features",
    [(steps, *layer) for steps in (1, 3) for layer in ((3, 16), (70, 32), (16, 64), (12, 24))],
    otherwise=[(3, 12, 24)],
)
@pytest.mark.parametrize("padding, side", [(0, 4), (1, 4), (2, 4), (3, 4), (1, 1), (2, 1)])
def test_convolutions_with_any_padding_equal_the_reference(backend, exact, channels, features, padding, side, steps):
    """Spikes that stay the same and floats, a border as wide as the kernel and none."""
    rng = np.random.default_rng(padding)
    wanted = np.repeat(choose(rng, (1, 9, side, side + 1, channels), 0.3), steps, axis=0)
    weight = dyadic(rng, (3, 3, channels, features))
    for x in (fire(backend, wanted), backend.asarray(wanted)):
        got = conv2d(backend, x, backend.asarray(weight), 1, padding)
        same(backend, got, conv2d(exact, wanted, weight, 1, padding))


@event_driven(
    "density, grad_density",
    # Lists hold x where x is the sparser, the gradient where that is; dense products where neither is sparse.
    [(0.0, 1.0), (0.1, 0.5), (0.4, 0.04), (1.0, 0.0), (1.0, 1.0)],
    otherwise=[(0.4, 0.5)],
)
@pytest.mark.parametrize("inputs, outputs", [(64, 64), (200, 130), (72, 100), (77, 70), (256, 10), (8, 65)])
@pytest.mark.parametrize("steps, batch", [(1, 1), (2, 3), (4, 50)])
def test_linear_layers_of_spikes_and_their_gradients_equal_the_reference(
    backend, exact, steps, batch, inputs, outputs, density, grad_density
):
    """Forward, both gradients, and rows of more than one tile; sizes that are no multiple of a slab's."""
    rng = np.random.default_rng(inputs + outputs)
    wanted = choose(rng, (steps, batch, inputs), density)
    x, weight = fire(backend, wanted), dyadic(rng, (inputs, outputs))
    same(backend, linear(backend, x, backend.asarray(weight)), linear(exact, wanted, weight))
    grad = dyadic(rng, (steps, batch, outputs)) * choose(rng, (steps, batch, outputs), grad_density)
    grad_here = backend.asarray(grad)
    same(
        backend,
        linear_input_gradient(backend, grad_here, backend.asarray(weight)),
        linear_input_gradient(exact, grad, weight),
    )
    same(backend, linear_weight_gradient(backend, grad_here, x), linear_weight_gradient(exact, grad, wanted))


@event_driven("density, pooled", [(0.1, False), (0.9, False), (0.1, True), (0.9, True)], otherwise=[(0.9, True)])
@pytest.mark.parametrize("rule", ["sgd", "adam", "amsgrad"])
def test_optimisers_take_the_same_step_with_a_lazy_weight_gradient(backend, agrees, rule, pooled, density):
    """As a handle or as an array: the same step. Three of them, so that the moments count."""
    rng = np.random.default_rng(5)
    wanted, grad = choose(rng, (2, 60, 4, 4, 12), density), dyadic(rng, (2, 60, 90))
    x = fire(backend, wanted)
    x = avg_pool(backend, x) if pooled else x
    x = backend.reshape(x, (2, 60, 48 if pooled else 192))
    start = dyadic(rng, (x.shape[2], 90))
    gradient = linear_weight_gradient(backend, backend.asarray(grad), x)
    results = []
    for given in (gradient, backend.asarray(np.array(backend.to_numpy(gradient)))):
        weight, slots = backend.asarray(start.copy()), [backend.zeros(start.shape) for _ in range(3)]
        for step in (1, 2, 3):
            if rule == "sgd":
                backend.sgd_step(weight, given, slots[0], 0.01, 0.9, 1e-3, -1.5, 1.5)
            else:
                largest = slots[2] if rule == "amsgrad" else None
                moments = (slots[0], slots[1], largest)
                backend.adam_step(weight, given, *moments, 0.01, (0.9, 0.999), 1e-8, step, -1.5, 1.5)
        results.append([np.array(backend.to_numpy(array)) for array in (weight, *slots)])
    for handle, array in zip(*results, strict=True):
        agrees(backend.asarray(handle), array)
    assert not np.array_equal(results[0][0], start)


def test_weight_gradients_of_two_chunks_of_time_add_up(backend, exact):
    rng = np.random.default_rng(1)
    wanted, grad = choose(rng, (2, 3, 64), 0.3), dyadic(rng, (2, 3, 70))
    x, g = fire(backend, wanted), backend.asarray(grad)
    halves = [linear_weight_gradient(backend, backend.rows(g, t, t + 1), backend.rows(x, t, t + 1)) for t in range(2)]
    same(backend, backend.add(*halves), linear_weight_gradient(exact, grad, wanted))


def test_all_other_kernels_take_spikes(backend):
    """A shortcut's sum, either way round; the readout's sum over time; parts and other shapes; normalisation."""
    rng = np.random.default_rng(2)
    wanted, current = choose(rng, (3, 2, 4, 4, 8), 0.4), dyadic(rng, (3, 2, 4, 4, 8))
    x, here = fire(backend, wanted), backend.asarray(current)
    same(backend, backend.add(here, x), current + wanted)
    same(backend, backend.add(x, here), current + wanted)
    same(backend, backend.add(x, x), 2 * wanted)
    same(backend, backend.sum_time(x), wanted.sum(axis=0, keepdims=True))
    same(backend, backend.rows(x, 1, 3), wanted[1:])
    same(backend, backend.reshape(x, (3, 2, 128)), wanted.reshape(3, 2, 128))
    same(backend, backend.scale_shift(x, (2.0,) * 8, (1.0,) * 8), 2 * wanted + 1)
    same(backend, avg_pool(backend, avg_pool(backend, x)), wanted.mean(axis=(2, 3), keepdims=True))


@compared
@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("height, width", [(4, 6), (5, 7)])
def test_the_gradient_of_a_pool_reaches_the_neurons_before_it(backend, exact, agrees, static, height, width, leak):
    """Whatever form it has on the way; odd last rows and columns receive nothing."""
    from backends.surrogates import triangle

    rng, shape = np.random.default_rng(3), (3, 2, height, width, 5)
    current = dyadic(rng, (1 if static else 3, *shape[1:]))
    grad = dyadic(rng, (3, 2, height // 2, width // 2, 5))
    found = []
    for k in (backend, exact):
        _, _, saved = k.lif_forward(k.asarray(current), None, k.asarray([leak]), k.asarray([0.5]), 3)
        back = avg_pool_gradient(k, k.asarray(grad), shape)
        found.append(k.lif_backward(saved, back, None, triangle()))
    (mine, _, *parameters), (expected, _, *their) = found
    agrees(mine, expected)
    for got, wanted in zip(parameters, their, strict=True):
        agrees(got, wanted)


def test_products_of_spikes_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(4)
    wanted, weight = choose(rng, (2, 4, 8, 8, 64), 0.2), rng.standard_normal((3, 3, 64, 64))
    grad, dense = rng.standard_normal((2, 4, 8, 8, 64)), rng.standard_normal((4096, 128))
    results = []
    for threads in (1, 2):
        k = get_backend("numba", threads=threads)
        x = fire(k, wanted)
        flat, g = k.reshape(x, (2, 4, 4096)), k.asarray(grad)
        out = linear(k, flat, k.asarray(dense))
        results.append(
            [
                k.to_numpy(conv2d(k, x, k.asarray(weight), 1, 1)),
                conv2d_weight_gradient(k, g, x, 3, 1, 1),
                conv2d_input_gradient(k, g, k.asarray(weight), x.shape, 1, 1),
                out,
                k.to_numpy(linear_weight_gradient(k, out, flat)),
                linear_input_gradient(k, out, k.asarray(dense)),
            ]
        )
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@event_driven(
    "steps, batch, density",  # lists hold increments of several steps of at least eight images
    [(steps, batch, density) for steps, batch in ((1, 9), (3, 2), (4, 9)) for density in (0.0, 0.1, 1.0)],
    otherwise=[(4, 9, 0.1)],
)
@pytest.mark.parametrize("layer", ["conv2d", "narrow", "linear"])
@pytest.mark.parametrize("leak", LEAKS)
def test_input_gradients_through_leaky_neurons_equal_the_reference(backend, exact, layer, leak, steps, batch, density):
    """What neurons hand to the layer before them goes back through its weights: most of it leaks, little is new."""
    rng = np.random.default_rng(steps * batch)
    shape, weight = (steps, batch, 5, 6, 64), dyadic(rng, (3, 3, 48 if layer == "narrow" else 64, 64))
    if layer == "linear":
        shape, weight = (steps, batch, 130), dyadic(rng, (192, 130))
    current, grad = dyadic(rng, shape), dyadic(rng, shape) * choose(rng, shape, density)
    end = dyadic(rng, shape[1:]) * choose(rng, shape[1:], density)
    found = []
    for k in (backend, exact):
        _, _, saved = k.lif_forward(k.asarray(current), None, k.asarray([leak]), k.asarray([1.0]), steps)
        d, *_ = k.lif_backward(saved, k.asarray(grad), NeuronState(k.asarray(end), None), rectangle())
        if layer == "linear":
            back = linear_input_gradient(k, d, k.asarray(weight))
        else:
            back = conv2d_input_gradient(k, d, k.asarray(weight), (*shape[:4], weight.shape[2]), 1, 1)
        found.append([k.to_numpy(back), k.to_numpy(d), k.to_numpy(k.add(d, d))])
    for got, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(got, expected)


@event_driven(
    "pooled, density",
    [(pooled, density) for pooled in (False, True) for density in (0.0, 0.2, 0.6)],
    otherwise=[(False, 0.2)],
)
@pytest.mark.parametrize(
    "channels, features, size, padding",
    [
        (64, 64, 3, 1),
        (32, 24, 3, 0),
        (16, 96, 1, 0),
        (48, 5, 3, 2),
        (16, 128, 1, 1),
        (20, 16, 3, 1),
        (128, 64, 3, 1),
        (192, 16, 3, 0),
    ],
)
def test_weight_gradients_through_leaky_neurons_equal_the_reference(
    backend, exact, channels, features, size, padding, density, pooled
):
    """Many spikes in, little that is new in the gradient: the rarer of the two may decide what is computed."""
    rng = np.random.default_rng(channels + features)
    shape = (4, 9, 10, 6, channels)
    wanted, keep = choose(rng, shape, 0.7), choose(rng, shape[1:], 0.9)
    x, plain = fire(backend, wanted, backend.asarray(keep * 2)), wanted * keep * 2
    if pooled:
        x, plain = avg_pool(backend, x), avg_pool(exact, plain)
    rows, columns = (side + 2 * padding - size + 1 for side in plain.shape[2:4])
    outputs = (4, 9, rows, columns, features)
    current, grad = dyadic(rng, outputs), dyadic(rng, outputs) * choose(rng, outputs, density)
    found = []
    for k, spikes in ((backend, x), (exact, plain)):
        _, _, saved = k.lif_forward(k.asarray(current), None, k.asarray([0.5]), k.asarray([1.0]), 4)
        d, *_ = k.lif_backward(saved, k.asarray(grad), None, rectangle())
        found.append(k.to_numpy(conv2d_weight_gradient(k, d, spikes, size, 1, padding)))
    np.testing.assert_array_equal(*found)


@event_driven("steps, batch, density", [(1, 3, 0.1), (1, 3, 0.7), (3, 9, 0.1), (3, 9, 0.7)], otherwise=[(3, 9, 0.7)])
@pytest.mark.parametrize(
    "size, stride, padding", [(1, 2, 0), (3, 2, 1), (3, 2, 0), (3, 2, 2), (3, 3, 1), (2, 2, 0), (5, 3, 2)]
)
def test_gradients_of_strided_layers_equal_the_reference(backend, exact, size, stride, padding, steps, batch, density):
    """As in a residual block that halves the image: through leaky neurons, and of many or few spikes."""
    rng = np.random.default_rng(size)
    height, width, channels, features = 8, 7, 32, 48
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in (height, width))
    shape, outputs = (steps, batch, height, width, channels), (steps, batch, rows, columns, features)
    wanted, weight = choose(rng, shape, density), dyadic(rng, (size, size, channels, features))
    current, grad = dyadic(rng, outputs), dyadic(rng, outputs) * choose(rng, outputs, 0.4)
    found = []
    for k, spikes in ((backend, fire(backend, wanted)), (exact, wanted)):
        _, _, saved = k.lif_forward(k.asarray(current), None, k.asarray([0.5]), k.asarray([1.0]), steps)
        d, *_ = k.lif_backward(saved, k.asarray(grad), None, rectangle())
        for g in (d, k.asarray(grad)):
            found.append(k.to_numpy(conv2d_weight_gradient(k, g, spikes, size, stride, padding)))
            found.append(k.to_numpy(conv2d_input_gradient(k, g, k.asarray(weight), shape, stride, padding)))
    for got, expected in zip(found[:4], found[4:], strict=True):
        np.testing.assert_array_equal(got, expected)


@event_driven(
    "channels, padding",  # one kernel of the Numba backend serves up to five channels
    [(1, 1), (2, 0), (3, 1), (3, 2), (5, 1), (5, 2), (6, 1)],
    otherwise=[(3, 1)],
)
@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 1), (3, 5), (6, 4)])
def test_gradients_of_images_of_few_channels_equal_the_reference(backend, exact, rows, columns, channels, padding):
    """Of few channels, one of which is infinite in a corner: it reaches its neighbours and nobody else."""
    rng = np.random.default_rng(rows)
    shape = (2, 9, rows + 2 - 2 * padding, columns + 2 - 2 * padding, channels)
    if min(shape) < 1:
        shape = (2, 9, 3, 4, channels)
        rows, columns = (side + 2 * padding - 2 for side in shape[2:4])
    grad, weight = dyadic(rng, (2, 9, rows, columns, 21)), dyadic(rng, (3, 3, channels, 21))
    weight[weight == 0] = 1
    grad[0, 0, 0, 0, 0] = np.inf
    found = [
        k.to_numpy(conv2d_input_gradient(k, k.asarray(grad), k.asarray(weight), shape, 1, padding))
        for k in (backend, exact)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("features", [8, 32, 64])
def test_infinite_inputs_give_infinite_outputs(backend, features):
    """Not a number would be harder to find the cause of."""
    x = np.zeros((1, 2, 3, 3, 8))
    x[0, 0, 1, 1, 0] = np.inf
    out = backend.to_numpy(conv2d(backend, backend.asarray(x), backend.asarray(np.ones((3, 3, 8, features))), 1, 1))
    assert np.all(out[0, 0] == np.inf) and np.all(out[0, 1] == 0)


@event_driven(
    "pooled, density, kept",
    [
        (pooled, *rates)
        for pooled in (False, True)
        for rates in ((0.0, 1.0), (0.3, 0.0), (0.3, 0.9), (0.9, 0.9), (1.0, 1.0))
    ],
    otherwise=[(True, 0.3, 0.9)],
)
@pytest.mark.parametrize("layer", ["narrow", "wide", "strided", "linear"])
def test_products_of_spikes_that_rarely_change_equal_the_reference(backend, exact, layer, density, kept, pooled):
    """Neurons that do what they did at the step before: what changes, or what is there, may decide what is computed."""
    rng = np.random.default_rng(7)
    wanted = choose(rng, (4, 9, 6, 8, 32), density)
    for t in range(1, 4):
        wanted[t] = np.where(rng.uniform(size=wanted[t].shape) < kept, wanted[t - 1], wanted[t])
    keep = choose(rng, wanted.shape[1:], 0.75)
    x, plain = fire(backend, wanted, backend.asarray(keep * 2)), wanted * keep * 2
    if pooled:
        x, plain = avg_pool(backend, x), avg_pool(exact, plain)
    if layer == "linear":
        x, plain = (k.reshape(a, (4, 9, plain[0, 0].size)) for k, a in ((backend, x), (exact, plain)))
        weight = dyadic(rng, (plain.shape[2], 70))
        same(backend, linear(backend, x, backend.asarray(weight)), linear(exact, plain, weight))
    else:
        weight, stride = dyadic(rng, (3, 3, 32, 64 if layer == "wide" else 48)), 2 if layer == "strided" else 1
        expected = conv2d(exact, plain, weight, stride, 1)
        same(backend, conv2d(backend, x, backend.asarray(weight), stride, 1), expected)


def test_rounding_does_not_add_up_over_many_steps():
    """Rounding would add up over them: a product of no spikes is zero at the last step as well."""
    k, rng = get_backend("numba"), np.random.default_rng(3)
    wanted = np.repeat(choose(rng, (1, 9, 128), 0.9), 40, axis=0)
    wanted[20:, 0] = 0
    out = k.to_numpy(linear(k, fire(k, wanted), k.asarray(rng.normal(size=(128, 64)))))
    assert np.all(out[20:, 0] == 0) and np.all(np.any(out[20:, 1:] != 0, axis=2))


@event_driven("height, stride", [(101, 1), (102, 1), (404, 2), (405, 2)], otherwise=[])
def test_positions_in_a_wide_image_fit_the_lists(backend, exact, height, stride):
    """Lists hold positions in 16 bits. The first of each two heights just fits, the second is computed without lists."""
    rng = np.random.default_rng(0)
    width = 641  # 100 · 643 + 640 < 2¹⁶ ≤ 101 · 643 + 640; with stride 2, 201 · 324 + 320 and 202 · 324 + 320
    rows, columns = (height - 3) // stride + 1, (width - 3) // stride + 1
    x, grad = choose(rng, (1, 1, height, width, 1), 0.3), dyadic(rng, (1, 1, rows, columns, 16))
    got = conv2d_weight_gradient(backend, backend.asarray(grad), backend.asarray(x), 3, stride, 0)
    same(backend, got, conv2d_weight_gradient(exact, grad, x, 3, stride, 0))


@pytest.mark.parametrize("leak", LEAKS)
def test_every_kernel_takes_the_arrays_that_other_kernels_return(backend, exact, agrees, leak):
    """Spikes, a pool's gradient, a current's gradient, where most kernels never meet them."""
    rng, k = np.random.default_rng(3), backend
    shape = (2, 3, 4, 4, 8)
    wanted, current, other = choose(rng, shape, 0.4), dyadic(rng, shape), dyadic(rng, shape)
    small = dyadic(rng, (2, 3, 2, 2, 8))
    draw = Draw(0, 0, 0, 0)

    def made(k):
        array = k.asarray
        _, _, saved = k.lif_forward(array(current), None, array([leak]), array([1.0]), 2)
        return (
            fire(k, wanted),
            avg_pool_gradient(k, array(small), shape),
            k.lif_backward(saved, array(other), None, rectangle())[0],
        )

    for here, plain in zip(made(k), made(exact), strict=True):
        results = []
        for b, x in ((k, here), (exact, plain)):
            one, store = b.asarray(other), b.zeros((4, *shape[1:]))
            b.write_rows(store, 1, x)
            results.append(
                [
                    store,
                    b.clip(x, -0.25, 0.5)[0],
                    b.clip_backward(b.clip(one, -0.25, 0.5)[1], x),
                    b.sign_step(one, x, 0.25, -1.0, 1.0),
                    b.scale_shift(x, (2.0,) * 8, (1.0,) * 8),
                    b.repeat_time(b.rows(x, 0, 1), 3),
                    avg_pool(b, x),
                    avg_pool_gradient(b, x, (2, 3, 8, 9, 8)),
                    avg_pool_gradient(b, avg_pool_gradient(b, x, (2, 3, 8, 9, 8)), (2, 3, 16, 18, 8)),
                    relu_gradient(b, x, one),
                    b.sum_time(x),
                    b.reshape(x, (2, 3, 128)),
                    b.lif_forward(x, None, b.asarray([0.5]), b.asarray([1.0]), 2, soft=rectangle())[0],
                    b.rate_code(draw, b.rows(x, 0, 1), 0, 2),
                ]
            )
        for got, expected in zip(*results, strict=True):
            agrees(got, expected)


def test_arrays_of_the_wrong_shape_are_refused(numba_backend):
    k = numba_backend
    x = np.zeros((1, 1, 200), np.float32)
    with pytest.raises(ValueError, match=r"linear was given weight = float32 \[64, 64\], expected .*F = 200"):
        linear(k, x, np.zeros((64, 64), np.float32))
    for features in (16, 64):
        with pytest.raises(ValueError, match="conv2d was given weight = .*, expected .*C = 64"):
            conv2d(k, np.zeros((1, 1, 4, 4, 64), np.float32), np.zeros((3, 3, 32, features), np.float32), 1, 1)
    with pytest.raises(ValueError, match="add was given b = "):
        k.add(np.zeros((3, 2), np.float32), np.zeros((1, 2), np.float32))
    turned = np.zeros((6, 4), np.float32).T
    with pytest.raises(ValueError, match="C-contiguous"):
        k.sgd_step(turned, turned, turned, 0.1, 0.9, 0.0, -1.0, 1.0)


@pytest.fixture
def numba_backend():
    pytest.importorskip("numba")
    return get_backend("numba")


def test_empty_batches_and_images_are_allowed(backend, exact):
    """One pixel high, a pool leaves nothing; of no images there is no gradient."""
    thin = np.ones((1, 2, 1, 6, 8))
    assert tuple(avg_pool(backend, backend.asarray(thin)).shape) == (1, 2, 0, 3, 8)
    assert tuple(avg_pool(backend, fire(backend, thin)).shape) == (1, 2, 0, 3, 8)
    none = np.zeros((1, 0, 4, 4, 16))
    got = conv2d_weight_gradient(backend, backend.asarray(none), backend.asarray(none), 3, 1, 1)
    same(backend, got, np.zeros((3, 3, 16, 16)))
    rows, weight = backend.asarray(np.zeros((1, 0, 64))), backend.asarray(np.ones((64, 64)))
    for product in (linear, linear_input_gradient):
        assert tuple(product(backend, rows, weight).shape) == (1, 0, 64)
