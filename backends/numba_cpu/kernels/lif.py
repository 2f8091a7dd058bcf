"""The LIF neuron of backends/lif.py, fused over time: each block of neurons runs all its steps while it is in the cache.

scatter_convolution.py fuses neurons with the convolution before them: there the neurons of an image fire as soon as their
currents are computed. The block size is fixed, and so is the order of every sum: results do not depend on the number of
threads. A time step is one loop over vectors of neurons (simd/lanes.py). Arrays are read at flat positions because Numba
needs time for every slice.

The gradients of leak and threshold follow from three sums over the neurons at each step t, with n = d[t+1]. At the last step, n
is the ∂L/∂u[t] that the next time chunk returned:

    E = Σ ∂L/∂z·m[t]   Q = Σ n·u[t] (delayed: Σ n·m[t])       R = Σ n·s[t]

    ∂L/∂λ =  (sum of Q over all steps except the last) + Σ d[0]·(initial membrane)
    ∂L/∂v = −(sum of E/v² + a·R over all steps)        − Σ d[0]·(initial spikes), which only the delayed reset has

    a:    immediate: λ, but 1 at the last step         delayed: 1, but 0 at the last step

The sums leave out two terms of the last step, because the next time chunk adds them: its initial membrane and spikes are
those of the last step.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.lanes import LANES, broadcast, load, store, sum_lanes, where_greater
from backends.numba_cpu.simd.memory import scratch

BLOCK = 1024  # neurons, a multiple of LANES


class NeuronArrays(NamedTuple):
    """M neurons, a multiple of LANES, over T steps: their start, their parameters, and where results are written."""

    start: Any  # membrane [M]; empty means 0
    start_spikes: Any  # [M]; empty means 0
    leak: Any  # [1]
    threshold: Any  # [1]
    delayed: Any  # bool: the delayed reset instead of the immediate one
    keep: Any  # dropout mask, uint8 [M]; empty: no dropout
    counts: Any  # uint8 [T, M], filled with the spikes after dropout
    end: Any  # membrane [M], filled; empty: not wanted
    end_spikes: Any  # [M], filled; empty: not wanted


class SavedArrays(NamedTuple):
    """The values of the forward pass that the backward pass reads; arrays as in NeuronArrays."""

    current: Any  # [1, M], the same at all steps; read only if `membrane` has no steps
    membrane: Any  # [T, M]; or [0, M], then membranes are recomputed from the current
    start: Any
    start_spikes: Any
    leak: Any
    threshold: Any
    delayed: Any
    keep: Any
    scale: Any  # factor of the spikes after dropout: 1/(1 − rate)


class OutputGradients(NamedTuple):
    """The gradients that the backward pass is given."""

    spikes: Any  # [T, M]; or of the outputs of an average pool that follows, [T, B·H/2·W/2·C]
    end: Any  # of the last membrane, [M]; empty means 0
    end_spikes: Any  # of the last spikes, [M]; empty means 0
    through_reset: Any  # bool: whether gradients go through the reset


class Surrogate(NamedTuple):
    """A surrogate gradient; see backends/surrogates.py."""

    code: Any  # its kind
    height: Any
    width: Any


class InputGradients(NamedTuple):
    """The gradients that the backward pass fills."""

    current: Any  # [T, M]; or [1, M], the sum over steps. May share memory with the saved membrane, which is read first
    start: Any  # [M]; empty: not wanted
    start_spikes: Any  # [M]; empty: not wanted


@compiled
def _step(count, current, current_at, u, fired, lam, v, delayed, membrane, membrane_at, keep, first, counts, out):
    """A time step: m = λ·u + I (delayed: also − v·s of the previous step), s = 1[m > v], and u for the next step.

    Flat positions of these neurons: current_at in current, membrane_at in membrane, `first` in keep, `out` in counts. membrane,
    keep and counts may be empty. fired holds s of the previous step; only the delayed reset uses it.
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


@compiled
def _empty_like(count, like):
    """An uninitialised flat array of this length, of the type of another."""
    return scratch(count * like.itemsize // 4).view(like.dtype)


@compiled
def _fill(out, values, first):
    """out = values[first : …], or zeros if `values` is empty."""
    if len(values):
        for i in range(len(out)):
            out[i] = values[first + i]
    else:
        for i in range(len(out)):
            out[i] = 0


@compiled
def start_state(neurons, first, count):
    """(u, s) before the first step of `count` neurons from `first` on; s is empty for the immediate reset."""
    u, fired = _empty_like(count, neurons.leak), _empty_like(count if neurons.delayed else 0, neurons.leak)
    _fill(u, neurons.start, first)
    _fill(fired, neurons.start_spikes, first)
    return u, fired


@compiled
def step_neurons(neurons, first, count, current, current_at, u, fired, membrane, out):
    """A time step of `count` neurons from `first` on: current_at and `out` are their flat positions in the input and outputs."""
    lam, v, keep, counts = neurons.leak[0], neurons.threshold[0], neurons.keep, neurons.counts
    _step(count, current, current_at, u, fired, lam, v, neurons.delayed, membrane, out, keep, first, counts, out)


@compiled
def store_state(neurons, first, count, u, fired):
    """Write the last state of these neurons, if it is wanted."""
    for i in range(count if len(neurons.end) else 0):
        neurons.end[first + i] = u[i]
    for i in range(count if len(neurons.end_spikes) else 0):
        neurons.end_spikes[first + i] = fired[i]


@compiled
def _forward(current, membrane, neurons, first, count):
    """All steps of `count` neurons from `first` on."""
    steps, step_stride = neurons.counts.shape
    u, fired = start_state(neurons, first, count)
    for t in range(steps):
        current_at = min(t, len(current) - 1) * step_stride + first
        step_neurons(neurons, first, count, current, current_at, u, fired, membrane, t * step_stride + first)
    store_state(neurons, first, count, u, fired)


@compiled(parallel=True)
def forward(current, membrane, neurons):
    """neurons: `NeuronArrays`; current [T or 1, M]; membrane: [T, M], filled (may be the current), or [0, M] if not wanted."""
    count = neurons.counts.shape[1]
    for block in prange((count + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        _forward(current, membrane, neurons, first, min(BLOCK, count - first))


@compiled
def _slopes(surrogate, inverse, membrane, first, out):
    """out = f(m·inverse − 1), inverse = 1/v, of a surrogate other than the triangle."""
    code, height, width = surrogate
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
    else:  # 4, straight_through: `Surrogate.code` refuses kinds that have no branch here
        for i in range(len(out)):
            out[i] = one


@compiled
def _pooled_positions(pooled, first, out):
    """Where each vector of neurons finds its gradient in the gradient [B, H/2, W/2, C] of a 2×2 pool's output.

    out[j]: the flat position for the vector that begins at neuron first + j·LANES; −1 if its neurons are in no window of the
    pool. pooled: (H, W, C), C a multiple of LANES.
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


@compiled
def _product_sum(a, values, first):
    """Σ a·values[first : …]; 0 if `values` is empty."""
    product_sum = 0.0
    for i in range(len(a) if len(values) else 0):
        product_sum += a[i] * values[first + i]
    return product_sum


@compiled(error_model="numpy")
def _backward(saved, given, pooled, surrogate, grad, first, count):
    """All steps of `count` neurons from `first` on; returns their share of ∂L/∂λ and ∂L/∂v."""
    leak, delayed, keep, scale = saved.leak, saved.delayed, saved.keep, saved.scale
    grad_spikes, through_reset, grad_current = given.spikes, given.through_reset, grad.current
    code, height, width = surrogate
    lam, v, one, zero = leak[0], saved.threshold[0], leak.dtype.type(1), leak.dtype.type(0)
    inverse, steepness, quarter, zeros = one / v, one / width, leak.dtype.type(0.25), broadcast(zero)
    steps, step_stride, static = len(grad_spikes), grad_current.shape[1], len(grad_current) == 1
    buffer = _empty_like(3 * count, leak)
    grad_next, grad_end_spikes, slope = buffer[:count], buffer[count : 2 * count], buffer[2 * count :]
    m, m_stride, m_first = saved.membrane, step_stride, first
    if len(saved.membrane) == 0:
        m, m_stride, m_first = np.empty((steps, count), leak.dtype), count, 0
        u, fired = grad_next, grad_end_spikes  # these buffers are not in use yet
        _fill(u, saved.start, first)
        _fill(fired, saved.start_spikes, first)
        for t in range(steps):
            _step(count, saved.current, first, u, fired, lam, v, delayed, m, t * count, keep[:0], 0, keep[:0], 0)
    _fill(grad_next, given.end, first)
    _fill(grad_end_spikes, given.end_spikes, first)
    pooled_at = np.empty(count // LANES if pooled[0] else 0, np.int64)
    _pooled_positions(pooled, first, pooled_at)
    sum_leak = sum_threshold = 0.0
    for t in range(steps - 1, -1, -1):
        is_last = t == steps - 1
        leak_factor, reset_factor = one if is_last else lam, zero if is_last else one
        if not delayed:
            reset_factor = leak_factor
        reset_path, reset_amount = -v * reset_factor if through_reset else zero, zero if delayed else v
        m_at, spikes_at = t * m_stride + m_first, t * grad_spikes.shape[1]
        current_at = first if static else t * step_stride + first
        if code != 0:
            _slopes(surrogate, inverse, m[t], m_first, slope)
        e = q = r = zeros
        for i in range(0, count, LANES):
            now, n = load(m, m_at + i, zeros), load(grad_next, i, zeros)
            if code != 0:
                f = load(slope, i, zeros)
            else:
                z = now * inverse - one
                f = one - where_greater(z, zero, z, zero - z) * steepness
                f = height * where_greater(zero, f, zero, f)  # in this order NaN stays NaN
            if pooled[0] == 0:
                g = load(grad_spikes, spikes_at + first + i, zeros)
            elif pooled_at[i // LANES] < 0:
                g = zeros
            else:
                g = quarter * load(grad_spikes, spikes_at + pooled_at[i // LANES], zeros)
            if len(keep):
                g = g * scale * load(keep, first + i, zeros)
            if reset_path != 0:
                g = g + reset_path * n
            if is_last and delayed and through_reset:
                g = g + load(grad_end_spikes, i, zeros)
            k = f * g
            d = k * inverse + leak_factor * n
            store(grad_next, i, d)
            if static and not is_last:
                d = d + load(grad_current, current_at + i, zeros)
            store(grad_current, current_at + i, d)
            e = e + k * now
            q = q + n * (now - where_greater(now, v, reset_amount, zeros))
            r = r + where_greater(now, v, n, zeros)
        sum_threshold -= sum_lanes(e) / (v * v) + sum_lanes(r) * reset_factor
        sum_leak += zero if is_last else sum_lanes(q)
    sum_leak += _product_sum(grad_next, saved.start, first)
    if delayed:
        sum_threshold -= _product_sum(grad_next, saved.start_spikes, first)
    for i in range(count if len(grad.start) else 0):
        grad.start[first + i] = lam * grad_next[i]
    for i in range(count if len(grad.start_spikes) else 0):
        grad.start_spikes[first + i] = -v * grad_next[i]
    return sum_leak, sum_threshold


@compiled(parallel=True)
def backward(saved, given, pooled, surrogate, grad):
    """Fills `grad` (`InputGradients`) and returns ∂L/∂λ and ∂L/∂v.

    saved: `SavedArrays`, given: `OutputGradients`, surrogate: `Surrogate`. pooled: (H, W, C) of neurons whose spikes go to an
    average pool, C a multiple of LANES; else (0, 0, 0). The spikes' gradient is multiplied by keep · scale if there is a dropout
    mask.
    """
    count = grad.current.shape[1]
    partial = np.empty(((count + BLOCK - 1) // BLOCK, 2))
    for block in prange(len(partial)):
        first = np.int64(block) * BLOCK
        size = min(BLOCK, count - first)
        partial[block, 0], partial[block, 1] = _backward(saved, given, pooled, surrogate, grad, first, size)
    by_leak = by_threshold = 0.0
    for block in range(len(partial)):
        by_leak += partial[block, 0]
        by_threshold += partial[block, 1]
    return by_leak, by_threshold


class AdaptiveConstants(NamedTuple):
    """The constants of the adaptive surrogate; see backends/surrogates.py."""

    decay: Any  # of the running means
    share: Any  # 1 − decay
    sharpness: Any  # a
    spread: Any  # factor on the deviation
    floor: Any


@compiled(error_model="numpy")
def _adapt(membrane, grad, mean, deviation, out, threshold, constants):
    """`adapt` for one block."""
    v, half_pi = threshold[0], out.dtype.type(math.pi / 2)
    one, half = out.dtype.type(1), out.dtype.type(0.5)
    decay, share, sharpness, spread, floor = constants
    for i in range(len(out)):
        x = membrane[i] - v
        m = decay * mean[i] + share * abs(x)
        d = decay * deviation[i] + share * abs(abs(x) - m)
        mean[i], deviation[i] = m, d
        b = sharpness / (m + spread * d + floor)
        phase = half_pi * b * x
        out[i] = grad[i] * (v * b * half / (one + phase * phase))


@compiled(parallel=True)
def adapt(membrane, grad, mean, deviation, out, threshold, constants):
    """out = grad·f(z) under the adaptive surrogate, whose mean and deviation are updated; flat arrays [T·M]."""
    for block in prange((len(out) + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        last = min(first + BLOCK, len(out))
        memory = mean[first:last], deviation[first:last]
        _adapt(membrane[first:last], grad[first:last], memory[0], memory[1], out[first:last], threshold, constants)
