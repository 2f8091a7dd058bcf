"""Optimiser steps: one sweep over a parameter, its gradient and its moments.

The gradient of a linear layer is computed here, a part at a time, and used while it is in the cache: written out whole it would
cost as much time and memory as the parameter itself. Adding up events hardly needs memory, so meanwhile the weights and
moments are asked for that the next part will update.
"""

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from backends import moments16
from backends.numba_cpu.kernels import event_linear, linear
from backends.numba_cpu.simd.lanes import (
    LANES,
    arange,
    bits_float,
    broadcast,
    float_bits,
    load_at,
    sqrt,
    store_at,
    where_greater,
)
from backends.numba_cpu.simd.memory import copy

BLOCK = 4096
CUT_MEAN, CUT_SQUARE = np.uint32(moments16.CUT_MEAN), np.uint32(moments16.CUT_SQUARE)
TOP, BOTTOM = np.uint32(32 - moments16.CUT_MEAN), np.uint32(2**moments16.CUT_SQUARE - 1)
(SHIFT_1, SHIFT_2, SHIFT_3), (FACTOR_1, FACTOR_2) = map(np.uint32, moments16.SHIFTS), map(np.uint32, moments16.FACTORS)
LOW, VECTOR = np.uint32(2**32 - 1), np.uint32(LANES)


# ---------------------------------------------------------------- weight gradients, part by part


def prepare_rows(x, grad, scale, has_values, first):
    """What all parts of rows first … of xᵀ·grad need; x [N, F_in]: floats, or counts (grad in panels or lists: event_linear)."""
    raise NotImplementedError("for compiled code only")


def gradient_part(row_lists, x, grad, first, column, wide, to_prefetch):
    """`wide` of these rows' columns, of a dense product all; updated: the arrays whose next part is asked for meanwhile."""
    raise NotImplementedError("for compiled code only")


@overload(prepare_rows)
def _prepare_rows(x, grad, scale, has_values, first):
    if isinstance(grad, types.BaseTuple):
        return lambda x, grad, scale, has_values, first: event_linear.dense_x(x, scale, first)
    if x.dtype == types.uint8:
        return lambda x, grad, scale, has_values, first: event_linear.list_x(x, scale, has_values, first)
    return lambda x, grad, scale, has_values, first: 0


@overload(gradient_part)
def _gradient_part(row_lists, x, grad, first, column, wide, to_prefetch):
    if isinstance(grad, types.BaseTuple):
        return lambda row_lists, x, grad, first, column, wide, to_prefetch: event_linear.part_by_lists_of_grad(
            row_lists, *grad, first, column, wide, to_prefetch
        )
    if x.dtype == types.uint8:
        return lambda row_lists, x, grad, first, column, wide, to_prefetch: event_linear.part_by_lists_of_x(
            row_lists, grad, first, column, wide, to_prefetch
        )
    return lambda row_lists, x, grad, first, column, wide, to_prefetch: linear.gradient_rows(grad, x, first)


@njit(parallel=True, cache=True)
def store_rows(x, grad, scale, has_values, rows, wide, out):
    """out [F_in, F_out] = xᵀ·grad; `rows` of them per task, `wide` columns at a time."""
    for task in prange((len(out) + rows - 1) // rows):
        first = np.int64(task) * rows
        last = min(first + rows, len(out))
        row_lists = prepare_rows(x, grad, scale, has_values, first)
        for column in range(0, out.shape[1], wide):
            part = gradient_part(row_lists, x, grad, first, column, wide, (out,))
            for i in range(first, last):
                into = out[i, column : column + wide]
                copy(part[i - first], into)


# ---------------------------------------------------------------- SGD


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
def sgd_rows(parameter, x, grad, scale, has_values, rows, wide, velocity, scalars):
    """The same for a weight [F_in, F_out] whose gradient is xᵀ·grad."""
    for task in prange((len(parameter) + rows - 1) // rows):
        first = np.int64(task) * rows
        row_lists = prepare_rows(x, grad, scale, has_values, first)
        for column in range(0, parameter.shape[1], wide):
            part = gradient_part(row_lists, x, grad, first, column, wide, (parameter, velocity))
            end = column + wide
            for i in range(first, min(first + rows, len(parameter))):
                _sgd(parameter[i, column:end], part[i - first], velocity[i, column:end], *scalars)


# ---------------------------------------------------------------- Adam


@njit(cache=True, inline="always")
def _rounding_bits(x):
    """`moments16.rounding_bits` of lanes, or of a number, whose product Numba makes one of 64 bits."""
    x = ((x ^ (x >> SHIFT_1)) * FACTOR_1) & LOW
    x = ((x ^ (x >> SHIFT_2)) * FACTOR_2) & LOW
    return x ^ (x >> SHIFT_3)


def wide_moment(moments, i, cut, number, whole):
    """Moments from place i on, as numbers like `number`: as they are, or of 16 bits, to which `cut` are appended."""
    raise NotImplementedError("for compiled code only")


def put_moments(mean, square, i, m, s, hashed):
    """Write both, in 16 bits as `moments16.narrow` does; `hashed` is what the entries hash."""
    raise NotImplementedError("for compiled code only")


@overload(wide_moment)
def _wide_moment(moments, i, cut, number, whole):
    if moments.dtype == types.uint16:
        return lambda moments, i, cut, number, whole: bits_float(load_at(moments, i, whole) << cut, number)
    return lambda moments, i, cut, number, whole: load_at(moments, i, number)


@overload(put_moments)
def _put_moments(mean, square, i, m, s, hashed):
    def put_narrow(mean, square, i, m, s, hashed):
        added = _rounding_bits(hashed)
        store_at(mean, i, (float_bits(m) + (added >> TOP)) >> CUT_MEAN)
        store_at(square, i, (float_bits(s) + (added & BOTTOM)) >> CUT_SQUARE)

    def put_both(mean, square, i, m, s, hashed):
        store_at(mean, i, m)
        store_at(square, i, s)

    return put_narrow if mean.dtype == types.uint16 else put_both


def update_max_square(max_square, i, square):
    """AMSGrad's running maximum, updated; of an empty tuple the square itself. A branch in the loop would keep arrays counted."""
    raise NotImplementedError("for compiled code only")


def part_of(max_square, a, b):
    """Entries a … b − 1 of the array in the tuple, if there is one."""
    raise NotImplementedError("for compiled code only")


@overload(update_max_square)
def _update_max_square(max_square, i, square):
    if len(max_square) == 0:
        return lambda max_square, i, square: square

    def update(max_square, i, square):
        before = load_at(max_square[0], i, square)
        most = where_greater(before, square, before, square)
        store_at(max_square[0], i, most)
        return most

    return update


@overload(part_of)
def _part_of(max_square, a, b):
    if len(max_square) == 0:
        return lambda max_square, a, b: ()
    return lambda max_square, a, b: (max_square[0].reshape(-1)[a:b],)


@njit(cache=True, error_model="numpy")
def _adam_at(parameter, grad, mean, square, max_square, i, number, hashed, scalars):
    """Entry i, or LANES from there on, as `number` and `hashed`, what the entries hash, are numbers or lanes."""
    rate, first, second, first_rest, second_rest, epsilon, correction, low, high = scalars
    g = load_at(grad, i, number)
    m = wide_moment(mean, i, CUT_MEAN, number, hashed) * first + g * first_rest
    s = wide_moment(square, i, CUT_SQUARE, number, hashed) * second + g * second_rest * g
    put_moments(mean, square, i, m, s, hashed)
    most = update_max_square(max_square, i, s)
    w = load_at(parameter, i, number) - m * rate / (sqrt(most) / correction + epsilon)
    w = where_greater(w, high, high, w)
    store_at(parameter, i, where_greater(low, w, low, w))


@njit(cache=True, error_model="numpy")
def adam_block(parameter, grad, mean, square, max_square, start, scalars):
    """One pass over all arrays, by whole vectors; start: what the first entry hashes (moments16.py)."""
    vectors = len(parameter) // LANES * LANES
    number, hashed = broadcast(scalars[0]), arange(start)
    for i in range(0, vectors, LANES):
        _adam_at(parameter, grad, mean, square, max_square, i, number, hashed, scalars)
        hashed = hashed + VECTOR
    for i in range(vectors, len(parameter)):
        _adam_at(parameter, grad, mean, square, max_square, i, scalars[0], np.uint32(start + i), scalars)


@njit(parallel=True, cache=True)
def adam(parameter, grad, mean, square, max_square, start, scalars):
    """See Backend.adam_step; flat arrays; largest: a tuple, of one for AMSGrad, else empty.

    scalars, of the arrays' type: rate / (1 − β₁^step), β₁, β₂, 1 − β₁, 1 − β₂, ε, √(1 − β₂^step), low, high.
    """
    for block in prange((len(parameter) + BLOCK - 1) // BLOCK):
        a = np.int64(block) * BLOCK
        b, at = min(a + BLOCK, len(parameter)), np.uint32(start + a)
        adam_block(parameter[a:b], grad[a:b], mean[a:b], square[a:b], part_of(max_square, a, b), at, scalars)


@njit(parallel=True, cache=True)
def adam_rows(parameter, x, grad, scale, has_values, rows, wide, mean, square, max_square, start, scalars):
    """The same for a weight [F_in, F_out], C-contiguous as its moments are, whose gradient is xᵀ·grad."""
    columns, flat, means, squares = parameter.shape[1], parameter.reshape(-1), mean.reshape(-1), square.reshape(-1)
    for task in prange((len(parameter) + rows - 1) // rows):
        first = np.int64(task) * rows
        row_lists = prepare_rows(x, grad, scale, has_values, first)
        for column in range(0, columns, wide):
            part = gradient_part(row_lists, x, grad, first, column, wide, (parameter, mean, square))
            for i in range(first, min(first + rows, len(parameter))):
                a = i * columns + column
                b, at = a + min(wide, columns - column), np.uint32(start + a)
                most = part_of(max_square, a, b)
                adam_block(flat[a:b], part[i - first], means[a:b], squares[a:b], most, at, scalars)
