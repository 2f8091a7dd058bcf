"""Weight gradients of convolutions, from lists of the factor that more often is zero. float32.

For each tap and input channel, the rows of the current's gradient [·, C_out] at the pixels where that channel is not zero
are added up. Tasks own blocks of the result: no sum depends on the number of threads.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.events import add_rows, add_three_rows
from backends.numba_cpu.lists import list_columns, value_room
from backends.numba_cpu.slabs import copy_row

TILE = 4  # rows of an image that share lists: what these name fits the first-level cache


@njit(cache=True)
def _add_lists(index, value, each, found, room, rows, line, size, padding, lanes, total):
    """Add to total [k·k·chunk·LANES], for every tap and list, the rows of a bordered image that the list names.

    List c has found[c] entries from c·room on: places y·line + x of an image; rows: [·, LANES], `line` pixels wide, with a
    border of k − 1.
    """
    border, chunk = size - 1, len(found)
    for i in range(size):
        base = (padding - i + border) * line + padding + border
        if size == 3:
            for c in range(chunk):
                at, first = (i * size * chunk + c) * lanes, c * room
                last = first + found[c]
                add_three_rows(lanes, total, at, chunk * lanes, rows, base, index, value, each, first, last)
        else:
            for j in range(size):
                for c in range(chunk):
                    at, first = ((i * size + j) * chunk + c) * lanes, c * room
                    last = first + found[c]
                    add_rows(lanes, total, at, rows, base - j, index, value, each, first, last)


@njit(cache=True)
def _share_of_weight_gradient(grad, x, scale, each, size, padding, chunk, lanes, part, share, owner, total):
    """Sum the images of one part into the block of the result that one owner has."""
    count, height, columns_in, channels = x.shape
    _, rows, columns, features = grad.shape
    all_grads, source = grad.reshape(-1), x.reshape(-1)
    border, chunks, room = size - 1, channels // chunk, TILE * columns_in
    line = columns + 2 * border
    f, c = owner // chunks * lanes, owner % chunks * chunk
    total[:] = 0
    flat = np.zeros((rows + 2 * border) * line * lanes, np.float32)  # the gradient with zeros around it
    index = np.empty(chunk * room, np.uint16)
    value = value_room(each, chunk * room)
    value[0] = scale
    found = np.empty(chunk, np.int64)
    for n in range(part * share, min((part + 1) * share, count)):
        for y in range(rows):
            for q in range(columns):
                at, start = ((y + border) * line + q + border) * lanes, ((n * rows + y) * columns + q) * features + f
                if lanes == 64:
                    copy_row(flat, at, all_grads, start)
                else:
                    for i in range(lanes):
                        flat[at + i] = all_grads[start + i]
        for top in range(0, height, TILE):
            found[:] = 0
            for y in range(top, min(top + TILE, height)):
                for q in range(columns_in):
                    at, place = ((n * height + y) * columns_in + q) * channels + c, y * line + q
                    list_columns(source, at, chunk, scale, each, place, room, index, value, found)
            _add_lists(index, value, each, found, room, flat, line, size, padding, lanes, total)


@njit(parallel=True, cache=True)
def weight_gradient(grad, x, scale, each, size, padding, chunk, lanes, out):
    """Stride 1. grad [N, H_out, W_out, C_out], out [parts, C_out/lanes · C_in/chunk, k·k·chunk·lanes].

    Each part sums over its own share of the images; the shapes alone decide how many there are.
    """
    parts, owners = out.shape[:2]
    share = (len(x) + parts - 1) // parts
    for task in prange(parts * owners):
        part, owner = np.int64(task) // owners, np.int64(task) % owners
        total = out[part, owner]
        _share_of_weight_gradient(grad, x, scale, each, size, padding, chunk, lanes, part, share, owner, total)


@njit(cache=True)
def _add_trace(counts, scale, leak, lanes, line, border, trace):
    """trace = leak · trace + scale · counts [H, W, lanes], inside the border of trace, flat [·, line, lanes]."""
    for y in range(counts.shape[0]):
        for x in range(counts.shape[1]):
            at, pixel = ((y + border) * line + x + border) * lanes, counts[y, x]
            row = trace[at : at + lanes]
            for i in range(len(row)):
                row[i] = leak * row[i] + scale * np.float32(pixel[i])


@njit(cache=True)
def _share_of_leaky_weight_gradient(grad, leak, counts, scale, size, padding, chunk, lanes, part, share, owner, total):
    """Sum the images of one part into the block of the result that one owner has."""
    steps, batch, rows, columns, features = grad.shape
    height, width, channels = counts.shape[2:]
    border, groups, room = size - 1, channels // lanes, TILE * columns
    line = width + 2 * border
    f, c = owner // groups * chunk, owner % groups * lanes
    total[:] = 0
    each = np.int64(1)  # for a plain 1 Numba would compile all that it is given to once more
    trace = np.empty((height + 2 * border) * line * lanes, np.float32)
    index, value = np.empty(chunk * room, np.uint16), np.empty(chunk * room, np.float32)
    found, increment, source = np.empty(chunk, np.int64), np.empty(chunk, np.float32), grad.reshape(-1)
    apart = batch * rows * columns * features
    for n in range(part * share, min((part + 1) * share, batch)):
        trace[:] = 0
        for t in range(steps):
            _add_trace(counts[t, n, :, :, c : c + lanes], scale, leak, lanes, line, border, trace)
            after = apart if t < steps - 1 else 0
            lam = leak if after else np.float32(0)
            for top in range(0, rows, TILE):
                found[:] = 0
                for y in range(top, min(top + TILE, rows)):
                    for x in range(columns):
                        at, place = (((t * batch + n) * rows + y) * columns + x) * features + f, y * line + x
                        now, later = source[at : at + chunk], source[at + after : at + after + chunk]
                        for i in range(len(increment)):
                            increment[i] = now[i] - lam * later[i]
                        list_columns(increment, 0, chunk, np.float32(1), each, place, room, index, value, found)
                _add_lists(index, value, each, found, room, trace, line, size, border - padding, lanes, total)


@njit(parallel=True, cache=True)
def leaky_weight_gradient(grad, leak, counts, scale, size, padding, chunk, lanes, out):
    """The same, with the roles changed, for a gradient that leaks: see increments.py.

    With d[t] = k[t] + λ·d[t+1], Σₜ x[t]·d[t] = Σₜ k[t]·(x[t] + λ·x[t−1] + λ²·x[t−2] + …): lists of k, which more often
    is zero, name pixels of this trace of x. grad [T, B, H_out, W_out, C_out], counts uint8 [T, B, H, W, C_in],
    out [parts, C_out/chunk · C_in/lanes, k·k·chunk·lanes]: [k, k, chunk, lanes] with the taps in the opposite order.
    """
    parts, owners = out.shape[:2]
    share = (grad.shape[1] + parts - 1) // parts
    for task in prange(parts * owners):
        part, owner = np.int64(task) // owners, np.int64(task) % owners
        total = out[part, owner]
        _share_of_leaky_weight_gradient(
            grad, leak, counts, scale, size, padding, chunk, lanes, part, share, owner, total
        )


def parts_for(owners: int, count: int) -> int:
    """How many partial sums of a weight gradient let eight threads work, given how many tasks own a block of it."""
    return max(1, min(count, 8 // owners))
