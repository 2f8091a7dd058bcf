"""The LIF neuron of backends/lif.py on torch tensors, one time step after the other. On CUDA triton_lif.py takes its place.

All arrays are flat: [T, M] or [M]. What stays from the forward pass is the membrane alone; of a current that was the same
at all steps it is computed again. A CPU goes through all steps of some neurons while their arrays are in its cache.
"""

import math

import torch

CHUNK = 1 << 16  # neurons at a time on a CPU


def _chunks(count, device):
    size = CHUNK if device.type == "cpu" else max(count, 1)
    return [slice(a, min(a + size, count)) for a in range(0, count, size)]


def _part(array, part):
    return None if array is None else array[..., part]


def forward(current, start, start_spikes, leak, threshold, delayed, keep, membrane, counts, end, end_spikes):
    """Fill membrane [T, M] (None: not kept), counts uint8 [T, M], end [M] and, if delayed, end_spikes [M].

    current [T or 1, M]; start, start_spikes [M] or None for zeros; leak, threshold [1]; keep uint8 [M] or None.
    """
    for part in _chunks(counts.shape[1], counts.device):
        inputs = [_part(a, part) for a in (current, start, start_spikes)]
        m = current.new_empty((len(counts), inputs[0].shape[1])) if membrane is None else membrane[:, part]
        end[part], fired = _integrate(*inputs, leak, threshold, delayed, m)
        if delayed:
            end_spikes[part] = fired
        torch.gt(m, threshold, out=counts[:, part].view(torch.bool))
        if keep is not None:
            counts[:, part] &= keep[part]


def _integrate(current, start, start_spikes, leak, threshold, delayed, m):
    """Fill m [T, M]; returns the membrane that is handed on, and the spikes of the last step, [M] each."""
    u, fired = start, start_spikes
    for t in range(len(m)):
        now = current[min(t, len(current) - 1)]
        if u is None:
            m[t] = now
        else:
            torch.mul(u, leak, out=m[t]).add_(now)
        if delayed and fired is not None:
            m[t] -= fired * threshold
        fired = (m[t] > threshold).to(m.dtype)
        u = m[t] if delayed else m[t] - fired * threshold
    return u, fired


def backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes,
    grad_end, grad_end_spikes, surrogate, reset_grad, grad_current, grad_start, grad_start_spikes,
):  # fmt: skip
    """Fill ∂L/∂I [T or 1, M], ∂L/∂u[−1] [M] and, if delayed, ∂L/∂s[−1] [M]; returns ∂L/∂λ and ∂L/∂v, float64 sums [].

    current [1, M] and membrane None, or membrane [T, M] alone; grad_spikes [T, M], times keep · scale where there is a mask.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=leak.device)
    for part in _chunks(grad_spikes.shape[1], leak.device):
        here = [_part(a, part) for a in (start, start_spikes)]
        m = _part(membrane, part)
        if m is None:
            m = torch.empty_like(grad_spikes[:, part])
            _integrate(current[:, part], *here, leak, threshold, delayed, m)
        g = grad_spikes[:, part]
        if keep is not None:
            g = g * keep[part].to(g.dtype).mul_(scale)
        d = slopes(surrogate, m, threshold)
        ends = [_part(a, part) for a in (grad_end, grad_end_spikes)]
        first, fired = _integrate_back(m, *here, leak, threshold, delayed, g, *ends, reset_grad, d, sums)
        if len(grad_current) == 1:
            torch.sum(d, dim=0, out=grad_current[0, part])
        else:
            grad_current[:, part] = d
        grad_start[part] = first
        if delayed:
            grad_start_spikes[part] = fired
    return sums


def slopes(surrogate, m, threshold):
    """f(m/v − 1): a new tensor like m."""
    kind, height, width = surrogate
    z = torch.div(m, threshold).sub_(1)
    if kind == "triangle":
        return z.abs_().div_(-width).add_(1).clamp_(min=0).mul_(height)
    if kind == "exponential":
        return z.abs_().mul_(-width).exp_().mul_(height)
    if kind == "rectangle":
        return (z.abs_() < width / 2).to(m.dtype).mul_(height)
    if kind == "arctan":
        return z.mul_(math.pi * width / 2).square_().add_(1).reciprocal_().mul_(height)
    return torch.ones_like(m)


def _integrate_back(
    m, start, start_spikes, leak, threshold, delayed, grad, through_leak, through_reset, reset_grad, d, sums
):
    """d [T, M]: f before, ∂L/∂I after. Adds ∂L/∂λ and ∂L/∂v to sums; returns ∂L/∂u[−1] and ∂L/∂s[−1] (delayed), [M] each."""
    nothing = torch.zeros_like(m[0])
    through_leak = nothing if through_leak is None else through_leak
    through_reset, lowered = nothing if through_reset is None else through_reset, nothing
    for t in reversed(range(len(m))):
        g = grad[t]
        if reset_grad:
            g = g + through_reset if delayed else g - threshold * through_leak
        k = d[t].mul_(g)
        sums[1] -= _total(k * m[t]) / threshold[0] ** 2
        sums[1] -= _total((lowered if delayed else through_leak) * (m[t] > threshold))
        k.div_(threshold).add_(through_leak)
        leaked = before(m, t, start, threshold, delayed)
        if leaked is not None:
            sums[0] += _total(d[t] * leaked)
        through_leak = d[t] * leak
        if delayed:
            through_reset, lowered = d[t] * -threshold, d[t]
    if delayed and start_spikes is not None:
        sums[1] -= _total(lowered * start_spikes)
    return through_leak, through_reset


def _total(values):
    return values.sum(dtype=torch.float64)


def before(m, t, start, threshold, delayed):
    """u[t−1] (delayed: m[t−1]), or None for zeros; m [T, M]."""
    if t == 0:
        return start
    return m[t - 1] if delayed else m[t - 1] - threshold * (m[t - 1] > threshold)
