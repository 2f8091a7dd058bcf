"""Every operation's gradient, and those of chains of them, against central differences in float64."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backends import surrogates
from backends.interface import NeuronState
from backends.randomness import Draw
from minihire.engine import Tape, Variable, ops
from minihire.engine.lif import NeuronInputs, NeuronOptions, lif
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream

seeds = st.integers(0, 2**32 - 1)
sizes = {
    "steps": st.integers(1, 3),
    "batch": st.integers(1, 3),
    "side": st.integers(2, 5),
    "channels": st.integers(1, 3),
    "seed": seeds,
}


def run(exact, build, arrays, needs=None):
    """build(tape, *variables) → outputs; the variables, and the outputs' values."""
    tape = Tape(exact)
    variables = [Variable(a, True if needs is None else needs[i]) for i, a in enumerate(arrays)]
    outputs = build(tape, *variables)
    return tape, variables, outputs if isinstance(outputs, list) else [outputs]


def check(exact, check_gradient, build, arrays, seed):
    """The gradient of a random linear read-out of all outputs."""
    tape, variables, outputs = run(exact, build, arrays)
    rng = np.random.default_rng(seed + 1)
    readout = [rng.standard_normal(y.shape) for y in outputs]

    def loss(*values):
        return sum(np.vdot(r, y.value) for r, y in zip(readout, run(exact, build, values)[2], strict=True))

    tape.backward(list(zip(outputs, readout, strict=True)))
    check_gradient(loss, arrays, [v.grad for v in variables], seed)


ACTIVATIONS = {  # operations of one activation [T, B, H, W, C]
    "avg_pool": ops.avg_pool,
    "relu": ops.relu,
    "clip": lambda tape, x: ops.clip(tape, x, -0.5, 0.75),
    "normalise": lambda tape, x: ops.normalise(
        tape, x, (0.5, 0.25, 0.125)[: x.shape[-1]], (0.25, 2.0, 0.5)[: x.shape[-1]]
    ),
    "reshape": lambda tape, x: ops.reshape(tape, x, (*x.shape[:2], int(np.prod(x.shape[2:])))),
    "sum_time": ops.sum_time,
    "repeat_time": lambda tape, x: ops.repeat_time(tape, ops.sum_time(tape, x), 3),
    "fan-out": lambda tape, x: ops.add(tape, ops.relu(tape, x), ops.add(tape, x, ops.clip(tape, x, -0.5, 0.75))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(**sizes)
def test_operations_of_one_activation(exact, check_gradient, name, steps, batch, side, channels, seed):
    x = np.random.default_rng(seed).standard_normal((steps, batch, side, side + 1, channels))
    x[np.min([np.abs(x - kink) for kink in (-0.5, 0, 0.75)], axis=0) < 1e-3] = 0.25  # off the kinks
    check(exact, check_gradient, ACTIVATIONS[name], [x], seed)


@given(size=st.sampled_from([1, 3]), stride=st.sampled_from([1, 2]), features=st.integers(1, 3), **sizes)
def test_conv2d(exact, check_gradient, steps, batch, side, channels, size, stride, features, seed):
    rng = np.random.default_rng(seed)
    arrays = [
        rng.standard_normal((steps, batch, side, side + 1, channels)),
        rng.standard_normal((size, size, channels, features)),
    ]
    check(exact, check_gradient, lambda tape, x, w: ops.conv2d(tape, x, w, stride, size // 2), arrays, seed)


@given(features=st.integers(1, 4), **sizes)
def test_linear_and_add(exact, check_gradient, steps, batch, side, channels, features, seed):
    """x·w + y, and the weight used by two products."""
    rng = np.random.default_rng(seed)
    arrays = [
        rng.standard_normal((steps, batch, side)),
        rng.standard_normal((side, features)),
        rng.standard_normal((steps, batch, side)),
    ]
    check(
        exact,
        check_gradient,
        lambda tape, x, w, y: ops.add(tape, ops.linear(tape, x, w), ops.linear(tape, y, w)),
        arrays,
        seed,
    )


@given(times=st.sampled_from([1, 3]), flat=st.booleans(), **sizes)
def test_add_bias(exact, check_gradient, times, flat, steps, batch, side, channels, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((steps, batch, channels) if flat else (steps, batch, side, side + 1, channels))
    bias = rng.standard_normal((1, channels))
    np.testing.assert_allclose(
        ops.add_bias(Tape(exact), Variable(x), Variable(bias), times).value, x + times * bias, rtol=1e-14
    )
    check(exact, check_gradient, lambda tape, x, b: ops.add_bias(tape, x, b, times), [x, bias], seed)


@given(rate=st.sampled_from([0.2, 0.5]), **sizes)
def test_relu_with_a_dropout_mask(exact, check_gradient, steps, batch, side, channels, rate, seed):
    x = np.random.default_rng(seed).standard_normal((steps, batch, side, channels))
    x[np.abs(x) < 1e-3] = 0.5
    mask = exact.dropout_mask(Draw(seed, Stream.DROPOUT), x.shape[1:], rate)
    check(exact, check_gradient, lambda tape, x: ops.relu(tape, x, mask), [x], seed)


@pytest.mark.parametrize("reset", ["immediate", "delayed"])
@given(static=st.booleans(), with_state=st.booleans(), cut=st.integers(0, 3), **sizes)
def test_lif_with_soft_spikes(
    exact, check_gradient, reset, static, with_state, cut, steps, batch, side, channels, seed
):
    """Current, leak, threshold, the state in and out; also as two chunks joined by their state on one tape."""
    rng = np.random.default_rng(seed)
    options = NeuronOptions(reset=reset, surrogate=surrogates.triangle(), reset_grad=True, soft=True)
    total, delayed = steps + cut, reset == "delayed"
    arrays = [
        rng.uniform(-0.5, 2, (1 if static else total, batch, side)),
        rng.uniform(0.3, 1, 1),
        rng.uniform(0.6, 1.6, 1),
    ]
    if with_state:
        arrays += [rng.uniform(-0.5, 1, (batch, side))] + ([rng.uniform(0, 1, (batch, side))] if delayed else [])

    def build(tape, current, leak, threshold, *state):
        start = NeuronState(*state) if state else None
        first, middle = lif(tape, current, NeuronInputs(leak, threshold, total, options, start))
        outputs = [first, *(x for x in middle if x is not None)]
        if cut:  # as long again, from where it ended
            second, end = lif(tape, current, NeuronInputs(leak, threshold, total, options, middle))
            outputs += [second, *(x for x in end if x is not None)]
        return outputs

    starts = NeuronState(*arrays[3:]) if with_state else None
    for _ in range(2 if cut else 1):
        _, starts, saved = exact.lif_forward(
            arrays[0], starts, arrays[1], arrays[2], total, reset=reset, soft=options.surrogate
        )
        z = saved.open().membrane / arrays[2] - 1
        assume(min(np.abs(z - kink).min() for kink in (-1, 0, 1)) > 1e-3)
    check(exact, check_gradient, build, arrays, seed)


def test_lif_passes_the_state_s_gradient_back_without_gradients_of_spikes(backend):
    """The loss depends on the last membrane alone, so the spikes have no gradient."""
    tape = Tape(backend)
    current, leak, v = (Variable(backend.asarray(a), True) for a in (np.full((2, 1, 3), 0.25), [0.5], [1.0]))
    _, state = lif(tape, current, NeuronInputs(leak, v, 2, NeuronOptions()))
    tape.backward([(state.membrane, backend.asarray(np.ones((1, 3))))])
    np.testing.assert_array_equal(backend.to_numpy(current.grad), [[[0.5] * 3], [[1.0] * 3]])  # ∂u[1]/∂I[0] = λ
    assert backend.to_numpy(leak.grad).item() == 0.75  # three neurons' u[0]
    assert backend.to_numpy(v.grad).item() == 0


def test_the_rate_gradient_is_used_by_attackers_only(backend):
    """It gives a gradient of the current and none of the parameters."""
    tape = Tape(backend)
    current, leak, v = (Variable(backend.asarray(a), True) for a in (np.full((2, 1, 3), 0.5), [1.0], [1.0]))
    spikes, _ = lif(tape, current, NeuronInputs(leak, v, 2, NeuronOptions(surrogate=surrogates.rate())))
    tape.backward([(spikes, backend.asarray(np.ones((2, 1, 3))))])
    np.testing.assert_array_equal(backend.to_numpy(current.grad), np.ones((2, 1, 3)))  # Σ_τ g[τ] / (v·T)
    assert leak.grad is None and v.grad is None


def test_rate_code_is_straight_through(backend):
    """The spikes are the draw's; ∂L/∂x = Σ_t ∂L/∂s[t]."""
    rng, draw = np.random.default_rng(0), Draw(1, Stream.RATE_CODE, 2)
    pixels, grad = rng.integers(0, 17, (1, 2, 3, 3, 1)) / 16, rng.integers(-8, 9, (5, 2, 3, 3, 1)) / 8
    tape, x = Tape(backend), Variable(backend.asarray(pixels), True)
    spikes = ops.rate_code(tape, x, draw, 3, 5, first=18)
    expected = backend.rate_code(draw, backend.asarray(pixels[0]), 3, 5, 18)
    np.testing.assert_array_equal(backend.to_numpy(spikes.value), backend.to_numpy(expected))
    tape.backward([(spikes, backend.asarray(grad))])
    np.testing.assert_array_equal(backend.to_numpy(x.grad), grad.sum(axis=0, keepdims=True))


def test_add_refuses_arrays_of_two_shapes(exact):
    with pytest.raises(ValueError, match="the same shape"):
        ops.add(Tape(exact), Variable(np.zeros((1, 3))), Variable(np.zeros((2, 3))))


def test_a_reset_that_does_not_exist_is_refused():
    with pytest.raises(MinihireError, match="'immediate' or 'delayed', not 'never'"):
        NeuronOptions(reset="never")
