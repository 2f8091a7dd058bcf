"""The operations of the engine. Each computes its value and records its gradient on the tape.

x, w, … are Variables; in the code, k is the backend. A pullback computes only the gradients that are needed and stores only the
arrays that it needs. For example, an attack computes no weight gradients and stores no inputs of convolutions.
"""

import math

from minihire.engine.arrays import full
from minihire.engine.tape import Tape, Variable


def _op(tape: Tape, value, inputs: list[Variable], pullback) -> Variable:
    output = Variable(value)
    tape.record([output], inputs, pullback)
    return output


def conv2d(tape, x, w, stride=1, padding=1):
    """Convolution [T, B, H, W, C_in] * [k, k, C_in, C_out]."""
    k, grads_wanted = tape.backend, (x.needs_grad, w.needs_grad)
    out, saved = k.conv2d(x.value, w.value, stride, padding, want_weight=w.needs_grad)
    return _op(tape, out, [x, w], lambda g: k.conv2d_backward(saved, g, *grads_wanted))


def linear(tape, x, w):
    """Matrix product [T, B, F_in] · [F_in, F_out]."""
    k, grads_wanted = tape.backend, (x.needs_grad, w.needs_grad)
    out, saved = k.linear(x.value, w.value, want_weight=w.needs_grad)
    return _op(tape, out, [x, w], lambda g: k.linear_backward(saved, g, *grads_wanted))


def add_bias(tape, x, bias, count=1):
    """x [T, B, …, C] + count·bias [1, C], the same at every step: a linear layer whose only input is the number `count`."""
    k = tape.backend
    constant = full(k, (1, math.prod(x.shape[1:-1]), 1), float(count))
    current = reshape(tape, linear(tape, Variable(constant), bias), (1, *x.shape[1:]))
    return add(tape, x, current if x.shape[0] == 1 else repeat_time(tape, current, x.shape[0]))


def avg_pool(tape, x):
    """2×2 average pooling."""
    k = tape.backend
    out, saved = k.avg_pool(x.value)
    return _op(tape, out, [x], lambda g: (k.avg_pool_backward(saved, g),))


def relu(tape, x, mask=None):
    """max(x, 0), times a dropout mask."""
    k = tape.backend
    out, saved = k.relu(x.value, mask)
    return _op(tape, out, [x], lambda g: (k.relu_backward(saved, g),))


def add(tape, a, b):
    """a + b for the same shape. Raises ValueError for different shapes."""
    k = tape.backend
    if a.shape != b.shape:
        raise ValueError(f"add needs two arrays of the same shape, not {a.shape} and {b.shape}")
    return _op(tape, k.add(a.value, b.value), [a, b], lambda g: (g, g))


def clip(tape, x, low, high):
    """min(max(x, low), high). The gradient is 1 where low ≤ x ≤ high, else 0."""
    k = tape.backend
    out, saved = k.clip(x.value, low, high)
    return _op(tape, out, [x], lambda g: (k.clip_backward(saved, g),))


def normalise(tape, x, mean, std):
    """(x − mean)/std per channel. It is part of the network, so that attacks work on pixels in [0, 1]."""
    k = tape.backend
    scale, shift = tuple(1 / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))
    return _op(tape, k.scale_shift(x.value, scale, shift), [x], lambda g: (k.scale_shift(g, scale, (0.0,) * len(std)),))


def reshape(tape, x, shape):
    """The same values in another shape."""
    k, original_shape = tape.backend, x.shape
    return _op(tape, k.reshape(x.value, shape), [x], lambda g: (k.reshape(g, original_shape),))


def sum_time(tape, x):
    """Sum over time: [T, …] → [1, …]."""
    k, steps = tape.backend, x.shape[0]
    return _op(tape, k.sum_time(x.value), [x], lambda g: (k.repeat_time(g, steps),))


def repeat_time(tape, x, steps):
    """The same values at every step: [1, …] → [steps, …]."""
    k = tape.backend
    return _op(tape, k.repeat_time(x.value, steps), [x], lambda g: (k.sum_time(g),))


def rate_code(tape, x, draw, first_step, steps, first=0):
    """Bernoulli spikes [steps, B, …] with the pixels [1, B, …] as probabilities. The gradient is straight-through.

    first_step: number of the first time step. first: index of the first pixel's random number in each step's draw.
    """
    k, shape = tape.backend, x.shape
    spikes = k.rate_code(draw, k.reshape(x.value, shape[1:]), first_step, steps, first)
    return _op(tape, spikes, [x], lambda g: (k.sum_time(g),))
