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


class Work(NamedTuple):
    """A task's first channels, and the sizes of its lists and panels.

    A panel holds the rows of the other factor that the lists name: images of `lanes` channels with a border of k − 1 pixels.
    """

    listed: int  # the first channel of the listed factor
    summed: int  # the first channel of the other factor
    images: int  # that share lists: the lists of one small image would be too short
    tile: int  # rows of an image that are listed at a time
    capacity: int  # of a list
    line: int  # pixels in a row of a panel, with the border
    area: int  # pixels of an image of a panel, with the border


@compiled
def _plan(block, blocks, groups, border, listed, other):
    """The `Work` of a block; listed, other: the shapes [H, W, C] of the listed and of the other factor."""
    chunk, lanes = blocks
    line, column_blocks = other[1] + 2 * border, other[2] // (groups * lanes)
    area = (other[0] + 2 * border) * line
    images, tile = max(1, PANEL_FLOATS // (area * lanes)), max(1, min(listed[0], PANEL_FLOATS // (line * lanes)))
    first, first_other = block // column_blocks * chunk, block % column_blocks * groups * lanes
    return Work(first, first_other, images, tile, images * tile * listed[1], line, area)


@compiled
def _empty_lists(chunk, capacity, has_values):
    """Memory for `chunk` lists."""
    index, value = np.empty(chunk * capacity, np.uint16), empty_values(has_values, chunk * capacity)
    return ColumnLists(index, value, has_values, np.empty(chunk, np.int64), capacity)


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
def _copy_to_panels(images, work, lanes, border, panels):
    """Copy the channels of a task from images [N, H, W, C] to panels [groups, pixels · lanes], whose border is kept."""
    count, rows, columns, features = images.shape
    source = images.reshape(-1)
    for n in range(count):
        for y in range(rows):
            for q in range(columns):
                at = (n * work.area + (y + border) * work.line + q + border) * lanes
                start = ((n * rows + y) * columns + q) * features + work.summed
                for g in range(len(panels)):
                    copy_row(lanes, panels[g], at, source, start + g * lanes)


@compiled
def _list_phase(images, scale, stride, top, down, right, work, lists):
    """List the events of one phase, y mod stride = down and x mod stride = right, in rows top … top + tile − 1 of images.

    images: [N, H, W, C], not yet multiplied by `scale`.
    """
    count, height, width, channels = images.shape
    source, chunk = images.reshape(-1), len(lists.lengths)
    index, value, has_values, lengths, capacity = lists
    lengths[:] = 0
    for n in range(count):
        for y in range(top + (down - top) % stride, min(top + work.tile, height), stride):
            for q in range(right, width, stride):
                at = ((n * height + y) * width + q) * channels + work.listed
                place = n * work.area + y // stride * work.line + q // stride
                append_to_columns(source, at, chunk, scale, place, has_values, capacity, index, value, lengths)


@compiled
def _sum_part(grad, events, window, blocks, part, totals):
    """One task of `weight_gradient`; totals [groups, k·k·chunk·lanes]."""
    x, scale, has_values = events
    size, stride, padding = window
    chunk, lanes = blocks
    groups, border = len(totals), size - 1
    work = _plan(part.block, blocks, groups, border, x.shape[1:], grad.shape[1:])
    panels = scratch(groups * work.images * work.area * lanes).reshape(groups, -1)
    panels[:] = 0  # the border stays 0
    lists = _empty_lists(chunk, work.capacity, has_values)
    lists.value[0] = scale
    totals[:] = 0
    for first in range(part.first, part.last, work.images):
        last = min(first + work.images, part.last)
        _copy_to_panels(grad[first:last], work, lanes, border, panels)
        for top in range(0, x.shape[1], work.tile):
            for phase in range(stride * stride):
                # the pixels of one phase (y mod stride, x mod stride) have the same taps
                down, right = phase // stride, phase % stride
                up, left = down + padding, right + padding
                if not (up % stride < size and left % stride < size):
                    continue
                _list_phase(x[first:last], scale, stride, top, down, right, work, lists)
                for g in range(groups):
                    _add_lists(lists, panels[g], work.line, window, up, left, lanes, totals[g])


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
def _list_increments(grad, leak, t, first, last, top, stride, work, lists, row):
    """List the increments of grad [T, B, H, W, C] at step t, of images first … last − 1, in rows top … top + tile − 1.

    The increment of the last step is the gradient itself. row: memory for the increments of a row of pixels.
    """
    steps, batch, rows, columns, features = grad.shape
    source, chunk = grad.reshape(-1), len(lists.lengths)
    step_stride, step_leak = batch * rows * columns * features, leak
    if t == steps - 1:
        step_stride, step_leak = 0, np.float32(0)
    index, value, has_values, lengths, capacity = lists
    lengths[:] = 0
    for n in range(first, last):
        for y in range(top, min(top + work.tile, rows)):
            at = ((t * batch + n) * rows + y) * columns * features + work.listed
            _increments_of_row(source, at, step_stride, step_leak, features, chunk, row)
            for x in range(columns):
                at, place = x * chunk, (n - first) * work.area + (y * work.line + x) * stride
                append_to_columns(row, at, chunk, np.float32(1), place, has_values, capacity, index, value, lengths)


@compiled
def _sum_leaky_part(grad, leak, events, window, blocks, part, totals):
    """One task of `leaky_weight_gradient`; totals [groups, k·k·chunk·lanes]."""
    counts, scale, _ = events
    size, stride, padding = window
    chunk, lanes = blocks
    steps, _, rows, columns, _ = grad.shape
    groups, border, one = len(totals), size - 1, np.int64(1)
    up, unit_stride = border - padding, Window(size, one, padding)
    work = _plan(part.block, blocks, groups, border, grad.shape[2:], counts.shape[2:])
    traces = scratch(groups * work.images * work.area * lanes).reshape(groups, work.images, -1)
    lists, row = _empty_lists(chunk, work.capacity, one), np.empty(columns * chunk, np.float32)
    totals[:] = 0
    for first in range(part.first, part.last, work.images):
        last = min(first + work.images, part.last)
        traces[:] = 0
        for t in range(steps):
            for g in range(groups):
                for n in range(first, last):
                    channel, trace = work.summed + g * lanes, traces[g, n - first]
                    _add_trace(counts[t, n], scale, leak, channel, lanes, border, trace)
            for top in range(0, rows, work.tile):
                _list_increments(grad, leak, t, first, last, top, stride, work, lists, row)
                for g in range(groups):
                    _add_lists(lists, traces[g].reshape(-1), work.line, unit_stride, up, up, lanes, totals[g])


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
