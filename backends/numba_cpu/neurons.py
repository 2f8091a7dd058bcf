"""ReLU and LIF neurons of the Numba backend: the kernels of lif.py, called."""

import math

import numpy as np

from backends.arrays import CurrentGradient, PooledGradient, SavedNeurons, SpikeTrain
from backends.interface import NeuronState
from backends.lif import Saved
from backends.numba_cpu.kernels import elementwise, lif
from backends.numba_cpu.storage import Storage


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
        self,
        current,
        state,
        leak,
        threshold,
        steps,
        *,
        reset="immediate",
        mask=None,
        soft=None,
        reuse=False,
        want_state=True,
    ):
        if soft is not None:
            mask = None if mask is None else self._dense(mask)
            options = {"reset": reset, "mask": mask, "soft": soft, "want_state": want_state}
            return super().lif_forward(self._dense(current), state, leak, threshold, steps, **options)
        shape, delayed = (steps, *current.shape[1:]), reset == "delayed"
        if current.shape[0] not in (1, steps):  # compiled kernels do not check
            raise ValueError(f"a current of {current.shape[0]} steps was given for {steps}")
        for array in (*(state or ()), mask):
            if array is not None and tuple(array.shape) != shape[1:]:
                raise ValueError(f"a state or mask of {tuple(array.shape)} was given for neurons of {shape[1:]}")
        counts, end = self._empty(shape, np.uint8), self._state(shape, want_state, delayed)
        start, start_spikes = state or (None, None)
        keep, scale = self._mask(mask)
        layer = lif.NeuronArrays(
            self._flat(start),
            self._flat(start_spikes),
            leak,
            threshold,
            delayed,
            keep,
            counts.reshape(steps, -1),
            *(self._flat(x) for x in end),
        )
        saved = SavedNeurons(None, None, state, leak, threshold, reset, keep, scale, shape, True)
        membrane = self._convolve_and_fire(current, layer, shape) if reuse else None
        saved = saved._replace(membrane=membrane) if membrane is not None else self._fire(current, layer, saved, reuse)
        return SpikeTrain(counts, float(scale), True), end if want_state else None, saved

    def _fire(self, current, layer, saved, reuse):
        """The neurons fire; what is saved with their membranes, or with a current from which these are computed again."""
        current = self._dense(current)
        membrane, static = None, len(current) == 1
        reuse = reuse and not static and current.flags.writeable
        if not static:
            membrane = current if reuse else self._empty(saved.shape)
        arrays = self._by_step(current), self._membranes(membrane, saved.shape), *layer
        _padded_to_vectors(_forward, layer.counts.shape[1], arrays, written=(arrays[1], *layer[-3:]))
        return saved._replace(current=current if static else None, membrane=membrane, reuse=reuse)

    def _state(self, shape, wanted, with_spikes):
        """Room for a state or for the gradient of one, if it is wanted."""
        return NeuronState(*(self._empty(shape[1:]) if wanted and needed else None for needed in (True, with_spikes)))

    def _membranes(self, membrane, shape):
        return np.empty((0, math.prod(shape[1:])), self.float) if membrane is None else self._by_step(membrane)

    def lif_backward(self, saved, grad_spikes, grad_state, surrogate, reset_grad=False, want_state=True):
        if not isinstance(saved, SavedNeurons):  # soft spikes, for gradient checks
            return super().lif_backward(saved, self._dense(grad_spikes), grad_state, surrogate, reset_grad, want_state)
        if surrogate.kind == "rate":
            raise ValueError("the rate gradient is lif_rate_backward's")
        shape, delayed, static = saved.shape, saved.reset == "delayed", saved.membrane is None
        grad_current = saved.membrane if saved.reuse else self._empty((1 if static else shape[0], *shape[1:]))
        found = self._state(shape, want_state, delayed and reset_grad)
        pooled = isinstance(grad_spikes, PooledGradient) and shape[-1] % lif.LANES == 0
        arrays = (
            self._by_step(saved.current) if static else self._membranes(None, shape),
            self._membranes(saved.membrane, shape),
            *(self._flat(x) for x in saved.start or (None, None)),
            saved.leak,
            saved.threshold,
            delayed,
            saved.keep,
            saved.scale,
            self._by_step(grad_spikes.grad if pooled else grad_spikes),
            *(self._flat(x) for x in grad_state or (None, None)),
            reset_grad,
            tuple(shape[2:]) if pooled else (0, 0, 0),
            surrogate.code,
            self.float.type(surrogate.height),
            self.float.type(surrogate.width),
            self._by_step(grad_current),
            *(self._flat(x) for x in found),
        )
        grads = _padded_to_vectors(_backward, math.prod(shape[1:]), arrays, written=arrays[-3:])
        if not static:
            grad_current = CurrentGradient(grad_current, saved.leak[0])
        return grad_current, found if want_state else None, *(np.array([grad], self.float) for grad in grads)

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


def _forward(current, membrane, *layer):
    lif.forward(current, membrane, lif.NeuronArrays(*layer))


def _backward(*arrays):
    saved, given, pooled, surrogate, grad = arrays[:9], arrays[9:13], arrays[13], arrays[14:17], arrays[17:]
    return lif.backward(
        lif.SavedArrays(*saved),
        lif.OutputGradients(*given),
        pooled,
        lif.Surrogate(*surrogate),
        lif.InputGradients(*grad),
    )


def _padded_to_vectors(kernel, neurons, arguments, written):
    """kernel(*arguments), for any number of neurons: through padded copies, unless vectors of lif.LANES divide it."""
    spare = -neurons % lif.LANES
    if not spare:
        return kernel(*arguments)
    padded = [
        np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, spare)]) if isinstance(a, np.ndarray) and a.shape[-1] == neurons else a
        for a in arguments  # of one neuron leak and threshold, too, which changes nothing
    ]
    result = kernel(*padded)
    for array, copy in zip(arguments, padded, strict=True):
        if any(array is a for a in written) and array.size:
            array[...] = copy[..., :neurons]
    return result
