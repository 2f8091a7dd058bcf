"""Event-driven weight gradients of convolutions. float32.

Lists hold the factor with more zeros: the input or the gradient of the current. With lists of the input, each tap and input
channel has a sum of gradient rows [C_out], over the pixels where that channel is not zero.

The result is computed in blocks, each by one task, so no sum depends on the number of threads.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from backends.numba_cpu.kernels.convolution import Window
from backends.numba_cpu.kernels.increments import subtract
from backends.numba_cpu.kernels.lists import ColumnLists, append_to_columns, empty_values
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.gather import add_rows, add_taps, taps_for
from backends.numba_cpu.simd.lanes import LANES, broadcast, load, store
from backends.numba_cpu.simd.memory import copy_row, scratch

PANEL_FLOATS = 20 << 10  # size of the rows that one set of lists refers to: about twice the first-level cache


class Blocks(NamedTuple):
    """The size of a block of the result: `chunk` channels of the listed factor, `lanes` channels of the other."""

    chunk: int
    lanes: int


class Part(NamedTuple):
    """What one task computes: one block of the result, summed over the images first … last − 1."""

    block: int
    first: int
    last: int


@compiled
def _add_lists(lists, rows, line, window, up, left, lanes, total):
    """Add rows of an image to total [k·k·chunk·lanes]: for every tap and list, the rows of the pixels in the list.

    rows [·, lanes]: an image with a border of k − 1 pixels; `line` is its width with the border. A list holds positions
    y·line + x. Tap (i, j) reads the pixel that lies (up − i)/stride rows below and (left − j)/stride columns to the right. It
    is skipped if these are not integers.
    """
    size, stride, _ = window
    index, value, has_values, lengths, capacity = lists
    border, chunk = size - 1, len(lengths)
    for i in range(0, size, taps_for(lanes) // 3 if size == 3 and stride == 1 else 1):
        base = ((up - i) // stride + border) * line + border
        if size == 3 and stride == 1:
            for c in range(chunk):
                at, first = (i * size * chunk + c) * lanes, c * capacity
                last, tap_stride = first + lengths[c], chunk * lanes
                add_taps(lanes, total, at, rows, base + left, index, value, has_values, first, last, tap_stride, line)
        elif (up - i) % stride == 0:
            for j in range(left % stride, size, stride):
                for c in range(chunk):
                    at, first = ((i * size + j) * chunk + c) * lanes, c * capacity
                    last = first + lengths[c]
                    shifted = base + (left - j) // stride
                    add_rows(lanes, total, at, rows, shifted, index, value, has_values, first, last)


@compiled
def _images_per_list(area, lanes):
    """How many images of `area` pixels share lists: the lists of one small image would be too short."""
    return max(1, PANEL_FLOATS // (area * lanes))


@compiled
def _sum_part(grad, events, window, blocks, part, totals):
    """One task of `weight_gradient`; totals [groups, k·k·chunk·lanes]."""
    x, scale, has_values = events
    size, stride, padding = window
    chunk, lanes = blocks
    height, width, channels = x.shape[1:]
    _, rows, columns, features = grad.shape
    all_grads, source, groups = grad.reshape(-1), x.reshape(-1), len(totals)
    border, column_blocks = size - 1, features // (groups * lanes)
    line = columns + 2 * border
    area = (rows + 2 * border) * line
    tile, images_per_list = max(1, min(height, PANEL_FLOATS // (line * lanes))), _images_per_list(area, lanes)
    capacity = images_per_list * tile * width
    c, f = part.block // column_blocks * chunk, part.block % column_blocks * groups * lanes
    totals[:] = 0
    panels = scratch(groups * images_per_list * area * lanes).reshape(groups, -1)
    panels[:] = 0  # the gradients are copied into it with a border of zeros
    index, value = np.empty(chunk * capacity, np.uint16), empty_values(has_values, chunk * capacity)
    lengths = np.empty(chunk, np.int64)
    lists = ColumnLists(index, value, has_values, lengths, capacity)
    value[0] = scale
    for first in range(part.first, part.last, images_per_list):
        images = min(images_per_list, part.last - first)
        for n in range(images):
            for y in range(rows):
                for q in range(columns):
                    at = (n * area + (y + border) * line + q + border) * lanes
                    start = (((first + n) * rows + y) * columns + q) * features + f
                    for g in range(groups):
                        copy_row(lanes, panels[g], at, all_grads, start + g * lanes)
        for top in range(0, height, tile):
            for phase in range(stride * stride):
                # the pixels of one phase (y mod stride, x mod stride) have the same taps
                down, right = phase // stride, phase % stride
                up, left = down + padding, right + padding
                if not (up % stride < size and left % stride < size):
                    continue
                lengths[:] = 0
                for n in range(images):
                    for y in range(top + (down - top) % stride, min(top + tile, height), stride):
                        for q in range(right, width, stride):
                            at = (((first + n) * height + y) * width + q) * channels + c
                            place = n * area + y // stride * line + q // stride
                            append_to_columns(
                                source, at, chunk, scale, place, has_values, capacity, index, value, lengths
                            )
                for g in range(groups):
                    _add_lists(lists, panels[g], line, window, up, left, lanes, totals[g])


@compiled(parallel=True)
def weight_gradient(grad, events, window, blocks, out):
    """The weight gradient from lists of the input: grad [N, H_out, W_out, C_out], events.array [N, H, W, C_in].

    out [parts, blocks, groups, k·k·chunk·lanes] (see `layout`) has the blocks in the order [C_in/chunk, C_out/(groups·lanes)].
    The gradient is its sum over parts; each part sums over its own share of the images.
    """
    parts, count, images = out.shape[0], out.shape[1], len(events.array)
    images_per_part = (images + parts - 1) // parts
    for task in prange(parts * count):
        part, block = np.int64(task) // count, np.int64(task) % count
        first = part * images_per_part
        share = Part(block, first, min(first + images_per_part, images))
        _sum_part(grad, events, window, blocks, share, out[part, block])


@compiled
def _add_trace(counts, scale, leak, channel, lanes, border, trace):
    """trace = leak · trace + scale · counts for `lanes` channels from `channel` on; counts [H, W, C], trace flat, bordered."""
    height, width, channels = counts.shape
    source, like = counts.reshape(-1), broadcast(scale)
    for y in range(height):
        at, row = ((y + border) * (width + 2 * border) + border) * lanes, y * width * channels + channel
        for x in range(width):
            here, pixel = at + x * lanes, row + x * channels
            for i in range(0, lanes, LANES):
                updated = leak * load(trace, here + i, like) + scale * load(source, pixel + i, like)
                store(trace, here + i, updated)


@compiled
def _increments_of_row(source, at, step_stride, leak, features, chunk, out):
    """out [columns · chunk] = d[t] − leak · d[t + 1] of a row of pixels. d[t] begins at `at`, d[t + 1] at `at` + step_stride."""
    if chunk == features:
        subtract(source[at:], leak, source[at + step_stride :], out)
    else:
        for x in range(len(out) // chunk):
            here = at + x * features
            subtract(source[here:], leak, source[here + step_stride :], out[x * chunk : (x + 1) * chunk])


@compiled
def _sum_leaky_part(grad, leak, events, window, blocks, part, totals):
    """One task of `leaky_weight_gradient`; totals [groups, k·k·chunk·lanes]."""
    counts, scale, _ = events
    size, stride, padding = window
    chunk, lanes = blocks
    steps, batch, rows, columns, features = grad.shape
    height, width, channels = counts.shape[2:]
    groups, border = len(totals), size - 1
    column_blocks, line, up = channels // (groups * lanes), width + 2 * border, border - padding
    area = (height + 2 * border) * line
    tile, images_per_list = max(1, min(rows, PANEL_FLOATS // (line * lanes))), _images_per_list(area, lanes)
    capacity = images_per_list * tile * columns
    f, c = part.block // column_blocks * chunk, part.block % column_blocks * groups * lanes
    totals[:] = 0
    has_values, one = np.int64(1), np.int64(1)
    traces = scratch(groups * images_per_list * area * lanes).reshape(groups, images_per_list, -1)
    index, value = np.empty(chunk * capacity, np.uint16), np.empty(chunk * capacity, np.float32)
    lengths, row, source = np.empty(chunk, np.int64), np.empty(columns * chunk, np.float32), grad.reshape(-1)
    lists, unit_stride = ColumnLists(index, value, has_values, lengths, capacity), Window(size, one, padding)
    step_stride = batch * rows * columns * features
    for first in range(part.first, part.last, images_per_list):
        images = min(images_per_list, part.last - first)
        traces[:] = 0
        for t in range(steps):
            for g in range(groups):
                for n in range(images):
                    _add_trace(counts[t, first + n], scale, leak, c + g * lanes, lanes, border, traces[g, n])
            next_step = step_stride if t < steps - 1 else 0
            step_leak = leak if next_step else np.float32(0)
            for top in range(0, rows, tile):
                lengths[:] = 0
                for n in range(images):
                    for y in range(top, min(top + tile, rows)):
                        at = ((t * batch + first + n) * rows + y) * columns * features + f
                        _increments_of_row(source, at, next_step, step_leak, features, chunk, row)
                        for x in range(columns):
                            at, place = x * chunk, n * area + (y * line + x) * stride
                            append_to_columns(
                                row, at, chunk, np.float32(1), place, has_values, capacity, index, value, lengths
                            )
                for g in range(groups):
                    _add_lists(lists, traces[g].reshape(-1), line, unit_stride, up, up, lanes, totals[g])


@compiled(parallel=True)
def leaky_weight_gradient(grad, leak, events, window, blocks, out):
    """The weight gradient from lists of the increments of a gradient that leaks (increments.py).

    With d[t] = k[t] + λ·d[t+1], Σₜ x[t]·d[t] = Σₜ k[t]·(x[t] + λ·x[t−1] + λ²·x[t−2] + …): k is listed, and the trace of x (the
    sum in parentheses) is updated at each step. grad [T, B, H_out, W_out, C_out], events.array uint8 [T, B, H, W, C_in], out
    [parts, blocks, groups, k·k·chunk·lanes] (see `layout`), each [k, k, chunk, lanes] with the taps in the opposite order;
    blocks in the order [C_out/chunk, C_in/(groups·lanes)].
    """
    parts, count, images = out.shape[0], out.shape[1], grad.shape[1]
    images_per_part = (images + parts - 1) // parts
    for task in prange(parts * count):
        part, block = np.int64(task) // count, np.int64(task) % count
        first = part * images_per_part
        share = Part(block, first, min(first + images_per_part, images))
        _sum_leaky_part(grad, leak, events, window, blocks, share, out[part, block])


def lanes_for(channels: int) -> int:
    """How many channels are summed at once; 0 if these kernels do not support this number of channels."""
    return next((lanes for lanes in (32, 16) if channels % lanes == 0), 0)


def layout(size: int, listed: int, summed: int, blocks: Blocks, count: int) -> tuple[int, int, int, int]:
    """The shape of `out`: lists of `listed` channels, sums of `summed` channels, over `count` images.

    Up to four groups of `lanes` channels share lists; the sums of more groups would not fit the second-level cache. There are
    enough parts for eight threads.
    """
    chunk, lanes = blocks
    groups = next(count for count in (4, 2, 1) if summed // lanes % count == 0)
    number = listed // chunk * (summed // (groups * lanes))
    return max(1, min(count, 8 // number)), number, groups, size * size * chunk * lanes
