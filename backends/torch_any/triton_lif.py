"""The LIF neuron on CUDA. One kernel computes all time steps of a block of neurons, and reads and writes each array once.

The equations are those of backends/lif.py, and the arguments are those of lif.py in this folder. Products and sums are not
fused, and the quotients of `_quotient` are correctly rounded, so that spikes equal those of the plain version. For a static
current, the backward pass recomputes the membranes at every step, because arithmetic is faster than memory access here.
"""

import contextlib

import torch
import triton
import triton.language as tl

from backends.arrays import PooledGradient
from backends.torch_any.gradients import whole

BLOCK, SMALL_BLOCK = 1024, 256  # neurons per program; small layers need small blocks to use all multiprocessors
LARGE_LAYER = 1 << 19  # neurons from which BLOCK is used


@triton.jit
def _quotient(x, y):
    """x / y, correctly rounded, which Triton's `/` is not for float32."""
    if x.dtype == tl.float32:
        return tl.div_rn(x, y)
    else:
        return x / y


@triton.jit
def _step(u, fired, now, lam, v, DELAYED: tl.constexpr):
    """One time step: returns m[t], the membrane for the next step, and the spikes."""
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
    current, start, start_spikes, leak, threshold, keep, membrane, counts, end, end_spikes, size,
    STEPS: tl.constexpr, STATIC: tl.constexpr, DELAYED: tl.constexpr, START: tl.constexpr, FIRED: tl.constexpr,
    KEEP: tl.constexpr, WANTED: tl.constexpr, BLOCK: tl.constexpr,
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
    for _ in range(STEPS):
        if not STATIC:
            now = tl.load(current + place, inside, 0.0)
        m, u, fired = _step(u, fired, now, lam, v, DELAYED)
        if not STATIC:
            tl.store(membrane + place, m, inside)
        tl.store(counts + place, fired.to(tl.uint8) & kept, inside)
        place += size
    if WANTED:
        tl.store(end + at, u, inside)
        if DELAYED:
            tl.store(end_spikes + at, fired, inside)


@triton.jit
def _slope(z, KIND: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """The surrogate derivative f(z)."""
    if KIND == 0:
        return HEIGHT * tl.maximum(1.0 - tl.abs(z) / WIDTH, 0.0)
    elif KIND == 1:
        return HEIGHT * tl.exp(-WIDTH * tl.abs(z))
    elif KIND == 2:
        return HEIGHT * (tl.abs(z) < WIDTH / 2).to(z.dtype)
    elif KIND == 3:
        a = 3.141592653589793 * WIDTH / 2 * z
        return HEIGHT / (1.0 + a * a)
    else:  # 4, straight_through: `Surrogate.code` refuses kinds that have no branch here
        return tl.full(z.shape, 1.0, z.dtype)


@triton.jit
def _pooled(at, inside, size, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr):
    """Positions of the gradients of 2×2 pooling windows, for neurons of images [ROWS, COLUMNS, CHANNELS].

    Returns the mask of neurons inside a window, the positions in the pooled gradient, and its size per time step.
    """
    neuron = at.to(tl.int32)
    channel, pixel = neuron % CHANNELS, neuron // CHANNELS
    column, row, image = pixel % COLUMNS, pixel // COLUMNS % ROWS, pixel // COLUMNS // ROWS
    under = inside & (row < ROWS // 2 * 2) & (column < COLUMNS // 2 * 2)
    window = (image * (ROWS // 2) + row // 2) * (COLUMNS // 2) + column // 2
    return under, (window * CHANNELS + channel).to(tl.int64), size // (ROWS * COLUMNS) * ((ROWS // 2) * (COLUMNS // 2))


@triton.jit
def _backward(
    current, membrane, start, start_spikes, leak, threshold, keep, scale, grad_spikes, grad_end, grad_end_spikes,
    grad_current, grad_start, grad_start_spikes, partial, size,
    STEPS: tl.constexpr, STATIC: tl.constexpr, DELAYED: tl.constexpr, START: tl.constexpr, FIRED: tl.constexpr,
    KEEP: tl.constexpr, POOLED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
    END: tl.constexpr, END_SPIKES: tl.constexpr, RESET_GRAD: tl.constexpr,
    WANTED: tl.constexpr, SPIKES_WANTED: tl.constexpr,
    KIND: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    lam, v = tl.load(leak), tl.load(threshold)
    place = at + (tl.zeros_like(at) + size) * (STEPS - 1)  # in 64 bits
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
    under = inside
    of_grad, step_of_grad = place, size
    if POOLED:
        under, of_grad, step_of_grad = _pooled(at, inside, size, ROWS, COLUMNS, CHANNELS)
        of_grad += (tl.zeros_like(at) + step_of_grad) * (STEPS - 1)
    for i in range(STEPS):
        before = m
        if STATIC:  # recompute m[t] and the membrane that leaks into it, from t = 0
            u = first
            spiked = fired
            leaked = first
            for _ in range(STEPS - i):
                leaked = u
                m, u, spiked = _step(u, spiked, now, lam, v, DELAYED)
        else:
            before = tl.load(membrane + place - size, inside & (place >= size), 0.0)
            leaked = before
            if not DELAYED:
                leaked = before - v * (before > v).to(m.dtype)
            leaked = tl.where(place >= size, leaked, first)
        g = tl.load(grad_spikes + of_grad, under, 0.0)
        if POOLED:
            g = g / 4
        g = g * factor
        if RESET_GRAD:
            if DELAYED:
                g = g + through_reset
            else:
                g = g - v * through_leak
        grad_z = _slope(_quotient(m, v) - 1.0, KIND, HEIGHT, WIDTH) * g
        d = _quotient(grad_z, v) + through_leak
        spikes = (m > v).to(m.dtype)
        sum_threshold -= _quotient(grad_z * m, v * v)
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
        of_grad -= step_of_grad
    if DELAYED:
        sum_threshold -= lowered * fired
    if STATIC:
        tl.store(grad_current + at, total, inside)
    if WANTED:
        tl.store(grad_start + at, through_leak, inside)
    if SPIKES_WANTED:
        tl.store(grad_start_spikes + at, through_reset, inside)
    tl.store(partial + 2 * tl.program_id(0), tl.sum(tl.where(inside, sum_leak, 0.0), axis=0))
    tl.store(partial + 2 * tl.program_id(0) + 1, tl.sum(tl.where(inside, sum_threshold, 0.0), axis=0))


def forward(current, start, start_spikes, leak, threshold, delayed, keep, membrane, counts, end, end_spikes):
    """Launch the forward kernel. Arguments as in `lif.forward`."""
    steps, size = counts.shape
    block = _block(size)
    with on_device_of(counts):
        _forward[(triton.cdiv(size, block),)](
            current, *_or(current, start, start_spikes), leak, threshold, *_or(counts, keep), *_or(current, membrane),
            counts, *_or(current, end, end_spikes), size,
            STEPS=steps, STATIC=membrane is None, DELAYED=delayed, START=start is not None,
            FIRED=start_spikes is not None, KEEP=keep is not None, WANTED=end is not None, BLOCK=block, **OPTIONS,
        )  # fmt: skip


def backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes,
    grad_end, grad_end_spikes, surrogate, reset_grad, grad_current, grad_start, grad_start_spikes,
):  # fmt: skip
    """Launch the backward kernel. Arguments as in `lif.backward`."""
    (steps, size), image = (grad_spikes.shape[0], grad_current.shape[1]), (1, 1, 1)
    pooled = isinstance(grad_spikes, PooledGradient)
    if pooled and size < 1 << 31:
        image, grad_spikes = grad_spikes.shape[2:], grad_spikes.grad
    elif pooled:
        pooled, grad_spikes = False, whole(grad_spikes)
    block = _block(size)
    blocks = triton.cdiv(size, block)
    partial = torch.empty((blocks, 2), dtype=leak.dtype, device=leak.device)
    like = grad_current
    with on_device_of(leak):
        _backward[(blocks,)](
            *_or(like, current, membrane, start, start_spikes), leak, threshold, *_or(leak.view(torch.uint8), keep),
            leak.new_full((1,), scale), grad_spikes.contiguous(), *_or(like, grad_end, grad_end_spikes),
            grad_current, *_or(like, grad_start, grad_start_spikes), partial, size,
            STEPS=steps, POOLED=pooled, ROWS=image[0], COLUMNS=image[1], CHANNELS=image[2],
            STATIC=membrane is None, DELAYED=delayed, START=start is not None, FIRED=start_spikes is not None,
            KEEP=keep is not None, END=grad_end is not None, END_SPIKES=grad_end_spikes is not None,
            RESET_GRAD=reset_grad, WANTED=grad_start is not None, SPIKES_WANTED=grad_start_spikes is not None,
            KIND=surrogate.code, HEIGHT=surrogate.height, WIDTH=surrogate.width, BLOCK=block, **OPTIONS,
        )  # fmt: skip
    return partial.sum(dim=0, dtype=torch.float64)


OPTIONS = {"enable_fp_fusion": False}


def _block(size):
    return BLOCK if size >= LARGE_LAYER else SMALL_BLOCK


def on_device_of(tensor):
    """Context manager that makes the tensor's device current, because Triton launches kernels there."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def _or(other, *arrays):
    """Replace missing arrays by `other`, which the kernel does not read. Triton needs a tensor for every argument."""
    return (other if array is None else array for array in arrays)
