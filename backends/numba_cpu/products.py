"""Convolutions, linear layers and pools of the Numba backend. dispatch.py decides which kernel computes each."""

import math
from typing import Any, NamedTuple

import numpy as np

from backends.arrays import CurrentGradient, OuterProduct, PooledGradient, SpikeTrain
from backends.numba_cpu import dispatch
from backends.numba_cpu.kernels import (
    convolution,
    elementwise,
    event_convolution,
    event_linear,
    event_outer_product,
    event_weight_gradient,
    image_gradient,
    linear,
    scatter_convolution,
)
from backends.numba_cpu.kernels.convolution import Window
from backends.numba_cpu.kernels.density import estimate_density
from backends.numba_cpu.kernels.increments import UNRELATED, Increments
from backends.numba_cpu.kernels.lists import EventLists, Events
from backends.numba_cpu.kernels.optimisers import Factors
from backends.numba_cpu.simd.lanes import LANES
from backends.numba_cpu.storage import Storage
from backends.saved import Saved

# Increments are used only for batches of at least so many images. Convolutions process the steps of an image in order, so
# only images run in parallel. The limit does not depend on the number of threads, because sums of increments round
# differently.
MIN_INCREMENT_BATCH = 8
# Increments of spikes are used only up to so many steps: rounding errors add up from step to step.
MAX_INCREMENT_STEPS = 32
# With fewer outputs, a linear layer's weight gradient is computed at once, not in the optimiser step.
NARROW_OUTPUTS = 32


class Convolution(NamedTuple):
    """A convolution to be computed: its input, its weight, and the shape of its result."""

    x: Any  # [T, B, H, W, C_in], of any kind
    weight: np.ndarray  # [k, k, C_in, C_out]
    stride: int
    padding: int
    shape: tuple[int, ...]  # [T, B, H_out, W_out, C_out]


class Products(Storage):
    """Convolutions and linear layers with their gradients, average pools, and sums over time."""

    def add(self, a, b):
        if isinstance(a, SpikeTrain):
            a, b = b, a
        a = self._dense(a)
        out = self._empty(a.shape)
        b, scale = (b.counts, b.scale) if isinstance(b, SpikeTrain) else (self._dense(b), 1)
        elementwise.add(a.reshape(-1), b.reshape(-1), self.float.type(scale), out.reshape(-1))
        return out

    def conv2d(self, x, weight, stride, padding, *, want_weight=True):
        conv = self._planned(x, weight, stride, padding)
        return self._convolution(conv, *self._choose_lists(x)), self._saved_convolution(conv, want_weight)

    @staticmethod
    def _planned(x, weight, stride, padding) -> Convolution:
        """The convolution of x."""
        (steps, batch, height, width, _), (size, _, _, features) = x.shape, weight.shape
        rows, columns = (height + 2 * padding - size) // stride + 1, (width + 2 * padding - size) // stride + 1
        return Convolution(x, weight, stride, padding, (steps, batch, rows, columns, features))

    def _saved_convolution(self, conv, want_weight):
        content = conv.x if want_weight else None, tuple(conv.x.shape), *conv[1:4]
        return Saved(content, self.versions, conv.weight)

    @staticmethod
    def _kernel(conv, density) -> dispatch.Convolution:
        """The kernel that computes the convolution."""
        (size, _, channels, features), width = conv.weight.shape, conv.x.shape[3]
        return dispatch.convolution(density, size, conv.stride, conv.padding, channels, features, width)

    def _convolution(self, conv, density, increments):
        x, weight, stride, padding, shape = conv
        size, _, channels, features = weight.shape
        kernel, window, out = self._kernel(conv, density), Window(size, stride, padding), self._empty(shape)
        if kernel == "scatter_convolution":
            return self._scatter(x, weight, 1, padding, increments, out)
        if kernel == "event_convolution":
            lanes, block = event_convolution.lanes_for(features), event_convolution.block_for(channels, density)
            packed = event_convolution.pack_weights(weight, lanes, block, self._empty((weight.size,), huge=True))
            if increments:
                event_convolution.forward_over_time(increments, packed, window, out)
            else:
                event_convolution.forward(self._events(x), packed, window, out.reshape(-1, *shape[2:]))
        else:
            rows = out.reshape(shape[0] * shape[1], shape[2] * shape[3], features)
            convolution.forward(self._merge_time(x), weight.reshape(-1, features), window, shape[3], rows)
        return out

    def _convolve_and_fire(self, conv, density, increments, layer):
        """Run a convolution and its neurons in one kernel. Returns their membranes; None if another kernel is faster."""
        (steps, batch, rows, columns, features), x = conv.shape, conv.x
        vectors = rows * columns * features % LANES == 0  # an image's neurons are whole vectors
        if not (isinstance(x, SpikeTrain) and steps > 1 and batch >= MIN_INCREMENT_BATCH and vectors):
            return None
        too_few_images = increments is None and batch < self.threads  # the other kernels run T·B tasks instead of B
        if too_few_images or self._kernel(conv, density) != "scatter_convolution":
            return None
        increments = increments or Increments(x.counts, np.float32(x.scale), *UNRELATED)
        return self._scatter(x, conv.weight, 1, conv.padding, increments, self._empty(conv.shape), layer)

    def _scatter(self, x, weight, dilation, padding, increments, out, neurons=scatter_convolution.NO_NEURONS):
        shape, data = out.shape, self._empty((weight.size,), huge=True)
        lanes = scatter_convolution.lanes_for(shape[4], len(weight), 1, padding)
        scatter_convolution.pack_weights(weight, lanes, data)
        packed = scatter_convolution.PackedWeights(data, lanes, padding, dilation)
        if increments is None:  # independent images: treated as one step of T·B images
            images, factor, _ = self._events(x)
            increments, out = Increments(images[None], factor, *UNRELATED), out.reshape(1, -1, *out.shape[2:])
        scatter_convolution.forward(increments, packed, neurons, out)
        return out.reshape(shape)

    def conv2d_backward(self, saved, grad, want_input=True, want_weight=True):
        x, shape, weight, stride, padding = saved.open()
        grad_weight = None
        if want_weight:  # first: the input gradient is larger, and would take memory meanwhile
            grad_weight = self._conv2d_weight_gradient(grad, x, len(weight), stride, padding)
        return self._conv2d_input_gradient(grad, weight, shape, stride, padding) if want_input else None, grad_weight

    def _conv2d_weight_gradient(self, grad, x, size, stride, padding):
        (rows, columns, features), channels = grad.shape[2:], x.shape[4]
        increments = self._is_leaky(grad) and isinstance(x, SpikeTrain)
        density, grad_density = self._density(x), self._density(grad) if increments else math.inf
        kernel = dispatch.weight_gradient(density, grad_density, size, stride, padding, x.shape[2:], grad.shape[2:])
        if kernel == "leaky_weight_gradient":
            return self._leaky_weight_gradient(grad, x, size, stride, padding)
        if kernel == "event_weight_gradient":
            return self._listed_weight_gradient(grad, x, size, stride, padding)
        images = self._merge_time(x)
        depth = size * size * channels
        maximum = max(2, min(16, 2**23 // (depth * features)))  # bounds the memory; depends on shapes alone
        tasks = max(1, min(len(images), maximum))
        partial = self.zeros((tasks, depth, features))
        grad = self._dense(grad).reshape(len(images), rows * columns, features)
        convolution.weight_gradient(grad, images, Window(size, stride, padding), columns, partial)
        return partial.sum(axis=0).reshape(size, size, channels, features)

    def _listed_weight_gradient(self, grad, x, size, stride, padding):
        features, channels = grad.shape[4], x.shape[4]
        lanes, chunk = event_weight_gradient.lanes_for(features), event_convolution.block_for(channels)
        blocks, window = event_weight_gradient.Blocks(chunk, lanes), Window(size, stride, padding)
        count = grad.shape[0] * grad.shape[1]
        out = self._empty(event_weight_gradient.layout(size, channels, features, blocks, count))
        event_weight_gradient.weight_gradient(self._merge_time(grad), self._events(x), window, blocks, out)
        ordered = out.sum(axis=0).reshape(channels // chunk, features // lanes, size, size, chunk, lanes)
        return np.ascontiguousarray(ordered.transpose(2, 3, 0, 4, 1, 5)).reshape(size, size, channels, features)

    def _leaky_weight_gradient(self, grad, x, size, stride, padding):
        features, channels = grad.shape[4], x.shape[4]
        lanes, chunk = event_weight_gradient.lanes_for(channels), event_convolution.block_for(features)
        blocks, window = event_weight_gradient.Blocks(chunk, lanes), Window(size, stride, padding)
        out = self._empty(event_weight_gradient.layout(size, features, channels, blocks, grad.shape[1]))
        events = Events(x.counts, np.float32(x.scale), 0)
        event_weight_gradient.leaky_weight_gradient(grad.grad, grad.leak, events, window, blocks, out)
        sums = out.sum(axis=0).reshape(features // chunk, channels // lanes, size, size, chunk, lanes)
        ordered = sums[:, :, ::-1, ::-1]
        return np.ascontiguousarray(ordered.transpose(2, 3, 1, 5, 0, 4)).reshape(size, size, channels, features)

    def _conv2d_input_gradient(self, grad, weight, shape, stride, padding):
        steps, batch, rows, columns, features = grad.shape
        (size, _, channels, _), border = weight.shape, len(weight) - 1 - padding
        density, increments = self._choose_lists(grad)
        kernel = dispatch.input_gradient(density, size, stride, padding, channels, features, columns)
        if kernel == "image_gradient":
            packed, out = self._empty((features, 3, image_gradient.LANES)), self._empty(shape)
            image_gradient.pack_weights(weight, packed)
            image_gradient.input_gradient(self._merge_time(grad), packed.reshape(-1), padding, self._merge_time(out))
            return out
        if kernel != "convolution":
            flipped = np.ascontiguousarray(weight[::-1, ::-1].transpose(0, 1, 3, 2))
            if stride == 1:
                return self._convolution(Convolution(grad, flipped, 1, border, tuple(shape)), density, increments)
            return self._scatter(grad, flipped, stride, border, increments, self._empty(shape))
        out, window = self.zeros(shape), Window(size, stride, padding)
        grad = self._dense(grad).reshape(steps * batch, rows * columns, features)
        convolution.input_gradient(grad, weight.reshape(-1, features), window, columns, self._merge_time(out))
        return out

    @staticmethod
    def _is_leaky(x) -> bool:
        """Whether x is a gradient whose lists should hold increments over time."""
        return isinstance(x, CurrentGradient) and x.shape[0] > 1 and x.shape[1] >= MIN_INCREMENT_BATCH

    def _densities(self, x) -> tuple[float, float]:
        """(density of x's entries, density of its increments over time): fractions that are not zero, from a sample.

        An increment is the difference from the previous step; for a gradient that leaks (`_is_leaky`), from `leak` times the
        next step. Both densities are infinite if the event-driven kernels cannot be used.
        """
        if self.dtype != "float32":
            return math.inf, math.inf
        flat = (x.counts if isinstance(x, SpikeTrain) else self._dense(x)).reshape(-1)
        step = len(flat) // max(1, x.shape[0])
        return (
            estimate_density(flat, step, x.leak) if self._is_leaky(x) else estimate_density(flat, -step, np.float32(1))
        )

    def _density(self, x) -> float:
        """The density of x's increments if it is a gradient that leaks over time, else the density of its entries."""
        return self._densities(x)[1 if self._is_leaky(x) else 0]

    def _choose_lists(self, x) -> tuple[float, Increments | None]:
        """Whether a product with x uses x's entries or its increments: (their density, None or `Increments`)."""
        (events, new), last = self._densities(x), x.shape[0] - 1
        if self.dtype == "float32" and self._is_leaky(x):
            return new, Increments(x.grad, np.float32(1), x.leak, last, -1)
        many = 0 < last < MAX_INCREMENT_STEPS and x.shape[1] >= MIN_INCREMENT_BATCH
        if many and isinstance(x, SpikeTrain) and new < events:  # never true if both are infinite
            return new, Increments(x.counts, np.float32(x.scale), np.float32(1), 0, 1)
        return events, None

    def _events(self, x) -> Events:
        """x as `Events`, with time and batch as one axis."""
        if isinstance(x, SpikeTrain):
            counts = x.counts
            return Events(counts.reshape(-1, *counts.shape[2:]), np.float32(x.scale), int(not x.binary))
        return Events(self._merge_time(x), np.float32(1), 1)

    def linear(self, x, weight, *, want_weight=True):
        saved = Saved((x if want_weight else None, weight), self.versions, weight)
        return self._product(x, weight, transposed=False), saved

    def linear_backward(self, saved, grad, want_input=True, want_weight=True):
        x, weight = saved.open()
        grad_weight = self._linear_weight_gradient(grad, x) if want_weight else None
        return self._product(grad, weight, transposed=True) if want_input else None, grad_weight

    def _product(self, x, weight, transposed):
        depth, features = weight.shape[::-1] if transposed else weight.shape
        weight = np.ascontiguousarray(weight)
        out = self._empty((*x.shape[:2], features))
        into = out.reshape(-1, features)
        density, increments = self._choose_lists(x)
        if dispatch.linear(density, features) == "event_linear":
            blocks, count = -(-depth // event_linear.BLOCK), len(into)
            index = self._empty((blocks, event_linear.BLOCK * count), np.uint16)
            start = np.empty((blocks, count + 1), np.int64)
            if increments:
                value = self._empty(index.shape, np.float32)
                lists = EventLists(index, value, 1, start)
                event_linear.list_increment_blocks(increments, lists)
                order, sums = increments.order, out
            else:
                events = self._events(x)
                value = self._empty(index.shape, np.float32) if events.has_values else np.full((1, 1), events.factor)
                lists = EventLists(index, value, events.has_values, start)
                event_linear.list_blocks(events, lists)
                order, sums = UNRELATED, into.reshape(1, *into.shape)
            event_linear.product(lists, order, weight, transposed, event_linear.lanes_for(features), sums)
        elif transposed:
            linear.input_gradient(self._merge_time(x), weight, into)
        else:
            linear.forward(self._merge_time(x), weight, into)
        return out

    def _linear_weight_gradient(self, grad, x):
        if grad.shape[2] < NARROW_OUTPUTS:  # NumPy's @ is not used: its threads keep a core busy for a while afterwards
            out = self._empty((x.shape[2], grad.shape[2]))
            linear.forward(np.ascontiguousarray(self._merge_time(x).T), self._merge_time(grad), out)
            return out
        return OuterProduct(x, grad)

    def _outer_product_factors(self, product) -> Factors:
        """The factors of xᵀ·grad as the optimisers' kernels take them."""
        grad = self._merge_time(product.grad)
        spikes = isinstance(product.x, SpikeTrain)
        density, grad_density = (self._density(a) if spikes else math.inf for a in (product.x, grad))
        kernel = dispatch.outer_product(density, grad_density, len(grad))
        if kernel == "linear":
            return Factors(self._merge_time(product.x), grad, self.float.type(1), 0, linear.FEATURES, product.shape[1])
        counts, scale, has_values = self._events(product.x)
        block = event_outer_product.BLOCK
        shared = scale, has_values, block, event_outer_product.PART_COLUMNS
        if kernel == "gradient_lists":
            index, value = (self._empty(grad.shape[::-1], kind) for kind in (np.uint16, np.float32))
            lengths = np.empty(grad.shape[1], np.int64)
            event_outer_product.list_gradient(grad, index, value, lengths)
            return Factors(counts, (index, value, lengths), *shared)
        panels = self._empty((-(-grad.shape[1] // block), len(grad), block))
        event_outer_product.pack_panels(grad, panels)
        return Factors(counts, panels, *shared)

    def avg_pool(self, x):
        shape = (*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2, x.shape[4])
        if isinstance(x, SpikeTrain) and x.binary:
            counts = self._empty(shape, np.uint8)
            elementwise.sum_pool(self._merge_time(x.counts), self._merge_time(counts))
            return SpikeTrain(counts, x.scale / 4, False), Saved(tuple(x.shape), self.versions)
        out = self._empty(shape)
        elementwise.avg_pool(self._merge_time(x), self._merge_time(out))
        return out, Saved(tuple(x.shape), self.versions)

    def avg_pool_backward(self, saved, grad):
        return PooledGradient(self._copy(grad), saved.open())

    def sum_time(self, x):
        if isinstance(x, SpikeTrain):
            return x.counts.sum(axis=0, keepdims=True, dtype=self.float) * self.float.type(x.scale)
        return super().sum_time(self._dense(x))
