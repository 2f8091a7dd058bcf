"""The LIF neuron of backends/lif.py, fused over time: each block of neurons runs all its steps while it is in cache.

Neurons that a convolution drives fire image by image, as it is computed (scatter_convolution.py). The block's size is fixed,
and so is the order of every sum: results do not depend on the number of threads. A time step is one loop over vectors of
neurons (lanes.py); arrays are read at flat positions, as every slice of an array has a price.

What leak and threshold need follows from three sums of a step, with n = d[t+1] (at the last step the ∂L/∂u[t] that the next
chunk of time hands back):

    E = Σ k·m[t]       Q = Σ n·u[t], delayed Σ n·m[t]       R = Σ n·s[t]
    ∂L/∂λ += Q, but for the last step, whose share the next chunk counts, and d[0]·(the membrane of the start)
    ∂L/∂v −= E/v² + λ·R (at the last step R); delayed E/v² + R (at the last step E/v²), and d[0]·(the spikes of the start)
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from backends.numba_cpu.simd.lanes import LANES, broadcast, load, store, sum_lanes, where_greater
from backends.numba_cpu.simd.memory import scratch

BLOCK = 1024  # neurons, a multiple of LANES


class NeuronArrays(NamedTuple):
    """M neurons, a multiple of LANES, over T steps: where they start, what they are, and where their spikes and last state go."""

    start: Any  # [M] or empty
    start_spikes: Any  # [M] or empty
    leak: Any  # [1]
    threshold: Any  # [1]
    delayed: Any  # bool
    keep: Any  # of dropout, uint8 [M] or empty
    counts: Any  # uint8 [T, M], filled with the spikes of the neurons that are kept
    end: Any  # [M], filled, or empty
    end_spikes: Any  # [M], filled, or empty


@njit(cache=True)
def _step(count, current, current_at, u, fired, lam, v, delayed, membrane, membrane_at, keep, first, counts, out):
    """A time step: m = λ·u + I (delayed: − v·s of the step before), s = 1[m > v], and u, what the next one starts from.

    The current lies from position `now` on; membrane from `there`, keep from `first`, counts from `out`: each of these may be
    empty. fired holds s under the delayed reset alone.
    """
    zeros, ones = broadcast(u.dtype.type(0)), broadcast(u.dtype.type(1))
    for i in range(0, count, LANES):
        m = lam * load(u, i, zeros) + load(current, current_at + i, zeros)
        if delayed:
            m = m - v * load(fired, i, zeros)
        spikes = where_greater(m, v, ones, zeros)
        if len(membrane):
            store(membrane, membrane_at + i, m)
        if delayed:
            store(fired, i, spikes)
            store(u, i, m)
        else:
            store(u, i, m - v * spikes)
        if len(keep):
            spikes = spikes * load(keep, first + i, zeros)
        if len(counts):
            store(counts, out + i, spikes)


@njit(cache=True)
def _empty_like(count, like):
    """An uninitialised array of numbers like those of another."""
    return scratch(count * like.itemsize // 4).view(like.dtype)


@njit(cache=True)
def _fill(out, values, first):
    """out = values[first : …], or zeros if there are none."""
    if len(values):
        for i in range(len(out)):
            out[i] = values[first + i]
    else:
        for i in range(len(out)):
            out[i] = 0


@njit(cache=True)
def start_state(layer, first, count):
    """u of `count` neurons from `first` on, and if delayed their s, before the first step."""
    u, fired = _empty_like(count, layer.leak), _empty_like(count if layer.delayed else 0, layer.leak)
    _fill(u, layer.start, first)
    _fill(fired, layer.start_spikes, first)
    return u, fired


@njit(cache=True)
def step_neurons(layer, first, count, current, current_at, u, fired, membrane, out):
    """A time step of these neurons: their current lies from `now` on, their membrane and spikes from `out` on."""
    lam, v, keep, counts = layer.leak[0], layer.threshold[0], layer.keep, layer.counts
    _step(count, current, current_at, u, fired, lam, v, layer.delayed, membrane, out, keep, first, counts, out)


@njit(cache=True)
def store_state(layer, first, count, u, fired):
    """Write the state in which these neurons are left, if it is wanted."""
    for i in range(count if len(layer.end) else 0):
        layer.end[first + i] = u[i]
    for i in range(count if len(layer.end_spikes) else 0):
        layer.end_spikes[first + i] = fired[i]


@njit(cache=True)
def _forward(current, membrane, layer, first, count):
    """All steps of `count` neurons."""
    steps, step = layer.counts.shape
    u, fired = start_state(layer, first, count)
    for t in range(steps):
        current_at = min(t, len(current) - 1) * step + first
        step_neurons(layer, first, count, current, current_at, u, fired, membrane, t * step + first)
    store_state(layer, first, count, u, fired)


@njit(parallel=True, cache=True)
def forward(current, membrane, layer):
    """current [T or 1, M]; membrane [T, M], which may be the current, or [0, M]: not kept."""
    count = layer.counts.shape[1]
    for block in prange((count + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        _forward(current, membrane, layer, first, min(BLOCK, count - first))


@njit(cache=True)
def _slopes(code, height, width, inverse, membrane, first, out):
    """out = f(m·inverse − 1), inverse = 1/v, of a surrogate other than the triangle, by its code."""
    one, zero = membrane.dtype.type(1), membrane.dtype.type(0)
    for i in range(len(out)):
        out[i] = membrane[first + i] * inverse - one
    if code == 1:
        for i in range(len(out)):
            out[i] = height * math.exp(-width * abs(out[i]))
    elif code == 2:
        for i in range(len(out)):
            out[i] = height if abs(out[i]) < width / 2 else zero
    elif code == 3:
        for i in range(len(out)):
            a = membrane.dtype.type(math.pi) * width * out[i] / 2
            out[i] = height / (one + a * a)
    else:
        for i in range(len(out)):
            out[i] = one


@njit(cache=True)
def _pooled_positions(pooled, first, out):
    """out[j] = where the gradient of 2×2 means [B, H/2, W/2, C] has that of neurons first + j·LANES …, −1: nowhere.

    pooled: (H, W, C), C a multiple of LANES.
    """
    height, width, channels = pooled
    pixel, c = divmod(first, channels)
    row, x = divmod(pixel, width)
    image, y = divmod(row, height)
    for j in range(len(out)):
        inside = y < height // 2 * 2 and x < width // 2 * 2
        out[j] = ((image * (height // 2) + y // 2) * (width // 2) + x // 2) * channels + c if inside else -1
        c += LANES
        if c == channels:
            c, x = 0, x + 1
        if x == width:
            x, y = 0, y + 1
        if y == height:
            y, image = 0, image + 1


@njit(cache=True)
def _product_sum(a, values, first):
    """Σ a·values[first : …], 0 if there are none."""
    product_sum = 0.0
    for i in range(len(a) if len(values) else 0):
        product_sum += a[i] * values[first + i]
    return product_sum


@njit(cache=True, error_model="numpy")
def _backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes, pooled, grad_end,
    grad_end_spikes, code, height, width, reset_grad, grad_current, grad_start, grad_start_spikes, first, count,
):  # fmt: skip
    """All steps of `count` neurons; returns the sums ∂λ and ∂v."""
    lam, v, one, zero = leak[0], threshold[0], leak.dtype.type(1), leak.dtype.type(0)
    inverse, steepness, quarter, zeros = one / v, one / width, leak.dtype.type(0.25), broadcast(zero)
    steps, step, static = len(grad_spikes), grad_current.shape[1], len(grad_current) == 1
    buffer = _empty_like(3 * count, leak)
    grad_next, by_end, slope = buffer[:count], buffer[count : 2 * count], buffer[2 * count :]
    m, m_step, m_first = membrane, step, first
    if len(membrane) == 0:
        m, m_step, m_first = np.empty((steps, count), leak.dtype), count, 0
        _fill(grad_next, start, first)
        _fill(by_end, start_spikes, first)
        for t in range(steps):  # with two rooms that are needed only afterwards as u and s
            _step(count, current, first, grad_next, by_end, lam, v, delayed, m, t * count, keep[:0], 0, keep[:0], 0)
    _fill(grad_next, grad_end, first)
    _fill(by_end, grad_end_spikes, first)
    pooled_at = np.empty(count // LANES if pooled[0] else 0, np.int64)
    _pooled_positions(pooled, first, pooled_at)
    sum_leak = sum_threshold = 0.0
    for t in range(steps - 1, -1, -1):
        ends = t == steps - 1
        to_leak, to_reset = one if ends else lam, zero if ends else one
        if not delayed:
            to_reset = to_leak
        path, lowered = -v * to_reset if reset_grad else zero, zero if delayed else v
        at, given, out = t * m_step + m_first, t * grad_spikes.shape[1], first if static else t * step + first
        if code != 0:
            _slopes(code, height, width, inverse, m[t], m_first, slope)
        e = q = r = zeros
        for i in range(0, count, LANES):
            current_at, n = load(m, at + i, zeros), load(grad_next, i, zeros)
            if code != 0:
                f = load(slope, i, zeros)
            else:
                z = current_at * inverse - one
                f = one - where_greater(z, zero, z, zero - z) * steepness
                f = height * where_greater(zero, f, zero, f)  # so that what is not a number stays so
            if pooled[0] == 0:
                g = load(grad_spikes, given + first + i, zeros)
            elif pooled_at[i // LANES] < 0:
                g = zeros
            else:
                g = quarter * load(grad_spikes, given + pooled_at[i // LANES], zeros)
            if len(keep):
                g = g * scale * load(keep, first + i, zeros)
            if path != 0:
                g = g + path * n
            if ends and delayed and reset_grad:
                g = g + load(by_end, i, zeros)
            k = f * g
            d = k * inverse + to_leak * n
            store(grad_next, i, d)
            if static and not ends:
                d = d + load(grad_current, out + i, zeros)
            store(grad_current, out + i, d)
            e = e + k * current_at
            q = q + n * (current_at - where_greater(current_at, v, lowered, zeros))
            r = r + where_greater(current_at, v, n, zeros)
        sum_threshold -= sum_lanes(e) / (v * v) + sum_lanes(r) * to_reset
        sum_leak += zero if ends else sum_lanes(q)
    sum_leak += _product_sum(grad_next, start, first)
    if delayed:
        sum_threshold -= _product_sum(grad_next, start_spikes, first)
    for i in range(count if len(grad_start) else 0):
        grad_start[first + i] = lam * grad_next[i]
    for i in range(count if len(grad_start_spikes) else 0):
        grad_start_spikes[first + i] = -v * grad_next[i]
    return sum_leak, sum_threshold


@njit(parallel=True, cache=True)
def backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes, pooled, grad_end,
    grad_end_spikes, code, height, width, reset_grad, grad_current, grad_start, grad_start_spikes,
):  # fmt: skip
    """∂L/∂λ and ∂L/∂v. Shapes as in `forward`; fills grad_current [T or 1, M] and, if they are not empty, grad_start and
    grad_start_spikes [M].

    membrane [T, M], or [0, M]: computed again from the current, which is then the same at all steps; grad_current may take
    its place: a step's membrane is not needed once its gradient is written. grad_spikes [T, M], or that of 2×2 means where
    `pooled` is (H, W, C), C a multiple of LANES, and not (0, 0, 0); it is multiplied by keep · scale where there is a mask.
    """
    count = grad_current.shape[1]
    partial = np.empty(((count + BLOCK - 1) // BLOCK, 2))
    for block in prange(len(partial)):
        first = np.int64(block) * BLOCK
        size = min(BLOCK, count - first)
        partial[block, 0], partial[block, 1] = _backward(
            current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes, pooled,
            grad_end, grad_end_spikes, code, height, width, reset_grad, grad_current, grad_start,
            grad_start_spikes, first, size,
        )  # fmt: skip
    by_leak = by_threshold = 0.0
    for block in range(len(partial)):
        by_leak += partial[block, 0]
        by_threshold += partial[block, 1]
    return by_leak, by_threshold
