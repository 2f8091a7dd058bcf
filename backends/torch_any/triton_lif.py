"""The LIF neuron on CUDA: all time steps of a block of neurons in one kernel, each input read once, each output written once.

The equations are those of backends/lif.py, the arguments those of lif.py beside this file. Products and sums are not
fused and quotients are rounded properly, so that spikes are the plain version's. The membranes of a current that was
the same at all steps are computed again for every step of the backward pass: arithmetic is cheaper than memory here.
"""

import contextlib

import torch
import triton
import triton.language as tl

BLOCK = 1024
KINDS = {"triangle": 0, "exponential": 1, "rectangle": 2, "arctan": 3, "straight_through": 4}


@triton.jit
def _quotient(x, y):
    """x / y, rounded properly (in float32 a mere `/` is not)."""
    if x.dtype == tl.float32:
        return tl.div_rn(x, y)
    else:
        return x / y


@triton.jit
def _step(u, fired, now, lam, v, DELAYED: tl.constexpr):
    """m[t], the membrane that goes on, and the spikes."""
    m = lam * u + now
    if DELAYED:
        m = m - v * fired
    fired = (m > v).to(m.dtype)
    u = m
    if not DELAYED:
        u = m - v * fired
    return m, u, fired


@triton.jit
def _forward(
    current, start, start_spikes, leak, threshold, keep, membrane, counts, end, end_spikes, size, steps,
    STATIC: tl.constexpr, DELAYED: tl.constexpr, START: tl.constexpr, FIRED: tl.constexpr, KEEP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    lam, v = tl.load(leak), tl.load(threshold)
    now = tl.load(current + at, inside, 0.0)
    u = tl.zeros_like(now)
    fired = tl.zeros_like(now)
    kept = tl.full(at.shape, 1, tl.uint8)
    if START:
        u = tl.load(start + at, inside, 0.0)
    if FIRED:
        fired = tl.load(start_spikes + at, inside, 0.0)
    if KEEP:
        kept = tl.load(keep + at, inside, 0)
    place = at
    for _ in range(steps):
        if not STATIC:
            now = tl.load(current + place, inside, 0.0)
        m, u, fired = _step(u, fired, now, lam, v, DELAYED)
        if not STATIC:
            tl.store(membrane + place, m, inside)
        tl.store(counts + place, fired.to(tl.uint8) & kept, inside)
        place += size
    tl.store(end + at, u, inside)
    if DELAYED:
        tl.store(end_spikes + at, fired, inside)


@triton.jit
def _slope(z, KIND: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """f(z)."""
    if KIND == 0:
        return HEIGHT * tl.maximum(1.0 - tl.abs(z) / WIDTH, 0.0)
    elif KIND == 1:
        return HEIGHT * tl.exp(-WIDTH * tl.abs(z))
    elif KIND == 2:
        return HEIGHT * (tl.abs(z) < WIDTH / 2).to(z.dtype)
    elif KIND == 3:
        a = 3.141592653589793 * WIDTH / 2 * z
        return HEIGHT / (1.0 + a * a)
    else:
        return tl.full(z.shape, 1.0, z.dtype)


@triton.jit
def _again(now, u, fired, lam, v, t, DELAYED: tl.constexpr):
    """m[t] and the membrane that leaked into it, from the beginning of time."""
    m = tl.zeros_like(now)
    leaked = u
    for _ in range(t + 1):
        leaked = u
        m, u, fired = _step(u, fired, now, lam, v, DELAYED)
    return m, leaked


@triton.jit
def _backward(
    current, membrane, start, start_spikes, leak, threshold, keep, scale, grad_spikes, grad_end, grad_end_spikes,
    grad_current, grad_start, grad_start_spikes, partial, size, steps,
    STATIC: tl.constexpr, DELAYED: tl.constexpr, START: tl.constexpr, FIRED: tl.constexpr, KEEP: tl.constexpr,
    END: tl.constexpr, END_SPIKES: tl.constexpr, RESET_GRAD: tl.constexpr,
    KIND: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    lam, v = tl.load(leak), tl.load(threshold)
    place = at + (tl.zeros_like(at) + size) * (steps - 1)  # in 64 bits
    if STATIC:
        now = tl.load(current + at, inside, 0.0)
        m = now
    else:
        m = tl.load(membrane + place, inside, 0.0)
        now = m
    first = tl.zeros_like(m)
    fired = tl.zeros_like(m)
    through_leak = tl.zeros_like(m)
    through_reset = tl.zeros_like(m)
    lowered = tl.zeros_like(m)
    total = tl.zeros_like(m)
    sum_leak = tl.zeros_like(m)
    sum_threshold = tl.zeros_like(m)
    factor = tl.full(m.shape, 1.0, m.dtype)
    if START:
        first = tl.load(start + at, inside, 0.0)
    if FIRED:
        fired = tl.load(start_spikes + at, inside, 0.0)
    if END:
        through_leak = tl.load(grad_end + at, inside, 0.0)
    if END_SPIKES:
        through_reset = tl.load(grad_end_spikes + at, inside, 0.0)
    if KEEP:
        factor = tl.load(keep + at, inside, 0).to(m.dtype) * tl.load(scale)
    for i in range(steps):
        t = steps - 1 - i
        before = m
        if STATIC:
            m, leaked = _again(now, first, fired, lam, v, t, DELAYED)
        else:
            before = tl.load(membrane + place - size, inside & (place >= size), 0.0)
            leaked = before
            if not DELAYED:
                leaked = before - v * (before > v).to(m.dtype)
            leaked = tl.where(place >= size, leaked, first)
        g = tl.load(grad_spikes + place, inside, 0.0) * factor
        if RESET_GRAD:
            if DELAYED:
                g = g + through_reset
            else:
                g = g - v * through_leak
        k = _slope(_quotient(m, v) - 1.0, KIND, HEIGHT, WIDTH) * g
        d = _quotient(k, v) + through_leak
        spikes = (m > v).to(m.dtype)
        sum_threshold -= _quotient(k * m, v * v)
        if DELAYED:
            sum_threshold -= lowered * spikes
        else:
            sum_threshold -= through_leak * spikes
        sum_leak += d * leaked
        if STATIC:
            total += d
        else:
            tl.store(grad_current + place, d, inside)
            m = before
        through_leak = lam * d
        through_reset = -v * d
        lowered = d
        place -= size
    if DELAYED:
        sum_threshold -= lowered * fired
        tl.store(grad_start_spikes + at, through_reset, inside)
    if STATIC:
        tl.store(grad_current + at, total, inside)
    tl.store(grad_start + at, through_leak, inside)
    tl.store(partial + 2 * tl.program_id(0), tl.sum(tl.where(inside, sum_leak, 0.0), axis=0))
    tl.store(partial + 2 * tl.program_id(0) + 1, tl.sum(tl.where(inside, sum_threshold, 0.0), axis=0))


def forward(current, start, start_spikes, leak, threshold, delayed, keep, membrane, counts, end, end_spikes):
    """See lif.forward."""
    steps, size = counts.shape
    with on_device_of(counts):
        _forward[(triton.cdiv(size, BLOCK),)](
            current, *_or(current, start, start_spikes), leak, threshold, *_or(counts, keep), *_or(current, membrane),
            counts, end, end_spikes, size, steps,
            STATIC=membrane is None, DELAYED=delayed, START=start is not None, FIRED=start_spikes is not None,
            KEEP=keep is not None, BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip


def backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes,
    grad_end, grad_end_spikes, surrogate, reset_grad, grad_current, grad_start, grad_start_spikes,
):  # fmt: skip
    """See lif.backward."""
    steps, size = grad_spikes.shape
    blocks = triton.cdiv(size, BLOCK)
    partial = torch.empty((blocks, 2), dtype=leak.dtype, device=leak.device)
    like = grad_current
    with on_device_of(leak):
        _backward[(blocks,)](
            *_or(like, current, membrane, start, start_spikes), leak, threshold, *_or(leak.view(torch.uint8), keep),
            leak.new_full((1,), scale), grad_spikes.contiguous(), *_or(like, grad_end, grad_end_spikes),
            grad_current, grad_start, grad_start_spikes, partial, size, steps,
            STATIC=membrane is None, DELAYED=delayed, START=start is not None, FIRED=start_spikes is not None,
            KEEP=keep is not None, END=grad_end is not None, END_SPIKES=grad_end_spikes is not None,
            RESET_GRAD=reset_grad, KIND=KINDS[surrogate.kind], HEIGHT=surrogate.height, WIDTH=surrogate.width,
            BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
    return partial.sum(dim=0, dtype=torch.float64)


OPTIONS = {"enable_fp_fusion": False}


def on_device_of(tensor):
    """Triton launches on the current device, whichever that is: make it the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def _or(other, *arrays):
    """The arrays, with another in the place of those that are missing and will not be read."""
    return (other if array is None else array for array in arrays)
