"""The default backend: the reference with its hot kernels compiled by Numba, on as many threads as asked for."""

import contextlib
import math
import os

import numba
import numpy as np
import threadpoolctl

from backends import BackendError
from backends.interface import NeuronState
from backends.lif import Saved
from backends.numba_cpu.kernel_cache import kernel_cache
from backends.reference import ReferenceBackend

with kernel_cache():
    from backends.numba_cpu import convolution, elementwise, event_convolution, lif, linear, optimisers

EVENT_DENSITY = 0.45  # below this share of non-zero inputs lists beat dense products (benchmarks/kernels.py)


def _single_threaded_blas():
    """One BLAS thread inside each of our tasks: more would fight over the cores and change the order of sums.

    Numba calls SciPy's own BLAS where there is one; NumPy's keeps its threads.
    """
    import scipy.linalg.cython_blas  # noqa: F401  (loads the library)

    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    own = [library for library in libraries if "scipy.libs" in library.filepath]
    for library in own or libraries:
        library.set_num_threads(1)


@contextlib.contextmanager
def _patient_threads():
    """Start Numba's threads so that they sleep while they wait: spinning ones halve the speed beside any other program."""
    ours = "OMP_WAIT_POLICY" not in os.environ
    if ours:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        if ours:
            del os.environ["OMP_WAIT_POLICY"]


class NumbaBackend(ReferenceBackend):
    """NumPy arrays, C-contiguous; what is not overridden here is the reference's."""

    name = "numba"

    def __init__(self, dtype: str = "float32", threads: int | None = None):
        super().__init__(dtype, threads or min(os.cpu_count(), numba.config.NUMBA_NUM_THREADS))
        most = numba.config.NUMBA_NUM_THREADS
        if self.threads > most:
            raise BackendError(
                f"Numba was started for at most {most} threads, not {self.threads}: "
                f"set NUMBA_NUM_THREADS={self.threads} before starting"
            )
        with _patient_threads():
            numba.set_num_threads(self.threads)
        _single_threaded_blas()
        self.none = np.empty(0, self.float)

    def _flat(self, array):
        return self.none if array is None else np.ascontiguousarray(array).reshape(-1)

    def _by_step(self, array):
        return np.ascontiguousarray(array).reshape(len(array), -1)

    # ---------------------------------------------------------------- randomness and images

    def uniform(self, draw, shape, first=0):
        out = np.empty(shape, np.float32)
        words = [
            np.uint64(n & 0xFFFFFFFF) for n in (draw.step, int(draw.stream), draw.layer, draw.seed, draw.seed >> 32)
        ]
        elementwise.uniform(*words, first, out.reshape(-1))
        return out.astype(self.float, copy=False)

    def image_batch(self, store, index, shift, flip, padding):
        out = np.empty((len(index), *store.shape[1:]), self.float)
        elementwise.image_batch(store, index, shift, flip, padding, self.float.type(1 / 255), out)
        return out

    # ---------------------------------------------------------------- dense algebra

    def conv2d(self, x, weight, stride, padding):
        (steps, batch, height, width, channels), (size, _, _, features) = x.shape, weight.shape
        rows, columns = (height + 2 * padding - size) // stride + 1, (width + 2 * padding - size) // stride + 1
        out = np.empty((steps, batch, rows, columns, features), self.float)
        images = np.ascontiguousarray(x).reshape(steps * batch, height, width, channels)
        if self._worth_listing(images, features) and (width + 2 * padding) * channels < 2**16:
            lanes, block = event_convolution.lanes_for(features), event_convolution.block_for(channels)
            slabs, span = event_convolution.pack_weights(weight, lanes, block)
            into = out.reshape(-1, *out.shape[2:])
            event_convolution.forward(images, slabs, size, stride, padding, block, span, lanes, into)
        else:
            into = out.reshape(steps * batch, rows * columns, features)
            convolution.forward(images, weight.reshape(-1, features), size, stride, padding, columns, into)
        return out

    def conv2d_weight_gradient(self, grad, x, size, stride, padding):
        (steps, batch, rows, columns, features), channels = grad.shape, x.shape[4]
        images = np.ascontiguousarray(x).reshape(steps * batch, *x.shape[2:])
        grad = np.ascontiguousarray(grad).reshape(steps * batch, rows, columns, features)
        if stride == 1 and self._worth_listing(images, features) and images[0, ..., 0].size * 4 < 2**16:
            lanes, chunk = event_convolution.lanes_for(features), event_convolution.block_for(channels)
            out = np.empty((features // lanes * (channels // chunk), size * size * chunk * lanes), self.float)
            event_convolution.weight_gradient(grad, images, size, padding, chunk, lanes, out)
            parts = out.reshape(features // lanes, channels // chunk, size, size, chunk, lanes)
            return np.ascontiguousarray(parts.transpose(2, 3, 1, 4, 0, 5)).reshape(size, size, channels, features)
        depth = size * size * channels
        tasks = min(len(images), max(2, min(16, 2**23 // (depth * features))))  # bounded memory; shapes alone decide
        partial = np.zeros((tasks, depth, features), self.float)
        grad = grad.reshape(len(images), rows * columns, features)
        convolution.weight_gradient(grad, images, size, stride, padding, columns, partial)
        return partial.sum(axis=0).reshape(size, size, channels, features)

    def conv2d_input_gradient(self, grad, weight, shape, stride, padding):
        steps, batch, rows, columns, features = grad.shape
        size, channels = len(weight), shape[4]
        if stride == 1 and self._worth_listing(grad, channels):  # a convolution with the flipped weights
            flipped = np.ascontiguousarray(weight[::-1, ::-1].transpose(0, 1, 3, 2))
            return self.conv2d(grad, flipped, 1, size - 1 - padding)
        out = np.zeros(shape, self.float)
        grad = np.ascontiguousarray(grad).reshape(steps * batch, rows * columns, features)
        flat = out.reshape(steps * batch, *shape[2:])
        convolution.input_gradient(grad, weight.reshape(-1, features), size, stride, padding, columns, flat)
        return out

    def _worth_listing(self, x, features) -> bool:
        """Whether few enough inputs are not zero for the event-driven kernels, by a sample of every 13th."""
        if self.dtype != "float32" or not event_convolution.lanes_for(features):
            return False
        sample = np.ascontiguousarray(x).reshape(-1)[::13]
        return np.count_nonzero(sample) < EVENT_DENSITY * len(sample)

    def linear(self, x, weight):
        out = np.empty((*x.shape[:2], weight.shape[1]), self.float)
        linear.forward(np.ascontiguousarray(x).reshape(-1, x.shape[2]), weight, out.reshape(-1, weight.shape[1]))
        return out

    def linear_input_gradient(self, grad, weight):
        out = np.empty((*grad.shape[:2], len(weight)), self.float)
        linear.input_gradient(
            np.ascontiguousarray(grad).reshape(-1, grad.shape[2]), weight, out.reshape(-1, len(weight))
        )
        return out

    def linear_weight_gradient(self, grad, x):
        out = np.empty((x.shape[2], grad.shape[2]), self.float)
        linear.weight_gradient(
            np.ascontiguousarray(grad).reshape(-1, grad.shape[2]), np.ascontiguousarray(x).reshape(-1, x.shape[2]), out
        )
        return out

    def avg_pool(self, x):
        out = np.empty((*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2, x.shape[4]), self.float)
        elementwise.avg_pool(np.ascontiguousarray(x).reshape(-1, *x.shape[2:]), out.reshape(-1, *out.shape[2:]))
        return out

    def avg_pool_gradient(self, grad, shape):
        out = np.zeros(shape, self.float)
        elementwise.avg_pool_gradient(
            np.ascontiguousarray(grad).reshape(-1, *grad.shape[2:]), out.reshape(-1, *shape[2:])
        )
        return out

    # ---------------------------------------------------------------- neurons

    def relu(self, x, mask=None):
        out = np.empty(x.shape, self.float)
        elementwise.relu(self._by_step(x), self._flat(mask), self._by_step(out))
        return out

    def relu_gradient(self, grad, x, mask=None):
        out = np.empty(x.shape, self.float)
        elementwise.relu_gradient(self._by_step(grad), self._by_step(x), self._flat(mask), self._by_step(out))
        return out

    def lif_forward(self, current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft=None):
        if soft is not None:
            return super().lif_forward(current, state, leak, threshold, steps, reset=reset, mask=mask, soft=soft)
        shape, delayed = (steps, *current.shape[1:]), reset == "delayed"
        membrane, spikes = np.empty(shape, self.float), np.empty(shape, self.float)
        end = np.empty(shape[1:], self.float)
        end_spikes = np.empty(shape[1:], self.float) if delayed else None
        start, start_spikes = (None, None) if state is None else state
        lif.forward(
            self._by_step(current),
            self._flat(start),
            self._flat(start_spikes),
            leak,
            threshold,
            delayed,
            self._flat(mask),
            self._by_step(membrane),
            self._by_step(spikes),
            self._flat(end),
            self._flat(end_spikes),
        )
        saved = Saved(membrane, None, state, leak, threshold, reset, mask, len(current) == 1)
        return spikes, NeuronState(end, end_spikes), saved

    def lif_backward(self, saved, grad_spikes, grad_state, surrogate, reset_grad=False):
        if saved.spikes is not None:  # soft spikes, for gradient checks
            return super().lif_backward(saved, grad_spikes, grad_state, surrogate, reset_grad)
        shape, delayed = saved.membrane.shape, saved.reset == "delayed"
        grad_current = np.zeros((1 if saved.static else shape[0], *shape[1:]), self.float)
        grad_start = np.empty(shape[1:], self.float)
        grad_start_spikes = np.empty(shape[1:], self.float) if delayed else None
        partial = np.empty((-(-grad_start.size // lif.BLOCK), 2))
        start, start_spikes = (None, None) if saved.start is None else saved.start
        grad_end, grad_end_spikes = (None, None) if grad_state is None else grad_state
        lif.backward(
            self._by_step(saved.membrane),
            self._flat(start),
            self._flat(start_spikes),
            saved.leak,
            saved.threshold,
            delayed,
            self._flat(saved.mask),
            self._by_step(grad_spikes),
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
        return grad_current, start_gradient, self.asarray([grad_leak]), self.asarray([grad_threshold])

    def lif_rate_backward(self, saved, grad_spikes):
        spikes = (saved.membrane > saved.threshold[0]).astype(self.float) if saved.spikes is None else saved.spikes
        return super().lif_rate_backward(saved._replace(spikes=spikes), grad_spikes)

    # ---------------------------------------------------------------- optimisers

    def sgd_step(self, parameter, grad, velocity, rate, momentum, decay, low, high):
        scalars = [self.float.type(s) for s in (rate, momentum, decay, low, high)]
        optimisers.sgd(self._flat(parameter), self._flat(grad), self._flat(velocity), *scalars)

    def adam_step(self, parameter, grad, mean, square, largest, rate, decays, epsilon, step, low, high):
        first, second = decays
        scalars = (
            rate / (1 - first**step),
            first,
            second,
            1 - first,
            1 - second,
            epsilon,
            math.sqrt(1 - second**step),
            low,
            high,
        )
        arrays = [self._flat(a) for a in (parameter, grad, mean, square, largest)]
        optimisers.adam(*arrays, *[self.float.type(s) for s in scalars])
