"""Every kernel in plain NumPy: the specification in code. float32 or float64; clear before fast."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from backends import lif, moments16, randomness
from backends.interface import WHOLE, Backend


class ReferenceBackend(Backend):
    """The plain NumPy backend; arrays are NumPy arrays. Other CPU backends override what they do faster."""

    name = "reference"
    device = "cpu"

    def __init__(self, dtype: str = "float32", threads: int | None = None):
        self.dtype = dtype
        self.threads = threads or 1
        self.float = np.dtype(dtype)

    # ---------------------------------------------------------------- arrays

    def asarray(self, values):
        array = np.asarray(values)
        return np.ascontiguousarray(array if array.dtype in WHOLE else array.astype(self.float))

    def to_numpy(self, array):
        return np.asarray(array)

    def zeros(self, shape, dtype=None):
        return np.zeros(shape, dtype or self.float)

    def reshape(self, array, shape):
        return array.reshape(shape)

    def rows(self, array, start, stop):
        return array[start:stop]

    def write_rows(self, array, start, values):
        array[start : start + len(values)] = values

    def total(self, array):
        return float(np.sum(array, dtype=np.float64))

    def events(self, array):
        return int(np.count_nonzero(array))

    # ---------------------------------------------------------------- randomness

    def uniform(self, draw, shape, first=0):
        return randomness.uniform(draw, shape, first).astype(self.float)

    def normal(self, draw, shape, first=0):
        return randomness.normal(draw, shape, first).astype(self.float)

    def dropout_mask(self, draw, shape, rate, first=0):
        return np.where(self.uniform(draw, shape, first) < rate, 0, 1 / (1 - rate)).astype(self.float)

    def rate_code(self, draw, images, first_step, steps, first=0):
        draws = [draw._replace(layer=first_step + t) for t in range(steps)]
        return np.stack([self.uniform(d, images.shape, first) < images for d in draws]).astype(self.float)

    # ---------------------------------------------------------------- images

    def image_batch(self, store, index, shift, flip, padding):
        images = np.pad(store[index], ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
        _, height, width, _ = store.shape
        rows = shift[:, 0, None] + np.arange(height)  # [B, H]
        columns = np.where(flip[:, None] == 1, np.arange(width)[::-1], np.arange(width)) + shift[:, 1, None]
        images = images[np.arange(len(index))[:, None, None], rows[:, :, None], columns[:, None, :]]
        return images.astype(self.float) * self.float.type(1 / 255)

    def scale_shift(self, x, scale, shift):
        return x * np.array(scale, x.dtype) + np.array(shift, x.dtype)

    def clip(self, x, low, high):
        return np.clip(x, low, high)

    def clip_gradient(self, grad, x, low, high):
        return np.where((x >= low) & (x <= high), grad, 0).astype(grad.dtype)

    def sign_step(self, x, grad, step, low, high, center=None, bound=0.0):
        moved = x + self.float.type(step) * np.sign(grad)
        if center is not None:
            moved = np.clip(moved, center - self.float.type(bound), center + self.float.type(bound))
        return np.clip(moved, self.float.type(low), self.float.type(high))

    # ---------------------------------------------------------------- dense algebra

    def add(self, a, b):
        return a + b

    def conv2d(self, x, weight, stride, padding):
        patches = _patches(x.reshape(-1, *x.shape[2:]), len(weight), stride, padding)  # [N, H_out, W_out, C_in, k, k]
        out = np.tensordot(patches, weight, axes=((4, 5, 3), (0, 1, 2)))
        return out.reshape(*x.shape[:2], *out.shape[1:])

    def conv2d_weight_gradient(self, grad, x, size, stride, padding):
        patches = _patches(x.reshape(-1, *x.shape[2:]), size, stride, padding)
        grad = grad.reshape(-1, *grad.shape[2:])
        return np.tensordot(patches, grad, axes=((0, 1, 2), (0, 1, 2))).transpose(1, 2, 0, 3)

    def conv2d_input_gradient(self, grad, weight, shape, stride, padding):
        k, (_, _, height, width, _), (_, _, rows, columns, _) = len(weight), shape, grad.shape
        padded = np.zeros((*shape[:2], height + 2 * padding, width + 2 * padding, shape[4]), grad.dtype)
        for i in range(k):  # each tap sends its share of the gradient back to the pixels that it read
            for j in range(k):
                padded[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride] += grad @ weight[i, j].T
        return padded[:, :, padding : padding + height, padding : padding + width]

    def linear(self, x, weight):
        return x @ weight

    def linear_input_gradient(self, grad, weight):
        return grad @ weight.T

    def linear_weight_gradient(self, grad, x):
        return np.tensordot(x, grad, axes=((0, 1), (0, 1)))

    def avg_pool(self, x):
        even = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        return (even[:, :, ::2, ::2] + even[:, :, ::2, 1::2] + even[:, :, 1::2, ::2] + even[:, :, 1::2, 1::2]) / 4

    def avg_pool_gradient(self, grad, shape):
        out = np.zeros(shape, grad.dtype)
        out[:, :, : shape[2] // 2 * 2, : shape[3] // 2 * 2] = (grad / 4).repeat(2, axis=2).repeat(2, axis=3)
        return out

    def sum_time(self, x):
        return x.sum(axis=0, keepdims=True)

    def repeat_time(self, x, steps):
        return np.broadcast_to(x, (steps, *x.shape[1:]))

    # ---------------------------------------------------------------- neurons

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
        spikes, end, saved = lif.lif_forward(current, state, leak, threshold, steps, reset=reset, mask=mask, soft=soft)
        return spikes, end if want_state else None, saved

    def lif_backward(self, saved, grad_spikes, grad_state, surrogate, reset_grad=False, want_state=True):
        grad_current, grad_start, *grads = lif.lif_backward(saved, grad_spikes, grad_state, surrogate, reset_grad)
        return grad_current, grad_start if want_state else None, *grads

    def lif_rate_backward(self, saved, grad_spikes):
        return lif.lif_rate_backward(saved, grad_spikes)

    def relu(self, x, mask=None):
        return np.maximum(x, 0) if mask is None else np.maximum(x, 0) * mask

    def relu_gradient(self, grad, x, mask=None):
        return (grad if mask is None else grad * mask) * (x > 0)

    # ---------------------------------------------------------------- loss and optimisers

    def cross_entropy(self, logits, labels, weight):
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        rows = np.arange(len(labels))
        grad = np.exp(log_softmax)
        grad[rows, labels] -= 1
        return -log_softmax[rows, labels], grad * self.float.type(weight)

    def tally(self, losses, logits, labels):
        right = np.asarray(logits).argmax(axis=1) == labels
        return np.array([np.sum(losses, dtype=np.float64), right.sum(), len(right)], np.float64)

    def sgd_step(self, parameter, grad, velocity, rate, momentum, decay, low, high):
        velocity *= self.float.type(momentum)
        velocity += self.to_numpy(grad) + self.float.type(decay) * parameter
        np.clip(parameter - self.float.type(rate) * velocity, low, high, out=parameter)

    def adam_step(self, parameter, grad, mean, square, largest, rate, decays, epsilon, step, low, high):
        if moments16.are_narrow(mean, square, largest):
            wide = moments16.widen(mean, moments16.CUT_MEAN), moments16.widen(square, moments16.CUT_SQUARE)
            moments = [moment.astype(self.float) for moment in wide]
            self.adam_step(parameter, grad, *moments, largest, rate, decays, epsilon, step, low, high)
            mean[...] = moments16.narrow(moments[0], moments16.CUT_MEAN, step)
            square[...] = moments16.narrow(moments[1], moments16.CUT_SQUARE, step)
            return
        grad = self.to_numpy(grad)
        first, second = decays
        mean[...] = first * mean + (1 - first) * grad
        square[...] = second * square + (1 - second) * grad * grad
        if largest is not None:
            np.maximum(largest, square, out=largest)
        root = np.sqrt(square if largest is None else largest) / math.sqrt(1 - second**step)
        np.clip(parameter - rate / (1 - first**step) * mean / (root + epsilon), low, high, out=parameter)


def _patches(images, size, stride, padding):
    """The k×k windows of [N, H, W, C] that a convolution reads, as a view [N, H_out, W_out, C, k, k]."""
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
