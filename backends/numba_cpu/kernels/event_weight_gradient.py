"""Weight gradients of convolutions, from lists of the factor that more often is zero. float32.

For each tap and input channel, the rows of the current's gradient [·, C_out] at the pixels where that channel is not zero
are added up. Tasks own blocks of the result: no sum depends on the number of threads.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.kernels.increments import subtract
from backends.numba_cpu.kernels.lists import empty_values, list_columns
from backends.numba_cpu.simd.events import add_rows, add_taps, taps_for
from backends.numba_cpu.simd.lanes import LANES, broadcast, load, store
from backends.numba_cpu.simd.memory import copy_lanes, scratch

PANEL_FLOATS = (
    20 << 10
)  # floats that lists may name, of rows of an image or of small images: about twice the first cache


@njit(cache=True)
def _add_lists(index, value, has_values, lengths, capacity, rows, line, size, up, left, stride, lanes, total):
    """Add to total [k·k·chunk·LANES], for every tap and list, the rows of a bordered image that the list names.

    List c has found[c] entries from c·room on: places y·line + x of an image; rows: [·, LANES], `line` pixels wide, with a
    border of k − 1. Tap (i, j) reads (up − i)/stride rows below and (left − j)/stride pixels beside, if these are whole.
    """
    border, chunk = size - 1, len(lengths)
    for i in range(0, size, taps_for(lanes) // 3 if size == 3 and stride == 1 else 1):
        base = ((up - i) // stride + border) * line + border
        if size == 3 and stride == 1:
            for c in range(chunk):
                at, first = (i * size * chunk + c) * lanes, c * capacity
                last = first + lengths[c]
                add_taps(
                    lanes, total, at, rows, base + left, index, value, has_values, first, last, chunk * lanes, line
                )
        elif (up - i) % stride == 0:
            for j in range(left % stride, size, stride):
                for c in range(chunk):
                    at, first = ((i * size + j) * chunk + c) * lanes, c * capacity
                    last = first + lengths[c]
                    beside = (left - j) // stride
                    add_rows(lanes, total, at, rows, base + beside, index, value, has_values, first, last)


@njit(cache=True)
def _images_per_list(area, lanes):
    """How many images of so many rows of `lanes` floats share lists: small ones would have lists of an event or two."""
    return max(1, PANEL_FLOATS // (area * lanes))


@njit(cache=True)
def _sum_part(grad, x, scale, has_values, size, stride, padding, chunk, lanes, part, images_per_part, block, totals):
    """Sum the images of one part into the block of the result that one owner has."""
    count, height, columns_in, channels = x.shape
    _, rows, columns, features = grad.shape
    all_grads, source, groups = grad.reshape(-1), x.reshape(-1), len(totals)
    border, column_blocks = size - 1, features // (groups * lanes)
    line = columns + 2 * border
    area, end = (rows + 2 * border) * line, min((part + 1) * images_per_part, count)
    tile, many = max(1, min(height, PANEL_FLOATS // (line * lanes))), _images_per_list(area, lanes)
    capacity = many * tile * columns_in
    c, f = block // column_blocks * chunk, block % column_blocks * groups * lanes
    totals[:] = 0
    panels = scratch(groups * many * area * lanes).reshape(groups, -1)  # with zeros around the gradients
    panels[:] = 0
    index = np.empty(chunk * capacity, np.uint16)
    value = empty_values(has_values, chunk * capacity)
    value[0] = scale
    lengths = np.empty(chunk, np.int64)
    for first in range(part * images_per_part, end, many):
        images = min(many, end - first)
        for n in range(images):
            for y in range(rows):
                for q in range(columns):
                    at = (n * area + (y + border) * line + q + border) * lanes
                    start = (((first + n) * rows + y) * columns + q) * features + f
                    for g in range(groups):
                        copy_lanes(lanes, panels[g], at, all_grads, start + g * lanes)
        for top in range(0, height, tile):
            for phase in range(stride * stride):
                down, right = phase // stride, phase % stride  # of the pixels that read a gradient by the same taps
                up, left = down + padding, right + padding
                if not (up % stride < size and left % stride < size):
                    continue
                lengths[:] = 0
                for n in range(images):
                    for y in range(top + (down - top) % stride, min(top + tile, height), stride):
                        for q in range(right, columns_in, stride):
                            at = (((first + n) * height + y) * columns_in + q) * channels + c
                            place = n * area + y // stride * line + q // stride
                            list_columns(source, at, chunk, scale, has_values, place, capacity, index, value, lengths)
                for g in range(groups):
                    _add_lists(
                        index,
                        value,
                        has_values,
                        lengths,
                        capacity,
                        panels[g],
                        line,
                        size,
                        up,
                        left,
                        stride,
                        lanes,
                        totals[g],
                    )


@njit(parallel=True, cache=True)
def weight_gradient(grad, x, scale, has_values, size, stride, padding, chunk, lanes, out):
    """grad [N, H_out, W_out, C_out], out [parts, owners, groups, k·k·chunk·lanes].

    A task, or owner, lists `chunk` input channels for `groups` times `lanes` output channels; owners are in the order of
    [C_in/chunk, C_out/(groups · lanes)]. Each part sums over its own share of the images; the shapes alone decide how many
    there are (`layout`).
    """
    parts, blocks = out.shape[:2]
    images_per_part = (len(x) + parts - 1) // parts
    for task in prange(parts * blocks):
        part, block = np.int64(task) // blocks, np.int64(task) % blocks
        totals = out[part, block]
        _sum_part(grad, x, scale, has_values, size, stride, padding, chunk, lanes, part, images_per_part, block, totals)


@njit(cache=True)
def _add_trace(counts, scale, leak, channel, lanes, border, trace):
    """trace = leak · trace + scale · counts, `lanes` channels from `channel` on; counts [H, W, C], trace flat, with a border."""
    height, width, channels = counts.shape
    source, like = counts.reshape(-1), broadcast(scale)
    for y in range(height):
        at, row = ((y + border) * (width + 2 * border) + border) * lanes, y * width * channels + channel
        for x in range(width):
            here, pixel = at + x * lanes, row + x * channels
            for i in range(0, lanes, LANES):
                now = leak * load(trace, here + i, like) + scale * load(source, pixel + i, like)
                store(trace, here + i, now)


@njit(cache=True)
def _increments_of_row(source, at, next_step, leak, features, chunk, out):
    """out [columns · chunk] = d[t] − leak · d[t + 1] of a row of pixels, whose first begins at `at`; d[t + 1] lies `after` on."""
    if chunk == features:
        subtract(source[at:], leak, source[at + next_step :], out)
    else:
        for x in range(len(out) // chunk):
            here = at + x * features
            subtract(source[here:], leak, source[here + next_step :], out[x * chunk : (x + 1) * chunk])


@njit(cache=True)
def _sum_leaky_part(
    grad, leak, counts, scale, size, stride, padding, chunk, lanes, part, images_per_part, block, totals
):
    """Sum the images of one part into the block of the result that one owner has."""
    steps, batch, rows, columns, features = grad.shape
    height, width, channels = counts.shape[2:]
    groups, border = len(totals), size - 1
    column_blocks, line, up = channels // (groups * lanes), width + 2 * border, border - padding
    area, end = (height + 2 * border) * line, min((part + 1) * images_per_part, batch)
    tile, many = max(1, min(rows, PANEL_FLOATS // (line * lanes))), _images_per_list(area, lanes)
    capacity = many * tile * columns
    f, c = block // column_blocks * chunk, block % column_blocks * groups * lanes
    totals[:] = 0
    has_values = np.int64(1)  # for a plain 1 Numba would compile all that it is given to once more
    traces = scratch(groups * many * area * lanes).reshape(groups, many, -1)
    index, value = np.empty(chunk * capacity, np.uint16), np.empty(chunk * capacity, np.float32)
    lengths, row, source = np.empty(chunk, np.int64), np.empty(columns * chunk, np.float32), grad.reshape(-1)
    step_stride = batch * rows * columns * features
    for first in range(part * images_per_part, end, many):
        images = min(many, end - first)
        traces[:] = 0
        for t in range(steps):
            for g in range(groups):
                for n in range(images):
                    _add_trace(counts[t, first + n], scale, leak, c + g * lanes, lanes, border, traces[g, n])
            next_step = step_stride if t < steps - 1 else 0
            lam = leak if next_step else np.float32(0)
            for top in range(0, rows, tile):
                lengths[:] = 0
                for n in range(images):
                    for y in range(top, min(top + tile, rows)):
                        at = ((t * batch + first + n) * rows + y) * columns * features + f
                        _increments_of_row(source, at, next_step, lam, features, chunk, row)
                        for x in range(columns):
                            at, place = x * chunk, n * area + (y * line + x) * stride
                            list_columns(
                                row, at, chunk, np.float32(1), has_values, place, capacity, index, value, lengths
                            )
                for g in range(groups):
                    named = traces[g].reshape(-1)
                    _add_lists(
                        index, value, has_values, lengths, capacity, named, line, size, up, up, 1, lanes, totals[g]
                    )


@njit(parallel=True, cache=True)
def leaky_weight_gradient(grad, leak, counts, scale, size, stride, padding, chunk, lanes, out):
    """The same, with the roles changed, for a gradient that leaks: see increments.py.

    With d[t] = k[t] + λ·d[t+1], Σₜ x[t]·d[t] = Σₜ k[t]·(x[t] + λ·x[t−1] + λ²·x[t−2] + …): lists of k, which more often
    is zero, name pixels of this trace of x. grad [T, B, H_out, W_out, C_out], counts uint8 [T, B, H, W, C_in],
    out [parts, owners, groups, k·k·chunk·lanes]: [k, k, chunk, lanes] with the taps in the opposite order, owners in the
    order of [C_out/chunk, C_in/(groups · lanes)].
    """
    parts, blocks = out.shape[:2]
    images_per_part = (grad.shape[1] + parts - 1) // parts
    for task in prange(parts * blocks):
        part, block = np.int64(task) // blocks, np.int64(task) % blocks
        totals = out[part, block]
        _sum_leaky_part(
            grad, leak, counts, scale, size, stride, padding, chunk, lanes, part, images_per_part, block, totals
        )


def lanes_for(channels: int) -> int:
    """How many channels are summed at once; 0 where these kernels do not apply."""
    return next((lanes for lanes in (32, 16) if channels % lanes == 0), 0)


def layout(size: int, listed: int, chunk: int, summed: int, lanes: int, count: int) -> tuple[int, int, int, int]:
    """The shape of `out`: lists of `listed` channels by chunk, sums of `summed` channels by lanes, over `count` images.

    Up to four groups of lanes share lists: more sums than that no longer fit the second-level cache. There are as
    many parts as let eight threads work.
    """
    groups = next(count for count in (4, 2, 1) if summed // lanes % count == 0)
    blocks = listed // chunk * (summed // (groups * lanes))
    return max(1, min(count, 8 // blocks)), blocks, groups, size * size * chunk * lanes
