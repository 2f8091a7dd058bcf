"""Event-driven weight gradients of linear layers, xᵀ·grad, block by block for the optimiser (optimisers.py). float32.

For a block of 64 inputs, `list_x` lists for each input the rows of the batch in which it is not zero, and `part_from_x_lists`
adds up the rows of grad that these lists name. If grad has more zeros than x, `list_gradient` lists for each output the rows in
which its gradient is not zero, and `part_from_gradient_lists` adds up rows of x.
"""

import numpy as np
from numba import prange

from backends.numba_cpu.kernels.lists import ColumnLists, append_to_columns, empty_values
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.gather import add_rows
from backends.numba_cpu.simd.memory import copy, prefetch, scratch, transpose16

BLOCK = 64  # inputs and outputs of a block of the gradient
PART_COLUMNS = 256  # of a block's gradient that are computed, and used, at a time
TILE_ROWS = 96  # of the batch: their gradients, 64 outputs wide, fit the first-level cache


@compiled(parallel=True)
def pack_panels(grad, out):
    """out[block, n] = grad[n, BLOCK·block : BLOCK·(block + 1)], zeros beyond the last output; out [blocks, N, BLOCK]."""
    for n in prange(len(grad)):
        for block in range(len(out)):
            first = block * BLOCK
            width = min(BLOCK, grad.shape[1] - first)
            copy(grad[n, first:], out[block, n, :width])
            out[block, n, width:] = 0


@compiled(parallel=True)
def list_gradient(grad, index, value, lengths):
    """For each column of grad [N, F_out], the rows where it is not zero: index, value [F_out, N], lengths int64 [F_out]."""
    (features, capacity), source = index.shape, grad.reshape(-1)
    flat_index, flat_value = index.reshape(-1), value.reshape(-1)
    for block in prange((features + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        last = min(first + BLOCK, features)
        block_lengths, at = lengths[first:last], first * capacity
        block_lengths[:] = 0
        for n in range(len(grad)):
            start, one = n * features + first, np.float32(1)
            append_to_columns(
                source, start, last - first, one, n, 1, capacity, flat_index[at:], flat_value[at:], block_lengths
            )


@compiled
def list_x(x, scale, has_values, first):
    """For each of BLOCK inputs of x [N, F_in], counts, from `first` on: the rows where it is not zero, by tiles of TILE_ROWS.

    Returns ColumnLists with index and value flat [tiles·BLOCK·TILE_ROWS] (value of length 1 if all are the same) and lengths
    int64 [tiles, BLOCK]; and memory for a part of the gradient.
    """
    count, depth, source = len(x), x.shape[1], x.reshape(-1)
    tiles, width = max(1, (count + TILE_ROWS - 1) // TILE_ROWS), min(BLOCK, x.shape[1] - first)
    index = np.empty((tiles, BLOCK * TILE_ROWS), np.uint16)
    value = empty_values(has_values, tiles * BLOCK * TILE_ROWS)
    lengths = np.zeros((tiles, BLOCK), np.int64)
    value[0] = scale
    for n in range(count):
        t = n // TILE_ROWS
        tile_values = value[has_values * t * BLOCK * TILE_ROWS :]
        row = n - t * TILE_ROWS
        append_to_columns(
            source, n * depth + first, width, scale, row, has_values, TILE_ROWS, index[t], tile_values, lengths[t]
        )
    return ColumnLists(index.reshape(-1), value, has_values, lengths, TILE_ROWS), scratch(BLOCK * PART_COLUMNS)


@compiled
def _distance_to_next_part(column, part_columns, features):
    """From a place in the weights to the same place of the next part: beside this one, or in the next BLOCK rows."""
    return part_columns if column + part_columns < features else BLOCK * features - column


@compiled
def part_from_x_lists(row_lists, panels, first, column, part_columns, to_prefetch):
    """Σ_n x[n, first + i] · grad[n, column + j], i < BLOCK, j < PART_COLUMNS, from `list_x`'s result; grad in panels.

    Meanwhile the next part of the arrays `to_prefetch`, which have the weight's shape, is prefetched.
    """
    (index, value, has_values, lengths, capacity), part = row_lists
    count, rows, features = panels.shape[1], panels.reshape(-1), to_prefetch[0].shape[1]
    distance = _distance_to_next_part(column, part_columns, features)
    part[:] = 0
    for tile in range(len(lengths)):
        for block in range(column, min(column + part_columns, features), BLOCK):
            base = block // BLOCK * count + tile * TILE_ROWS
            for i in range(BLOCK):
                if tile == 0:
                    prefetch(to_prefetch, (first + i) * features + block + distance)
                a = (tile * BLOCK + i) * capacity
                last = a + lengths[tile, i]
                add_rows(64, part, i * PART_COLUMNS + block - column, rows, base, index, value, has_values, a, last)
    return part.reshape(BLOCK, PART_COLUMNS)


@compiled
def dense_x(x, scale, first):
    """x[:, first : first + BLOCK] as floats, for N rows of counts x [N, F_in]; and memory for sums and for a part."""
    rows = scratch(len(x) * BLOCK)
    panel = rows.reshape(len(x), BLOCK)
    rows[:] = 0
    for n in range(len(x)):
        row, into = x[n, first : first + BLOCK], panel[n]
        for i in range(len(row)):
            into[i] = scale * np.float32(row[i])
    return rows, scratch(BLOCK * BLOCK), scratch(BLOCK * PART_COLUMNS)


@compiled
def part_from_gradient_lists(x_rows, index, value, lengths, first, column, part_columns, to_prefetch):
    """The same from the lists of `list_gradient` and the rows of `dense_x`. Sums are transposed blocks of 64 columns."""
    rows, sums, part = x_rows
    features, capacity = index.shape
    all_index, all_value = index.reshape(-1), value.reshape(-1)
    distance = _distance_to_next_part(column, part_columns, features)
    for block in range(column, min(column + part_columns, features), BLOCK):
        sums[:] = 0
        for c in range(block, min(block + BLOCK, features)):
            prefetch(to_prefetch, (first + c - block) * features + block + distance)
            a = c * capacity
            add_rows(64, sums, (c - block) * BLOCK, rows, 0, all_index, all_value, 1, a, a + lengths[c])
        for i in range(0, BLOCK, 16):
            for j in range(0, BLOCK, 16):
                transpose16(part, i * PART_COLUMNS + block - column + j, PART_COLUMNS, sums, j * BLOCK + i, BLOCK)
    return part.reshape(BLOCK, PART_COLUMNS)
