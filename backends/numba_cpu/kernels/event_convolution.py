"""Event-driven convolutions by gathering: each output adds up its inputs' rows of weights. float32.

They read only the non-zero inputs: spikes, pooled spikes, sparse gradients. For 3×3 and stride 1, scattering is faster
(scatter_convolution.py); these kernels compute all other convolutions.

For each image, the non-zero inputs are listed by channel block, row and pixel. For each output pixel and tap, the rows of
weights that the lists name are added up. Weights are packed as [C_out/lanes][k][k/span][C_in/block][span][block][lanes], so
that the weights that neighbouring pixels share (three taps of 64 channels: 48 KB) stay in the cache.

Inputs are [N, H, W, C], floats or counts.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from backends.numba_cpu.kernels.increments import scale, subtract
from backends.numba_cpu.kernels.lists import EventLists, Events, append_events, empty_values
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.gather import add_rows

MAX_SPAN_BYTES = 60_000  # size of the weights of `span` taps, at most
TILE_ROWS = 4  # rows of output pixels that are computed with the same weights before the next weights are read


class PackedWeights(NamedTuple):
    """Weights in the order above."""

    data: Any  # flat
    block: int  # input channels that a list covers
    span: int  # neighbouring taps of a row that are added at once: the lists of their pixels follow each other
    lanes: int  # output channels that are computed at once


@compiled
def _list_pixels(image, events, padding, block, lists):
    """List the events of an image [H, W, C] by channel block, padded row, padded column: one list for each.

    The image is read instead of events.array. An index counts channels from the beginning of the padded row:
    column·block + channel.
    """
    n = pixel = 0
    height, width, channels = image.shape
    source, index, value, start = image.reshape(-1), lists.index, lists.value, lists.start
    factor, has_values = events.factor, events.has_values
    for first in range(0, channels, block):
        for y in range(-padding, height + padding):
            for x in range(-padding, width + padding):
                start[pixel] = n
                pixel += 1
                if 0 <= y < height and 0 <= x < width:
                    at = (y * width + x) * channels + first
                    n = append_events(source, at, block, factor, has_values, (x + padding) * block, index, value, n)
    start[pixel] = n


@compiled
def _empty_lists(shape, has_values, padding, block):
    """Memory for the lists of an image [H, W, C]."""
    height, width, channels = shape
    index = np.empty(height * width * channels, np.uint16)
    count = channels // block * (height + 2 * padding) * (width + 2 * padding)
    start = np.empty(count + 1, np.int64)  # add_rows of gather.py needs 64 bits
    return EventLists(index, empty_values(has_values, height * width * channels), has_values, start)


@compiled
def _add_line(lists, line, columns, stride, weights, base, out, at, features):
    """Add the same neighbouring taps, for one block of channels, to each output pixel of a row.

    Flat positions: `line` of the first pixel's lists, `at` of its sums in out, `base` of the taps' weights, in rows of `lanes`.
    """
    index, value, has_values, start = lists
    data, block, span, lanes = weights
    for q in range(columns):
        pixel = q * stride
        first, last = start[line + pixel], start[line + pixel + span]
        add_rows(lanes, out, at + q * features, data, base - pixel * block, index, value, has_values, first, last)


@compiled
def _add_taps(lists, shape, weights, window, out):
    """Add to out [H_out, W_out, C_out] the convolution of an image of this shape, given as lists."""
    size, stride, padding = window
    block, span, lanes = weights.block, weights.span, weights.lanes
    padded_rows, padded_columns = shape[0] + 2 * padding, shape[1] + 2 * padding
    blocks, groups = shape[2] // block, size // span
    rows, columns, features = out.shape
    flat = out.reshape(-1)
    for f in range(features // lanes):
        for top in range(0, rows, TILE_ROWS):
            for b in range(blocks):
                for i in range(size):
                    for j in range(groups):
                        # an index counts from column 0 of the row; the first pixel's lists begin at column j·span
                        base = (((f * size + i) * groups + j) * blocks + b) * span * block - j * span * block
                        for y in range(top, min(top + TILE_ROWS, rows)):
                            line = (b * padded_rows + y * stride + i) * padded_columns + j * span
                            at = y * columns * features + f * lanes
                            _add_line(lists, line, columns, stride, weights, base, flat, at, features)


@compiled
def _convolve_image(image, events, weights, window, out):
    """One image of `forward`."""
    lists = _empty_lists(image.shape, events.has_values, window.padding, weights.block)
    lists.value[0] = events.factor
    _list_pixels(image, events, window.padding, weights.block, lists)
    out[:] = 0
    _add_taps(lists, image.shape, weights, window, out)


@compiled(parallel=True)
def forward(events, weights, window, out):
    """The convolution of events.array [N, H, W, C]; weights: `PackedWeights`; out [N, H_out, W_out, C_out]."""
    for task in prange(len(events.array)):
        n = np.int64(task)
        _convolve_image(events.array[n], events, weights, window, out[n])


@compiled
def _convolve_image_over_time(n, increments, weights, window, out):
    """Image n of `forward_over_time`."""
    x, factor, leak, first, direction = increments
    shape = x.shape[2:]
    increment = np.empty(shape, np.float32)
    events = Events(increment, factor, np.int64(1))
    lists = _empty_lists(shape, events.has_values, window.padding, weights.block)
    for step in range(len(x)):
        t = first + direction * step
        before, step_leak = (t - direction, leak) if step else (t, np.float32(0))
        subtract(x[t, n].reshape(-1), step_leak, x[before, n].reshape(-1), increment.reshape(-1))
        if step:
            scale(out[before, n].reshape(-1), leak, out[t, n].reshape(-1))
        else:
            out[t, n, :] = 0
        _list_pixels(increment, events, window.padding, weights.block, lists)
        _add_taps(lists, shape, weights, window, out[t, n])


@compiled(parallel=True)
def forward_over_time(increments, weights, window, out):
    """The convolution of increments.array [T, B, H, W, C], computed from its increments. A task is one image over all steps."""
    for task in prange(increments.array.shape[1]):
        _convolve_image_over_time(np.int64(task), increments, weights, window, out)


def lanes_for(features: int) -> int:
    """How many output channels are computed at once; 0 if these kernels do not support this number of channels."""
    return next((lanes for lanes in (64, 32, 16) if features % lanes == 0), 0)


def block_for(channels: int, density: float = 0.0) -> int:
    """How many input channels a list covers: fewer for long lists, so that their weights stay in the cache."""
    block = 32 if density > 0.25 else 64
    return block if channels % block == 0 else channels


def span_for(size: int, block: int, lanes: int) -> int:
    """How many neighbouring taps of a row are added at once: all of them if their weights stay in the cache, else one."""
    return size if size * block * lanes * 4 <= MAX_SPAN_BYTES else 1


def pack_weights(weight, lanes: int, block: int, out) -> PackedWeights:
    """Write weight [k, k, C_in, C_out] to out, flat, in the order of this file's docstring."""
    size, _, channels, features = weight.shape
    span = span_for(size, block, lanes)
    parts = weight.reshape(size, size // span, span, channels // block, block, features // lanes, lanes)
    ordered = parts.transpose(5, 0, 1, 3, 2, 4, 6)
    np.copyto(out.reshape(ordered.shape), ordered)
    return PackedWeights(out, block, span, lanes)
