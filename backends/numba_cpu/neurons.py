"""ReLU and LIF neurons of the Numba backend: the kernels of lif.py, called."""

import numpy as np

from backends.arrays import CurrentGradient, PooledGradient, SavedNeurons, SpikeTrain
from backends.interface import NeuronState
from backends.lif import Saved
from backends.numba_cpu.kernel_cache import kernel_cache
from backends.numba_cpu.storage import Storage

with kernel_cache():
    from backends.numba_cpu import elementwise, lif


class Neurons(Storage):
    """Neurons, forward and backward."""

    def relu(self, x, mask=None):
        out = self._empty(x.shape)
        elementwise.relu(self._by_step(x), *self._mask(mask), self._by_step(out))
        return out

    def relu_gradient(self, grad, x, mask=None):
        out = self._empty(x.shape)
        elementwise.relu_gradient(self._by_step(grad), self._by_step(x), *self._mask(mask), self._by_step(out))
        return out

    def lif_forward(
        self, current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft=None, reuse=False
    ):
        current = self._dense(current)
        if soft is not None:
            mask = None if mask is None else self._dense(mask)
            return super().lif_forward(current, state, leak, threshold, steps, reset=reset, mask=mask, soft=soft)
        shape, delayed, static = (steps, *current.shape[1:]), reset == "delayed", len(current) == 1
        reuse = reuse and not static and current.flags.writeable
        membrane = None  # of a static current the backward pass computes it again
        if not static:
            membrane = current if reuse else self._empty(shape)
        counts = self._empty(shape, np.uint8)
        end = self._empty(shape[1:])
        end_spikes = self._empty(shape[1:]) if delayed else None
        start, start_spikes = (None, None) if state is None else state
        keep, scale = self._mask(mask)
        lif.forward(
            self._by_step(current),
            self._flat(start),
            self._flat(start_spikes),
            leak,
            threshold,
            delayed,
            keep,
            reuse,
            self._membranes(membrane, end),
            counts.reshape(steps, -1),
            self._flat(end),
            self._flat(end_spikes),
        )
        current = current if static else None
        saved = SavedNeurons(current, membrane, state, leak, threshold, reset, keep, scale, shape, reuse)
        return SpikeTrain(counts, float(scale), True), NeuronState(end, end_spikes), saved

    def _membranes(self, membrane, like):
        return np.empty((0, like.size), self.float) if membrane is None else self._by_step(membrane)

    def lif_backward(self, saved, grad_spikes, grad_state, surrogate, reset_grad=False):
        if not isinstance(saved, SavedNeurons):  # soft spikes, for gradient checks
            return super().lif_backward(saved, self._dense(grad_spikes), grad_state, surrogate, reset_grad)
        if surrogate.kind == "rate":
            raise ValueError("the rate gradient is lif_rate_backward's")
        shape, delayed, static = saved.shape, saved.reset == "delayed", saved.membrane is None
        grad_current = saved.membrane if saved.reuse else self._empty((1 if static else shape[0], *shape[1:]))
        grad_start = self._empty(shape[1:])
        grad_start_spikes = self._empty(shape[1:]) if delayed else None
        partial = np.empty((-(-grad_start.size // lif.BLOCK), 2))
        start, start_spikes = (None, None) if saved.start is None else saved.start
        grad_end, grad_end_spikes = (None, None) if grad_state is None else grad_state
        pooled = isinstance(grad_spikes, PooledGradient)
        lif.backward(
            self._by_step(saved.current) if static else self._membranes(None, grad_start),
            self._membranes(saved.membrane, grad_start),
            self._flat(start),
            self._flat(start_spikes),
            saved.leak,
            saved.threshold,
            delayed,
            saved.keep,
            saved.scale,
            self._by_step(grad_spikes.grad if pooled else grad_spikes),
            tuple(shape[2:]) if pooled else (0, 0, 0),
            self._flat(grad_end),
            self._flat(grad_end_spikes),
            surrogate.code,
            self.float.type(surrogate.height),
            self.float.type(surrogate.width),
            reset_grad,
            self._by_step(grad_current),
            self._flat(grad_start),
            self._flat(grad_start_spikes),
            partial,
        )
        grad_leak, grad_threshold = partial.sum(axis=0)
        start_gradient = NeuronState(grad_start, grad_start_spikes if reset_grad else None)
        if not static:
            grad_current = CurrentGradient(grad_current, saved.leak[0])
        return grad_current, start_gradient, self.asarray([grad_leak]), self.asarray([grad_threshold])

    def lif_rate_backward(self, saved, grad_spikes):
        if isinstance(saved, SavedNeurons):
            saved = self._reference_saved(saved)
        return super().lif_rate_backward(saved, self._dense(grad_spikes))

    def _reference_saved(self, saved):
        """What the reference would have saved."""
        mask = None if len(saved.keep) == 0 else (saved.keep * saved.scale).reshape(saved.shape[1:])
        if saved.membrane is None:
            steps = saved.shape[0]
            again = super().lif_forward(
                saved.current, saved.start, saved.leak, saved.threshold, steps, reset=saved.reset, mask=mask
            )
            return again[2]
        spikes = (saved.membrane > saved.threshold[0]).astype(self.float)
        return Saved(saved.membrane, spikes, saved.start, saved.leak, saved.threshold, saved.reset, mask, False)
