"""Every kernel in plain NumPy: the specification in code, in float32 or float64. Written to be clear, not fast."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from backends import lif, moments16, randomness
from backends.arguments import checked
from backends.interface import INTEGER_TYPES, Backend
from backends.saved import Saved


@checked
class ReferenceBackend(Backend):
    """The plain NumPy backend; arrays are NumPy arrays. The Numba backend overrides the methods that it computes faster."""

    name = "reference"
    device = "cpu"
    array_types = (np.ndarray,)

    def __init__(self, dtype: str = "float32", threads: int | None = None):
        super().__init__(dtype=dtype, threads=threads)
        self.dtype = dtype
        self.threads = threads or 1
        self.float = np.dtype(dtype)

    # ---------------------------------------------------------------- arrays

    def asarray(self, values):
        array = np.asarray(values)
        if array.dtype in INTEGER_TYPES and is_read_only(array):  # not copied: images are large
            return np.ascontiguousarray(array)
        return np.array(array, array.dtype if array.dtype in INTEGER_TYPES else self.float, order="C")

    def to_numpy(self, array):
        return np.array(array)

    def zeros(self, shape, dtype=None):
        return np.zeros(shape, dtype or self.float)

    def reshape(self, array, shape):
        return array.reshape(shape)

    def rows(self, array, start, stop):
        return array[start:stop]

    def write_rows(self, array, start, values):
        self.versions.updated(array)
        array[start : start + len(values)] = values

    def events(self, array):
        return int(np.count_nonzero(array))

    # ---------------------------------------------------------------- randomness

    def random(self, draw, shape, first=0, distribution="uniform"):
        numbers = {"uniform": randomness.uniform, "normal": randomness.normal}[distribution]
        return numbers(draw, shape, first).astype(self.float)

    def dropout_mask(self, draw, shape, dropout_rate, first=0):
        return np.where(self.random(draw, shape, first) < dropout_rate, 0, 1 / (1 - dropout_rate)).astype(self.float)

    def rate_code(self, draw, images, first_step, steps, first=0):
        draws = [draw._replace(layer=first_step + t) for t in range(steps)]
        return np.stack([self.random(d, images.shape, first) < images for d in draws]).astype(self.float)

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
        return np.clip(x, low, high), Saved((x, low, high), self.versions)

    def clip_backward(self, saved, grad):
        x, low, high = saved.open()
        return np.where((x >= low) & (x <= high), grad, 0).astype(grad.dtype)

    def sign_step(self, x, grad, step, low, high, center=None, bound=0.0):
        moved = x + self.float.type(step) * np.sign(grad)
        if center is not None:
            moved = np.clip(moved, center - self.float.type(bound), center + self.float.type(bound))
        return np.clip(moved, self.float.type(low), self.float.type(high))

    def scale_to_norm(self, x, order, limit=None):
        axes = tuple(range(1, x.ndim))
        if order == 2:
            squares = np.square(x, dtype=np.float64)  # in float32, those of small gradients would be 0
            norm = np.sqrt(squares.sum(axes, keepdims=True)).astype(self.float)
        else:
            norm = (np.mean if order == 1 else np.max)(np.abs(x), axes, keepdims=True)
        norm[norm == 0] = 1
        return x / norm if limit is None else x * np.minimum(self.float.type(limit) / norm, 1)

    # ---------------------------------------------------------------- control flow of an attack

    def multiply(self, a, b):
        return a * b.reshape(b.shape + (1,) * (a.ndim - b.ndim))

    def greater(self, a, b):
        return (a > b).astype(self.float)

    def select(self, flags, a, b):
        out, chosen = b.copy(), flags > 0
        out[chosen] = a[chosen]
        return out

    def power(self, x, exponent):
        return np.sqrt(x) if exponent == 0.5 else x**exponent

    # ---------------------------------------------------------------- dense algebra

    def add(self, a, b):
        return a + b

    def conv2d(self, x, weight, stride, padding, *, want_weight=True):
        patches = _patches(x.reshape(-1, *x.shape[2:]), len(weight), stride, padding)  # [N, H_out, W_out, C_in, k, k]
        out = np.tensordot(patches, weight, axes=((4, 5, 3), (0, 1, 2)))
        saved = Saved((x if want_weight else None, x.shape, weight, stride, padding), self.versions, weight)
        return out.reshape(*x.shape[:2], *out.shape[1:]), saved

    def conv2d_backward(self, saved, grad, want_input=True, want_weight=True):
        x, shape, weight, stride, padding = saved.open()
        grad_weight = self._conv2d_weight_gradient(grad, x, len(weight), stride, padding) if want_weight else None
        return self._conv2d_input_gradient(grad, weight, shape, stride, padding) if want_input else None, grad_weight

    def _conv2d_weight_gradient(self, grad, x, size, stride, padding):
        patches = _patches(x.reshape(-1, *x.shape[2:]), size, stride, padding)
        grad = grad.reshape(-1, *grad.shape[2:])
        return np.tensordot(patches, grad, axes=((0, 1, 2), (0, 1, 2))).transpose(1, 2, 0, 3)

    def _conv2d_input_gradient(self, grad, weight, shape, stride, padding):
        k, (_, _, height, width, _), (_, _, rows, columns, _) = len(weight), shape, grad.shape
        padded = np.zeros((*shape[:2], height + 2 * padding, width + 2 * padding, shape[4]), grad.dtype)
        for i in range(k):  # the weight at (i, j) sends its share of the gradient back to the pixels that it read
            for j in range(k):
                padded[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride] += grad @ weight[i, j].T
        return padded[:, :, padding : padding + height, padding : padding + width]

    def linear(self, x, weight, *, want_weight=True):
        return x @ weight, Saved((x if want_weight else None, weight), self.versions, weight)

    def linear_backward(self, saved, grad, want_input=True, want_weight=True):
        x, weight = saved.open()
        grad_weight = np.tensordot(x, grad, axes=((0, 1), (0, 1))) if want_weight else None
        return grad @ weight.T if want_input else None, grad_weight

    def avg_pool(self, x):
        even = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        sums = even[:, :, ::2, ::2] + even[:, :, ::2, 1::2] + even[:, :, 1::2, ::2] + even[:, :, 1::2, 1::2]
        return sums / 4, Saved(x.shape, self.versions)

    def avg_pool_backward(self, saved, grad):
        shape = saved.open()
        out = np.zeros(shape, grad.dtype)
        out[:, :, : shape[2] // 2 * 2, : shape[3] // 2 * 2] = (grad / 4).repeat(2, axis=2).repeat(2, axis=3)
        return out

    def sum_time(self, x):
        return x.sum(axis=0, keepdims=True)

    def repeat_time(self, x, steps):
        return np.broadcast_to(x, (steps, *x.shape[1:]))

    # ---------------------------------------------------------------- neurons

    def lif_forward(
        self, current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft=None, want_state=True
    ):
        spikes, end, saved = lif.lif_forward(current, state, leak, threshold, steps, reset=reset, mask=mask, soft=soft)
        return spikes, end if want_state else None, Saved(saved, self.versions, leak, threshold)

    def lif_backward(
        self, saved, grad_spikes, grad_state, surrogate, reset_grad=False, want_state=True, adaptation=None
    ):
        options = surrogate, reset_grad, want_state, adaptation
        return lif.backward_of_any(saved.take(), grad_spikes, grad_state, *options)

    def relu(self, x, mask=None):
        out = np.maximum(x, 0) if mask is None else np.maximum(x, 0) * mask
        return out, Saved((out, mask), self.versions)  # out > 0 where x > 0; where masked, the gradient is 0 anyway

    def relu_backward(self, saved, grad):
        out, mask = saved.open()
        return (grad if mask is None else grad * mask) * (out > 0)

    # ---------------------------------------------------------------- loss and optimisers

    def cross_entropy(self, logits, labels, weight):
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        rows = np.arange(len(labels))
        grad = np.exp(log_softmax)
        grad[rows, labels] -= 1
        losses = -log_softmax[rows, labels]
        correct = np.count_nonzero(logits.argmax(axis=1) == labels)
        sums = np.array([np.sum(losses, dtype=np.float64), correct, len(labels)], np.float64)
        return losses, grad * self.float.type(weight), sums

    def logit_loss(self, logits, labels, kind, targets=None):
        rows, order = np.arange(len(labels)), np.argsort(-logits, axis=1, kind="stable")
        largest, grad = order[:, 0], np.zeros_like(logits)
        if kind == "zero-one":
            return (largest != labels).astype(self.float), grad
        other = targets if kind == "dlr-targeted" else np.where(largest == labels, order[:, 1], largest)
        margin = logits[rows, labels] - logits[rows, other]
        if kind == "margin":
            grad[rows, labels] += 1
            grad[rows, other] -= 1
            return margin, grad
        below = [order[:, 2]] if kind == "dlr" else [order[:, 2], order[:, 3]]  # the classes whose mean is subtracted
        spread = logits[rows, largest] - sum(logits[rows, c] for c in below) / len(below) + self.float.type(1e-12)
        losses = -margin / spread
        grad[rows, labels] -= 1 / spread
        grad[rows, other] += 1 / spread
        grad[rows, largest] -= losses / spread
        for c in below:
            grad[rows, c] += losses / (spread * len(below))
        return losses, grad

    def sgd_step(self, parameter, grad, velocity, learning_rate, momentum, decay, low, high):
        self.versions.updated(parameter)
        velocity *= self.float.type(momentum)
        velocity += self.to_numpy(grad) + self.float.type(decay) * parameter
        np.clip(parameter - self.float.type(learning_rate) * velocity, low, high, out=parameter)

    def adam_step(self, parameter, grad, mean, square, max_square, learning_rate, decays, epsilon, step, low, high):
        self.versions.updated(parameter)
        if moments16.are_narrow(mean, square, max_square):
            wide = moments16.widen(mean, moments16.CUT_MEAN), moments16.widen(square, moments16.CUT_SQUARE)
            moments = [moment.astype(self.float) for moment in wide]
            self.adam_step(parameter, grad, *moments, max_square, learning_rate, decays, epsilon, step, low, high)
            mean[...] = moments16.narrow(moments[0], moments16.CUT_MEAN, step)
            square[...] = moments16.narrow(moments[1], moments16.CUT_SQUARE, step)
            return
        grad = self.to_numpy(grad)
        first, second = decays
        mean[...] = first * mean + (1 - first) * grad
        square[...] = second * square + (1 - second) * grad * grad
        if max_square is not None:
            np.maximum(max_square, square, out=max_square)
        root = np.sqrt(square if max_square is None else max_square) / math.sqrt(1 - second**step)
        np.clip(parameter - learning_rate / (1 - first**step) * mean / (root + epsilon), low, high, out=parameter)


def is_read_only(array) -> bool:
    """Whether nobody can write to a NumPy array: neither through it nor through an array that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


def _patches(images, size, stride, padding):
    """The k×k windows of [N, H, W, C] that a convolution reads, as a view [N, H_out, W_out, C, k, k]."""
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
