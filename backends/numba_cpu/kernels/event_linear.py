"""Linear layers that touch only what is not zero. float32.

Weights are taken in slabs of 64 inputs × 64 or 128 outputs, 16 or 32 KB, copied to the first-level cache; then every
row of the batch adds up the rows of the slab that its list names. The weight gradient is the same with the roles
changed: the lists name, for each input, the rows of the batch in which it is not zero; or, where the gradient has more
zeros than the input, for each output the rows in which its gradient is not.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.kernels.increments import add_scaled, subtract
from backends.numba_cpu.kernels.lists import append_events, empty_values, list_columns
from backends.numba_cpu.simd.events import HAS_AVX512, add_rows_64, add_rows_128
from backends.numba_cpu.simd.memory import copy, copy_row, prefetch, scratch, transpose16

BLOCK = 64  # inputs of a slab of weights; and inputs and outputs of a block of their gradient
WIDE_FEATURES = 512  # outputs, from which on a slab has 128: sums do not wait for themselves, and tasks still are many
PART_COLUMNS = 256  # columns of a block's gradient that are computed, and used, at a time
TILE_ROWS = 96  # rows of the batch whose gradients, 64 outputs wide, fit the first-level cache


@njit(parallel=True, cache=True)
def list_blocks(x, scale, has_values, index, value, start):
    """Events of x [N, F], floats or counts, by block of LANES entries, then row; index counts from the block's first.

    index, value [blocks, LANES·N] (value [1, 1], if all are the same); start int64 [blocks, N + 1]. So the lists that a
    slab of weights meets lie one after the other.
    """
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


@njit(cache=True)
def _list_increments(x, factor, leak, first_step, direction, block, index, value, start):
    """The lists of one block of `list_new_blocks`."""
    steps, batch, depth = x.shape
    n, first = block * index.shape[1], block * BLOCK
    count, has_values = min(BLOCK, depth - first), np.int64(1)  # for a plain 1 Numba would compile all once more
    flat_index, flat_value, new = index.reshape(-1), value.reshape(-1), scratch(BLOCK)
    for t in range(steps):
        before, lam = (t, np.float32(0)) if t == first_step else (t - direction, leak)
        for row in range(batch):
            start[block, t * batch + row] = n
            subtract(x[t, row, first:], lam, x[before, row, first:], new[:count])
            n = append_events(new, 0, count, factor, has_values, 0, flat_index, flat_value, n)
    start[block, steps * batch] = n


@njit(parallel=True, cache=True)
def list_increment_blocks(x, factor, leak, first_step, direction, index, value, start):
    """The same for x [T, B, F] of what is new at each step (increments.py)."""
    for task in prange(len(start)):
        _list_increments(x, factor, leak, first_step, direction, np.int64(task), index, value, start)


@njit(cache=True)
def _load_slab(weight, transposed, k, m, slab):
    """slab[i, j] = weight[k + i, m + j] (transposed: weight[m + j, k + i]), as far as the weights go."""
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
                copy_row(into, i * lanes + j, flat, (k + i) * columns + m + j)


@njit(parallel=True, cache=True)
def product(lanes, index, value, has_values, start, weight, transposed, leak, first_step, direction, out):
    """out [T, B, M] = x · weight, x [T·B, K] as lists; weight [K, M], or [M, K] if transposed; slabs of `lanes` outputs.

    Where lists hold what is new (T > 1), each step from the one after `first_step` on is added to `leak` times the step
    before (`onward` −1: the one after).
    """
    flat_index, flat_value, weights = index.reshape(-1), value.reshape(-1), weight.reshape(-1)
    (steps, batch, features), columns, count = out.shape, weight.shape[1], out.shape[0] * out.shape[1]
    pieces, wide_rows = BLOCK * lanes // 64, lanes > 64 and not transposed  # of a slab, of a row of it: one, or two
    share = (pieces + count - 1) // max(count, 1)
    for task in prange((features + lanes - 1) // lanes):
        m = np.int64(task) * lanes
        wide = min(lanes, features - m)
        rows, sums = scratch(BLOCK * lanes), scratch(count * lanes)
        slab = rows.reshape(BLOCK, lanes)
        sums[:] = 0
        for block in range(len(start)):
            k = block * BLOCK
            _load_slab(weight, transposed, k, m, slab)
            following = m * columns + k + BLOCK if transposed else (k + BLOCK) * columns + m
            prefetched = 0
            for n in range(count):
                for _ in range(share):  # adding up lists hardly needs memory, which so brings the next slab meanwhile
                    if prefetched < pieces:
                        prefetch((weights,), following)
                        prefetched += 1
                        following += 64 if wide_rows and prefetched % 2 else columns - 64 * wide_rows
                first, last = start[block, n], start[block, n + 1]
                if lanes == 128:
                    add_rows_128(sums, n * lanes, rows, 0, flat_index, flat_value, has_values, first, last)
                else:
                    add_rows_64(sums, n * lanes, rows, 0, flat_index, flat_value, has_values, first, last)
        by_step = sums.reshape(steps, batch * lanes)
        for step in range(1, steps):
            t = first_step + direction * step
            add_scaled(by_step[t - direction], leak, by_step[t])
        for t in range(steps):
            for n in range(batch):
                at = n * lanes
                copy(by_step[t, at : at + wide], out[t, n, m : m + wide])


def lanes_for(features: int) -> int:
    """How many outputs are computed at once."""
    return 128 if HAS_AVX512 and features >= WIDE_FEATURES and features % 128 == 0 else 64


@njit(parallel=True, cache=True)
def panels(grad, out):
    """out[block, n] = grad[n, LANES·block : LANES·(block + 1)], zeros beyond the last output."""
    for n in prange(len(grad)):
        for block in range(len(out)):
            first = block * BLOCK
            wide = min(BLOCK, grad.shape[1] - first)
            copy(grad[n, first:], out[block, n, :wide])
            out[block, n, wide:] = 0


@njit(parallel=True, cache=True)
def list_gradient(grad, index, value, lengths):
    """For each column of grad [N, F_out], the rows where it is not zero: index, value [F_out, N], found int64 [F_out]."""
    (features, capacity), source = index.shape, grad.reshape(-1)
    flat_index, flat_value = index.reshape(-1), value.reshape(-1)
    for block in prange((features + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        last = min(first + BLOCK, features)
        ours, at = lengths[first:last], first * capacity
        ours[:] = 0
        for n in range(len(grad)):
            start, one = n * features + first, np.float32(1)
            list_columns(source, start, last - first, one, 1, n, capacity, flat_index[at:], flat_value[at:], ours)


@njit(cache=True)
def list_x(x, scale, has_values, first):
    """Of x [N, F_in], counts: for each TILE of its rows, for each of the inputs first … the rows where it is not zero; and room.

    index, value [tiles, LANES·TILE] (value's first alone, if all are the same), found int64 [tiles, LANES]; a part.
    """
    count, depth, source = len(x), x.shape[1], x.reshape(-1)
    tiles, wide = max(1, (count + TILE_ROWS - 1) // TILE_ROWS), min(BLOCK, x.shape[1] - first)
    index, value = np.empty((tiles, BLOCK * TILE_ROWS), np.uint16), empty_values(has_values, tiles * BLOCK * TILE_ROWS)
    lengths = np.zeros((tiles, BLOCK), np.int64)
    value[0] = scale
    for n in range(count):
        t = n // TILE_ROWS
        ours = value[has_values * t * BLOCK * TILE_ROWS :]
        list_columns(
            source, n * depth + first, wide, scale, has_values, n - t * TILE_ROWS, TILE_ROWS, index[t], ours, lengths[t]
        )
    return index.reshape(-1), value, has_values, lengths, scratch(BLOCK * PART_COLUMNS)


@njit(cache=True)
def _following(column, wide, features):
    """How far on the next part lies: beside this one, or at the beginning of the next LANES rows."""
    return wide if column + wide < features else BLOCK * features - column


@njit(cache=True)
def part_by_lists_of_x(row_lists, panels, first, column, wide, to_prefetch):
    """Σ_n x[n, first + i] · grad[n, column + j], i < LANES, j < PART, over lists of x; grad in panels [blocks, N, LANES].

    Meanwhile the arrays `updated`, of the weight's shape, are asked for the part that follows.
    """
    index, value, has_values, lengths, part = row_lists
    count, rows, features = panels.shape[1], panels.reshape(-1), to_prefetch[0].shape[1]
    following = _following(column, wide, features)
    part[:] = 0
    for tile in range(len(lengths)):
        for block in range(column, min(column + wide, features), BLOCK):
            base = block // BLOCK * count + tile * TILE_ROWS
            for i in range(BLOCK):
                if tile == 0:
                    prefetch(to_prefetch, (first + i) * features + block + following)
                a = (tile * BLOCK + i) * TILE_ROWS
                add_rows_64(
                    part,
                    i * PART_COLUMNS + block - column,
                    rows,
                    base,
                    index,
                    value,
                    has_values,
                    a,
                    a + lengths[tile, i],
                )
    return part.reshape(BLOCK, PART_COLUMNS)


@njit(cache=True)
def dense_x(x, scale, first):
    """x[:, first : first + LANES] as floats, for N rows of counts x [N, F_in]; and room for sums and a part."""
    rows = scratch(len(x) * BLOCK)
    panel = rows.reshape(len(x), BLOCK)
    rows[:] = 0
    for n in range(len(x)):
        row, into = x[n, first : first + BLOCK], panel[n]
        for i in range(len(row)):
            into[i] = scale * np.float32(row[i])
    return rows, scratch(BLOCK * BLOCK), scratch(BLOCK * PART_COLUMNS)


@njit(cache=True)
def part_by_lists_of_grad(row_lists, index, value, lengths, first, column, wide, to_prefetch):
    """The same over lists of grad, as `list_gradient` makes them: sums come turned over, 64 columns at a time."""
    rows, sums, part = row_lists
    features, count = index.shape
    all_index, all_value = index.reshape(-1), value.reshape(-1)
    following = _following(column, wide, features)
    for block in range(column, min(column + wide, features), BLOCK):
        sums[:] = 0
        for c in range(block, min(block + BLOCK, features)):
            prefetch(to_prefetch, (first + c - block) * features + block + following)
            a = c * count
            add_rows_64(sums, (c - block) * BLOCK, rows, 0, all_index, all_value, 1, a, a + lengths[c])
        for i in range(0, BLOCK, 16):
            for j in range(0, BLOCK, 16):
                transpose16(part, i * PART_COLUMNS + block - column + j, PART_COLUMNS, sums, j * BLOCK + i, BLOCK)
    return part.reshape(BLOCK, PART_COLUMNS)
