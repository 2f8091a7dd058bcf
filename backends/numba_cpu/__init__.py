"""The default backend: the reference with its hot kernels compiled by Numba, on as many threads as asked for."""

import contextlib
import functools
import math
import os

import numba
import numpy as np
import threadpoolctl

from backends import BackendError
from backends.arrays import (
    CurrentGradient,
    DropoutMask,
    OuterProduct,
    PooledGradient,
    SavedNeurons,
    SpikeTrain,
)
from backends.interface import NeuronState
from backends.lif import Saved
from backends.numba_cpu.kernel_cache import CompileNotice, kernel_cache
from backends.numba_cpu.workspace import Workspace
from backends.reference import ReferenceBackend

with kernel_cache():
    from backends.numba_cpu import (
        convolution,
        elementwise,
        event_convolution,
        event_linear,
        event_weight_gradient,
        leaky,
        lif,
        linear,
        optimisers,
    )

OPAQUE = (SpikeTrain, DropoutMask, PooledGradient, CurrentGradient, OuterProduct)
EVENT_DENSITY = 0.75  # below this share of non-zero inputs lists beat dense products (benchmarks/kernels.py)
LEAKY_BATCH = 8  # images, from which on each thread goes through time on its own; sums then differ by their rounding
SAMPLE = 1 << 14  # entries that are looked at to estimate it


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


def _stride(flat):
    """Every how many-th entry is looked at; odd, so that channels, whose number mostly is even, take turns."""
    return (len(flat) // SAMPLE) | 1


def _opened(kernel):
    """A kernel of the reference, which is given NumPy arrays in place of those of arrays.py."""

    @functools.wraps(kernel)
    def opened(self, *arguments, **options):
        return kernel(self, *(self._dense(a) if isinstance(a, OPAQUE) else a for a in arguments), **options)

    return opened


class NumbaBackend(ReferenceBackend):
    """Arrays are C-contiguous NumPy arrays and those of arrays.py; what is not overridden here is the reference's.

    The number of threads is Numba's own, one for the whole program: where several backends are made, the last decides.
    """

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
        self.workspace = Workspace()
        self.none = np.empty(0, self.float)
        self.no_bytes = np.empty(0, np.uint8)

    def announce(self, say):
        CompileNotice(say)

    # ---------------------------------------------------------------- arrays

    def _empty(self, shape, dtype=None):
        return self.workspace.empty(shape, dtype or self.float)

    def _dense(self, array):
        """A NumPy array of what may be one of the others."""
        if isinstance(array, SpikeTrain):
            out = self._empty(array.shape)
            elementwise.expand(array.counts.reshape(-1), self.float.type(array.scale), out.reshape(-1))
            return out
        if isinstance(array, CurrentGradient):
            return array.grad
        if isinstance(array, PooledGradient):
            out = self._empty(array.shape)
            out[...] = 0
            elementwise.avg_pool_gradient(self._by_image(array.grad), self._by_image(out))
            return out
        if isinstance(array, OuterProduct):
            out = self._empty(array.shape)
            optimisers.store_rows(*self._factors(array), out)
            return out
        if isinstance(array, DropoutMask):
            return array.keep * self.float.type(array.scale)
        return np.ascontiguousarray(array)

    def _flat(self, array):
        return self.none if array is None else self._dense(array).reshape(-1)

    def _by_step(self, array):
        dense = self._dense(array)
        return dense.reshape(len(dense), -1)

    def _by_image(self, array):
        dense = self._dense(array)
        return dense.reshape(dense.shape[0] * dense.shape[1], *dense.shape[2:])

    def asarray(self, values):
        array = super().asarray(values)
        if array.dtype != self.float:
            return array
        out = self._empty(array.shape)
        out[...] = array
        return out

    def to_numpy(self, array):
        return self._dense(array)

    def zeros(self, shape):
        out = self._empty(shape)
        out[...] = 0
        return out

    def reshape(self, array, shape):
        if isinstance(array, SpikeTrain):
            return array._replace(counts=array.counts.reshape(shape))
        return self._dense(array).reshape(shape)

    def rows(self, array, start, stop):
        if isinstance(array, SpikeTrain):
            return array._replace(counts=array.counts[start:stop])
        return super().rows(self._dense(array), start, stop)

    total, write_rows = _opened(ReferenceBackend.total), _opened(ReferenceBackend.write_rows)

    def events(self, array):
        return super().events(array.counts if isinstance(array, SpikeTrain) else self._dense(array))

    # ---------------------------------------------------------------- randomness and images

    def uniform(self, draw, shape, first=0):
        out = np.empty(shape, np.float32)
        elementwise.uniform(*self._words(draw), first, out.reshape(-1))
        return out.astype(self.float, copy=False)

    def dropout_mask(self, draw, shape, rate, first=0):
        keep = np.empty(shape, np.uint8)
        elementwise.at_least(*self._words(draw), first, self.float.type(rate), keep.reshape(-1))
        return DropoutMask(keep, 1 / (1 - rate))

    @staticmethod
    def _words(draw):
        numbers = (draw.step, int(draw.stream), draw.layer, draw.seed, draw.seed >> 32)
        return [np.uint64(n & 0xFFFFFFFF) for n in numbers]

    def _mask(self, mask):
        """(keep [M] or empty, scale) of a dropout mask, or of an array like one."""
        if mask is None:
            return self.no_bytes, self.float.type(1)
        if not isinstance(mask, DropoutMask):
            mask = DropoutMask((mask != 0).view(np.uint8), float(np.max(mask, initial=0)))
        return np.ascontiguousarray(mask.keep).reshape(-1), self.float.type(mask.scale)

    def image_batch(self, store, index, shift, flip, padding):
        out = np.empty((len(index), *store.shape[1:]), self.float)
        elementwise.image_batch(store, index, shift, flip, padding, self.float.type(1 / 255), out)
        return out

    rate_code, scale_shift = _opened(ReferenceBackend.rate_code), _opened(ReferenceBackend.scale_shift)
    clip, clip_gradient = _opened(ReferenceBackend.clip), _opened(ReferenceBackend.clip_gradient)
    sign_step, repeat_time = _opened(ReferenceBackend.sign_step), _opened(ReferenceBackend.repeat_time)
    cross_entropy = _opened(ReferenceBackend.cross_entropy)

    # ---------------------------------------------------------------- dense algebra

    def add(self, a, b):
        if a.shape != b.shape:  # compiled kernels do not check
            raise ValueError(f"add needs two arrays of one shape, not {a.shape} and {b.shape}")
        if isinstance(a, SpikeTrain):
            a, b = b, a
        a = self._dense(a)
        out = self._empty(a.shape)
        if isinstance(b, SpikeTrain):
            elementwise.add_counts(a.reshape(-1), b.counts.reshape(-1), self.float.type(b.scale), out.reshape(-1))
        else:
            elementwise.add(a.reshape(-1), self._dense(b).reshape(-1), out.reshape(-1))
        return out

    def conv2d(self, x, weight, stride, padding):
        return self._convolution(x, weight, stride, padding, self._density(x))

    def _convolution(self, x, weight, stride, padding, density):
        (steps, batch, height, width, channels), (size, _, _, features) = x.shape, weight.shape
        rows, columns = (height + 2 * padding - size) // stride + 1, (width + 2 * padding - size) // stride + 1
        out = self._empty((steps, batch, rows, columns, features))
        lanes, block = event_convolution.lanes_for(features), event_convolution.block_for(channels, density)
        if lanes and density < EVENT_DENSITY and (width + 2 * padding) * block < 2**16:
            slabs, span = event_convolution.pack_weights(weight, lanes, block)
            into = out.reshape(-1, *out.shape[2:])
            if self._leaks(x) and stride == 1:
                event_convolution.forward_leaky(x.grad, x.leak, slabs, size, padding, block, span, lanes, out)
            else:
                event_convolution.forward(*self._listable(x), slabs, size, stride, padding, block, span, lanes, into)
        else:
            into = out.reshape(steps * batch, rows * columns, features)
            flat = weight.reshape(-1, features)
            convolution.forward(self._by_image(x), flat, size, stride, padding, columns, into)
        return out

    def conv2d_weight_gradient(self, grad, x, size, stride, padding):
        (steps, batch, rows, columns, features), channels = grad.shape, x.shape[4]
        lanes, chunk = event_convolution.lanes_for(features), event_convolution.block_for(channels)
        # where the input's pixels lie in the gradient with its border: in 16 bits
        places = (x.shape[2] - 1) * (columns + 2 * (size - 1)) + x.shape[3]
        density = self._density(x) if stride == 1 else math.inf
        if self._sparser(grad, x, density, size, padding):
            return self._leaky_weight_gradient(grad, x, size, padding)
        if lanes and places <= 2**16 and density < EVENT_DENSITY:
            owners = features // lanes * (channels // chunk)
            parts = event_weight_gradient.parts_for(owners, steps * batch)
            out = self._empty((parts, owners, size * size * chunk * lanes))
            listable = self._listable(x)
            event_weight_gradient.weight_gradient(self._by_image(grad), *listable, size, padding, chunk, lanes, out)
            blocks = out.sum(axis=0).reshape(features // lanes, channels // chunk, size, size, chunk, lanes)
            return np.ascontiguousarray(blocks.transpose(2, 3, 1, 4, 0, 5)).reshape(size, size, channels, features)
        images = self._by_image(x)
        depth = size * size * channels
        most = max(2, min(16, 2**23 // (depth * features)))  # bounded memory; shapes alone decide
        tasks = max(1, min(len(images), most))
        partial = self.zeros((tasks, depth, features))
        grad = self._dense(grad).reshape(len(images), rows * columns, features)
        convolution.weight_gradient(grad, images, size, stride, padding, columns, partial)
        return partial.sum(axis=0).reshape(size, size, channels, features)

    def _sparser(self, grad, x, density, size, padding):
        """Whether increments of the current's gradient make shorter lists than spikes x of this density."""
        lanes = event_convolution.lanes_for(x.shape[4])
        if not (self._leaks(grad) and isinstance(x, SpikeTrain) and lanes and padding < size):
            return False
        places = (grad.shape[2] - 1) * (x.shape[3] + 2 * (size - 1)) + grad.shape[3]
        return places <= 2**16 and self._density(grad) < min(density, EVENT_DENSITY)

    def _leaky_weight_gradient(self, grad, x, size, padding):
        features, channels = grad.shape[4], x.shape[4]
        lanes, chunk = event_convolution.lanes_for(channels), event_convolution.block_for(features)
        groups = features // chunk, channels // lanes
        owners = groups[0] * groups[1]
        parts = event_weight_gradient.parts_for(owners, grad.shape[1])
        out = self._empty((parts, owners, size * size * chunk * lanes))
        scale = np.float32(x.scale)
        event_weight_gradient.leaky_weight_gradient(
            grad.grad, grad.leak, x.counts, scale, size, padding, chunk, lanes, out
        )
        blocks = out.sum(axis=0).reshape(*groups, size, size, chunk, lanes)[:, :, ::-1, ::-1]
        return np.ascontiguousarray(blocks.transpose(2, 3, 1, 5, 0, 4)).reshape(size, size, channels, features)

    def conv2d_input_gradient(self, grad, weight, shape, stride, padding):
        steps, batch, rows, columns, features = grad.shape
        size, channels = len(weight), shape[4]
        density = self._density(grad) if stride == 1 and event_convolution.lanes_for(channels) else math.inf
        if density < EVENT_DENSITY:
            flipped = np.ascontiguousarray(weight[::-1, ::-1].transpose(0, 1, 3, 2))
            return self._convolution(grad, flipped, 1, size - 1 - padding, density)
        out = self.zeros(shape)
        grad = self._dense(grad).reshape(steps * batch, rows * columns, features)
        flat = out.reshape(steps * batch, *shape[2:])
        convolution.input_gradient(grad, weight.reshape(-1, features), size, stride, padding, columns, flat)
        return out

    @staticmethod
    def _leaks(x) -> bool:
        """Whether lists should hold increments over time: a batch is then split by image alone."""
        return isinstance(x, CurrentGradient) and x.shape[0] > 1 and x.shape[1] >= LEAKY_BATCH

    def _density(self, x) -> float:
        """The share of entries that lists would hold, by a sample; above 1 where the event-driven kernels cannot be used."""
        if self.dtype != "float32":
            return math.inf
        if self._leaks(x):
            now, later = x.grad[:-1].reshape(-1), x.grad[1:].reshape(-1)
            every = _stride(now)
            sample = now[::every] - x.leak * later[::every]
            return np.count_nonzero(sample) / max(len(sample), 1)
        flat = (x.counts if isinstance(x, SpikeTrain) else self._dense(x)).reshape(-1)
        sample = flat[:: _stride(flat)]
        return np.count_nonzero(sample) / max(len(sample), 1)

    def _listable(self, x):
        """(images or rows, scale, whether every event has its own value) for lists of events."""
        if isinstance(x, SpikeTrain):
            counts = x.counts
            return counts.reshape(-1, *counts.shape[2:]), np.float32(x.scale), int(not x.binary)
        return self._by_image(x), np.float32(1), 1

    def linear(self, x, weight):
        return self._product(x, weight, transposed=False)

    def linear_input_gradient(self, grad, weight):
        return self._product(grad, weight, transposed=True)

    def _product(self, x, weight, transposed):
        depth, features = weight.shape[::-1] if transposed else weight.shape
        if x.shape[2] != depth:  # compiled kernels do not check
            raise ValueError(f"a linear layer of {depth} inputs was given {x.shape[2]}")
        weight = np.ascontiguousarray(weight)
        out = self._empty((*x.shape[:2], features))
        into = out.reshape(-1, features)
        if features >= event_linear.LANES and self._density(x) < EVENT_DENSITY:
            leaks, leak = self._leaks(x), getattr(x, "leak", None)
            if leaks:
                sparse = self._empty(x.shape)
                leaky.increments(self._by_step(x), leak, self._by_step(sparse))
                x = sparse
            rows, scale, each = self._listable(x)
            blocks = -(-depth // event_linear.LANES)
            index = self._empty((blocks, event_linear.LANES * len(rows)), np.uint16)
            value = self._empty(index.shape, np.float32) if each else np.full((1, 1), scale)
            start = np.empty((blocks, len(rows) + 1), np.int64)
            event_linear.list_blocks(rows, scale, each, index, value, start)
            event_linear.product(index, value, each, start, weight, transposed, into)
            if leaks:
                leaky.accumulate(self._by_step(out), leak)
        elif transposed:
            linear.input_gradient(self._by_image(x), weight, into)
        else:
            linear.forward(self._by_image(x), weight, into)
        return out

    def linear_weight_gradient(self, grad, x):
        return OuterProduct(x, grad)

    def _factors(self, product):
        """x, grad, scale, each, rows: the arguments of the optimisers' kernels that compute xᵀ·grad on the way."""
        grad = self._by_image(product.grad)
        listable = isinstance(product.x, SpikeTrain) and grad.shape[1] >= 32
        density, grad_density = (self._density(a) if listable else math.inf for a in (product.x, grad))
        if min(density, grad_density) < EVENT_DENSITY:
            counts, scale, each = self._listable(product.x)
            if grad_density < density and len(grad) < 2**16:
                index, value = (self._empty(grad.shape[::-1], kind) for kind in (np.uint16, np.float32))
                found = np.empty(grad.shape[1], np.int64)
                event_linear.list_gradient(grad, index, value, found)
                return counts, (index, value, found), scale, each, event_linear.LANES
            panels = self._empty((-(-grad.shape[1] // event_linear.LANES), len(grad), event_linear.LANES))
            event_linear.panels(grad, panels)
            return counts, panels, scale, each, event_linear.LANES
        return self._by_image(product.x), grad, self.float.type(1), 0, linear.FEATURES

    def avg_pool(self, x):
        shape = (*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2, x.shape[4])
        if isinstance(x, SpikeTrain) and x.binary:
            counts = self._empty(shape, np.uint8)
            elementwise.sum_pool(self._by_image(x.counts), self._by_image(counts))
            return SpikeTrain(counts, x.scale / 4, False)
        out = self._empty(shape)
        elementwise.avg_pool(self._by_image(x), self._by_image(out))
        return out

    def avg_pool_gradient(self, grad, shape):
        return PooledGradient(grad, tuple(shape))

    def sum_time(self, x):
        if isinstance(x, SpikeTrain):
            return x.counts.sum(axis=0, keepdims=True, dtype=self.float) * self.float.type(x.scale)
        return super().sum_time(self._dense(x))

    # ---------------------------------------------------------------- neurons

    def relu(self, x, mask=None):
        out = self._empty(x.shape)
        elementwise.relu(self._by_step(x), *self._mask(mask), self._by_step(out))
        return out

    def relu_gradient(self, grad, x, mask=None):
        out = self._empty(x.shape)
        elementwise.relu_gradient(self._by_step(grad), self._by_step(x), *self._mask(mask), self._by_step(out))
        return out

    def lif_forward(self, current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft=None):
        current = self._dense(current)
        if soft is not None:
            mask = None if mask is None else self._dense(mask)
            return super().lif_forward(current, state, leak, threshold, steps, reset=reset, mask=mask, soft=soft)
        shape, delayed, static = (steps, *current.shape[1:]), reset == "delayed", len(current) == 1
        membrane = None if static else self._empty(shape)  # of a static current the backward pass computes it again
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
            self._membranes(membrane, end),
            counts.reshape(steps, -1),
            self._flat(end),
            self._flat(end_spikes),
        )
        current = current if static else None
        saved = SavedNeurons(current, membrane, state, leak, threshold, reset, keep, scale, shape)
        return SpikeTrain(counts, float(scale), True), NeuronState(end, end_spikes), saved

    def _membranes(self, membrane, like):
        return np.empty((0, like.size), self.float) if membrane is None else self._by_step(membrane)

    def lif_backward(self, saved, grad_spikes, grad_state, surrogate, reset_grad=False):
        if not isinstance(saved, SavedNeurons):  # soft spikes, for gradient checks
            return super().lif_backward(saved, self._dense(grad_spikes), grad_state, surrogate, reset_grad)
        if surrogate.kind == "rate":
            raise ValueError("the rate gradient is lif_rate_backward's")
        shape, delayed, static = saved.shape, saved.reset == "delayed", saved.membrane is None
        grad_current = self._empty((1 if static else shape[0], *shape[1:]))
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

    # ---------------------------------------------------------------- optimisers

    def _in_place(self, array):
        """The flat array itself, to be updated, or an empty one for None."""
        if array is None:
            return self.none
        if not array.flags.c_contiguous:
            raise ValueError("an array that an optimiser updates must be C-contiguous")
        return array.reshape(-1)

    def sgd_step(self, parameter, grad, velocity, rate, momentum, decay, low, high):
        scalars = tuple(self.float.type(s) for s in (rate, momentum, decay, low, high))
        if isinstance(grad, OuterProduct):
            optimisers.sgd_rows(parameter, *self._factors(grad), velocity, scalars)
        else:
            optimisers.sgd(self._in_place(parameter), self._flat(grad), self._in_place(velocity), scalars)

    def adam_step(self, parameter, grad, mean, square, largest, rate, decays, epsilon, step, low, high):
        first, second = decays
        numbers = (
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
        scalars = tuple(self.float.type(s) for s in numbers)
        if isinstance(grad, OuterProduct):
            largest = self.none.reshape(0, parameter.shape[1]) if largest is None else largest
            optimisers.adam_rows(parameter, *self._factors(grad), mean, square, largest, scalars)
        else:
            moments = (self._in_place(a) for a in (mean, square, largest))
            optimisers.adam(self._in_place(parameter), self._flat(grad), *moments, scalars)
