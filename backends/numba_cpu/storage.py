"""Arrays, random numbers and image batches of the Numba backend."""

import functools
import math

import numpy as np

from backends.arrays import CurrentGradient, DropoutMask, OuterProduct, PooledGradient, SpikeTrain
from backends.interface import INTEGER_TYPES
from backends.numba_cpu.kernels import elementwise, optimisers, philox
from backends.reference import ReferenceBackend

OPAQUE = (SpikeTrain, DropoutMask, PooledGradient, CurrentGradient, OuterProduct)


def _with_numpy_arguments(kernel):
    """Wrap a kernel of the reference backend: arguments whose type is in arrays.py are converted to NumPy arrays first."""

    @functools.wraps(kernel)
    def with_numpy_arguments(self, *arguments, **options):
        return kernel(self, *(self._dense(a) if isinstance(a, OPAQUE) else a for a in arguments), **options)

    return with_numpy_arguments


class Storage(ReferenceBackend):
    """Arrays are C-contiguous NumPy arrays or have a type of arrays.py."""

    def _empty(self, shape, dtype=None, huge=False):
        return self.workspace.empty(shape, dtype or self.float, huge)

    def _dense(self, array):
        """A NumPy array with the values of any backend array."""
        if isinstance(array, SpikeTrain):
            out = self._empty(array.shape)
            elementwise.expand(array.counts.reshape(-1), self.float.type(array.scale), out.reshape(-1))
            return out
        if isinstance(array, CurrentGradient):
            return array.grad
        if isinstance(array, PooledGradient):
            out = self._empty(array.shape)
            if array.shape[2] % 2 or array.shape[3] % 2:  # a last row or column that is in no window
                out[...] = 0
            elementwise.avg_pool_gradient(self._merge_time(array.grad), self._merge_time(out))
            return out
        if isinstance(array, OuterProduct):
            out = self._empty(array.shape)
            optimisers.store_rows(self._outer_product_factors(array), out)
            return out
        if isinstance(array, DropoutMask):
            return array.keep * self.float.type(array.scale)
        return np.ascontiguousarray(array)

    def _flat(self, array):
        return self.empty_floats if array is None else self._dense(array).reshape(-1)

    def _by_step(self, array):
        dense = self._dense(array)
        return dense.reshape(len(dense), -1)

    def _merge_time(self, array):
        """[T, B, …] as [T·B, …]."""
        dense = self._dense(array)
        return dense.reshape(dense.shape[0] * dense.shape[1], *dense.shape[2:])

    def asarray(self, values):
        array = self._dense(values) if isinstance(values, OPAQUE) else np.asarray(values)
        if array.dtype in (np.uint8, np.int64):
            return super().asarray(array)
        out = self._empty(array.shape, array.dtype if array.dtype in INTEGER_TYPES else self.float)
        out[...] = array
        return out

    def to_numpy(self, array):
        if isinstance(array, CurrentGradient):
            array = array.grad
        return array.copy() if isinstance(array, np.ndarray) else self._dense(array)

    def _copy(self, array):
        """A NumPy array of the values that shares no memory with the array."""
        if isinstance(array, CurrentGradient):
            array = array.grad
        if not isinstance(array, np.ndarray):
            return self._dense(array)
        out = self._empty(array.shape)
        elementwise.expand(np.ascontiguousarray(array).reshape(-1), self.float.type(1), out.reshape(-1))
        return out

    def zeros(self, shape, dtype=None):
        out = self._empty(shape, dtype)
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

    def repeat_time(self, x, steps):
        dense = self._dense(x)
        return dense if steps == 1 else super().repeat_time(dense, steps)  # a view; `_dense` copies it for kernels

    write_rows = _with_numpy_arguments(ReferenceBackend.write_rows)

    def events(self, array):
        return super().events(array.counts if isinstance(array, SpikeTrain) else self._dense(array))

    # ---------------------------------------------------------------- randomness and images

    def random(self, draw, shape, first=0, distribution="uniform"):
        if distribution == "normal":
            return super().random(draw, shape, first, distribution)
        out = np.empty(shape, np.float32)
        philox.uniform(self._words(draw), first, out.reshape(-1))
        return out.astype(self.float, copy=False)

    def scale_shift(self, x, scale, shift):
        x = self._dense(x)
        # NumPy is slow on short rows, such as the three channels of a pixel. So a row here has the channels of many pixels.
        across = x.shape[-2] if x.ndim > 1 else 1
        if x.size == 0:
            return self._empty(x.shape)
        scale, shift = (np.tile(np.array(values, x.dtype), across) for values in (scale, shift))
        out = self._empty(x.shape)
        lines = np.multiply(x.reshape(-1, len(scale)), scale, out=out.reshape(-1, len(scale)))
        np.add(lines, shift, out=lines)
        return out

    def dropout_mask(self, draw, shape, dropout_rate, first=0):
        # A uniform number is a 24-bit integer times 2⁻²⁴. It is at least dropout_rate if the integer is at least `minimum`.
        minimum = math.ceil(float(self.float.type(dropout_rate)) * 2**24)
        count, skipped = math.prod(shape), first % 4
        keep = self._empty((-(-(skipped + count) // philox.NUMBERS), philox.LANES), np.uint32)
        philox.at_least(np.uint64(first // 4), self._words(draw), np.uint64(minimum), keep.reshape(-1))
        keep = keep.reshape(-1).view(np.uint8)[skipped : skipped + count]
        return DropoutMask(keep.reshape(shape), 1 / (1 - dropout_rate))

    @staticmethod
    def _words(draw):
        numbers = (draw.step, int(draw.stream), draw.layer, draw.seed, draw.seed >> 32)
        return philox.DrawWords(*(np.uint64(n & 0xFFFFFFFF) for n in numbers))

    def _mask(self, mask):
        """(keep [M] or empty, scale) of a dropout mask, or of an array like one."""
        if mask is None:
            return self.empty_bytes, self.float.type(1)
        if not isinstance(mask, DropoutMask):
            mask = DropoutMask((mask != 0).view(np.uint8), float(np.max(mask, initial=0)))
        return np.ascontiguousarray(mask.keep).reshape(-1), self.float.type(mask.scale)

    def image_batch(self, store, index, shift, flip, padding):
        out = np.empty((len(index), *store.shape[1:]), self.float)
        elementwise.image_batch(store, index, shift, flip, padding, self.float.type(1 / 255), out)
        return out

    rate_code = _with_numpy_arguments(ReferenceBackend.rate_code)
    clip, clip_backward = (
        _with_numpy_arguments(ReferenceBackend.clip),
        _with_numpy_arguments(ReferenceBackend.clip_backward),
    )
    multiply, greater, select, power, logit_loss = (
        _with_numpy_arguments(ReferenceBackend.multiply),
        _with_numpy_arguments(ReferenceBackend.greater),
        _with_numpy_arguments(ReferenceBackend.select),
        _with_numpy_arguments(ReferenceBackend.power),
        _with_numpy_arguments(ReferenceBackend.logit_loss),
    )
    scale_to_norm, sign_step, cross_entropy = (
        _with_numpy_arguments(ReferenceBackend.scale_to_norm),
        _with_numpy_arguments(ReferenceBackend.sign_step),
        _with_numpy_arguments(ReferenceBackend.cross_entropy),
    )
