"""Event-driven linear layers, forward and input gradient. float32.

Inputs are listed by block of 64 entries and row of the batch. A task computes 64 or 128 outputs for the whole batch: it copies
one slab of weights after the other (64 inputs × its outputs, 16 or 32 KB) into the first-level cache, and for every row of the
batch adds up the rows of the slab that the list names. The weight gradient is in event_outer_product.py.
"""

import numpy as np
from numba import prange

from backends.numba_cpu.kernels.increments import add_scaled, subtract
from backends.numba_cpu.kernels.lists import append_events
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.gather import HAS_AVX512, add_rows
from backends.numba_cpu.simd.memory import copy, copy_row, prefetch, scratch, transpose16

BLOCK = 64  # inputs of a slab of weights
WIDE_FEATURES = 512  # outputs from which on a slab has 128 of them; there are still enough tasks


@compiled(parallel=True)
def list_blocks(events, lists):
    """List events.array [N, F] by block of BLOCK entries, then row; an index counts from the block's first entry.

    lists: EventLists with index and value [blocks, BLOCK·N] (value [1, 1] if all values are the same), start int64
    [blocks, N + 1]: the lists that use one slab of weights lie one after the other.
    """
    x, scale, has_values = events
    index, value, start = lists.index, lists.value, lists.start
    capacity, depth, source = index.shape[1], x.shape[1], x.reshape(-1)
    flat_index, flat_value = index.reshape(-1), value.reshape(-1)
    for task in prange(len(start)):
        block = np.int64(task)
        n, first = block * capacity, block * BLOCK
        count = min(BLOCK, depth - first)
        for row in range(len(x)):
            start[block, row] = n
            n = append_events(source, row * depth + first, count, scale, has_values, 0, flat_index, flat_value, n)
        start[block, len(x)] = n


@compiled
def _list_block_of_increments(increments, block, lists):
    """One block of `list_increment_blocks`."""
    x, factor, leak, first_step, direction = increments
    index, value, start = lists.index, lists.value, lists.start
    steps, batch, depth = x.shape
    n, first = block * index.shape[1], block * BLOCK
    count, has_values = min(BLOCK, depth - first), np.int64(1)
    flat_index, flat_value, new = index.reshape(-1), value.reshape(-1), scratch(BLOCK)
    for t in range(steps):
        before, step_leak = (t, np.float32(0)) if t == first_step else (t - direction, leak)
        for row in range(batch):
            start[block, t * batch + row] = n
            subtract(x[t, row, first:], step_leak, x[before, row, first:], new[:count])
            n = append_events(new, 0, count, factor, has_values, 0, flat_index, flat_value, n)
    start[block, steps * batch] = n


@compiled(parallel=True)
def list_increment_blocks(increments, lists):
    """The same for the increments of increments.array [T, B, F]."""
    for task in prange(len(lists.start)):
        _list_block_of_increments(increments, np.int64(task), lists)


@compiled
def _load_slab(weight, transposed, k, m, slab):
    """slab[i, j] = weight[k + i, m + j] (transposed: weight[m + j, k + i]), as far as the weights reach."""
    columns, flat, into, lanes = weight.shape[1], weight.reshape(-1), slab.reshape(-1), slab.shape[1]
    deep, wide = weight.shape[::-1] if transposed else weight.shape
    deep, wide = min(BLOCK, deep - k), min(lanes, wide - m)
    if deep < BLOCK or wide < lanes:
        for i in range(deep):
            for j in range(wide):
                slab[i, j] = weight[m + j, k + i] if transposed else weight[k + i, m + j]
    elif transposed:
        for i in range(0, BLOCK, 16):
            for j in range(0, lanes, 16):
                transpose16(into, i * lanes + j, lanes, flat, (m + j) * columns + k + i, columns)
    else:
        for i in range(BLOCK):
            for j in range(0, lanes, 64):
                copy_row(64, into, i * lanes + j, flat, (k + i) * columns + m + j)


@compiled(parallel=True)
def product(lists, order, weight, transposed, lanes, out):
    """out [T, B, M] = x · weight, x [T·B, K] as lists; weight [K, M], or [M, K] if transposed.

    Lists of increments (T > 1): the sums of each step after the first in this order are added to `leak` times the step before.
    lanes: outputs of a slab.
    """
    index, value, has_values, start = lists
    leak, first_step, direction = order
    flat_index, flat_value, weights = index.reshape(-1), value.reshape(-1), weight.reshape(-1)
    (steps, batch, features), columns, count = out.shape, weight.shape[1], out.shape[0] * out.shape[1]
    # a slab has `pieces` pieces of 64 weights, which are prefetched one by one; with wide_rows, each row of it has two
    pieces, wide_rows = BLOCK * lanes // 64, lanes > 64 and not transposed
    pieces_per_list = (pieces + count - 1) // max(count, 1)
    for task in prange((features + lanes - 1) // lanes):
        m = np.int64(task) * lanes
        wide = min(lanes, features - m)
        rows, sums = scratch(BLOCK * lanes), scratch(count * lanes)
        slab = rows.reshape(BLOCK, lanes)
        sums[:] = 0
        for block in range(len(start)):
            k = block * BLOCK
            _load_slab(weight, transposed, k, m, slab)
            next_piece = m * columns + k + BLOCK if transposed else (k + BLOCK) * columns + m
            prefetched = 0
            for n in range(count):
                # adding up lists hardly uses memory, so prefetch the next slab meanwhile
                for _ in range(pieces_per_list):
                    if prefetched < pieces:
                        prefetch((weights,), next_piece)
                        prefetched += 1
                        next_piece += 64 if wide_rows and prefetched % 2 else columns - 64 * wide_rows
                first, last = start[block, n], start[block, n + 1]
                if lanes == 128:
                    add_rows(128, sums, n * lanes, rows, 0, flat_index, flat_value, has_values, first, last)
                else:
                    add_rows(64, sums, n * lanes, rows, 0, flat_index, flat_value, has_values, first, last)
        by_step = sums.reshape(steps, batch * lanes)
        for step in range(1, steps):
            t = first_step + direction * step
            add_scaled(by_step[t - direction], leak, by_step[t])
        for t in range(steps):
            for n in range(batch):
                at = n * lanes
                copy(by_step[t, at : at + wide], out[t, n, m : m + wide])


def lanes_for(features: int) -> int:
    """How many outputs a slab has."""
    return 128 if HAS_AVX512 and features >= WIDE_FEATURES and features % 128 == 0 else 64
