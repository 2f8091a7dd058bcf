"""The dense peer's LIF neuron for a GPU. Leak and threshold stay tensors, so that the host never waits for the GPU.

The equations are those of lif.py. Membranes are float32 for every type of current. Spikes have the type of the current, so the
next product needs no conversion.
"""

import torch

from benchmarks.peers.lif import images, rows


class LIFOnDevice(torch.autograd.Function):
    """The LIF neuron over all steps. Arguments as in `lif.LIF`."""

    @staticmethod
    def forward(ctx, current, leak, threshold, mask, scale, steps, static, surrogate):
        inputs = rows(current, 1 if static else steps).to(leak.dtype)
        membranes, spikes, after = [], [], None
        for t in range(steps):
            i = inputs[0 if static else t]
            m = i if after is None else torch.addcmul(i, after, leak)
            fired = (m > threshold).to(m.dtype)
            after = torch.addcmul(m, fired, threshold, value=-1)
            membranes.append(m)
            spikes.append((fired if mask is None else fired * rows(mask, 1)[0]).to(current.dtype))
        ctx.save_for_backward(leak, threshold, mask, *membranes)
        ctx.constants = static, surrogate, current.shape, current.dtype
        return images(torch.stack(spikes), current.shape)

    @staticmethod
    def backward(ctx, grad_spikes):
        leak, threshold, mask, *membranes = ctx.saved_tensors
        static, (height, width), shape, dtype = ctx.constants
        steps, learn = len(membranes), ctx.needs_input_grad[1]
        grad = rows(grad_spikes, steps)
        found, p, q, r, later = [], [], [], [], None
        for m, g in zip(reversed(membranes), reversed(grad.unbind()), strict=True):
            z = m / threshold - 1
            slope = (1 - z.abs() / width).clamp_(min=0) * (height / threshold)
            d = slope * g if mask is None else slope * g * rows(mask, 1)[0]
            if later is not None:
                d = torch.addcmul(d, later, leak)
                if learn:
                    q.append(torch.dot(later, m))
                    r.append(torch.dot(later, (m > threshold).to(m.dtype)))
            if learn:
                p.append(torch.dot(d, m))
            found.append(d)
            later = d
        total = torch.stack(found).sum(0, keepdim=True) if static else torch.stack(found[::-1])
        total = images(total.to(dtype), shape)
        if not learn:
            return total, None, None, None, None, None, None, None
        p, q, r = (torch.stack(x).sum() if x else torch.zeros_like(leak) for x in (p, q, r))
        grad_leak, grad_threshold = q - threshold * r, -(p - leak * q) / threshold - leak * r
        return total, grad_leak.reshape(1), grad_threshold.reshape(1), None, None, None, None, None
