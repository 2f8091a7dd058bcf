"""The LIF neuron of backends/lif.py on torch tensors. A Python loop runs over the time steps.

On CUDA, triton_lif.py is used instead if Triton is installed.

All arrays are flat: [T, M] or [M]. The forward pass stores only the membrane for the backward pass. For a static current, the
backward pass recomputes it. A CPU computes all steps of a part of the neurons, whose arrays fit in its cache, and then the
next part.

The gradients of leak and threshold follow from three sums over time. Let n = d[t+1], and e = d[t] − λ·n, which is the gradient
of m[t] through its own spike: E = Σ e·m[t], Q = Σ n·m[t], R = Σ n·s[t]. At the last step, ∂L/∂u[t] from the next chunk of
time replaces λ·n. Its term of Q belongs to the next chunk, and its term of R is `end` below.

    immediate   ∂L/∂λ += Q − v·R        ∂L/∂v −= E/v + λ·R
    delayed     ∂L/∂λ += Q              ∂L/∂v −= E/v + R
"""

import functools
import math
import threading
from typing import NamedTuple

import torch

from backends.errors import BackendError
from backends.torch_any import gradients

CHUNK = 1 << 18  # neurons per part on a CPU; with smaller parts, threads mostly wait for each other
SCRATCH = 3 * CHUNK  # numbers of scratch memory per part; neurons that need more scratch come in smaller parts
MAX_SCRATCH = 1 << 22  # numbers of scratch memory that a thread keeps for its next call
# .scratch: scratch memory of this thread. Allocating it in every call would fragment the memory.
thread_local = threading.local()


def _chunks(count, device, rows, whole=1):
    """Split `count` neurons into slices whose sizes are multiples of `whole`. rows: numbers of scratch memory per neuron."""
    size = max(min(CHUNK, SCRATCH // rows) // max(whole, 1), 1) * whole if device.type == "cpu" else max(count, 1)
    return [slice(a, min(a + size, count)) for a in range(0, count, size)]


def _scratch(like, rows, parts):
    """Scratch memory [rows, n] for the largest part. On a CPU, a thread reuses that of its last call."""
    shape = rows, parts[0].stop - parts[0].start if parts else 0
    size = math.prod(shape)
    if like.device.type != "cpu" or size > MAX_SCRATCH:
        return like.new_empty(shape)
    found = getattr(thread_local, "scratch", None)
    if found is None or found.dtype != like.dtype or len(found) < size:
        thread_local.scratch = None  # free the old memory first
        with torch.inference_mode(False):  # tensors created in inference mode cannot be used outside it
            thread_local.scratch = found = torch.empty(size, dtype=like.dtype, device=like.device)
    return found.detach()[:size].view(shape)


def _part(array, part):
    return None if array is None else array[..., part]


def forward(current, start, start_spikes, leak, threshold, delayed, keep, membrane, counts, end, end_spikes):
    """Forward pass. Fills counts uint8 [T, M], membrane [T, M], end [M], and end_spikes [M] for the delayed reset.

    Outputs that are None are not stored. membrane may share memory with current. current: [T or 1, M]. start, start_spikes:
    [M], or None for zeros. leak, threshold: [1]. keep: dropout mask uint8 [M] or None.
    """
    lam, v = leak.item(), threshold.item()
    rows = 3 + len(counts) * (membrane is None)
    parts = _chunks(counts.shape[1], counts.device, rows)
    scratch = _scratch(leak, rows, parts)
    for part in parts:
        inputs = [_part(a, part) for a in (current, start, start_spikes)]
        here = slice(0, part.stop - part.start)
        m = scratch[3:, here] if membrane is None else membrane[:, part]
        spikes = counts[:, part].view(torch.bool)
        last = _integrate(*inputs, lam, v, delayed, m, scratch[:3, here], spikes)
        for whole, found in zip((end, end_spikes), last, strict=True):
            if whole is not None:
                whole[part] = found
        if keep is not None:
            counts[:, part] &= keep[part]


def _integrate(current, start, start_spikes, lam, v, delayed, m, room, spikes=None):
    """Fill m [T, M], which may share memory with current. Returns the last membrane and the last spikes, [M] each.

    room: scratch memory [3, M]. spikes: output bool [T, M] or None.
    """
    fired, after, leaked = room
    for t in range(len(m)):
        now, before = current[min(t, len(current) - 1)], start if t == 0 else after
        if before is None:
            m[t] = now
        else:
            torch.add(torch.mul(before, lam, out=leaked), now, out=m[t])
        lowered = start_spikes if t == 0 else fired
        if delayed and lowered is not None:
            m[t].sub_(lowered, alpha=v)
        torch.gt(m[t], v, out=fired)
        if spikes is not None:
            spikes[t] = fired  # a comparison that writes bytes is six times slower on a CPU
        after = m[t] if delayed else torch.sub(m[t], fired, alpha=v, out=after)
    return after, fired


def backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes,
    grad_end, grad_end_spikes, surrogate, reset_grad, grad_current, grad_start, grad_start_spikes,
):  # fmt: skip
    """Backward pass. Fills grad_current [T or 1, M], grad_start [M], and grad_start_spikes [M] for the delayed reset.

    Outputs that are None are not computed. A static current [1, M] is given with membrane None; otherwise the membrane [T, M]
    is given, and grad_current may share its memory. grad_spikes: [T, M], or a PooledGradient, which is expanded step by step.
    keep, scale: dropout mask. Returns (∂L/∂λ, ∂L/∂v) as float64 [2].
    """
    image = 1 if isinstance(grad_spikes, torch.Tensor) else math.prod(grad_spikes.shape[2:])
    count, steps = grad_current.shape[1], grad_spikes.shape[0]
    lam, v, static = leak.item(), threshold.item(), len(grad_current) == 1
    sums = Sums([], [], [], [])
    rows = 3 + steps * (membrane is None)
    parts = _chunks(count, leak.device, rows, image)
    scratch = _scratch(leak, rows, parts)
    for part in parts:
        first, fired = (_part(a, part) for a in (start, start_spikes))
        here = slice(0, part.stop - part.start)
        m = _part(membrane, part)
        if m is None:
            m = scratch[3:, here]
            _integrate(current[:, part], first, fired, lam, v, delayed, m, scratch[:3, here])
        mask = None if keep is None else keep[part].to(m.dtype).mul_(scale)
        arriving = functools.partial(_arriving, grad_spikes, part, image, mask, scratch[0, here])
        d = m if static else grad_current[:, part]
        ends = (_part(a, part) for a in (grad_end, grad_end_spikes))
        last = _integrate_back(m, lam, v, delayed, arriving, *ends, surrogate, reset_grad, d, scratch[1:3, here], sums)
        if static:
            torch.sum(d, dim=0, out=grad_current[0, part])
        if grad_start is not None:
            torch.mul(last, lam, out=grad_start[part])
        if first is not None:
            sums.q.append(torch.dot(last, first))
        if grad_start_spikes is not None:
            torch.mul(last, -v, out=grad_start_spikes[part])
        if delayed and fired is not None:
            sums.r.append(torch.dot(last, fired))
    return sums.gradients(lam, v, delayed, leak)


class Sums(NamedTuple):
    """Terms of E, Q and R above, and of `end`, the gradient of the last spikes through their reset. Lists of tensors []."""

    e: list
    q: list
    r: list
    end: list

    def gradients(self, lam, v, delayed, like):
        """Return (∂L/∂λ, ∂L/∂v) as a tensor [2]."""
        zero = torch.zeros_like(like, dtype=torch.float64)[0]
        e, q, r, end = (torch.stack(parts).sum(dtype=torch.float64) if parts else zero for parts in self)
        return torch.stack((q, -e / v - r) if delayed else (q - v * r, -e / v - lam * r - end))


def _arriving(grad, part, image, mask, room, t):
    """∂L/∂spikes [n] of a part at step t, times the mask [n]. grad: [T, M] or a PooledGradient."""
    if isinstance(grad, torch.Tensor):
        found = grad[t, part]
    else:
        found = gradients.part(grad, t, slice(part.start // image, part.stop // image), room)
    return found if mask is None else torch.mul(found, mask, out=room)


def _slopes(surrogate, m, v, out):
    """Compute f(m/v − 1) / v into `out`."""
    kind, height, width = surrogate
    z = torch.sub(m, v, out=out)
    if kind == "triangle":
        return z.abs_().mul_(-height / (v * v * width)).add_(height / v).clamp_(min=0)
    if kind == "exponential":
        return z.abs_().mul_(-width / v).exp_().mul_(height / v)
    if kind == "rectangle":
        return z.copy_(z.abs_() < v * width / 2).mul_(height / v)
    if kind == "arctan":
        return z.mul_(math.pi * width / (2 * v)).square_().add_(1).reciprocal_().mul_(height / v)
    if kind == "straight_through":
        return z.fill_(1 / v)
    raise BackendError(
        f"the Torch backend does not compute the surrogate {kind!r}: use the reference backend, or add a branch to _slopes"
    )


def _integrate_back(m, lam, v, delayed, arriving, grad_end, grad_end_spikes, surrogate, reset_grad, d, room, sums):
    """Fill d = ∂L/∂I [T, M], which may share memory with m, and append terms to `sums`. Returns d[0].

    arriving(t): ∂L/∂spikes [M] at step t. room: scratch memory [2, M].
    """
    e, fired = room
    for t in reversed(range(len(m))):
        last = t == len(m) - 1
        later, through = (None, grad_end) if last else (d[t + 1], None)
        g = arriving(t)
        if reset_grad:
            g = _with_reset(g, later, through, grad_end_spikes if last else None, lam, v, delayed)
        _slopes(surrogate, m[t], v, e).mul_(g)
        sums.e.append(torch.dot(e, m[t]))
        if later is not None:
            sums.q.append(torch.dot(later, m[t]))
            sums.r.append(torch.dot(later, torch.gt(m[t], v, out=fired)))
            torch.add(e, later, alpha=lam, out=d[t])  # written last, because d[t] may share memory with m[t]
        elif through is not None:
            if not delayed:
                sums.end.append(torch.dot(through, torch.gt(m[t], v, out=fired)))
            torch.add(e, through, out=d[t])
        else:
            d[t] = e
    return d[0]


def _with_reset(g, later, through, through_spikes, lam, v, delayed):
    """Add to g the gradient of the spike through its reset: −v·λ·d[t+1], or −v·d[t+1] for the delayed reset.

    later: d[t+1], or None at the last step. There, `through` and `through_spikes` are the gradients from the next chunk, or
    None for zeros.
    """
    if delayed:
        path = through_spikes if later is None else later * -v
    elif later is not None:
        path = later * (-v * lam)
    else:
        path = None if through is None else through * -v
    return g if path is None else g + path


def before(m, t, start, threshold, delayed):
    """The membrane that leaks into step t: u[t−1], or m[t−1] for the delayed reset; None for zeros. m: [T, M]."""
    if t == 0:
        return start
    return m[t - 1] if delayed else m[t - 1] - threshold * (m[t - 1] > threshold)
