"""The dense peer's LIF neuron over all time steps, as one torch.autograd.Function. See backends/lif.py for the equations.

The backward pass needs membranes and spikes. Storing the spikes is free, because the next layer stores its input anyway.
The gradients of leak and threshold follow from three sums over all steps, with d = ∂L/∂I:
P = Σ d[t]·m[t], Q = Σ d[t+1]·m[t], R = Σ d[t+1]·s[t]:   ∂L/∂λ = Q − v·R,   ∂L/∂v = −(P − λ·Q)/v − λ·R.
"""

import torch


def rows(x, count: int):
    """View [count·B, C, H, W] (channels last in memory) or [count·B, F] as [count, …], without a copy."""
    return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).reshape(count, -1)


def images(flat, shape):
    """The inverse of `rows`, for any count: [count·B, C, H, W] (channels last in memory) or [count·B, F]."""
    if len(shape) == 2:
        return flat.reshape(-1, shape[1])
    _, channels, height, width = shape
    return flat.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


class LIF(torch.autograd.Function):
    """Spikes [T·B, …] for a current [T·B, …], or for a static current [B, …], which is the same at every step.

    mask: dropout mask [B, …] with entries 0 and `scale`, or None. surrogate: height and width of the triangle. Currents and
    spikes may be bf16 where leak and threshold are float32: membranes then are float32, too.
    """

    @staticmethod
    def forward(ctx, current, leak, threshold, mask, scale, steps, static, surrogate):
        lam, v = leak.item(), threshold.item()
        inputs = rows(current, 1 if static else steps)
        keep = any(ctx.needs_input_grad)
        size = inputs.shape[1]
        membrane, spikes = leak.new_empty(steps if keep else 1, size), inputs.new_empty(steps, size)
        after = leak.new_empty(size)
        # with bf16 inputs and spikes, a conversion beside each operation is faster than an operation on two types
        same = inputs.dtype == leak.dtype
        as_membrane = None if same else leak.new_empty(size)
        for t in range(steps):
            m, i = membrane[t if keep else 0], inputs[0 if static else t]
            if t and same:
                torch.add(i, after, alpha=lam, out=m)
            else:
                m.copy_(i)
                if t:
                    m.add_(after, alpha=lam)
            fired = spikes[t] if same else as_membrane
            torch.gt(m, v, out=fired)
            if t + 1 < steps:
                torch.add(m, fired, alpha=-v, out=after)
            if not same:
                spikes[t].copy_(fired)
        if mask is not None:
            mask = rows(mask, 1)[0]
            spikes.mul_(mask)
        if keep:
            ctx.save_for_backward(membrane, spikes, mask)
            ctx.constants = lam, v, scale, static, surrogate, current.shape, current.dtype
        return images(spikes, current.shape)

    @staticmethod
    def backward(ctx, grad_spikes):
        membrane, spikes, mask = ctx.saved_tensors
        lam, v, scale, static, (height, width), shape, dtype = ctx.constants
        steps, learn = len(membrane), ctx.needs_input_grad[1]
        grad = rows(grad_spikes, steps)
        total = torch.empty_like(membrane[:1]) if static else torch.empty_like(membrane, dtype=dtype)
        in_place = not static and dtype == membrane.dtype  # otherwise the sums over time need buffers of their own
        first, second = (None, None) if in_place else (torch.empty_like(membrane[0]) for _ in range(2))
        p = q = r = 0.0
        later = None
        for t in reversed(range(steps)):
            d = total[t] if in_place else first if t % 2 else second
            torch.sub(membrane[t], v, out=d)
            d.abs_().mul_(-height / (v * v * width)).add_(height / v).clamp_(min=0).mul_(grad[t])
            if mask is not None:
                d.mul_(mask)
            if later is not None:
                d.add_(later, alpha=lam)
                if learn:
                    q += torch.dot(later, membrane[t])
                    r += torch.dot(later, spikes[t].to(later.dtype)) / scale
            if learn:
                p += torch.dot(d, membrane[t])
            if static:
                total[0].copy_(d) if later is None else total[0].add_(d)
            elif not in_place:
                total[t].copy_(d)
            later = d
        total = total.to(dtype)
        if not learn:
            return images(total, shape), None, None, None, None, None, None, None
        grad_leak = torch.as_tensor(q - v * r, dtype=membrane.dtype).reshape(1)
        grad_threshold = torch.as_tensor(-(p - lam * q) / v - lam * r, dtype=membrane.dtype).reshape(1)
        return images(total, shape), grad_leak, grad_threshold, None, None, None, None, None
