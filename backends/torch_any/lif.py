"""The LIF neuron of backends/lif.py on torch tensors, one time step after the other.

On CUDA triton_lif.py takes its place, where there is Triton.

All arrays are flat: [T, M] or [M]. What stays from the forward pass is the membrane alone; of a current that was the same
at all steps it is computed again. A CPU goes through all steps of some neurons while their arrays are in its cache.

What the leak and the threshold need follows from three sums per step, with n = d[t+1] (k/v being d[t] − λ·n):
P = Σ d[t]·m[t], Q = Σ n·m[t], R = Σ n·s[t].

    immediate   ∂L/∂λ += Q − v·R        ∂L/∂v −= (P − λ·Q)/v + λ·R
    delayed     ∂L/∂λ += Q              ∂L/∂v −= (P − λ·Q)/v + R
"""

import math

import torch

from backends.arrays import PooledGradient

CHUNK = 1 << 19  # neurons at a time on a CPU: fewer, and the threads wait for each other more than they compute


def _chunks(count, device, whole=1):
    """Slices of neurons, a multiple of `whole` each."""
    size = max(CHUNK // whole, 1) * whole if device.type == "cpu" else max(count, 1)
    return [slice(a, min(a + size, count)) for a in range(0, count, size)]


def _part(array, part):
    return None if array is None else array[..., part]


def forward(current, start, start_spikes, leak, threshold, delayed, keep, membrane, counts, end, end_spikes):
    """Fill membrane [T, M] (None: not kept; it may be the current), counts uint8 [T, M], end and, if delayed, end_spikes [M].

    current [T or 1, M]; start, start_spikes [M] or None for zeros; leak, threshold [1]; keep uint8 [M] or None.
    """
    lam, v = leak.item(), threshold.item()
    for part in _chunks(counts.shape[1], counts.device):
        inputs = [_part(a, part) for a in (current, start, start_spikes)]
        m = current.new_empty((len(counts), inputs[0].shape[1])) if membrane is None else membrane[:, part]
        end[part], fired = _integrate(*inputs, lam, v, delayed, m)
        if delayed:
            end_spikes[part] = fired
        torch.gt(m, v, out=counts[:, part].view(torch.bool))
        if keep is not None:
            counts[:, part] &= keep[part]


def _integrate(current, start, start_spikes, lam, v, delayed, m):
    """Fill m [T, M], or the current's own memory; returns the last membrane and the spikes of the last step, [M] each."""
    fired, after, leaked = (torch.empty_like(m[0]) for _ in range(3))
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
        after = m[t] if delayed else torch.sub(m[t], fired, alpha=v, out=after)
    return after, fired


def backward(
    current, membrane, start, start_spikes, leak, threshold, delayed, keep, scale, grad_spikes,
    grad_end, grad_end_spikes, surrogate, reset_grad, grad_current, grad_start, grad_start_spikes,
):  # fmt: skip
    """Fill ∂L/∂I [T or 1, M], ∂L/∂u[−1] [M] and, if delayed, ∂L/∂s[−1] [M]; returns ∂L/∂λ and ∂L/∂v, float64 [2].

    current [1, M] and membrane None, or membrane [T, M] alone, whose place ∂L/∂I may take; grad_spikes [T, M], or
    PooledGradient, which is spread while it is in the cache; times keep · scale where there is a mask.
    """
    pooled = isinstance(grad_spikes, PooledGradient)
    image = math.prod(grad_spikes.shape[2:]) if pooled else 1
    count, steps = grad_start.shape[0], grad_spikes.shape[0]
    lam, v, static = leak.item(), threshold.item(), len(grad_current) == 1
    sums = torch.zeros(2, dtype=torch.float64, device=leak.device)
    for part in _chunks(count, leak.device, image):
        grad = spread(grad_spikes, part.start // image, part.stop // image) if pooled else grad_spikes[:, part]
        first, fired = (_part(a, part) for a in (start, start_spikes))
        m = _part(membrane, part)
        if m is None:
            m = current.new_empty((steps, grad.shape[1]))
            _integrate(current[:, part], first, fired, lam, v, delayed, m)
        mask = None if keep is None else keep[part].to(m.dtype).mul_(scale)
        d = m if static else grad_current[:, part]
        ends = (_part(a, part) for a in (grad_end, grad_end_spikes))
        last = _integrate_back(m, lam, v, delayed, mask, grad, *ends, surrogate, reset_grad, d, sums)
        if static:
            torch.sum(d, dim=0, out=grad_current[0, part])
        torch.mul(last, lam, out=grad_start[part])
        if first is not None:
            sums[0] += torch.dot(last, first)
        if delayed:
            torch.mul(last, -v, out=grad_start_spikes[part])
        if delayed and fired is not None:
            sums[1] -= torch.dot(last, fired)
    return sums


def spread(pooled, first, last):
    """The gradient [T, (last − first)·H·W·C] of the neurons of images first … last − 1 before a pool."""
    (steps, _, height, width, channels), grad = pooled.shape, pooled.grad[:, first:last]
    rows, columns = height // 2, width // 2
    out = grad.new_zeros if height % 2 or width % 2 else grad.new_empty
    out = out((steps, last - first, height, width, channels))
    windows = out[:, :, : rows * 2, : columns * 2].unflatten(3, (columns, 2)).unflatten(2, (rows, 2))
    windows.copy_((grad / 4)[:, :, :, None, :, None])
    return out.reshape(steps, -1)


def _slopes(surrogate, m, v, out):
    """out = f(m/v − 1) / v."""
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
    return z.fill_(1 / v)


def _integrate_back(m, lam, v, delayed, mask, grad, grad_end, grad_end_spikes, surrogate, reset_grad, d, sums):
    """Fill d = ∂L/∂I [T, M], or m's own memory, and add ∂L/∂λ and ∂L/∂v to sums, by P, Q and R above; returns d[0].

    grad [T, M] before the mask [M].
    """
    fired, new = torch.empty_like(m[0]), torch.empty_like(m[0])
    for t in reversed(range(len(m))):
        last = t == len(m) - 1
        later, through = (None, grad_end) if last else (d[t + 1], None)
        g = grad[t] if mask is None else grad[t] * mask
        if reset_grad:
            g = _with_reset(g, later, through, grad_end_spikes if last else None, lam, v, delayed)
        _slopes(surrogate, m[t], v, new).mul_(g)
        if later is not None:
            new.add_(later, alpha=lam)
            torch.gt(m[t], v, out=fired)
            q, r = torch.dot(later, m[t]), torch.dot(later, fired)
            sums[0] += q if delayed else q - v * r
            sums[1] += lam * q / v - (r if delayed else lam * r)
        elif through is not None:
            new.add_(through)
            sums[1] += torch.dot(through, m[t]) / v
            if not delayed:
                sums[1] -= torch.dot(through, (m[t] > v).to(m.dtype))
        sums[1] -= torch.dot(new, m[t]) / v
        d[t] = new  # not before: m may be here
    return d[0]


def _with_reset(g, later, through, through_spikes, lam, v, delayed):
    """g and what reaches the spike through its reset: −v·λ·d[t+1], delayed −v·d[t+1].

    later: d[t+1], or None at the last step; there `through` and `through_spikes`, None for zeros, came from the next chunk.
    """
    if delayed:
        path = through_spikes if later is None else later * -v
    elif later is not None:
        path = later * (-v * lam)
    else:
        path = None if through is None else through * -v
    return g if path is None else g + path


def before(m, t, start, threshold, delayed):
    """u[t−1] (delayed: m[t−1]), or None for zeros; m [T, M]."""
    if t == 0:
        return start
    return m[t - 1] if delayed else m[t - 1] - threshold * (m[t - 1] > threshold)
