"""ReLU and LIF neurons of the Torch backend. The kernels are in lif.py and triton_lif.py."""

import math

import torch

from backends import lif as plain_lif
from backends.arrays import DropoutMask, PooledGradient, SavedNeurons, SpikeTrain
from backends.interface import Adaptation, NeuronState
from backends.saved import Saved
from backends.surrogates import ADAPTIVE_SHARPNESS, DECAY, FLOOR, SPREAD, straight_through
from backends.torch_any import lif
from backends.torch_any.products import Products
from backends.torch_any.storage import BYTE, count

LARGE = 1 << 21  # numbers of a static current that a CPU computes again in the backward pass: less memory in between


class Neurons(Products):
    """Neurons, forward and backward."""

    def _mask(self, mask):
        """keep uint8 [M] or None, and the scale, of a dropout mask or of a tensor like one."""
        if mask is None:
            return None, 1.0
        if not isinstance(mask, DropoutMask):
            mask = DropoutMask((mask != 0).view(BYTE), float(mask.max()) if mask.numel() else 1.0)
        return _flat(mask.keep), mask.scale

    def lif_forward(
        self, current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft=None, want_state=True
    ):
        current = self._dense(current).contiguous()
        if soft is not None:
            spikes, end, saved = self._soft(current, state, leak, threshold, steps, reset, mask, soft)
            return spikes, end if want_state else None, Saved(saved, self.versions, leak, threshold)
        return self._fire(current, state, leak, threshold, steps, reset, mask, want_state)

    def conv_lif_forward(
        self, x, weight, stride, padding, state, leak, threshold, steps,
        *, want_weight=True, reset="immediate", mask=None, soft=None, want_state=True,
    ):  # fmt: skip
        if soft is not None:
            options = {"want_weight": want_weight, "reset": reset, "mask": mask, "soft": soft, "want_state": want_state}
            return super().conv_lif_forward(x, weight, stride, padding, state, leak, threshold, steps, **options)
        kernel = self._kernel(weight)
        current, again = self._convolved(x, kernel, stride, padding), None
        if self.device == "cpu" and len(current) == 1 and current.numel() >= LARGE:
            again = lambda: self._convolved(x, kernel, stride, padding)
        spikes, end, saved = self._fire(
            current, state, leak, threshold, steps, reset, mask, want_state, owned=True, again=again
        )
        return spikes, end, saved, self._saved_convolution(x, weight, kernel, stride, padding, want_weight)

    def _fire(self, current, state, leak, threshold, steps, reset, mask, want_state, owned=False, again=None):
        """`lif_forward` for a dense current. owned: the membranes may take its memory; again: computes a static one again."""
        shape, delayed, static = (steps, *current.shape[1:]), reset == "delayed", len(current) == 1
        keep, scale = self._mask(mask)
        size = count(shape[1:])
        counts = torch.empty((steps, size), dtype=BYTE, device=self.device)
        end = self._state(current[0], want_state, delayed)
        membrane = None
        if not static:
            place = current if owned and current.dtype == self.float else torch.empty_like(current, dtype=self.float)
            membrane = place.view(steps, size)
        start, start_spikes = (None, None) if state is None else state
        self.lif_kernels.forward(
            current.reshape(len(current), -1),
            _flat(start),
            _flat(start_spikes),
            leak,
            threshold,
            delayed,
            keep,
            membrane,
            counts,
            *(_flat(x) for x in end),
        )
        kept = (again or current) if static else None
        saved = SavedNeurons(kept, membrane, state, leak, threshold, reset, keep, scale, tuple(shape))
        end = end if want_state else None
        return SpikeTrain(counts.reshape(shape), scale, True), end, Saved(saved, self.versions, leak, threshold)

    def _state(self, like, wanted, with_spikes):
        """Room for a state or for the gradient of one, if it is wanted."""
        return NeuronState(*(self._like(like) if wanted and needed else None for needed in (True, with_spikes)))

    def _soft(self, current, state, leak, threshold, steps, reset, mask, soft):
        """Spikes without a step, for gradient checks, where the reference is fast enough."""
        current, leak, threshold = map(self.to_numpy, (current, leak, threshold))
        state, mask = state and state.map(self.to_numpy), None if mask is None else self.to_numpy(mask)
        options = {"reset": reset, "mask": mask, "soft": soft}
        spikes, end, saved = plain_lif.lif_forward(current, state, leak, threshold, steps, **options)
        return self.asarray(spikes), end.map(self.asarray), saved

    def _soft_backward(self, saved, grad_spikes, grad_state, surrogate, reset_grad, want_state, adaptation):
        """The backward pass of `_soft`."""
        grad_spikes = None if grad_spikes is None else self.to_numpy(grad_spikes)
        memory = adaptation and Adaptation(*map(self.to_numpy, adaptation))
        grad_state, options = grad_state and grad_state.map(self.to_numpy), (surrogate, reset_grad, want_state, memory)
        grad_current, grad_start, *grads = plain_lif.backward_of_any(saved, grad_spikes, grad_state, *options)
        for array, updated in zip(adaptation or (), memory or (), strict=True):
            array.copy_(torch.from_numpy(updated))
        grads = (None if grad is None else self.asarray(grad) for grad in grads)
        return self.asarray(grad_current), grad_start and grad_start.map(self.asarray), *grads

    def lif_backward(
        self, saved, grad_spikes, grad_state, surrogate, reset_grad=False, want_state=True, adaptation=None
    ):
        saved = saved.take()
        if not isinstance(saved, SavedNeurons):
            options = surrogate, reset_grad, want_state, adaptation
            return self._soft_backward(saved, grad_spikes, grad_state, *options)
        if surrogate.kind == "adaptive":
            grad_spikes = self._times_adapted_slopes(saved, grad_spikes, adaptation)
            surrogate, reset_grad = straight_through(), False  # the slopes are in the gradient already
        if surrogate.kind == "rate":
            return self._rate_backward(saved, grad_spikes), None, None, None
        grad_end, grad_end_spikes = (None, None) if grad_state is None else grad_state
        delayed, static = saved.reset == "delayed", saved.membrane is None
        if grad_spikes is None:
            grad_spikes = self.zeros((saved.shape[0], count(saved.shape[1:])))
        elif not isinstance(grad_spikes, PooledGradient):
            grad_spikes = self._dense(grad_spikes).reshape(saved.shape[0], -1)
        start, start_spikes = (None, None) if saved.start is None else saved.start
        size = count(saved.shape[1:])
        grad_current = saved.membrane
        if static:
            grad_current = torch.empty((1, size), dtype=self.float, device=self.device)
        grad_start = self._state(grad_current[0], want_state, delayed and reset_grad)
        grad_leak, grad_threshold = self.lif_kernels.backward(
            saved.static_current().reshape(1, -1) if static else None,
            saved.membrane,
            _flat(start),
            _flat(start_spikes),
            saved.leak,
            saved.threshold,
            delayed,
            saved.keep,
            saved.scale,
            grad_spikes,
            _flat(grad_end),
            _flat(grad_end_spikes),
            surrogate,
            reset_grad,
            grad_current,
            *grad_start,
        )
        grad_start = grad_start.map(lambda x: x.reshape(saved.shape[1:])) if want_state else None
        grad_current = grad_current.reshape(len(grad_current), *saved.shape[1:])
        return grad_current, grad_start, *(g.to(self.float).reshape(1) for g in (grad_leak, grad_threshold))

    def _times_adapted_slopes(self, saved, grad_spikes, adaptation):
        """The gradient of the spikes [T, B, …] times the slopes of the adaptive surrogate, whose memory is updated."""
        membrane, v, steps = saved.membrane, saved.threshold, saved.shape[0]
        if membrane is None:  # the current is static: compute the membranes again
            current = saved.static_current().reshape(1, -1).expand(steps, -1).contiguous()
            membrane, counts = torch.empty_like(current), torch.empty(current.shape, dtype=BYTE, device=self.device)
            start, delayed = (_flat(x) for x in saved.start or (None, None)), saved.reset == "delayed"
            self.lif_kernels.forward(current, *start, saved.leak, v, delayed, None, membrane, counts, None, None)
        x = membrane.reshape(saved.shape) - v
        mean, deviation = (torch.ones_like(x), torch.zeros_like(x)) if adaptation is None else adaptation
        mean.mul_(DECAY).add_(x.abs(), alpha=1 - DECAY)
        deviation.mul_(DECAY).add_(x.abs().sub_(mean).abs_(), alpha=1 - DECAY)
        sharpness = ADAPTIVE_SHARPNESS / (mean + SPREAD * deviation + FLOOR)
        slopes = v / 2 * sharpness / x.mul_(sharpness).mul_(math.pi / 2).square_().add_(1)
        return slopes.zero_() if grad_spikes is None else slopes.mul_(self._dense(grad_spikes))

    def _rate_backward(self, saved, grad_spikes):
        """∂L/∂current under the rate gradient."""
        if grad_spikes is None:
            grad_spikes = self.zeros(saved.shape)
        steps = saved.shape[0]
        lam, v, g = saved.leak, saved.threshold, self._dense(grad_spikes).reshape(steps, -1).sum(dim=0)
        start, start_spikes = (None, None) if saved.start is None else (_flat(x) for x in saved.start)
        if saved.keep is not None:
            g = g * saved.keep * saved.scale
        if saved.membrane is None:
            current = saved.static_current().reshape(-1) * steps
        else:
            current = torch.zeros_like(g)
            for t in range(steps):
                before = lif.before(saved.membrane, t, start, v, saved.reset == "delayed")
                current += saved.membrane[t] if before is None else saved.membrane[t] - lam * before
            if saved.reset == "delayed":
                current += v * (saved.membrane[:-1] > v).sum(dim=0)
                current += 0 if start_spikes is None else v * start_spikes
        divisor = 2 - lam if saved.reset == "delayed" else 1
        rate = (current / steps / v - (1 - lam) / 2) / divisor
        every_step = torch.where((rate > 0) & (rate < 1), g / (v * steps * divisor), 0).reshape(1, *saved.shape[1:])
        return every_step * steps if saved.membrane is None else every_step.expand(saved.shape)

    def _like(self, tensor):
        return torch.empty_like(tensor, dtype=self.float)

    def relu(self, x, mask=None):
        out = self._dense(x).clamp(min=0)
        out = out if mask is None else out.mul_(self._dense(mask))
        return out, Saved((out, mask), self.versions)  # the output is positive where the input is

    def relu_backward(self, saved, grad):
        out, mask = saved.open()
        grad = self._dense(grad) * (out > 0)
        return grad if mask is None else grad.mul_(self._dense(mask))


def _flat(tensor):
    return None if tensor is None else tensor.reshape(-1).contiguous()
