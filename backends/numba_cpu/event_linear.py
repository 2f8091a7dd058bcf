"""Linear layers that touch only what is not zero. float32.

Weights are taken in slabs of 64 inputs × 64 outputs, 16 KB, copied to where they fit the first-level cache; then every
row of the batch adds up the rows of the slab that its list names. The weight gradient is the same with the roles
changed: the lists name, for each input, the rows of the batch in which it is not zero.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.events import add_rows_64
from backends.numba_cpu.lists import BITS, POSITIONS, append_events, byte_at, event_mask, value_room
from backends.numba_cpu.slabs import copy_row, turn_block

LANES = 64  # outputs, and inputs, of a slab
TILE = 96  # rows of the batch whose gradients, 64 outputs wide, fit the first-level cache


@njit(parallel=True, cache=True)
def list_blocks(x, width, scale, each, index, value, start):
    """Events of x [N, F floats or F/8 words] by block of LANES entries, then row; index counts from the block's first.

    `width`: entries of a row per element of x (1 or 8); index, value [blocks, LANES·N + SLACK] (value [1, 1], if all
    are the same); start int64 [blocks, N + 1]. So the lists that a slab of weights meets lie one after the other.
    """
    room, per_block = index.shape[1], LANES // width
    flat_index, flat_value = index.reshape(-1), value.reshape(-1)
    for task in prange(len(start)):
        block = np.int64(task)
        n, first = block * room, block * per_block
        last = min(first + per_block, x.shape[1])
        for row in range(len(x)):
            start[block, row] = n
            n = append_events(x[row, first:last], scale, each, 0, flat_index, flat_value, n)
        start[block, len(x)] = n


@njit(cache=True)
def _load_slab(weight, transposed, k, m, slab):
    """slab[i, j] = weight[k + i, m + j] (transposed: weight[m + j, k + i]), as far as the weights go."""
    columns, flat, into = weight.shape[1], weight.reshape(-1), slab.reshape(-1)
    deep, wide = weight.shape[::-1] if transposed else weight.shape
    deep, wide = min(LANES, deep - k), min(LANES, wide - m)
    if deep < LANES or wide < LANES:
        for i in range(deep):
            for j in range(wide):
                slab[i, j] = weight[m + j, k + i] if transposed else weight[k + i, m + j]
    elif transposed:
        for i in range(0, LANES, 16):
            for j in range(0, LANES, 16):
                turn_block(into, i * LANES + j, flat, (m + j) * columns + k + i, columns)
    else:
        for i in range(LANES):
            copy_row(into, i * LANES, flat, (k + i) * columns + m)


@njit(parallel=True, cache=True)
def product(index, value, each, start, weight, transposed, out):
    """out [N, M] = x · weight, x [N, K] as lists; weight [K, M], or [M, K] if transposed."""
    flat_index, flat_value = index.reshape(-1), value.reshape(-1)
    for task in prange((out.shape[1] + LANES - 1) // LANES):
        m = np.int64(task) * LANES
        wide = min(LANES, out.shape[1] - m)
        slab = np.empty((LANES, LANES), np.float32)
        rows = slab.reshape(-1)
        panel = np.zeros((len(out), LANES), np.float32)
        sums = panel.reshape(-1)
        for block in range(len(start)):
            _load_slab(weight, transposed, block * LANES, m, slab)
            for n in range(len(out)):
                first, last = start[block, n], start[block, n + 1]
                add_rows_64(sums, n * LANES, 0, rows, 0, flat_index, flat_value, each, first, last)
        for n in range(len(out)):
            out[n, m : m + wide] = panel[n, :wide]


@njit(parallel=True, cache=True)
def panels(grad, out):
    """out[block, n] = grad[n, LANES·block : LANES·(block + 1)], zeros beyond the last output."""
    for n in prange(len(grad)):
        for block in range(len(out)):
            first = block * LANES
            wide = min(LANES, grad.shape[1] - first)
            out[block, n, :wide] = grad[n, first : first + wide]
            out[block, n, wide:] = 0


@njit(cache=True)
def _list_columns(x, scale, each, first, index, value, start):
    """For each of LANES inputs from `first` on, the rows of x (words of eight counts) where it is not zero, by tile."""
    tiles, room = start.shape[1] - 1, len(index) // LANES
    found = np.zeros(LANES, np.int64)
    for tile in range(tiles):
        start[:, tile] = found
        for n in range(tile * TILE, min((tile + 1) * TILE, len(x))):
            for w in range(min(LANES // 8, x.shape[1] - first // 8)):
                word = x[n, first // 8 + w]
                mask = event_mask(word)
                for k in range(BITS[mask]):
                    byte = np.int64(POSITIONS[mask, k])
                    i = w * 8 + byte
                    at = i * room + found[i]
                    index[at] = n - tile * TILE
                    if each:
                        value[at] = scale * np.float32(byte_at(word, byte))
                    found[i] += 1
    start[:, tiles] = found
    for i in range(LANES):
        start[i] += i * room


@njit(cache=True)
def gradient_rows(x, scale, each, panels, first):
    """Σ_n x[n, first + i] · grad[n] [LANES, F_out] for x in words of eight counts, grad in panels [blocks, N, LANES]."""
    blocks, count, _ = panels.shape
    tiles = (count + TILE - 1) // TILE
    index, value = np.empty(LANES * count, np.uint16), value_room(each, LANES * count)
    start = np.empty((LANES, tiles + 1), np.int64)
    if not each:
        value[0] = scale
    _list_columns(x, scale, each, first, index, value, start)
    flat, rows = np.zeros((LANES, blocks * LANES), np.float32), panels.reshape(-1)
    sums = flat.reshape(-1)
    for block in range(blocks):
        for tile in range(tiles):
            base = block * count + tile * TILE
            for i in range(LANES):
                at = (i * blocks + block) * LANES
                add_rows_64(sums, at, 0, rows, base, index, value, each, start[i, tile], start[i, tile + 1])
    return flat
