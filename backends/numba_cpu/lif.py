"""The LIF neuron of backends/lif.py, fused over time: each block of neurons runs all its steps while it is in cache.

The block's size is fixed, and so is the order of every sum: results do not depend on the number of threads.
"""

import math

import numpy as np
from numba import njit, prange

BLOCK = 2048


@njit(parallel=True, cache=True)
def forward(current, start, start_spikes, leak, threshold, delayed, mask, membrane, spikes, end, end_spikes):
    """current [T or 1, M]; start, start_spikes, mask [M] or empty; membrane, spikes [T, M]; end, end_spikes [M] (or empty)."""
    steps, count = membrane.shape
    lam, v = leak[0], threshold[0]
    for block in prange((count + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        last = min(first + BLOCK, count)
        u = np.zeros(last - first, membrane.dtype)
        s = np.zeros(last - first, membrane.dtype)
        if len(start):
            u[:] = start[first:last]
        if len(start_spikes):
            s[:] = start_spikes[first:last]
        for t in range(steps):
            now = current[min(t, len(current) - 1), first:last]
            m, out = membrane[t, first:last], spikes[t, first:last]
            for i in range(last - first):
                m_i = lam * u[i] + now[i]
                if delayed:
                    m_i -= v * s[i]
                s_i = membrane.dtype.type(m_i > v)
                u[i] = m_i if delayed else m_i - v * s_i
                m[i], s[i], out[i] = m_i, s_i, s_i
            if len(mask):
                for i in range(last - first):
                    out[i] *= mask[first + i]
        end[first:last] = u
        if delayed:
            end_spikes[first:last] = s


@njit(cache=True)
def _slopes(code, height, width, membrane, v, out):
    """out = f(m/v − 1) of the surrogate with this code (the order of backends.surrogates.KINDS)."""
    one = membrane.dtype.type(1)
    for i in range(len(membrane)):
        z = membrane[i] / v - one
        if code == 0:
            out[i] = height * max(membrane.dtype.type(0), one - abs(z) / width)
        elif code == 1:
            out[i] = height * math.exp(-width * abs(z))
        elif code == 2:
            out[i] = height if abs(z) < width / 2 else membrane.dtype.type(0)
        elif code == 3:
            a = membrane.dtype.type(math.pi) * width * z / 2
            out[i] = height / (one + a * a)
        else:
            out[i] = one


@njit(parallel=True, cache=True)
def backward(
    membrane,
    start,
    start_spikes,
    leak,
    threshold,
    delayed,
    mask,
    grad_spikes,
    grad_end,
    grad_end_spikes,
    code,
    height,
    width,
    reset_grad,
    grad_current,
    grad_start,
    grad_start_spikes,
    partial,
):
    """Shapes as in `forward`; grad_current [T or 1, M], zeros on entry; partial float64 [blocks, 2] (∂λ, ∂v sums)."""
    steps, count = membrane.shape
    lam, v = leak[0], threshold[0]
    zero = membrane.dtype.type(0)
    for block in prange(len(partial)):
        first = np.int64(block) * BLOCK
        last = min(first + BLOCK, count)
        width_here = last - first
        slope = np.empty(width_here, membrane.dtype)
        through_leak = np.zeros(width_here, membrane.dtype)
        through_reset = np.zeros(width_here, membrane.dtype)
        lowered = np.zeros(width_here, membrane.dtype)
        if len(grad_end):
            through_leak[:] = grad_end[first:last]
        if len(grad_end_spikes):
            through_reset[:] = grad_end_spikes[first:last]
        sum_leak = sum_threshold = 0.0
        for t in range(steps - 1, -1, -1):
            m = membrane[t, first:last]
            _slopes(code, height, width, m, v, slope)
            before = membrane[max(t - 1, 0), first:last]
            into = grad_current[min(t, len(grad_current) - 1), first:last]
            for i in range(width_here):
                g = grad_spikes[t, first + i]
                if len(mask):
                    g *= mask[first + i]
                if reset_grad:
                    g += through_reset[i] if delayed else -v * through_leak[i]
                k = slope[i] * g
                d = k / v + through_leak[i]
                into[i] += d
                s = membrane.dtype.type(m[i] > v)
                u = zero
                if t > 0:
                    u = before[i]
                    if not delayed and u > v:
                        u -= v
                elif len(start):
                    u = start[first + i]
                sum_leak += d * u
                sum_threshold -= k * m[i] / (v * v) + (lowered[i] if delayed else through_leak[i]) * s
                through_leak[i], through_reset[i], lowered[i] = lam * d, -v * d, d
        grad_start[first:last] = through_leak
        if delayed:
            grad_start_spikes[first:last] = through_reset
            if len(start_spikes):
                for i in range(width_here):
                    sum_threshold -= lowered[i] * start_spikes[first + i]
        partial[block, 0], partial[block, 1] = sum_leak, sum_threshold
