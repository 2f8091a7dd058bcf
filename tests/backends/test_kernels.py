"""Every kernel but the neuron's: its value by a plain computation, its adjoint, and all backends against the reference.

Exact numbers are small multiples of powers of two, which float32 adds and multiplies without rounding: there a backend
must equal the reference to the bit, whatever its order of summation.
"""

import numpy as np
import pytest
from every_backend import compared
from hypothesis import given
from hypothesis import strategies as st
from plain_calls import (
    avg_pool,
    avg_pool_gradient,
    conv2d,
    conv2d_input_gradient,
    conv2d_weight_gradient,
    linear,
    linear_input_gradient,
    linear_weight_gradient,
    relu,
    relu_gradient,
)

from backends import BackendError, get_backend

small = {
    "steps": st.integers(1, 3),
    "batch": st.integers(1, 3),
    "height": st.integers(1, 7),
    "width": st.integers(1, 7),
}
seeds = st.integers(0, 2**32 - 1)


def dyadic(rng, shape, denominator=8, most=2):
    """Random multiples of 1/denominator in ± most."""
    return rng.integers(-most * denominator, most * denominator + 1, shape) / denominator


def equal(backend, got, expected):
    """To the bit, and in the backend's dtype."""
    got = backend.to_numpy(got)
    assert got.dtype == backend.dtype
    np.testing.assert_array_equal(got, expected)


def near(backend, got, expected):
    """Up to rounding, and in the backend's dtype."""
    got = backend.to_numpy(got)
    assert got.dtype == backend.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def arrays(backend, *values):
    return [backend.asarray(v) for v in values]


# ---------------------------------------------------------------- convolution and linear


def plain_convolution(x, weight, stride, padding):
    """The definition, one output number at a time."""
    k = len(weight)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = (padded.shape[2] - k) // stride + 1, (padded.shape[3] - k) // stride + 1
    out = np.zeros((*x.shape[:2], rows, columns, weight.shape[3]))
    for i, j in np.ndindex(rows, columns):
        window = padded[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
        out[:, :, i, j] = np.einsum("tbijc,ijcd->tbd", window, weight)
    return out


@given(
    channels=st.integers(1, 3),
    features=st.integers(1, 3),
    size=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    seed=seeds,
    **small,
)
def test_conv2d_and_its_adjoints(
    exact, check_gradient, steps, batch, height, width, channels, features, size, stride, seed
):
    rng = np.random.default_rng(seed)
    x, w = (
        rng.standard_normal((steps, batch, height, width, channels)),
        rng.standard_normal((size, size, channels, features)),
    )
    out = conv2d(exact, x, w, stride, size // 2)
    np.testing.assert_allclose(out, plain_convolution(x, w, stride, size // 2), rtol=1e-12, atol=1e-13)
    v = rng.standard_normal(out.shape)
    grads = (
        conv2d_input_gradient(exact, v, w, x.shape, stride, size // 2),
        conv2d_weight_gradient(exact, v, x, size, stride, size // 2),
    )
    check_gradient(lambda x, w: np.vdot(v, conv2d(exact, x, w, stride, size // 2)), (x, w), grads, seed)


CONVOLUTIONS = [  # T, B, H, W, C_in, C_out
    (1, 1, 1, 1, 1, 1),
    (1, 1, 7, 5, 3, 4),
    (3, 2, 5, 5, 1, 7),
    (2, 1, 17, 19, 2, 3),
    (5, 3, 4, 4, 5, 1),
    (4, 9, 2, 3, 4, 2),
]


@compared
@pytest.mark.parametrize("size, stride", [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_conv2d_equals_the_reference_exactly(backend, exact, shape, size, stride):
    *x_shape, features = shape
    rng = np.random.default_rng(sum(shape))
    x, w = dyadic(rng, x_shape), dyadic(rng, (size, size, x_shape[-1], features))
    out = conv2d(exact, x, w, stride, size // 2)
    grad = dyadic(rng, out.shape)
    x_here, w_here, grad_here = arrays(backend, x, w, grad)
    equal(backend, conv2d(backend, x_here, w_here, stride, size // 2), out)
    equal(
        backend,
        conv2d_input_gradient(backend, grad_here, w_here, tuple(x_shape), stride, size // 2),
        conv2d_input_gradient(exact, grad, w, x.shape, stride, size // 2),
    )
    equal(
        backend,
        conv2d_weight_gradient(backend, grad_here, x_here, size, stride, size // 2),
        conv2d_weight_gradient(exact, grad, x, size, stride, size // 2),
    )


@given(
    steps=st.integers(1, 3), batch=st.integers(1, 4), inputs=st.integers(1, 6), outputs=st.integers(1, 6), seed=seeds
)
def test_linear_and_its_adjoints(exact, check_gradient, steps, batch, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    x, w, v = (
        rng.standard_normal(shape) for shape in ((steps, batch, inputs), (inputs, outputs), (steps, batch, outputs))
    )
    np.testing.assert_allclose(linear(exact, x, w), np.einsum("tbi,io->tbo", x, w), rtol=1e-12, atol=1e-13)
    grads = linear_input_gradient(exact, v, w), linear_weight_gradient(exact, v, x)
    check_gradient(lambda x, w: np.vdot(v, linear(exact, x, w)), (x, w), grads, seed)


@compared
@pytest.mark.parametrize(
    "steps, batch, inputs, outputs", [(1, 1, 1, 1), (1, 33, 7, 3), (3, 11, 257, 5), (2, 1, 513, 301)]
)
def test_linear_equals_the_reference_exactly(backend, exact, steps, batch, inputs, outputs):
    rng = np.random.default_rng(inputs)
    x, w, grad = (
        dyadic(rng, (steps, batch, inputs)),
        dyadic(rng, (inputs, outputs)),
        dyadic(rng, (steps, batch, outputs)),
    )
    x_here, w_here, grad_here = arrays(backend, x, w, grad)
    equal(backend, linear(backend, x_here, w_here), linear(exact, x, w))
    equal(backend, linear_input_gradient(backend, grad_here, w_here), linear_input_gradient(exact, grad, w))
    equal(backend, linear_weight_gradient(backend, grad_here, x_here), linear_weight_gradient(exact, grad, x))


@given(seed=seeds)
def test_products_of_arbitrary_numbers_agree(backend, exact, agrees, seed):
    """Where float32 rounds, so do the orders of summation; the error stays below 1e-5 of the norm."""
    rng = np.random.default_rng(seed)
    x, w, v = (
        rng.standard_normal((2, 2, 6, 5, 3)),
        rng.standard_normal((3, 3, 3, 4)),
        rng.standard_normal((2, 2, 6, 5, 4)),
    )
    x_here, w_here, v_here = arrays(backend, x, w, v)
    agrees(conv2d(backend, x_here, w_here, 1, 1), conv2d(exact, x, w, 1, 1))
    agrees(
        conv2d_input_gradient(backend, v_here, w_here, x.shape, 1, 1), conv2d_input_gradient(exact, v, w, x.shape, 1, 1)
    )
    agrees(conv2d_weight_gradient(backend, v_here, x_here, 3, 1, 1), conv2d_weight_gradient(exact, v, x, 3, 1, 1))


# ---------------------------------------------------------------- pooling, time, sums


@given(channels=st.integers(1, 3), seed=seeds, **small)
def test_avg_pool_and_its_adjoint(exact, check_gradient, steps, batch, height, width, channels, seed):
    """Odd last rows and columns are left out: they get no gradient."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((steps, batch, height + 1, width + 1, channels))
    out = avg_pool(exact, x)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    assert out.shape == (steps, batch, rows, columns, channels)
    for i, j in np.ndindex(rows, columns):
        np.testing.assert_allclose(
            out[:, :, i, j], x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(2, 3)), rtol=1e-12, atol=1e-14
        )
    v = rng.standard_normal(out.shape)
    grad = avg_pool_gradient(exact, v, x.shape)
    check_gradient(lambda x: np.vdot(v, avg_pool(exact, x)), (x,), (grad,), seed)
    assert not grad[:, :, 2 * rows :].any() and not grad[:, :, :, 2 * columns :].any()


@compared
@pytest.mark.parametrize("shape", [(1, 1, 2, 2, 1), (3, 2, 5, 7, 3), (1, 4, 8, 3, 2), (2, 1, 33, 31, 1)])
def test_avg_pool_equals_the_reference_exactly(backend, exact, shape):
    rng = np.random.default_rng(shape[2])
    x = dyadic(rng, shape)
    out = avg_pool(exact, x)
    grad = dyadic(rng, out.shape)
    equal(backend, avg_pool(backend, backend.asarray(x)), out)
    equal(backend, avg_pool_gradient(backend, backend.asarray(grad), shape), avg_pool_gradient(exact, grad, shape))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_sum_and_repeat_time(backend, steps):
    """Each is the other's adjoint: ⟨v, sum u⟩ = ⟨repeat v, u⟩."""
    rng = np.random.default_rng(steps)
    u, v = dyadic(rng, (steps, 2, 3, 5)), dyadic(rng, (1, 2, 3, 5))
    summed, repeated = backend.sum_time(backend.asarray(u)), backend.repeat_time(backend.asarray(v), steps)
    equal(backend, summed, u.sum(axis=0, keepdims=True))
    equal(backend, repeated, np.concatenate([v] * steps))
    assert np.vdot(v, backend.to_numpy(summed)) == np.vdot(backend.to_numpy(repeated), u)


def test_arrays(backend):
    """asarray, zeros, reshape, rows, write_rows, events, add."""
    values = np.arange(-6, 18).reshape(4, 3, 2) / 4
    x = backend.asarray(values)
    equal(backend, x, values)
    for kept in (np.arange(3, dtype=np.uint8), np.arange(3, dtype=np.int64)):
        assert backend.to_numpy(backend.asarray(kept)).dtype == kept.dtype
    equal(backend, backend.asarray([1, 2.5]), [1, 2.5])
    equal(backend, backend.zeros((2, 3)), np.zeros((2, 3)))
    equal(backend, backend.reshape(x, (2, 12)), values.reshape(2, 12))
    equal(backend, backend.rows(x, 1, 3), values[1:3])
    equal(backend, backend.add(x, x), values * 2)
    assert backend.events(x) == 23  # one of the 24 numbers is zero
    target = backend.zeros((4, 3, 2))
    backend.write_rows(target, 2, backend.rows(x, 0, 2))
    equal(backend, target, np.concatenate([np.zeros((2, 3, 2)), values[:2]]))


# ---------------------------------------------------------------- pointwise


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (3, 1, 1, 7, 5)])
def test_relu(backend, shape, masked):
    """max(x, 0) times the mask, which has no time axis; no gradient at 0."""
    rng = np.random.default_rng(len(shape))
    x, grad = dyadic(rng, shape, most=1), dyadic(rng, shape)
    x.flat[0] = 0
    mask = np.where(rng.uniform(size=shape[1:]) < 0.3, 0, 1.25) if masked else None
    times = 1 if mask is None else mask
    mask_here = None if mask is None else backend.asarray(mask)
    x_here, grad_here = arrays(backend, x, grad)
    equal(backend, relu(backend, x_here, mask_here), np.where(x > 0, x, 0) * times)
    equal(backend, relu_gradient(backend, grad_here, x_here, mask_here), np.where(x > 0, grad, 0) * times)


@given(seed=seeds, masked=st.booleans())
def test_pointwise_adjoints(exact, check_gradient, seed, masked):
    """ReLU, clip and the normalisation, away from the kinks at 0 and 1."""
    rng = np.random.default_rng(seed)
    x, v = rng.uniform(-1, 2, (2, 3, 4, 2)), rng.standard_normal((2, 3, 4, 2))
    x[(np.abs(x) < 1e-3) | (np.abs(x - 1) < 1e-3)] = 0.5
    mask = np.where(rng.uniform(size=x.shape[1:]) < 0.3, 0, 1.25) if masked else None
    scale, shift = tuple(rng.uniform(1, 4, 2)), tuple(rng.standard_normal(2))
    check_gradient(lambda x: np.vdot(v, relu(exact, x, mask)), (x,), (relu_gradient(exact, v, x, mask),), seed)
    check_gradient(
        lambda x: np.vdot(v, exact.clip(x, 0.0, 1.0)[0]),
        (x,),
        (exact.clip_backward(exact.clip(x, 0.0, 1.0)[1], v),),
        seed,
    )
    check_gradient(
        lambda x: np.vdot(v, exact.scale_shift(x, scale, shift)), (x,), (exact.scale_shift(v, scale, (0.0, 0.0)),), seed
    )


def test_clip_lets_the_gradient_pass_at_both_ends(backend):
    x, grad = arrays(backend, [[-0.5, 0.0, 0.25, 1.0, 1.5]], [[1.0, 2, 3, 4, 5]])
    out, saved = backend.clip(x, 0.0, 1.0)
    equal(backend, out, [[0, 0, 0.25, 1, 1]])
    equal(backend, backend.clip_backward(saved, grad), [[0, 2, 3, 4, 0]])


def test_scale_shift_works_per_channel(backend):
    x = backend.asarray(np.array([[0.5, 0.25, 1.0], [0.0, 0.75, 0.5]]))
    equal(backend, backend.scale_shift(x, (4.0, 2.0, 1.0), (-2.0, 0.0, 0.5)), [[0, 0.5, 1.5], [-2, 1.5, 1]])
    for shape in ((0, 3), (1, 0, 3), (0, 2, 3), (2, 5, 4, 3)):
        empty = backend.asarray(np.ones(shape))
        equal(backend, backend.scale_shift(empty, (4.0, 2.0, 1.0), (-2.0, 0.0, 0.5)), np.ones(shape) * [2, 2, 1.5])


def test_sign_step_moves_clips_and_projects(backend):
    """Equation 6 without a center; equation 4 with one: the ball around it first, then [0, 1]."""
    x, grad = arrays(backend, [0.25, -0.25, 0.5, 0.0, 0.5], [3.0, -1e-9, 0.0, -2.0, 7.0])
    equal(backend, backend.sign_step(x, grad, 0.125, -0.5, 0.5), [0.375, -0.375, 0.5, -0.125, 0.5])
    x, center, grad = arrays(backend, [0.5, 0.5, 0.0625, 1.0, 0.5], [0.5, 0.25, 0.0, 1.0, 0.5], [1.0, 1, -1, 1, 0])
    equal(backend, backend.sign_step(x, grad, 0.25, 0.0, 1.0, center, 0.125), [0.625, 0.375, 0, 1, 0.5])


def test_scale_to_norm_divides_each_image_by_its_norm(backend):
    (x,) = arrays(backend, [[3.0, -4.0], [0.0, 0.0], [0.0, 0.5]])
    near(backend, backend.scale_to_norm(x, 1), [[6 / 7, -8 / 7], [0, 0], [0, 2]])
    near(backend, backend.scale_to_norm(x, 2), [[0.6, -0.8], [0, 0], [0, 1]])


@pytest.mark.parametrize("size", [1e-19, 1e-22, 1e-25, 1e-30, 1e-35])
def test_scale_to_norm_of_tiny_values_whose_squares_are_zero_in_float32(backend, size):
    (x,) = arrays(backend, [[3.0 * size, -4.0 * size]])
    near(backend, backend.scale_to_norm(x, 2), [[0.6, -0.8]])
    limited = backend.to_numpy(backend.scale_to_norm(x, 2, 2.5 * size))
    np.testing.assert_allclose(limited / size, [[1.5, -2.0]], rtol=1e-5)


def test_scale_to_norm_of_single_numbers(backend):
    (x,) = arrays(backend, [1.0, -2.0, 0.0])
    for order in (1, 2, np.inf):
        equal(backend, backend.scale_to_norm(x, order), [1, -1, 0])


def test_a_transposed_tensor_is_updated_entry_by_entry():
    torch = pytest.importorskip("torch")
    k, reference = get_backend("torch"), get_backend("reference")
    values = torch.arange(6.0).reshape(3, 2).T
    grad = np.array([[0.0, 10, 20], [30, 40, 50]])
    found = []
    for b in (k, reference):
        w, u, m, s = b.asarray(values if b is k else values.numpy()), *(b.zeros((2, 3)) for _ in range(3))
        b.sgd_step(w, b.asarray(grad), u, 0.1, 0.9, 0.0, -np.inf, np.inf)
        b.adam_step(w, b.asarray(grad - 25), m, s, None, 0.1, (0.9, 0.999), 1e-8, 1, -np.inf, np.inf)
        found.append(b.to_numpy(w))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    with pytest.raises(BackendError, match="not contiguous cannot be updated in place"):
        k.sgd_step(values, k.asarray(grad), k.zeros((2, 3)), 0.1, 0.9, 0.0, -np.inf, np.inf)


def test_torch_s_default_device_is_not_the_backend_s():
    torch = pytest.importorskip("torch")
    k, x = get_backend("torch"), np.ones((1, 2, 4, 4, 8))
    try:
        torch.set_default_device("meta")
        made = [k.asarray(np.ones(3)), k.zeros((2,)), k.scale_shift(k.asarray(x), (2.0,) * 8, (1.0,) * 8)]
        assert {array.device.type for array in made} == {"cpu"}
        one = k.asarray([0.5])
        spikes, *_ = k.conv_lif_forward(k.asarray(x), k.asarray(np.ones((3, 3, 8, 4))), 1, 1, None, one, one, 3)
        assert k.to_numpy(spikes).mean() == 1
    finally:
        torch.set_default_device(None)


def test_scale_to_norm_shrinks_images_to_the_limit_and_enlarges_none(backend):
    (x,) = arrays(backend, [[3.0, -4.0], [0.0, 0.0], [0.0, 0.5]])
    near(backend, backend.scale_to_norm(x, 2, 1.0), [[0.6, -0.8], [0, 0], [0, 0.5]])
    near(backend, backend.scale_to_norm(x, 1, 0.25), [[3 / 14, -4 / 14], [0, 0], [0, 0.5]])
    near(backend, backend.scale_to_norm(x, 2, 0.0), [[0, 0], [0, 0], [0, 0]])


@given(classes=st.integers(2, 11), batch=st.integers(1, 5), seed=seeds, spread=st.sampled_from([1e-3, 1.0, 30.0]))
def test_cross_entropy_and_its_gradient(exact, backend, agrees, check_gradient, classes, batch, seed, spread):
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((batch, classes)) * spread, rng.integers(0, classes, batch)
    losses, grad, sums = exact.cross_entropy(logits, labels, 1 / batch)
    assert sums.tolist() == [losses.sum(), np.sum(logits.argmax(axis=1) == labels), batch]
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = -np.log(shifted[np.arange(batch), labels] / shifted.sum(axis=1))
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-12)
    check_gradient(lambda z: exact.cross_entropy(z, labels, 1.0)[0].sum() / batch, (logits,), (grad,), seed)
    rounded = backend.asarray(logits)
    losses, grad, sums = exact.cross_entropy(np.asarray(backend.to_numpy(rounded), np.float64), labels, 0.25)
    losses_here, grad_here, sums_here = backend.cross_entropy(rounded, backend.asarray(labels), 0.25)
    tolerance = 1e-5 if backend.dtype == "float32" else 1e-11
    np.testing.assert_allclose(backend.to_numpy(losses_here), losses, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(backend.to_numpy(grad_here), grad, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(backend.to_numpy(sums_here), sums, rtol=tolerance, atol=tolerance)


def test_cross_entropy_survives_huge_logits(backend):
    losses, grad, _ = backend.cross_entropy(
        backend.asarray([[1e4, 0.0], [1e4, 0.0]]), backend.asarray(np.array([0, 1])), 1.0
    )
    np.testing.assert_allclose(backend.to_numpy(losses), [0, 1e4])
    np.testing.assert_allclose(backend.to_numpy(grad), [[0, 0], [1, -1]])


# ---------------------------------------------------------------- images


@pytest.mark.parametrize(
    "height, width, channels, padding",
    [(5, 5, 1, 4), (7, 6, 3, 0), (7, 6, 3, 1), (32, 32, 3, 4)],  # the first border is as wide as a reflection can be
)
def test_image_batch_pads_by_reflection_crops_mirrors_and_scales(backend, height, width, channels, padding):
    rng = np.random.default_rng(height)
    store = rng.integers(0, 256, (9, height, width, channels), dtype=np.uint8)
    store[0, 0, 0, 0], store[0, 0, 1, 0] = 0, 255
    index, flip = np.array([0, 8, 3, 3, 5, 0, 1]), np.array([0, 1, 0, 1, 1, 0, 1])
    shift = rng.integers(0, 2 * padding + 1, (7, 2))
    shift[:3] = [[padding, padding], [0, 2 * padding], [2 * padding, 0]]
    padded = np.pad(store, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    crops = []
    for n, (top, left), mirrored in zip(index, shift, flip, strict=True):
        crop = padded[n, top : top + height, left : left + width]
        crops.append(crop[:, ::-1] if mirrored else crop)
    images = backend.to_numpy(backend.image_batch(backend.asarray(store), index, shift, flip, padding))
    assert images.dtype == backend.dtype and images.min() >= 0 and images.max() <= 1
    np.testing.assert_allclose(images, np.stack(crops) / 255, rtol=2e-7, atol=0)
    np.testing.assert_array_equal(np.rint(images * 255), np.stack(crops))
    np.testing.assert_array_equal(np.rint(images[0] * 255), store[0])  # a shift of `padding` is none


# ---------------------------------------------------------------- optimisers

STEPS = 20
BOUNDS = [(-np.inf, np.inf), (-0.25, 0.5)]


def walk(shape=(7, 5)):
    """A start, and a gradient for every step."""
    rng = np.random.default_rng(3)
    return rng.standard_normal(shape) / 2, rng.standard_normal((STEPS, *shape))


def torch_walk(optimiser, start, grads, low, high):
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    step = optimiser(torch, parameter)
    for grad in grads:
        parameter.grad = torch.from_numpy(grad.copy())
        step.step()
        with torch.no_grad():
            parameter.clamp_(low, high)
    return parameter.detach().numpy()


@pytest.mark.parametrize(
    "momentum, decay, low, high", [(0.0, 0.0, *BOUNDS[1]), (0.9, 0.0, *BOUNDS[0]), (0.9, 5e-2, *BOUNDS[1])]
)
def test_sgd_takes_torch_s_steps(backend, agrees, momentum, decay, low, high):
    start, grads = walk()
    expected = torch_walk(
        lambda torch, p: torch.optim.SGD([p], 0.05, momentum, weight_decay=decay), start, grads, low, high
    )
    parameter, velocity = backend.asarray(start.copy()), backend.zeros(start.shape)
    for grad in grads:
        backend.sgd_step(parameter, backend.asarray(grad), velocity, 0.05, momentum, decay, low, high)
    agrees(parameter, expected)


@pytest.mark.parametrize("low, high", BOUNDS)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_takes_torch_s_steps(backend, agrees, amsgrad, low, high):
    start, grads = walk()
    grads[10:] *= 0.1  # the second moment falls, so that AMSGrad differs
    expected = torch_walk(
        lambda torch, p: torch.optim.Adam([p], 0.02, (0.9, 0.99), 1e-6, amsgrad=amsgrad), start, grads, low, high
    )
    parameter, mean, square = backend.asarray(start.copy()), backend.zeros(start.shape), backend.zeros(start.shape)
    largest = backend.zeros(start.shape) if amsgrad else None
    for step, grad in enumerate(grads, 1):
        backend.adam_step(
            parameter, backend.asarray(grad), mean, square, largest, 0.02, (0.9, 0.99), 1e-6, step, low, high
        )
    agrees(parameter, expected)


def test_amsgrad_and_adam_differ_where_the_second_moment_falls(exact):
    start, grads = walk()
    grads[10:] *= 0.1
    ends = []
    for largest in (None, np.zeros_like(start)):
        parameter, mean, square = start.copy(), np.zeros_like(start), np.zeros_like(start)
        for step, grad in enumerate(grads, 1):
            exact.adam_step(parameter, grad, mean, square, largest, 0.02, (0.9, 0.99), 1e-6, step, -np.inf, np.inf)
        ends.append(parameter)
    assert np.linalg.norm(ends[0] - ends[1]) > 1e-3


@compared
@pytest.mark.parametrize("shape", [(1,), (3, 3, 1, 5), (129, 131)])
def test_optimisers_handle_every_shape(backend, exact, agrees, shape):
    """Larger than a block, smaller than a block, one number (a threshold, clipped at its floor)."""
    start, grads = walk(shape)
    for optimiser in ("sgd", "adam"):
        ends = []
        for b in (exact, backend):
            parameter, one, two = b.asarray(start.copy()), b.zeros(shape), b.zeros(shape)
            for step, grad in enumerate(grads[:3], 1):
                if optimiser == "sgd":
                    b.sgd_step(parameter, b.asarray(grad), one, 0.3, 0.9, 5e-4, 1e-3, np.inf)
                else:
                    b.adam_step(parameter, b.asarray(grad), one, two, None, 0.3, (0.9, 0.999), 1e-8, step, 1e-3, np.inf)
            ends.append(b.to_numpy(parameter))
        assert ends[0].min() >= 1e-3
        agrees(backend.asarray(ends[1]), ends[0])


@pytest.mark.parametrize("density", [0.0, 0.03, 0.2, 0.58, 0.62, 1.0])
@pytest.mark.parametrize(
    "shape, features, size",
    [((2, 3, 7, 5, 20), 16, 3), ((1, 1, 6, 6, 64), 64, 3), ((1, 2, 4, 9, 128), 32, 3), ((3, 1, 5, 5, 7), 48, 1)],
)
def test_convolution_of_any_density_equals_the_reference_exactly(exact, shape, features, size, density):
    """Around the crossover from lists of events to dense products, for channels that are no multiple of 64 and stride 1 and 2."""
    pytest.importorskip("numba")
    k, rng = get_backend("numba"), np.random.default_rng(int(density * 100))
    x = np.where(rng.uniform(size=shape) < density, rng.integers(1, 8, shape) / 4, 0).astype(np.float32)
    weight = (rng.integers(-8, 9, (size, size, shape[4], features)) / 8).astype(np.float32)
    for stride in (1, 2):
        out = conv2d(k, x, weight, stride, size // 2)
        grad = np.where(rng.uniform(size=out.shape) < density, rng.integers(-8, 9, out.shape) / 8, 0).astype(np.float32)
        for found, expected in (
            (out, conv2d(exact, x, weight, stride, size // 2)),
            (
                conv2d_input_gradient(k, grad, weight, shape, stride, size // 2),
                conv2d_input_gradient(exact, grad, weight, shape, stride, size // 2),
            ),
            (
                conv2d_weight_gradient(k, grad, x, size, stride, size // 2),
                conv2d_weight_gradient(exact, grad, x, size, stride, size // 2),
            ),
        ):
            np.testing.assert_array_equal(found, expected)


def test_largest_entries_are_those_of_a_sort(backend):
    values = np.random.default_rng(0).permutation(40).reshape(2, 20)
    array = backend.asarray(values.astype(float))
    assert sorted(backend.top_k(array, 3)) == [37, 38, 39]
    assert sorted(backend.top_k(array, 99)) == list(range(40))
