"""Convolutions that gather, and touch only what is not zero: spikes, pooled spikes, sparse gradients. float32.

Those of 3×3 and stride 1 scatter, which is faster (scatter_convolution.py); these serve all others.

For each image, lists of its non-zero inputs by channel block, row and pixel; then for each output pixel and tap, the rows
of weights that the list names are added up. Weights lie as [C_out/LANES][k][k/span][C_in/block][span][block][LANES], so
that the slab that a stretch of pixels shares (three taps of 64 channels: 48 KB) stays in the cache.

Inputs are [N, H, W, C] floats or counts, a byte each.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.kernels.increments import scale, subtract
from backends.numba_cpu.kernels.lists import append_events, empty_values
from backends.numba_cpu.simd.events import add_rows

SLAB = 60_000  # bytes of weights that a span of taps may take
TILE = 4


@njit(cache=True)
def _list_pixels(image, factor, has_values, padding, block, index, value, start):
    """Events in the order of channel block, padded row, padded column; start[pixel] is where its list begins.

    An index counts channels from the beginning of the padded row: column·block + channel.
    """
    n = pixel = 0
    height, width, channels = image.shape
    source = image.reshape(-1)
    for first in range(0, channels, block):
        for y in range(-padding, height + padding):
            for x in range(-padding, width + padding):
                start[pixel] = n
                pixel += 1
                if 0 <= y < height and 0 <= x < width:
                    at = (y * width + x) * channels + first
                    n = append_events(source, at, block, factor, has_values, (x + padding) * block, index, value, n)
    start[pixel] = n


@njit(cache=True)
def _list_room(shape, has_values, padding, block):
    """index, value and start for the lists of an image [H, W, C]."""
    height, width, channels = shape
    index = np.empty(height * width * channels, np.uint16)
    lists = channels // block * (height + 2 * padding) * (width + 2 * padding)
    start = np.empty(lists + 1, np.int64)  # 64 bits: see events.py
    return index, empty_values(has_values, height * width * channels), start


@njit(cache=True)
def _add_taps(index, value, start, has_values, shape, slabs, size, stride, padding, block, span, lanes, out):
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
                                add_rows(lanes, flat, at, slabs, shifted, index, value, has_values, first, last)


@njit(cache=True)
def _image(image, factor, has_values, slabs, size, stride, padding, block, span, lanes, out):
    """One image of `forward`."""
    index, value, start = _list_room(image.shape, has_values, padding, block)
    value[0] = factor
    _list_pixels(image, factor, has_values, padding, block, index, value, start)
    out[:] = 0
    _add_taps(index, value, start, has_values, image.shape, slabs, size, stride, padding, block, span, lanes, out)


@njit(parallel=True, cache=True)
def forward(x, factor, has_values, slabs, size, stride, padding, block, span, lanes, out):
    """slabs from `pack_weights`, out [N, H_out, W_out, C_out]."""
    for task in prange(len(x)):
        n = np.int64(task)
        _image(x[n], factor, has_values, slabs, size, stride, padding, block, span, lanes, out[n])


@njit(cache=True)
def _image_over_time(
    n, x, factor, leak, first, direction, slabs, size, stride, padding, block, span, lanes, out
):  # fmt: skip
    """Image n of `forward_over_time`."""
    shape, has_values = x.shape[2:], np.int64(1)  # for a plain 1 Numba would compile all that it is given to once more
    index, value, start = _list_room(shape, has_values, padding, block)
    new = np.empty(shape, np.float32)
    for step in range(len(x)):
        t = first + direction * step
        before, lam = (t - direction, leak) if step else (t, np.float32(0))
        subtract(x[t, n].reshape(-1), lam, x[before, n].reshape(-1), new.reshape(-1))
        if step:
            scale(out[before, n].reshape(-1), leak, out[t, n].reshape(-1))
        else:
            out[t, n, :] = 0
        _list_pixels(new, factor, has_values, padding, block, index, value, start)
        _add_taps(index, value, start, has_values, shape, slabs, size, stride, padding, block, span, lanes, out[t, n])


@njit(parallel=True, cache=True)
def forward_over_time(x, factor, leak, first, direction, slabs, size, stride, padding, block, span, lanes, out):
    """The same for x [T, B, H, W, C] by what is new at each step (increments.py), one image at a time."""
    for task in prange(x.shape[1]):
        n = np.int64(task)
        _image_over_time(
            n, x, factor, leak, first, direction, slabs, size, stride, padding, block, span, lanes, out
        )  # fmt: skip


def lanes_for(features: int) -> int:
    """How many output channels are computed at once; 0 where the event-driven kernels do not apply."""
    return next((lanes for lanes in (64, 32, 16) if features % lanes == 0), 0)


def block_for(channels: int, density: float = 0.0) -> int:
    """How many input channels a list covers: fewer where it would be long, so that their weights stay in the cache."""
    block = 32 if density > 0.25 else 64
    return block if channels % block == 0 else channels


def span_for(size: int, block: int, lanes: int) -> int:
    """How many taps of a row share a list."""
    return size if size * block * lanes * 4 <= SLAB else 1


def pack_weights(weight, lanes: int, block: int, span: int, out) -> None:
    """Write weight [k, k, C_in, C_out] to out, flat, in the layout of `forward`."""
    size, _, channels, features = weight.shape
    parts = weight.reshape(size, size // span, span, channels // block, block, features // lanes, lanes)
    ordered = parts.transpose(5, 0, 1, 3, 2, 4, 6)
    np.copyto(out.reshape(ordered.shape), ordered)
