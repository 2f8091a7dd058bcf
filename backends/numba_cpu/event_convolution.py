"""Convolutions that touch only what is not zero: spikes, pooled spikes, sparse gradients. float32.

Forward: for each image, lists of its non-zero inputs by channel block, row and pixel; then for each output pixel and
tap, the rows of weights that the list names are added up. Weights lie as [C_out/LANES][k][k/span][C_in/block][span]
[block][LANES], so that the slab that a stretch of pixels shares stays in the first-level cache.
Weight gradient: the same with the roles changed: for each tap and input channel, the rows of the current's gradient at
the pixels where that channel is not zero. Tasks own blocks of the result: no sum depends on the number of threads.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.events import add_rows_16, add_rows_32, add_rows_64

SLAB = 20_000  # bytes of weights that a span of taps may take
TILE = 4  # output rows that share a slab


@njit(cache=True, inline="always")
def _add_rows(lanes, out, at, rows, base, index, value, first, last):
    if lanes == 64:
        add_rows_64(out, at, rows, base, index, value, first, last)
    elif lanes == 32:
        add_rows_32(out, at, rows, base, index, value, first, last)
    else:
        add_rows_16(out, at, rows, base, index, value, first, last)


@njit(cache=True)
def _list_events(image, padding, block, index, value, start):
    """Non-zero inputs in the order of channel block, padded row, padded column; start[pixel] is where its list begins.

    An index counts channels from the beginning of the padded row: column·block + channel.
    """
    height, width, channels = image.shape
    n = pixel = 0
    for b in range(channels // block):
        for y in range(-padding, height + padding):
            for x in range(-padding, width + padding):
                start[pixel] = n
                pixel += 1
                if 0 <= y < height and 0 <= x < width:
                    at = (x + padding) * block
                    for c in range(block):  # without a branch: a zero is overwritten by what follows
                        v = image[y, x, b * block + c]
                        index[n] = at + c
                        value[n] = v
                        n += v != 0
    start[pixel] = n


@njit(parallel=True, cache=True)
def forward(x, slabs, size, stride, padding, block, span, lanes, out):
    """x [N, H, W, C_in], slabs from `pack_weights`, out [N, H_out, W_out, C_out]."""
    count, height, width, channels = x.shape
    _, rows, columns, features = out.shape
    padded_rows, padded_columns = height + 2 * padding, width + 2 * padding
    blocks, groups = channels // block, size // span
    for task in prange(count):
        n = np.int64(task)
        index = np.empty(height * width * channels + 1, np.uint16)
        value = np.empty(height * width * channels + 1, np.float32)
        start = np.empty(blocks * padded_rows * padded_columns + 1, np.int32)
        _list_events(x[n], padding, block, index, value, start)
        flat = out[n].reshape(-1)
        flat[:] = 0
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
                                    _add_rows(
                                        lanes,
                                        flat,
                                        at,
                                        slabs,
                                        base - (pixel + j * span) * block,
                                        index,
                                        value,
                                        first,
                                        last,
                                    )


@njit(parallel=True, cache=True)
def weight_gradient(grad, x, size, padding, chunk, lanes, out):
    """Stride 1. grad [N, H_out, W_out, C_out], x [N, H, W, C_in], out [C_out/lanes · C_in/chunk, k·k·chunk·lanes]."""
    count, height, width, channels = x.shape
    _, rows, columns, features = grad.shape
    border, chunks, room = size - 1, channels // chunk, TILE * width
    line = columns + 2 * border
    for task in prange(len(out)):
        part = np.int64(task)
        f, c0 = part // chunks * lanes, part % chunks * chunk
        total = out[part]
        total[:] = 0
        framed = np.zeros((rows + 2 * border, line, lanes), np.float32)  # the gradient with zeros around it
        flat = framed.reshape(-1)
        index = np.empty(chunk * room + 1, np.uint16)
        value = np.empty(chunk * room + 1, np.float32)
        found = np.empty(chunk, np.int64)
        for n in range(count):
            for y in range(rows):
                for q in range(columns):
                    for i in range(lanes):
                        framed[y + border, q + border, i] = grad[n, y, q, f + i]
            for top in range(0, height, TILE):
                found[:] = 0
                for y in range(top, min(top + TILE, height)):
                    for q in range(width):
                        for c in range(chunk):
                            v = x[n, y, q, c0 + c]
                            at = c * room + found[c]
                            index[at] = y * line + q
                            value[at] = v
                            found[c] += v != 0
                for i in range(size):
                    for j in range(size):
                        base = (padding - i + border) * line + padding - j + border
                        for c in range(chunk):
                            at = ((i * size + j) * chunk + c) * lanes
                            _add_rows(lanes, total, at, flat, base, index, value, c * room, c * room + found[c])


def lanes_for(features: int) -> int:
    """How many output channels are computed at once; 0 where the event-driven kernels do not apply."""
    return next((lanes for lanes in (64, 32, 16) if features % lanes == 0), 0)


def block_for(channels: int) -> int:
    """How many input channels a list covers."""
    return 64 if channels % 64 == 0 else channels


def pack_weights(weight, lanes: int, block: int):
    """weight [k, k, C_in, C_out] in the layout of `forward`, flat, and the span: how many taps of a row share a list."""
    size, _, channels, features = weight.shape
    span = size if size * block * lanes * 4 <= SLAB else 1
    parts = weight.reshape(size, size // span, span, channels // block, block, features // lanes, lanes)
    return np.ascontiguousarray(parts.transpose(5, 0, 1, 3, 2, 4, 6)).reshape(-1), span
