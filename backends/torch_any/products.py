"""Convolutions, linear layers and pools of the Torch backend."""

import math

import torch
from torch.nn import functional

from backends.arrays import OuterProduct, PackedSpikes, PooledGradient, SpikeTrain
from backends.saved import Saved
from backends.torch_any import bits, gradients
from backends.torch_any.storage import Storage

SPIKES = 1 << 19  # spikes that a CPU converts to floats at a time, to save memory


class Products(Storage):
    """Convolutions, linear layers and pools, their gradients, and sums over time."""

    def add(self, a, b):
        return self._dense(a) + self._dense(b)

    def _as_factor(self, x):
        """Return the factor of a product, and a scale for the result, which bf16 would round if it were in the factor."""
        if isinstance(x, SpikeTrain) and self.product_dtype != self.float:
            return x.counts.to(self.product_dtype), x.scale
        return self._dense(x, self.product_dtype), 1.0

    def _rescaled(self, product, scale):
        """The product of `_as_factor` times its scale, in the type of the arrays."""
        product = product.to(self.float)
        return product if scale == 1 else product * scale

    def _images(self, x):
        """`_as_factor` of [T, B, H, W, C] as [T·B, C, H, W], channels last."""
        x, scale = self._as_factor(x)
        return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]).permute(0, 3, 1, 2), scale

    def _pieces(self, x):
        """Yield slices of the T·B images of x and `_images` of each. Spikes on a CPU come in parts, other arrays at once."""
        count, size = x.shape[0] * x.shape[1], self._part_of(x.shape)
        packed = isinstance(x, PackedSpikes)
        if not packed and (self.device != "cpu" or not isinstance(x, SpikeTrain) or count <= size):
            yield slice(0, count), *self._images(x)
            return
        images = (x.bytes if packed else x.counts).view(count, -1)
        room = torch.empty((size, *x.shape[2:]), dtype=self.product_dtype, device=self.device)
        for first in range(0, count, size):
            part = slice(first, min(first + size, count))
            counts, place = images[part], room[: part.stop - first]
            place.view(len(counts), -1).copy_(bits.unpacked(counts) if packed else counts)
            yield part, place.permute(0, 3, 1, 2), x.scale

    def _part_of(self, shape):
        """The number of images of spikes [T, B, H, W, C] that a CPU converts to floats at a time."""
        return max(1, SPIKES // max(1, math.prod(shape[2:])))

    def _packed(self, x):
        """The input of a convolution as it is stored for the backward pass. On a CPU, eight spikes are packed into a byte."""
        if self.device != "cpu" or not isinstance(x, SpikeTrain) or not x.binary or math.prod(x.shape[2:]) % 8:
            return x
        count, size = x.shape[0] * x.shape[1], self._part_of(x.shape)
        if count <= size:
            return x
        images = x.counts.view(count, -1)
        packed = torch.empty((count, images.shape[1] // 8), dtype=torch.uint8, device=self.device)
        for first in range(0, count, size):
            packed[first : first + size] = bits.packed(images[first : first + size])
        return PackedSpikes(packed, x.scale, tuple(x.shape))

    def _times(self, a, b):
        """a · b, with a float32 result if this costs no more time than the type of the factors."""
        if self.multiplies_into_float32:
            return torch.mm(a.flatten(0, -2), b, out_dtype=self.float).reshape(*a.shape[:-1], b.shape[1])
        return a @ b

    def _linear(self, x, weight):
        """x […, F_in] times the transposed weight [F_out, F_in], on a CPU."""
        if self.onednn and x.dtype == torch.float32 and x.shape[-1] == weight.shape[1] > 0:
            return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return functional.linear(x, weight)

    def _kernel(self, weight):
        """Copy the weight of a convolution to torch's layout and to the type of factors."""
        return weight.permute(3, 2, 0, 1).to(self.product_dtype, memory_format=torch.channels_last, copy=True)

    def conv2d(self, x, weight, stride, padding, *, want_weight=True):
        kernel = self._kernel(weight)
        return self._convolved(x, kernel, stride, padding), self._saved_convolution(
            x, weight, kernel, stride, padding, want_weight
        )

    def _saved_convolution(self, x, weight, kernel, stride, padding, want_weight):
        kept = self._packed(x) if want_weight else None
        return Saved((kept, tuple(x.shape), kernel, stride, padding), self.versions, weight)

    def _convolved(self, x, kernel, stride, padding):
        """Convolve x with a kernel in torch's layout."""
        out, count = None, x.shape[0] * x.shape[1]
        for part, images, scale in self._pieces(x):
            found = functional.conv2d(images, kernel, stride=stride, padding=padding).permute(0, 2, 3, 1)
            if len(found) == count:
                out = self._rescaled(found.contiguous(), scale)
            else:
                out = found.new_empty((count, *found.shape[1:]), dtype=self.float) if out is None else out
                torch.mul(found.to(self.float), scale, out=out[part])
            del found  # free it before the next part is computed
        return out.reshape(*x.shape[:2], *out.shape[1:])

    def conv2d_backward(self, saved, grad, want_input=True, want_weight=True):
        x, shape, kernel, stride, padding = saved.open()
        grad_weight = self._conv2d_weight_gradient(grad, x, kernel.shape[2], stride, padding) if want_weight else None
        if not want_input:
            return None, grad_weight
        images = self._dense(grad, self.product_dtype).flatten(0, 1)
        found = gradients.of_input(images, kernel, shape[2:4], stride, padding)
        return found.reshape(shape).to(self.float), grad_weight

    def _conv2d_weight_gradient(self, grad, x, size, stride, padding):
        like = torch.empty((grad.shape[4], size, size, x.shape[4]), dtype=self.product_dtype, device=self.device)
        like, grad, total = like.permute(0, 3, 1, 2), self._images(grad)[0], None
        for part, images, scale in self._pieces(x):
            found = torch.ops.aten.convolution_backward(
                grad[part],
                images,
                like,
                None,
                [stride] * 2,
                [padding] * 2,
                [1, 1],
                False,
                [0, 0],
                1,
                (False, True, False),
            )[1]
            found = self._rescaled(found, scale)
            total = found if total is None else total.add_(found)
        return total.permute(2, 3, 1, 0).contiguous()

    def linear(self, x, weight, *, want_weight=True):
        factor = weight.to(self.product_dtype)
        values, scale = self._as_factor(x)
        product = self._linear(values, factor.T) if self.device == "cpu" else self._times(values, factor)
        return self._rescaled(product, scale), Saved((x if want_weight else None, factor), self.versions, weight)

    def linear_backward(self, saved, grad, want_input=True, want_weight=True):
        x, factor = saved.open()
        grad_weight = OuterProduct(x, grad) if want_weight else None
        if not want_input:
            return None, grad_weight
        grad = self._dense(grad, self.product_dtype)
        product = self._linear(grad, factor) if self.device == "cpu" else self._times(grad, factor.T)
        return product.to(self.float), grad_weight

    def _outer_product_factors(self, product):
        """The factors x [N, F_in] and grad [N, F_out] of a linear weight gradient xᵀ·grad, and its scale."""
        x, scale = self._as_factor(product.x)
        return x.flatten(0, 1), self._dense(product.grad, self.product_dtype).flatten(0, 1), scale

    def avg_pool(self, x):
        if isinstance(x, SpikeTrain) and x.binary:
            return SpikeTrain(_sum_of_windows(x.counts), x.scale / 4, False), Saved(tuple(x.shape), self.versions)
        return _sum_of_windows(self._dense(x)).div_(4), Saved(tuple(x.shape), self.versions)

    def avg_pool_backward(self, saved, grad):
        return PooledGradient(self._copy(grad), saved.open())

    def sum_time(self, x):
        if isinstance(x, SpikeTrain):
            return x.counts.sum(dim=0, keepdim=True, dtype=self.float) * x.scale
        return self._dense(x).sum(dim=0, keepdim=True)

    def repeat_time(self, x, steps):
        return self._dense(x).expand(steps, *x.shape[1:])


def _sum_of_windows(x):
    """Sums over 2×2 windows of [T, B, H, W, C]. An odd last row or column is ignored."""
    x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return (x[:, :, ::2, ::2] + x[:, :, ::2, 1::2]).add_(x[:, :, 1::2, ::2]).add_(x[:, :, 1::2, 1::2])
