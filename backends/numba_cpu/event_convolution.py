"""Convolutions that touch only what is not zero: spikes, pooled spikes, sparse gradients. float32.

Forward: for each image, lists of its non-zero inputs by channel block, row and pixel; then for each output pixel and
tap, the rows of weights that the list names are added up. Weights lie as [C_out/LANES][k][k/span][C_in/block][span]
[block][LANES], so that the slab that a stretch of pixels shares (three taps of 64 channels: 48 KB) stays in the cache.
Weight gradient: the same with the roles changed: for each tap and input channel, the rows of the current's gradient at
the pixels where that channel is not zero. Tasks own blocks of the result: no sum depends on the number of threads.

Inputs are [N, H, W, C] floats, or [N, H, W, C/8] words of eight counts.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.events import (
    add_rows_16,
    add_rows_32,
    add_rows_64,
    add_three_rows_16,
    add_three_rows_32,
    add_three_rows_64,
)
from backends.numba_cpu.leaky import set_leaked, subtract_leaked
from backends.numba_cpu.lists import SLACK, append_events, list_columns, value_room
from backends.numba_cpu.slabs import copy, copy_row

SLAB = 60_000  # bytes of weights that a span of taps may take
TILE = 4  # output rows that share a slab


@njit(cache=True, inline="always")
def _add_rows(lanes, out, at, rows, base, index, value, each, first, last):
    if lanes == 64:
        add_rows_64(out, at, 0, rows, base, index, value, each, first, last)
    elif lanes == 32:
        add_rows_32(out, at, 0, rows, base, index, value, each, first, last)
    else:
        add_rows_16(out, at, 0, rows, base, index, value, each, first, last)


@njit(cache=True, inline="always")
def _add_three_rows(lanes, out, at, apart, rows, base, index, value, each, first, last):
    if lanes == 64:
        add_three_rows_64(out, at, apart, rows, base, index, value, each, first, last)
    elif lanes == 32:
        add_three_rows_32(out, at, apart, rows, base, index, value, each, first, last)
    else:
        add_three_rows_16(out, at, apart, rows, base, index, value, each, first, last)


@njit(cache=True)
def _list_pixels(image, width, scale, each, padding, block, index, value, start):
    """Events in the order of channel block, padded row, padded column; start[pixel] is where its list begins.

    An index counts channels from the beginning of the padded row: column·block + channel. width: channels per element.
    """
    n = pixel = 0
    for b in range(image.shape[2] * width // block):
        first, last = b * block // width, (b + 1) * block // width
        for y in range(-padding, image.shape[0] + padding):
            for x in range(-padding, image.shape[1] + padding):
                start[pixel] = n
                pixel += 1
                if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                    n = append_events(image[y, x, first:last], scale, each, (x + padding) * block, index, value, n)
    start[pixel] = n


@njit(cache=True)
def _list_room(shape, each, padding, block):
    """index, value and start for the lists of an image [H, W, C]."""
    height, width, channels = shape
    index = np.empty(height * width * channels + SLACK, np.uint16)
    start = np.empty(channels // block * (height + 2 * padding) * (width + 2 * padding) + 1, np.int32)
    return index, value_room(each, height * width * channels), start


@njit(cache=True)
def _add_taps(index, value, start, each, shape, slabs, size, stride, padding, block, span, lanes, out):
    """Add to out [H_out, W_out, C_out] the convolution of an image of this shape, given as lists."""
    padded_rows, padded_columns = shape[0] + 2 * padding, shape[1] + 2 * padding
    blocks, groups = shape[2] // block, size // span
    rows, columns, features = out.shape
    flat = out.reshape(-1)
    for f in range(features // lanes):
        for top in range(0, rows, TILE):
            for b in range(blocks):
                for i in range(size):
                    for j in range(groups):
                        base = (((f * size + i) * groups + j) * blocks + b) * span * block
                        for y in range(top, min(top + TILE, rows)):
                            line = (b * padded_rows + y * stride + i) * padded_columns + j * span
                            for q in range(columns):
                                pixel = q * stride
                                first, last = start[line + pixel], start[line + pixel + span]
                                at = (y * columns + q) * features + f * lanes
                                shifted = base - (pixel + j * span) * block
                                _add_rows(lanes, flat, at, slabs, shifted, index, value, each, first, last)


@njit(cache=True)
def _image(image, width, scale, each, slabs, size, stride, padding, block, span, lanes, out):
    """One image of `forward`."""
    shape = (image.shape[0], image.shape[1], image.shape[2] * width)
    index, value, start = _list_room(shape, each, padding, block)
    value[0] = scale
    _list_pixels(image, width, scale, each, padding, block, index, value, start)
    out[:] = 0
    _add_taps(index, value, start, each, shape, slabs, size, stride, padding, block, span, lanes, out)


@njit(parallel=True, cache=True)
def forward(x, width, scale, each, slabs, size, stride, padding, block, span, lanes, out):
    """width: channels per element of x (1 or 8); slabs from `pack_weights`, out [N, H_out, W_out, C_out]."""
    for task in prange(len(x)):
        n = np.int64(task)
        _image(x[n], width, scale, each, slabs, size, stride, padding, block, span, lanes, out[n])


@njit(cache=True)
def _leaky_image(n, x, leak, slabs, size, padding, block, span, lanes, out):
    """Image n of `forward_leaky`."""
    steps, shape = len(x), x.shape[2:]
    index, value, start = _list_room(shape, 1, padding, block)
    increment = np.empty(shape, np.float32)
    for t in range(steps - 1, -1, -1):
        if t == steps - 1:
            copy(x[t, n].reshape(-1), increment.reshape(-1))
            out[t, n, :] = 0
        else:
            subtract_leaked(x[t, n].reshape(-1), leak, x[t + 1, n].reshape(-1), increment.reshape(-1))
            set_leaked(out[t + 1, n].reshape(-1), leak, out[t, n].reshape(-1))
        _list_pixels(increment, 1, np.float32(1), 1, padding, block, index, value, start)
        _add_taps(index, value, start, 1, shape, slabs, size, 1, padding, block, span, lanes, out[t, n])


@njit(parallel=True, cache=True)
def forward_leaky(x, leak, slabs, size, padding, block, span, lanes, out):
    """The same, stride 1, for floats [T, B, H, W, C] that mostly leak: x[t, n] ≈ λ·x[t+1], and so do the results.

    Lists hold the increments x[t, n] − λ·x[t+1] alone, which more often are zero; λ·out[t+1] is the rest.
    """
    for task in prange(x.shape[1]):
        _leaky_image(np.int64(task), x, leak, slabs, size, padding, block, span, lanes, out)


@njit(cache=True)
def _share_of_weight_gradient(grad, x, width, scale, each, size, padding, chunk, lanes, part, share, owner, total):
    """Sum the images of one part into the block of the result that one owner has."""
    count, height, columns_in, channels = x.shape[0], x.shape[1], x.shape[2], x.shape[3] * width
    _, rows, columns, features = grad.shape
    all_grads = grad.reshape(-1)
    border, chunks, room = size - 1, channels // chunk, TILE * columns_in
    line = columns + 2 * border
    f, c0 = owner // chunks * lanes, owner % chunks * chunk // width
    total[:] = 0
    flat = np.zeros((rows + 2 * border) * line * lanes, np.float32)  # the gradient with zeros around it
    index = np.empty(chunk * room + 1, np.uint16)
    value = value_room(each, chunk * room)
    value[0] = scale
    found = np.empty(chunk, np.int64)
    for n in range(part * share, min((part + 1) * share, count)):
        for y in range(rows):
            for q in range(columns):
                at, start = (
                    ((y + border) * line + q + border) * lanes,
                    ((n * rows + y) * columns + q) * features + f,
                )
                if lanes == 64:
                    copy_row(flat, at, all_grads, start)
                else:
                    for i in range(lanes):
                        flat[at + i] = all_grads[start + i]
        for top in range(0, height, TILE):
            found[:] = 0
            for y in range(top, min(top + TILE, height)):
                for q in range(columns_in):
                    pixel = x[n, y, q, c0 : c0 + chunk // width]
                    list_columns(pixel, scale, each, y * line + q, room, index, value, found)
            for i in range(size):
                base = (padding - i + border) * line + padding + border
                if size == 3:
                    for c in range(chunk):
                        at, first = (i * size * chunk + c) * lanes, c * room
                        last = first + found[c]
                        _add_three_rows(lanes, total, at, chunk * lanes, flat, base, index, value, each, first, last)
                else:
                    for j in range(size):
                        for c in range(chunk):
                            at, first = ((i * size + j) * chunk + c) * lanes, c * room
                            last = first + found[c]
                            _add_rows(lanes, total, at, flat, base - j, index, value, each, first, last)


@njit(parallel=True, cache=True)
def weight_gradient(grad, x, width, scale, each, size, padding, chunk, lanes, out):
    """Stride 1. grad [N, H_out, W_out, C_out], out [parts, C_out/lanes · C_in/chunk, k·k·chunk·lanes].

    Each part sums over its own share of the images; the shapes alone decide how many there are.
    """
    parts, owners = out.shape[:2]
    share = (len(x) + parts - 1) // parts
    for task in prange(parts * owners):
        part, owner = np.int64(task) // owners, np.int64(task) % owners
        total = out[part, owner]
        _share_of_weight_gradient(grad, x, width, scale, each, size, padding, chunk, lanes, part, share, owner, total)


def lanes_for(features: int) -> int:
    """How many output channels are computed at once; 0 where the event-driven kernels do not apply."""
    return next((lanes for lanes in (64, 32, 16) if features % lanes == 0), 0)


def block_for(channels: int, density: float = 0.0) -> int:
    """How many input channels a list covers: fewer where it would be long, so that their weights stay in the cache."""
    block = 32 if density > 0.25 else 64
    return block if channels % block == 0 else channels


def parts_for(owners: int, count: int) -> int:
    """How many partial sums of a weight gradient let eight threads work, given how many tasks own a block of it."""
    return max(1, min(count, 8 // owners))


def pack_weights(weight, lanes: int, block: int):
    """weight [k, k, C_in, C_out] in the layout of `forward`, flat, and the span: how many taps of a row share a list."""
    size, _, channels, features = weight.shape
    span = size if size * block * lanes * 4 <= SLAB else 1
    parts = weight.reshape(size, size // span, span, channels // block, block, features // lanes, lanes)
    return np.ascontiguousarray(parts.transpose(5, 0, 1, 3, 2, 4, 6)).reshape(-1), span
