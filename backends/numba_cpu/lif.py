"""The LIF neuron of backends/lif.py, fused over time: each block of neurons runs all its steps while it is in cache.

The block's size is fixed, and so is the order of every sum: results do not depend on the number of threads. Loops are
short and touch few arrays each: so the compiler sees that the arrays do not overlap, and vectorises.
"""

import math

import numpy as np
from numba import njit, prange

from backends.numba_cpu.slabs import copy, copy_lanes

BLOCK = 1024
LANES = 16  # channels that are copied at once


@njit(cache=True)
def _charge(u, fired, lam, v, delayed, m):
    """m = λ·u + I (delayed: − v·s of the step before), where m holds I."""
    for i in range(len(m)):
        m[i] = lam * u[i] + m[i]
    if delayed:
        for i in range(len(m)):
            m[i] -= v * fired[i]


@njit(cache=True)
def _fire(m, v, delayed, fired, u):
    """s = 1[m > v] and the membrane that the next step starts from."""
    for i in range(len(m)):
        fired[i] = m[i] > v
    if delayed:
        copy(m, u)
    else:
        for i in range(len(m)):
            u[i] = m[i] - v * fired[i]


@njit(cache=True)
def _forward(
    current, start, start_spikes, lam, v, delayed, keep, in_place, membrane, counts, end, end_spikes, first, last
):  # fmt: skip
    """All steps of neurons first … last − 1."""
    steps = len(counts)
    u, fired = np.zeros(last - first, current.dtype), np.zeros(last - first, current.dtype)
    m = np.empty(last - first, current.dtype)
    if len(start):
        copy(start[first:last], u)
    if len(start_spikes):
        copy(start_spikes[first:last], fired)
    for t in range(steps):
        if len(membrane):
            m = membrane[t, first:last]
        if not in_place:
            copy(current[min(t, len(current) - 1), first:last], m)
        _charge(u, fired, lam, v, delayed, m)
        _fire(m, v, delayed, fired, u)
        out = counts[t, first:last]
        for i in range(last - first):
            out[i] = np.uint8(fired[i])
        if len(keep):
            kept = keep[first:last]
            for i in range(last - first):
                out[i] &= kept[i]
    copy(u, end[first:last])
    if delayed:
        copy(fired, end_spikes[first:last])


@njit(parallel=True, cache=True)
def forward(current, start, start_spikes, leak, threshold, delayed, keep, in_place, membrane, counts, end, end_spikes):
    """current [T or 1, M]; start, start_spikes [M], keep uint8 [M]: may be empty; membrane [T, M], or [0, M]: not kept;
    in_place: it is the current.

    counts uint8 [T, M]: the spikes of the neurons that are kept; end [M], end_spikes [M] (or empty).
    """
    count = counts.shape[1]
    for block in prange((count + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        last = min(first + BLOCK, count)
        _forward(
            current,
            start,
            start_spikes,
            leak[0],
            threshold[0],
            delayed,
            keep,
            in_place,
            membrane,
            counts,
            end,
            end_spikes,
            first,
            last,
        )


@njit(cache=True)
def _slopes(code, height, width, membrane, inverse, out):
    """out = f(m·inverse − 1), inverse = 1/v, of the surrogate with this code (the order of backends.surrogates.KINDS).

    A division costs as much as ten multiplications.
    """
    one, zero = membrane.dtype.type(1), membrane.dtype.type(0)
    if code == 0:
        steepness = one / width
        for i in range(len(out)):
            out[i] = height * max(zero, one - abs(membrane[i] * inverse - one) * steepness)
        return
    for i in range(len(membrane)):
        out[i] = membrane[i] * inverse - one
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
        out[:] = one


# Sums are loops that write nothing: the compiler orders a sum otherwise where it must fear that arrays lie close together.


@njit(cache=True, fastmath={"reassoc", "contract"})
def _threshold_sums(k, m, v, lowered):
    """Σ k·m and Σ lowered where m is above v."""
    direct = through_reset = zero = k.dtype.type(0)
    for i in range(len(k)):
        direct += k[i] * m[i]
        through_reset += lowered[i] if m[i] > v else zero
    return direct, through_reset


@njit(cache=True, fastmath={"reassoc", "contract"})
def _leak_sum(d, m, v):
    """Σ d·u, u the membranes m after a reset by v."""
    total = zero = d.dtype.type(0)
    for i in range(len(d)):
        total += d[i] * (m[i] - (zero if m[i] <= v else v))
    return total


@njit(cache=True)
def _load_gradient(grad, pooled, first, out):
    """out = the gradient of neurons first …; pooled (H, W, C): grad [B·H/2·W/2·C] is that of their 2×2 means, else (0, 0, 0)."""
    height, width, channels = pooled
    if height == 0:
        copy(grad[first:], out)
        return
    done, (pixel, c) = 0, divmod(first, channels)
    row, x = divmod(pixel, width)
    image, y = divmod(row, height)
    while done < len(out):  # a run of channels at a time; divisions only once, they cost as much as a run
        run = min(channels - c, len(out) - done)
        if y < height // 2 * 2 and x < width // 2 * 2:
            at = ((image * (height // 2) + y // 2) * (width // 2) + x // 2) * channels + c
            i = 0
            while i + LANES <= run:
                copy_lanes(LANES, out, done + i, grad, at + i)
                i += LANES
            while i < run:
                out[done + i] = grad[at + i]
                i += 1
        else:
            out[done : done + run] = 0
        done, c, x = done + run, 0, x + 1
        if x == width:
            x, y = 0, y + 1
        if y == height:
            y, image = 0, image + 1
    for i in range(len(out)):
        out[i] *= grad.dtype.type(0.25)


@njit(cache=True, error_model="numpy")
def _backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes, pooled, grad_end,
    grad_end_spikes, code, height, width, reset_grad, grad_current, grad_start, grad_start_spikes, first, last,
):  # fmt: skip
    """All steps of neurons first … last − 1; returns the sums ∂λ and ∂v."""
    steps = len(grad_spikes)
    lam, v = leak[0], threshold[0]
    zero, inverse, size = leak.dtype.type(0), leak.dtype.type(1) / v, last - first
    g, slope = np.empty(size, leak.dtype), np.empty(size, leak.dtype)
    through_leak, through_reset = np.zeros(size, leak.dtype), np.zeros(size, leak.dtype)
    lowered, before = np.zeros(size, leak.dtype), np.zeros(size, leak.dtype)
    again = np.empty((steps if len(membrane) == 0 else 0, size), leak.dtype)
    if len(start):
        copy(start[first:last], before)
    if len(again):
        u, fired = before.copy(), np.zeros(size, leak.dtype)
        if len(start_spikes):
            copy(start_spikes[first:last], fired)
        for t in range(steps):
            copy(current[0, first:last], again[t])
            _charge(u, fired, lam, v, delayed, again[t])
            _fire(again[t], v, delayed, fired, u)
    if len(grad_end):
        copy(grad_end[first:last], through_leak)
    if len(grad_end_spikes):
        copy(grad_end_spikes[first:last], through_reset)
    static = len(grad_current) == 1
    if static:
        grad_current[0, first:last] = 0
    sum_leak = sum_threshold = 0.0
    for t in range(steps - 1, -1, -1):
        m = again[t] if len(again) else membrane[t, first:last]
        _load_gradient(grad_spikes[t], pooled, first, g)
        if len(keep):
            kept = keep[first:last]
            for i in range(size):
                g[i] = g[i] * scale if kept[i] else zero
        if reset_grad:
            if delayed:
                for i in range(size):
                    g[i] += through_reset[i]
            else:
                for i in range(size):
                    g[i] -= v * through_leak[i]
        _slopes(code, height, width, m, inverse, slope)
        for i in range(size):
            slope[i] *= g[i]  # k
        direct, reset = _threshold_sums(slope, m, v, lowered if delayed else through_leak)
        sum_threshold -= direct / (v * v) + reset
        d = g if static else grad_current[t, first:last]
        for i in range(size):
            d[i] = slope[i] * inverse + through_leak[i]
        if static:
            into = grad_current[0, first:last]
            for i in range(size):
                into[i] += d[i]
        if t > 0:
            m_before = again[t - 1] if len(again) else membrane[t - 1, first:last]
            sum_leak += _leak_sum(d, m_before, zero if delayed else v)
        else:
            sum_leak += _leak_sum(d, before, zero)
        for i in range(size):
            through_leak[i] = lam * d[i]
        if delayed:
            for i in range(size):
                through_reset[i] = -v * d[i]
            copy(d, lowered)
    copy(through_leak, grad_start[first:last])
    if delayed:
        copy(through_reset, grad_start_spikes[first:last])
        if len(start_spikes):
            for i in range(size):
                sum_threshold -= lowered[i] * start_spikes[first + i]
    return sum_leak, sum_threshold


@njit(parallel=True, cache=True)
def backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes, pooled, grad_end,
    grad_end_spikes, code, height, width, reset_grad, grad_current, grad_start, grad_start_spikes, partial,
):  # fmt: skip
    """Shapes as in `forward`; grad_current [T or 1, M]; partial float64 [blocks, 2] (∂λ, ∂v sums).

    membrane [T, M], or [0, M]: computed again from the current, which is then the same at all steps; grad_current may take
    its place: a step's membrane is not needed once its gradient is written. grad_spikes [T, ·]
    with `pooled` as in `_load_gradient`; it is multiplied by keep · scale where there is a mask.
    """
    count = grad_current.shape[1]
    for block in prange(len(partial)):
        first = np.int64(block) * BLOCK
        last = min(first + BLOCK, count)
        partial[block, 0], partial[block, 1] = _backward(
            current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes, pooled,
            grad_end, grad_end_spikes, code, height, width, reset_grad, grad_current, grad_start,
            grad_start_spikes, first, last,
        )  # fmt: skip
