"""ReLU and LIF neurons of the Numba backend. The kernels are in kernels/lif.py and kernels/elementwise.py."""

import math

import numpy as np

from backends import lif as plain_lif
from backends.arrays import CurrentGradient, PooledGradient, SavedNeurons, SpikeTrain
from backends.interface import NeuronState
from backends.numba_cpu.kernels import elementwise, lif
from backends.numba_cpu.products import Products
from backends.saved import Saved
from backends.surrogates import ADAPTIVE_SHARPNESS, DECAY, FLOOR, SPREAD, straight_through


class Neurons(Products):
    """Neurons, forward and backward."""

    def relu(self, x, mask=None):
        out = self._empty(x.shape)
        elementwise.relu(self._by_step(x), *self._mask(mask), self._by_step(out))
        return out, Saved((out, mask), self.versions)  # out > 0 where x > 0; where masked, the gradient is 0 anyway

    def relu_backward(self, saved, grad):
        x, mask = saved.open()
        out = self._empty(x.shape)
        elementwise.relu_gradient(self._by_step(grad), self._by_step(x), *self._mask(mask), self._by_step(out))
        return out

    def lif_forward(
        self, current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft=None, want_state=True
    ):
        if soft is not None:
            mask = None if mask is None else self._dense(mask)
            options = {"reset": reset, "mask": mask, "soft": soft, "want_state": want_state}
            return super().lif_forward(self._dense(current), state, leak, threshold, steps, **options)
        shape = (steps, *current.shape[1:])
        layer, saved, spikes, end = self._layer(shape, state, leak, threshold, reset, mask, want_state)
        saved = self._fire(self._dense(current), layer, saved)
        return spikes, end, Saved(saved, self.versions, leak, threshold)

    def conv_lif_forward(
        self, x, weight, stride, padding, state, leak, threshold, steps,
        *, want_weight=True, reset="immediate", mask=None, soft=None, want_state=True,
    ):  # fmt: skip
        if soft is not None:
            options = {"want_weight": want_weight, "reset": reset, "mask": mask, "soft": soft, "want_state": want_state}
            return super().conv_lif_forward(x, weight, stride, padding, state, leak, threshold, steps, **options)
        conv = self._planned(x, weight, stride, padding)
        shape, lists = (steps, *conv.shape[1:]), self._choose_lists(x)
        layer, saved, spikes, end = self._layer(shape, state, leak, threshold, reset, mask, want_state)
        membrane = self._convolve_and_fire(conv, *lists, layer)
        if membrane is None:
            saved = self._fire(self._convolution(conv, *lists), layer, saved, in_place=True)
        else:
            saved = saved._replace(membrane=membrane)
        return spikes, end, Saved(saved, self.versions, leak, threshold), self._saved_convolution(conv, want_weight)

    def _layer(self, shape, state, leak, threshold, reset, mask, want_state):
        """Allocate the arrays of neurons [T, B, …]: (arrays for the kernels, saved without membranes, spikes, last state)."""
        delayed, counts = reset == "delayed", self._empty(shape, np.uint8)
        end, (start, start_spikes) = self._empty_state(shape, want_state, delayed), state or (None, None)
        keep, scale = self._mask(mask)
        layer = lif.NeuronArrays(
            self._flat(start),
            self._flat(start_spikes),
            leak,
            threshold,
            delayed,
            keep,
            counts.reshape(shape[0], -1),
            *(self._flat(x) for x in end),
        )
        saved = SavedNeurons(None, None, state, leak, threshold, reset, keep, scale, shape)
        return layer, saved, SpikeTrain(counts, float(scale), True), end if want_state else None

    def _fire(self, current, layer, saved, in_place=False):
        """Fill the layer's arrays. Returns `saved` with the membranes, or, if the current is static, with the current.

        in_place: the membranes may overwrite the current.
        """
        membrane, static = None, len(current) == 1
        if not static:
            membrane = current if in_place else self._empty(saved.shape)
        self._run(current, self._membranes(membrane, saved.shape), layer)
        return saved._replace(current=current if static else None, membrane=membrane)

    def _run(self, current, membrane, layer):
        """Fill the layer's arrays and the membranes [T, M], or [0, M] if they are not wanted."""
        arguments = self._by_step(current), membrane, layer
        written = membrane, layer.counts, layer.end, layer.end_spikes
        _padded_to_vectors(lif.forward, layer.counts.shape[1], arguments, written)

    def _empty_state(self, shape, wanted, with_spikes):
        """An uninitialised state of neurons, also used for its gradient. Fields that are not wanted are None."""
        return NeuronState(*(self._empty(shape[1:]) if wanted and needed else None for needed in (True, with_spikes)))

    def _membranes(self, membrane, shape):
        return np.empty((0, math.prod(shape[1:])), self.float) if membrane is None else self._by_step(membrane)

    def lif_backward(
        self, saved, grad_spikes, grad_state, surrogate, reset_grad=False, want_state=True, adaptation=None
    ):
        if not isinstance(saved.open(), SavedNeurons):  # soft spikes, for gradient checks
            dense = None if grad_spikes is None else self._dense(grad_spikes)
            return super().lif_backward(saved, dense, grad_state, surrogate, reset_grad, want_state, adaptation)
        saved = saved.take()
        if grad_spikes is None:
            grad_spikes = self.zeros(saved.shape)
        if surrogate.kind == "adaptive":
            grad_spikes = self._times_adapted_slopes(saved, grad_spikes, adaptation)
            surrogate, reset_grad = straight_through(), False  # the slopes are in the gradient already
        if surrogate.kind == "rate":
            grad = plain_lif.lif_rate_backward(self._plain_saved(saved), self._dense(grad_spikes))
            return grad, None, None, None
        static = saved.membrane is None
        grad_current = self._empty((1, *saved.shape[1:])) if static else saved.membrane
        grad_start = self._empty_state(saved.shape, want_state, saved.reset == "delayed" and reset_grad)
        grad = lif.InputGradients(self._by_step(grad_current), *map(self._flat, grad_start))
        sums = self._fill_gradients(saved, grad_spikes, grad_state, surrogate, reset_grad, grad)
        if not static:
            grad_current = CurrentGradient(grad_current, saved.leak[0])
        return grad_current, grad_start if want_state else None, *(np.array([x], self.float) for x in sums)

    def _fill_gradients(self, saved, grad_spikes, grad_state, surrogate, reset_grad, grad):
        """Fill `grad` (`lif.InputGradients`) and return ∂L/∂λ and ∂L/∂v."""
        static, shape, count = saved.membrane is None, saved.shape, grad.current.shape[1]
        pooled = isinstance(grad_spikes, PooledGradient) and shape[-1] % lif.LANES == 0
        start, start_spikes = saved.start or (None, None)
        end, end_spikes = grad_state or (None, None)
        saved_arrays = lif.SavedArrays(
            current=self._by_step(saved.current) if static else self._membranes(None, shape),
            membrane=self._membranes(saved.membrane, shape),
            start=self._flat(start),
            start_spikes=self._flat(start_spikes),
            leak=saved.leak,
            threshold=saved.threshold,
            delayed=saved.reset == "delayed",
            keep=saved.keep,
            scale=saved.scale,
        )
        given = lif.OutputGradients(
            spikes=self._by_step(grad_spikes.grad if pooled else grad_spikes),
            end=self._flat(end),
            end_spikes=self._flat(end_spikes),
            through_reset=reset_grad,
        )
        image = tuple(shape[2:]) if pooled else (0, 0, 0)
        numbers = lif.Surrogate(surrogate.code, self.float.type(surrogate.height), self.float.type(surrogate.width))
        return _padded_to_vectors(lif.backward, count, (saved_arrays, given, image, numbers, grad), written=grad)

    def _times_adapted_slopes(self, saved, grad_spikes, adaptation):
        """The gradient of the spikes [T, B, …] times the slopes of the adaptive surrogate, whose memory is updated."""
        membrane, out = saved.membrane, self._empty(saved.shape)
        if membrane is None:  # the current is static: compute the membranes again
            membrane = self._empty(saved.shape)
            constants = saved.start, saved.leak, saved.threshold, saved.reset
            layer = self._layer(saved.shape, *constants, None, False)[0]
            self._run(saved.current, self._by_step(membrane), layer)
        if adaptation is None:
            adaptation = self._empty(saved.shape), self.zeros(saved.shape)
            adaptation[0][...] = 1
        arrays = membrane, grad_spikes, *adaptation, out
        numbers = (DECAY, 1 - DECAY, ADAPTIVE_SHARPNESS, SPREAD, FLOOR)
        constants = lif.AdaptiveConstants(*(self.float.type(number) for number in numbers))
        lif.adapt(*(self._dense(a).reshape(-1) for a in arrays), saved.threshold, constants)
        return out

    def _plain_saved(self, saved):
        """Convert SavedNeurons to `backends.lif.ForwardValues`."""
        mask = None if len(saved.keep) == 0 else (saved.keep * saved.scale).reshape(saved.shape[1:])
        if saved.membrane is None:
            constants = saved.leak, saved.threshold, saved.shape[0]
            return plain_lif.lif_forward(saved.current, saved.start, *constants, reset=saved.reset, mask=mask)[2]
        spikes = (saved.membrane > saved.threshold[0]).astype(self.float)
        return plain_lif.ForwardValues(
            saved.membrane, spikes, saved.start, saved.leak, saved.threshold, saved.reset, mask, False
        )


def _padded_to_vectors(kernel, neurons, arguments, written):
    """kernel(*arguments) for any number of neurons. If it is not a multiple of lif.LANES, the kernel runs on padded copies.

    arguments: arrays, numbers, or NamedTuples of them. written: the arrays among them that the kernel fills.
    """
    if neurons % lif.LANES == 0:
        return kernel(*arguments)
    copies = {}  # by the id of the array

    def pad(argument):
        if hasattr(argument, "_fields"):
            return type(argument)(*map(pad, argument))
        if not isinstance(argument, np.ndarray) or argument.shape[-1] != neurons:
            return argument
        # with one neuron this also pads leak and threshold, which is harmless
        copies[id(argument)] = np.pad(argument, [(0, 0)] * (argument.ndim - 1) + [(0, -neurons % lif.LANES)])
        return copies[id(argument)]

    result = kernel(*map(pad, arguments))
    for array in written:
        if array.size:
            array[...] = copies[id(array)][..., :neurons]
    return result
