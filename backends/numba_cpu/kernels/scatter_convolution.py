"""Event-driven 3×3 convolutions of stride 1 that scatter: a non-zero input is added to the nine outputs that read it. float32.

The input gradient of a 3×3 convolution of any stride is such a convolution too, with dilation: zeros between the pixels. No lists
are needed, as every event is used once (simd/scatter.py). 8 to 64 output channels are computed at a time. Other convolutions
gather (event_convolution.py).

Weights are packed as [C_out/lanes][9/taps][C_in][taps][lanes], so that the weights of one pass over an image stay in the cache
(of 64 channels: three taps of 64 lanes, 48 KB; nine of 32, 72 KB). The taps are in reverse order, because the
top left one of an input's nine outputs reads it with the bottom right tap.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from backends.numba_cpu.kernels.increments import scale, subtract
from backends.numba_cpu.kernels.lif import NeuronArrays, start_state, step_neurons, store_state
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.bits import event_mask
from backends.numba_cpu.simd.gather import taps_for, three_taps_fit
from backends.numba_cpu.simd.memory import copy, copy_row, scratch
from backends.numba_cpu.simd.scatter import add_line

BLOCK = 64  # channels: bits of a mask
NO_NUMBERS, NO_COUNTS = np.empty(0, np.float32), np.empty((0, 0), np.uint8)
NO_NEURONS = NeuronArrays(*4 * (NO_NUMBERS,), False, NO_COUNTS.reshape(-1), NO_COUNTS, NO_NUMBERS, NO_NUMBERS)


class PackedWeights(NamedTuple):
    """Weights in the order above, and the geometry of the convolution."""

    data: Any  # flat
    lanes: int  # output channels that are computed at once
    padding: int  # ≤ 2
    dilation: int  # between the pixels: 1, or the stride of the convolution whose input gradient this is


@compiled
def _find_events(image, masks):
    """masks[first / BLOCK, y, x]: which of the channels first … first + BLOCK − 1 of an image [H, W, C] are not zero."""
    height, width, channels = image.shape
    source = image.reshape(-1)
    for block in range(len(masks)):
        first = block * BLOCK
        count = min(BLOCK, channels - first)
        for y in range(height):
            for x in range(width):
                masks[block, y, x] = event_mask(source, (y * width + x) * channels + first, count)


@compiled
def _scatter(image, masks, factor, weights, lanes, group, sums):
    """Add a group of output channels of an image [H, W, C] to sums, flat [H + 2, W + 2, lanes]."""
    height, width, channels = image.shape
    source, line, taps = image.reshape(-1), (width + 2) * lanes, taps_for(lanes)
    for block in range(len(masks)):
        first = block * BLOCK
        for k in range(9 // taps):
            base = ((group * (9 // taps) + k) * channels + first) * taps
            for y in range(height):
                at, corner = y * width * channels + first, (y + k) * line
                add_line(lanes, sums, corner, line, weights, base, source, at, channels, factor, masks[block, y], width)


@compiled
def _store(sums, width, padding, lanes, group, out):
    """Copy the outputs from sums, without the border, to a group of channels of out [H_out, W_out, C_out]."""
    rows, columns, features = out.shape
    skipped, line, into = 2 - padding, (width + 2) * lanes, out.reshape(-1)
    for y in range(rows):
        at, place = (y + skipped) * line + skipped * lanes, y * columns * features + group * lanes
        if lanes == features:
            copy(sums[at : at + columns * lanes], into[place : place + columns * lanes])
        else:
            for x in range(columns):
                copy_row(lanes, into, place + x * features, sums, at + x * lanes)


@compiled
def _store_increment(now, leak, before, is_known, dilation, new):
    """new [H, W, C] = now − leak · before, or now if the step before is not known; pixels are `dilation` apart."""
    if dilation > 1:
        for y in range(now.shape[0]):
            for x in range(now.shape[1]):
                if is_known:
                    subtract(now[y, x], leak, before[y, x], new[y * dilation, x * dilation])
                else:
                    copy(now[y, x], new[y * dilation, x * dilation])
    elif is_known:
        subtract(now.reshape(-1), leak, before.reshape(-1), new.reshape(-1))
    else:
        copy(now.reshape(-1), new.reshape(-1))


@compiled
def _convolve_image(n, increments, weights, neurons, out):
    """Image n of `forward`."""
    x, factor, leak, first, direction = increments
    data, lanes, padding, dilation = weights
    height, width, channels = shape = out.shape[2] + 2 - 2 * padding, out.shape[3] + 2 - 2 * padding, x.shape[4]
    groups, size = out.shape[4] // lanes, (height + 2) * (width + 2) * lanes
    masks = np.empty(((channels + BLOCK - 1) // BLOCK, height, width), np.int64)
    new, sums = np.empty(shape, np.float32), scratch(groups * size).reshape(groups, size)
    count = out.shape[2] * out.shape[3] * out.shape[4] if len(neurons.counts) else 0
    currents = out.reshape(-1)
    u, fired = start_state(neurons, n * count, count)
    sums[:] = 0
    if dilation > 1:
        new[:] = 0
    for step in range(len(x)):
        t = first + direction * step
        before = t - direction if step else t
        _store_increment(x[t, n], leak, x[before, n], step > 0, dilation, new)
        _find_events(new, masks)
        for group in range(groups):
            if step and leak == 0:  # not `scale`: zero times infinity is NaN
                sums[group] = 0
            elif step and leak != 1:
                scale(sums[group], leak, sums[group])
            _scatter(new, masks, factor, data, lanes, group, sums[group])
            _store(sums[group], width, padding, lanes, group, out[t, n])
        if count:
            at = (t * out.shape[1] + n) * count
            step_neurons(neurons, n * count, count, currents, at, u, fired, currents, at)
    store_state(neurons, n * count, count, u, fired)


@compiled(parallel=True)
def forward(increments, weights, neurons, out):
    """increments.array [T, B, H, W, C], weights: `PackedWeights`, out [T, B, H_out, W_out, C_out].

    neurons: those that the result drives, or NO_NEURONS. They fire while their currents are in the cache, and out becomes their
    membranes; the steps then go forwards from 0, and the neurons of an image are a multiple of simd.lanes.LANES.
    """
    for task in prange(increments.array.shape[1]):
        _convolve_image(np.int64(task), increments, weights, neurons, out)


def lanes_for(features: int, size: int, stride: int, padding: int) -> int:
    """How many output channels are computed at once; 0 if these kernels do not support the convolution."""
    if (size, stride) != (3, 1) or padding > 2:
        return 0
    return next((lanes for lanes in (64, 32, 16, 8) if features % lanes == 0 and three_taps_fit(lanes)), 0)


def pack_weights(weight, lanes: int, out) -> None:
    """Write weight [3, 3, C_in, C_out] to out, flat, in the order of this file's docstring."""
    (channels, features), taps = weight.shape[2:], taps_for(lanes)
    parts = weight[::-1, ::-1].reshape(9 // taps, taps, channels, features // lanes, lanes).transpose(3, 0, 2, 1, 4)
    np.copyto(out.reshape(parts.shape), parts)
