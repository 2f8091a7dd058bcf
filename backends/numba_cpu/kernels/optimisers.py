"""Optimiser steps: one pass over a parameter, its gradient and its moments.

The weight gradient of a linear layer, xᵀ·grad, is computed here, a part at a time, and used while it is in the cache. Written to
memory as a whole it would take as much time and memory as the parameter itself. While a part is computed, the weights and moments
of the next part are prefetched, because adding up events hardly uses memory.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import prange, typeof, types
from numba.extending import overload

from backends import moments16
from backends.numba_cpu.kernels import event_outer_product, linear
from backends.numba_cpu.runtime.kernel_cache import compiled
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

BLOCK = 4096  # entries per task
CUT_MEAN, CUT_SQUARE = np.uint32(moments16.CUT_MEAN), np.uint32(moments16.CUT_SQUARE)
MEAN_SHIFT, SQUARE_MASK = np.uint32(32 - moments16.CUT_MEAN), np.uint32(2**moments16.CUT_SQUARE - 1)
(SHIFT_1, SHIFT_2, SHIFT_3), (FACTOR_1, FACTOR_2) = map(np.uint32, moments16.SHIFTS), map(np.uint32, moments16.FACTORS)
LOW_32_BITS, LANE_COUNT = np.uint32(2**32 - 1), np.uint32(LANES)


class Factors(NamedTuple):
    """The factors of a weight gradient xᵀ·grad, and the size of the parts in which it is computed.

    Dense: x and grad are floats. Event-driven: x holds counts, and grad is packed in panels or is a tuple of the lists
    (index, value, lengths); see event_outer_product.py.
    """

    x: Any  # [N, F_in]
    grad: Any  # [N, F_out], or panels, or lists
    scale: Any  # factor of the counts x
    has_values: int  # of x: 0 if all non-zero counts are equal, else 1
    rows: int  # rows of the gradient that a task computes
    part_columns: int  # columns of a part


def by_type(choose):
    """Make a function for kernels from choose(*types), which returns the implementation for arguments of these Numba types.

    The choice costs no time in compiled code. In plain Python it is made in every call.
    """

    @functools.wraps(choose)
    def call(*arguments):
        return choose(*map(typeof, arguments))(*arguments)

    overload(call)(choose)
    return call


# ---------------------------------------------------------------- weight gradients, part by part


@by_type
def prepare_rows(x, grad, scale, has_values, first):
    """The data that all parts of one task's rows share: lists of x, or x as floats if grad holds lists; 0 for dense factors.

    first: the task's first row of the gradient.
    """
    if isinstance(grad, types.BaseTuple):
        return lambda x, grad, scale, has_values, first: event_outer_product.dense_x(x, scale, first)
    if x.dtype == types.uint8:
        return lambda x, grad, scale, has_values, first: event_outer_product.list_x(x, scale, has_values, first)
    return lambda x, grad, scale, has_values, first: 0


@by_type
def gradient_part(prepared, x, grad, first, column, part_columns, to_prefetch):
    """A part of the gradient: one task's rows, from `first` on, and `part_columns` columns, from `column` on.

    prepared: from `prepare_rows`. Dense factors: all columns. to_prefetch: arrays whose next part is prefetched meanwhile.
    """
    if isinstance(grad, types.BaseTuple):
        return lambda prepared, x, grad, first, column, part_columns, to_prefetch: (
            event_outer_product.part_from_gradient_lists(prepared, *grad, first, column, part_columns, to_prefetch)
        )
    if x.dtype == types.uint8:
        return lambda prepared, x, grad, first, column, part_columns, to_prefetch: (
            event_outer_product.part_from_x_lists(prepared, grad, first, column, part_columns, to_prefetch)
        )
    return lambda prepared, x, grad, first, column, part_columns, to_prefetch: linear.gradient_rows(grad, x, first)


@compiled(parallel=True)
def store_rows(factors, out):
    """out [F_in, F_out] = xᵀ·grad."""
    x, grad, scale, has_values, rows, part_columns = factors
    for task in prange((len(out) + rows - 1) // rows):
        first = np.int64(task) * rows
        last = min(first + rows, len(out))
        prepared = prepare_rows(x, grad, scale, has_values, first)
        for column in range(0, out.shape[1], part_columns):
            part = gradient_part(prepared, x, grad, first, column, part_columns, (out,))
            for i in range(first, last):
                into = out[i, column : column + part_columns]
                copy(part[i - first], into)


# ---------------------------------------------------------------- SGD


class SGDScalars(NamedTuple):
    """The numbers of an SGD step, of the arrays' type."""

    learning_rate: Any
    momentum: Any
    decay: Any
    low: Any  # bounds of the parameter
    high: Any


@compiled
def _sgd(parameter, grad, velocity, scalars):
    learning_rate, momentum, decay, low, high = scalars
    for i in range(len(parameter)):
        velocity[i] = momentum * velocity[i] + (grad[i] + decay * parameter[i])
    for i in range(len(parameter)):
        parameter[i] = min(max(parameter[i] - learning_rate * velocity[i], low), high)


@compiled(parallel=True)
def sgd(parameter, grad, velocity, scalars):
    """See Backend.sgd_step; flat arrays, `SGDScalars`."""
    for block in prange((len(parameter) + BLOCK - 1) // BLOCK):
        a = np.int64(block) * BLOCK
        b = min(a + BLOCK, len(parameter))
        _sgd(parameter[a:b], grad[a:b], velocity[a:b], scalars)


@compiled(parallel=True)
def sgd_rows(parameter, factors, velocity, scalars):
    """The same for a weight [F_in, F_out] whose gradient is xᵀ·grad."""
    x, grad, scale, has_values, rows, part_columns = factors
    for task in prange((len(parameter) + rows - 1) // rows):
        first = np.int64(task) * rows
        prepared = prepare_rows(x, grad, scale, has_values, first)
        for column in range(0, parameter.shape[1], part_columns):
            part = gradient_part(prepared, x, grad, first, column, part_columns, (parameter, velocity))
            end = column + part_columns
            for i in range(first, min(first + rows, len(parameter))):
                _sgd(parameter[i, column:end], part[i - first], velocity[i, column:end], scalars)


# ---------------------------------------------------------------- Adam


class AdamScalars(NamedTuple):
    """The numbers of an Adam step, of the arrays' type; β₁ and β₂ are the decays of mean and square."""

    rate: Any  # learning rate / (1 − β₁^step)
    decay_mean: Any
    decay_square: Any
    rest_mean: Any  # 1 − β₁
    rest_square: Any  # 1 − β₂
    epsilon: Any
    correction: Any  # √(1 − β₂^step)
    low: Any  # bounds of the parameter
    high: Any


class Moments(NamedTuple):
    """Adam's moments, of the arrays' type or uint16 (moments16.py)."""

    mean: Any
    square: Any
    max_square: Any  # () or, for AMSGrad, a tuple of one array: the running maximum of square


@compiled(inline="always")
def _rounding_bits(x):
    """The hash of `moments16.rounding_bits`, of a vector or a number. Numba multiplies numbers in 64 bits: hence LOW_32_BITS."""
    x = ((x ^ (x >> SHIFT_1)) * FACTOR_1) & LOW_32_BITS
    x = ((x ^ (x >> SHIFT_2)) * FACTOR_2) & LOW_32_BITS
    return x ^ (x >> SHIFT_3)


@by_type
def load_moments(moments, i, cut, number, bits):
    """Moments from position i on, of the type of `number`. 16-bit moments are widened: `cut` zero bits are appended."""
    if moments.dtype == types.uint16:
        return lambda moments, i, cut, number, bits: bits_float(load_at(moments, i, bits) << cut, number)
    return lambda moments, i, cut, number, bits: load_at(moments, i, number)


@by_type
def store_moments(mean, square, i, m, s, hash_input):
    """Write both moments; 16-bit ones are rounded stochastically, like `moments16.narrow`. hash_input: see moments16.start."""

    def store_narrow(mean, square, i, m, s, hash_input):
        bits = _rounding_bits(hash_input)
        store_at(mean, i, (float_bits(m) + (bits >> MEAN_SHIFT)) >> CUT_MEAN)
        store_at(square, i, (float_bits(s) + (bits & SQUARE_MASK)) >> CUT_SQUARE)

    def store_full(mean, square, i, m, s, hash_input):
        store_at(mean, i, m)
        store_at(square, i, s)

    return store_narrow if mean.dtype == types.uint16 else store_full


@by_type
def update_max_square(max_square, i, square):
    """AMSGrad's running maximum, updated and returned; the square itself if there is none.

    It is chosen by type because with a branch inside the loop, Numba would count references to the arrays.
    """

    def update(max_square, i, square):
        before = load_at(max_square[0], i, square)
        maximum = where_greater(before, square, before, square)
        store_at(max_square[0], i, maximum)
        return maximum

    return update if len(max_square) else lambda max_square, i, square: square


@by_type
def slice_max_square(max_square, a, b):
    """Entries a … b − 1 of the array in the tuple, if there is one."""
    if len(max_square):
        return lambda max_square, a, b: (max_square[0].reshape(-1)[a:b],)
    return lambda max_square, a, b: ()


@compiled(error_model="numpy")
def _adam_at(parameter, grad, moments, i, number, hash_input, scalars):
    """Update entry i, or entries i … i + LANES − 1 if `number` and `hash_input` (entry numbers + start) are vectors."""
    mean, square, max_square = moments
    rate, decay_mean, decay_square, rest_mean, rest_square, epsilon, correction, low, high = scalars
    g = load_at(grad, i, number)
    m = load_moments(mean, i, CUT_MEAN, number, hash_input) * decay_mean + g * rest_mean
    s = load_moments(square, i, CUT_SQUARE, number, hash_input) * decay_square + g * rest_square * g
    store_moments(mean, square, i, m, s, hash_input)
    root = sqrt(update_max_square(max_square, i, s))
    w = load_at(parameter, i, number) - m * rate / (root / correction + epsilon)
    w = where_greater(w, high, high, w)
    store_at(parameter, i, where_greater(low, w, low, w))


@compiled(error_model="numpy")
def adam_block(parameter, grad, moments, start, scalars):
    """One pass over all arrays, by vectors. start: the hash input of the first entry (see moments16.start)."""
    vectors = len(parameter) // LANES * LANES
    number, hash_input = broadcast(scalars.rate), arange(start)
    for i in range(0, vectors, LANES):
        _adam_at(parameter, grad, moments, i, number, hash_input, scalars)
        hash_input = hash_input + LANE_COUNT
    for i in range(vectors, len(parameter)):
        _adam_at(parameter, grad, moments, i, scalars.rate, np.uint32(start + i), scalars)


@compiled(parallel=True)
def adam(parameter, grad, moments, start, scalars):
    """See Backend.adam_step; flat arrays, `Moments`, `AdamScalars`."""
    mean, square, max_square = moments
    for block in prange((len(parameter) + BLOCK - 1) // BLOCK):
        a = np.int64(block) * BLOCK
        b, at = min(a + BLOCK, len(parameter)), np.uint32(start + a)
        block_moments = Moments(mean[a:b], square[a:b], slice_max_square(max_square, a, b))
        adam_block(parameter[a:b], grad[a:b], block_moments, at, scalars)


@compiled(parallel=True)
def adam_rows(parameter, factors, moments, start, scalars):
    """The same for a weight [F_in, F_out], C-contiguous as its moments are, whose gradient is xᵀ·grad."""
    x, grad, scale, has_values, rows, part_columns = factors
    mean, square, max_square = moments
    columns, flat, means, squares = parameter.shape[1], parameter.reshape(-1), mean.reshape(-1), square.reshape(-1)
    for task in prange((len(parameter) + rows - 1) // rows):
        first = np.int64(task) * rows
        prepared = prepare_rows(x, grad, scale, has_values, first)
        for column in range(0, columns, part_columns):
            part = gradient_part(prepared, x, grad, first, column, part_columns, (parameter, mean, square))
            for i in range(first, min(first + rows, len(parameter))):
                a = i * columns + column
                b, at = a + min(part_columns, columns - column), np.uint32(start + a)
                part_moments = Moments(means[a:b], squares[a:b], slice_max_square(max_square, a, b))
                adam_block(flat[a:b], part[i - first], part_moments, at, scalars)
