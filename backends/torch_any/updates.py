"""Losses and optimiser steps of the Torch backend. The step of a linear layer also computes the weight gradient, part by part."""

import math

import numpy as np
import torch

from backends import moments16
from backends.arrays import OuterProduct
from backends.errors import BackendError
from backends.torch_any.neurons import Neurons
from backends.torch_any.storage import rounded

ROWS = 256  # rows of a linear layer's weight that a CPU updates at a time: their gradient is never written out whole
ENTRIES = 1 << 24  # of it that a GPU updates at a time: torch's fused optimisers give each thread block 65,536


class Updates(Neurons):
    """Losses; SGD and Adam, in place."""

    def cross_entropy(self, logits, labels, weight):
        log_softmax = torch.log_softmax(logits, dim=1)
        chosen = torch.as_tensor(labels, device=self.device)[:, None]
        grad = log_softmax.exp()
        grad.scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=grad.dtype))
        losses = -log_softmax.gather(1, chosen)[:, 0]
        correct = (logits.argmax(dim=1) == chosen[:, 0]).sum().double()
        count = torch.full((), len(logits), dtype=torch.float64, device=self.device)
        sums = torch.stack((losses.sum(dtype=torch.float64), correct, count))
        return losses, grad.mul_(rounded(weight, self.float)), sums

    def logit_loss(self, logits, labels, kind, targets=None):
        sorted_logits, order = logits.sort(dim=1, descending=True, stable=True)
        labels, largest, grad = torch.as_tensor(labels, device=self.device), order[:, 0], torch.zeros_like(logits)

        def of(classes):
            return logits.gather(1, classes[:, None])[:, 0]

        def increase(classes, values):
            grad.scatter_add_(1, classes[:, None], values[:, None])

        if kind == "zero-one":
            return (largest != labels).to(self.float), grad
        targeted = kind == "dlr-targeted"
        found = torch.as_tensor(targets, device=self.device) if targeted else None
        other = found if targeted else torch.where(largest == labels, order[:, 1], largest)
        margin = of(labels) - of(other)
        if kind == "margin":
            ones = torch.ones_like(margin)
            increase(labels, ones)
            increase(other, -ones)
            return margin, grad
        below = 1 if kind == "dlr" else 2  # the number of classes whose mean is subtracted
        spread = sorted_logits[:, 0] - sorted_logits[:, 2 : 2 + below].sum(dim=1) / below + 1e-12
        losses = -margin / spread
        increase(labels, -1 / spread)
        increase(other, 1 / spread)
        increase(largest, -losses / spread)
        for i in range(below):
            increase(order[:, 2 + i], losses / (spread * below))
        return losses, grad

    def _by_rows(self, grad, *arrays):
        """(gradient, *arrays) in parts that cover them all; None stays None. A handle is computed part by part."""
        if not isinstance(grad, OuterProduct):
            yield self._dense(grad), *arrays
            return
        x, grad, scale = self._outer_product_factors(grad)
        on_cpu = self.device == "cpu"
        x, rows = (x.T.contiguous(), ROWS) if on_cpu else (x.T, max(1, ENTRIES // grad.shape[1]))
        for first in range(0, len(x), rows):
            part = slice(first, first + rows)
            found = self._linear(x[part], grad.T) if on_cpu else self._times(x[part], grad)
            yield self._rescaled(found, scale), *(None if a is None else a[part] for a in arrays)

    def _count_update(self, parameter):
        """Note that a parameter changes. torch's kernels go through memory in order, so they need C order."""
        if not parameter.is_contiguous():
            raise BackendError("a parameter that is not contiguous cannot be updated in place: convert it with asarray")
        self.versions.updated(parameter)

    def sgd_step(self, parameter, grad, velocity, learning_rate, momentum, decay, low, high):
        self._count_update(parameter)
        for g, w, u in self._by_rows(grad, parameter, velocity):
            if not momentum:  # torch's kernel then takes no velocity
                torch.add(g, w, alpha=decay, out=u)
            torch._fused_sgd_(
                [w],
                [g],
                [u] if momentum else [],
                lr=fused_learning_rate(learning_rate, self.device),
                momentum=momentum,
                weight_decay=decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
            _clip(w, low, high)

    def adam_step(self, parameter, grad, mean, square, max_square, learning_rate, decays, epsilon, step, low, high):
        self._count_update(parameter)
        count = torch.full((), 0.0, dtype=torch.float32, device=self.device).add_(step)
        entry, narrow = 0, moments16.are_narrow(mean, square, max_square)
        for g, w, m, s, most in self._by_rows(grad, parameter, mean, square, max_square):
            moments = [_widen_mean(m, self.float), _widen_square(s, self.float)] if narrow else [m, s]
            torch._fused_adam_(
                [w],
                [g],
                moments[:1],
                moments[1:],
                [] if most is None else [most],
                [count],
                lr=fused_learning_rate(learning_rate, self.device),
                beta1=decays[0],
                beta2=decays[1],
                weight_decay=0.0,
                eps=epsilon,
                amsgrad=most is not None,
                maximize=False,
            )
            _clip(w, low, high)
            if narrow:
                bits = _rounding_bits(entry, m.shape, step, self.device)
                upper = (bits >> (32 - moments16.CUT_MEAN)).bitwise_and_(2**moments16.CUT_MEAN - 1)
                _narrow(moments[0], upper, moments16.CUT_MEAN, m)
                _narrow(moments[1], bits.bitwise_and_(2**moments16.CUT_SQUARE - 1), moments16.CUT_SQUARE, s)
            entry += w.numel()


# ---------------------------------------------------------------- moments in 16 bits, see backends/moments16.py


def _widen_mean(codes, dtype):
    """The numbers that the uint16 codes of a mean stand for."""
    return (codes.view(torch.int16).to(torch.int32) << moments16.CUT_MEAN).view(torch.float32).to(dtype)


def _widen_square(codes, dtype):
    """Those of a square, whose upper bit is no sign."""
    whole = codes.view(torch.int16).to(torch.int32) & 0xFFFF
    return (whole << moments16.CUT_SQUARE).view(torch.float32).to(dtype)


def _rounding_bits(first, shape, step, device):
    """int32 of this shape with the bits of `moments16.rounding_bits` from entry `first` on; step may be a tensor.

    Products wrap around.
    """
    x = torch.arange(math.prod(shape), dtype=torch.int32, device=device)
    x.add_(_signed(first + step * moments16.BY_STEP))
    for shift, factor in zip(moments16.SHIFTS, (*moments16.FACTORS, 1), strict=True):
        x.bitwise_xor_((x >> shift).bitwise_and_(2 ** (32 - shift) - 1))
        if factor != 1:
            x.mul_(_signed(factor))
    return x.reshape(shape)


def _signed(whole):
    """The lower 32 bits of a whole number, or of a tensor of int64, as a signed one."""
    return (whole + 2**31) % 2**32 - 2**31


def _narrow(moments, added, cut, codes):
    """Write float numbers as codes; `added`, int32, is used up."""
    bits = moments.to(torch.float32).view(torch.int32)
    codes.view(torch.int16).copy_(added.add_(bits).bitwise_right_shift_(cut))


def fused_learning_rate(learning_rate, device: str):
    """A learning rate for torch's fused optimisers: on a GPU with float32's bits, whatever the type of the weights.

    A recorded step passes a float32 tensor, an unrecorded one a number, which torch would take in float64: their bits must agree.
    """
    if device == "cpu":
        return learning_rate
    return learning_rate.float() if isinstance(learning_rate, torch.Tensor) else float(np.float32(learning_rate))


def _clip(parameter, low, high):
    if low > float("-inf") or high < float("inf"):
        parameter.clamp_(low, high)
