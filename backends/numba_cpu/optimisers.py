"""Optimiser steps: one sweep over a parameter, its gradient and its moments.

The gradient of a linear layer is computed here, a block of rows at a time, and used while it is in the cache: written
out whole it would cost as much time and memory as the parameter itself.
"""

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from backends.numba_cpu import event_linear, linear
from backends.numba_cpu.slabs import copy

BLOCK = 4096


def gradient_rows(x, grad, scale, each, first):
    """Rows first … of xᵀ·grad: x [N, F_in] floats, or counts (grad in panels or lists, see event_linear)."""
    raise NotImplementedError("for compiled code only")


@overload(gradient_rows)
def _gradient_rows(x, grad, scale, each, first):
    if isinstance(grad, types.BaseTuple):
        return lambda x, grad, scale, each, first: event_linear.gradient_rows_of_lists(x, scale, *grad, first)
    if x.dtype == types.uint8:
        return lambda x, grad, scale, each, first: event_linear.gradient_rows(x, scale, each, grad, first)
    return lambda x, grad, scale, each, first: linear.gradient_rows(grad, x, first)


@njit(parallel=True, cache=True)
def store_rows(x, grad, scale, each, rows, out):
    """out [F_in, F_out] = xᵀ·grad; `rows` of them per task."""
    for task in prange((len(out) + rows - 1) // rows):
        first = np.int64(task) * rows
        last = min(first + rows, len(out))
        found = gradient_rows(x, grad, scale, each, first)
        for i in range(first, last):
            copy(found[i - first], out[i])


@njit(cache=True)
def _sgd(parameter, grad, velocity, rate, momentum, decay, low, high):
    for i in range(len(parameter)):
        velocity[i] = momentum * velocity[i] + (grad[i] + decay * parameter[i])
    for i in range(len(parameter)):
        parameter[i] = min(max(parameter[i] - rate * velocity[i], low), high)


@njit(parallel=True, cache=True)
def sgd(parameter, grad, velocity, scalars):
    """See Backend.sgd_step; flat arrays, scalars of the arrays' type."""
    for block in prange((len(parameter) + BLOCK - 1) // BLOCK):
        a = np.int64(block) * BLOCK
        b = min(a + BLOCK, len(parameter))
        _sgd(parameter[a:b], grad[a:b], velocity[a:b], *scalars)


@njit(parallel=True, cache=True)
def sgd_rows(parameter, x, grad, scale, each, rows, velocity, scalars):
    """The same for a weight [F_in, F_out] whose gradient is xᵀ·grad."""
    for task in prange((len(parameter) + rows - 1) // rows):
        first = np.int64(task) * rows
        found = gradient_rows(x, grad, scale, each, first)
        for i in range(first, min(first + rows, len(parameter))):
            _sgd(parameter[i], found[i - first, : parameter.shape[1]], velocity[i], *scalars)


@njit(cache=True, error_model="numpy")
def adam_block(
    parameter, grad, mean, square, largest, rate, first, second, first_rest, second_rest, epsilon, root, low, high
):
    """A loop for each array that is written: so the compiler sees that they do not overlap, and vectorises."""
    for i in range(len(parameter)):
        mean[i] = first * mean[i] + first_rest * grad[i]
    for i in range(len(parameter)):
        square[i] = second * square[i] + second_rest * grad[i] * grad[i]
    top = square
    if len(largest):
        top = largest
        for i in range(len(parameter)):
            largest[i] = max(largest[i], square[i])
    for i in range(len(parameter)):
        parameter[i] = min(max(parameter[i] - rate * mean[i] / (np.sqrt(top[i]) / root + epsilon), low), high)


@njit(parallel=True, cache=True)
def adam(parameter, grad, mean, square, largest, scalars):
    """See Backend.adam_step; flat arrays, largest may be empty.

    scalars, of the arrays' type: rate / (1 − β₁^step), β₁, β₂, 1 − β₁, 1 − β₂, ε, √(1 − β₂^step), low, high.
    """
    for block in prange((len(parameter) + BLOCK - 1) // BLOCK):
        a = np.int64(block) * BLOCK
        b = min(a + BLOCK, len(parameter))
        adam_block(parameter[a:b], grad[a:b], mean[a:b], square[a:b], largest[a:b], *scalars)


@njit(parallel=True, cache=True)
def adam_rows(parameter, x, grad, scale, each, rows, mean, square, largest, scalars):
    """The same for a weight [F_in, F_out] whose gradient is xᵀ·grad; largest may be [0, F_out]."""
    for task in prange((len(parameter) + rows - 1) // rows):
        first = np.int64(task) * rows
        found = gradient_rows(x, grad, scale, each, first)
        for i in range(first, min(first + rows, len(parameter))):
            row = found[i - first, : parameter.shape[1]]
            adam_block(
                parameter[i], row, mean[i], square[i], largest[min(i, len(largest)) : i + 1].reshape(-1), *scalars
            )
