"""Arrays, random numbers and image batches of the Torch backend."""

import math

import numpy as np
import torch

from backends.arrays import DropoutMask, OuterProduct, PooledGradient, SpikeTrain
from backends.interface import INTEGER_TYPES, Backend
from backends.saved import Saved
from backends.torch_any import gradients, philox

OPAQUE = (SpikeTrain, DropoutMask, PooledGradient, OuterProduct)
BYTE = torch.uint8
KEPT = tuple(getattr(torch, np.dtype(kind).name) for kind in INTEGER_TYPES)


class Storage(Backend):
    """Methods for arrays, which are torch tensors on one device or types of backends/arrays.py."""

    array_types = (torch.Tensor,)

    def _dense(self, array, dtype=None):
        """Convert any array to a tensor, of the given dtype if there is one."""
        if isinstance(array, SpikeTrain):
            dense = array.counts.to(dtype or self.float)
            return dense if array.scale == 1 else dense.mul_(array.scale)
        if isinstance(array, DropoutMask):
            return array.keep.to(self.float).mul_(array.scale)
        if isinstance(array, PooledGradient):
            return gradients.whole(array).to(dtype or self.float)
        if isinstance(array, OuterProduct):
            x, grad, scale = self._outer_product_factors(array)
            return self._rescaled(self._times(x.T, grad), scale)
        return array if dtype is None else array.to(dtype)

    def asarray(self, values):
        if isinstance(values, OPAQUE):
            values = self._dense(values)
        if isinstance(values, torch.Tensor):
            kind = values.dtype if values.dtype in KEPT else self.float
            return values.detach().to(self.device, kind, copy=True, memory_format=torch.contiguous_format)
        array = np.asarray(values)
        kept = array.dtype in INTEGER_TYPES
        array = np.asarray(array, array.dtype.newbyteorder("=") if kept else self.dtype, order="C")
        return self._send(torch.tensor(array, device="cpu"))

    def _send(self, tensor):
        """Copy a host tensor to the device, without waiting for a GPU."""
        if self.device == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _constant(self, values):
        """A tuple of numbers as a tensor on the device, cached."""
        if values not in self.constants:
            self.constants[values] = self._send(torch.tensor(values, dtype=self.float, device="cpu"))
        return self.constants[values]

    def to_numpy(self, array):
        if isinstance(array, np.ndarray):
            return array.copy()
        tensor = self._copy(array) if self.device == "cpu" else self._dense(array)
        return tensor.detach().cpu().numpy()

    def _copy(self, array):
        """Convert an array to a tensor that shares no memory with it."""
        dense = self._dense(array)
        return dense.clone() if dense is array else dense

    def zeros(self, shape, dtype=None):
        dtype = self.float if dtype is None else getattr(torch, np.dtype(dtype).name)
        return torch.zeros(tuple(shape), dtype=dtype, device=self.device)

    def reshape(self, array, shape):
        if isinstance(array, SpikeTrain):
            return array._replace(counts=array.counts.reshape(shape))
        return self._dense(array).reshape(shape)

    def rows(self, array, start, stop):
        if isinstance(array, SpikeTrain):
            return array._replace(counts=array.counts[start:stop])
        return self._dense(array)[start:stop]

    def write_rows(self, array, start, values):
        self.versions.updated(array)
        values = self._dense(values)
        array[start : start + len(values)] = torch.as_tensor(values, device=self.device)

    def top_k(self, array, count):
        if self.device == "cpu":
            return super().top_k(array, count)
        values = self._dense(array).reshape(-1)
        return values.topk(min(count, len(values)), sorted=False).values.cpu().numpy()

    def events(self, array):
        return int(torch.count_nonzero(array.counts if isinstance(array, SpikeTrain) else self._dense(array)))

    # ---------------------------------------------------------------- randomness

    def random(self, draw, shape, first=0, distribution="uniform"):
        if distribution == "normal":
            bits = philox.random_bits(draw, count(shape), first, self.device)
            return self.quantiles[bits >> 16].reshape(tuple(shape))
        return philox.uniform(draw, count(shape), first, self.device).reshape(tuple(shape)).to(self.float)

    def dropout_mask(self, draw, shape, dropout_rate, first=0):
        least = math.ceil(rounded(dropout_rate, self.float) * 2**24)  # compared with the 24 bits of a uniform number
        keep = philox.at_least(draw, count(shape), first, least, self.device)
        return DropoutMask(keep.reshape(tuple(shape)), 1 / (1 - dropout_rate))

    def rate_code(self, draw, images, first_step, steps, first=0):
        images = self._dense(images)
        draws = [draw._replace(layer=first_step + t) for t in range(steps)]
        spikes = torch.stack([self.random(d, images.shape, first) < images for d in draws])
        return SpikeTrain(spikes.view(BYTE), 1.0, True)

    # ---------------------------------------------------------------- images

    def image_batch(self, store, index, shift, flip, padding):
        index, y0, x0, flip = self._send(torch.from_numpy(np.stack((index, shift[:, 0], shift[:, 1], flip))))
        _, height, width, _ = store.shape
        y, x = torch.arange(height, device=self.device), torch.arange(width, device=self.device)
        rows = _reflected(y + y0[:, None] - padding, height)  # [B, H]
        columns = _reflected(torch.where(flip[:, None] == 1, width - 1 - x, x) + x0[:, None] - padding, width)
        images = store[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        return images.to(self.float).mul_(rounded(1 / 255, self.float))

    def scale_shift(self, x, scale, shift):
        return self._dense(x) * self._constant(tuple(scale)) + self._constant(tuple(shift))

    def clip(self, x, low, high):
        x = self._dense(x)
        return x.clamp(low, high), Saved((x, low, high), self.versions)

    def clip_backward(self, saved, grad):
        x, low, high = saved.open()
        return self._dense(grad) * ((x >= low) & (x <= high))

    def sign_step(self, x, grad, step, low, high, center=None, bound=0.0):
        moved = self._dense(x) + rounded(step, self.float) * torch.sign(self._dense(grad))
        if center is not None:
            bound = rounded(bound, self.float)
            moved = torch.minimum(torch.maximum(moved, center - bound), center + bound)
        return moved.clamp_(low, high)

    def scale_to_norm(self, x, order, limit=None):
        x = self._dense(x)
        images = x.flatten(1) if x.ndim > 1 else x[:, None]
        if order == 2:
            norm = images.double().square().sum(1).sqrt().to(self.float)
        else:
            norm = images.abs().mean(1) if order == 1 else images.abs().amax(1)
        norm = norm.view(-1, *(1,) * (x.ndim - 1))
        norm = torch.where(norm > 0, norm, torch.ones_like(norm))
        return x / norm if limit is None else x * (rounded(limit, self.float) / norm).clamp(max=1)

    # ---------------------------------------------------------------- control flow of an attack

    def multiply(self, a, b):
        a, b = self._dense(a), self._dense(b)
        return a * _per_image(b, a)

    def greater(self, a, b):
        other = b if isinstance(b, int | float) else self._dense(b)
        return (self._dense(a) > other).to(self.float)

    def select(self, flags, a, b):
        a, b = self._dense(a), self._dense(b)
        return torch.where(_per_image(flags > 0, a), a, b)

    def power(self, x, exponent):
        return self._dense(x).pow(exponent)


def count(shape) -> int:
    """The number of entries of an array with this shape."""
    return math.prod(int(n) for n in shape)


def _per_image(values, like):
    """A tensor of values per image [B], or of the shape of `like`, in a shape that broadcasts to `like` [B, …]."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def rounded(number, dtype):
    """Round a Python number to this dtype."""
    return float(number if dtype == torch.float64 else np.float32(number))


def _reflected(index, size):
    """Reflect positions outside 0 … size − 1 at the edges."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)
