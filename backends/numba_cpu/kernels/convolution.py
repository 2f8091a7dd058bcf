"""Convolutions as dense matrix products of patches and weights.

A patch is the window of inputs that an output pixel reads. A task takes a group of images, or, for the weight gradient, sums
over its share of them. Each matrix product is one single-threaded BLAS call.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from backends.numba_cpu.kernels.increments import add_scaled
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.memory import copy

GROUP_ROWS = 256  # patches per matrix product: enough for BLAS to be fast, few enough to stay in the cache


class Window(NamedTuple):
    """The window of a convolution: size × size inputs, moved by `stride`, over images with `padding` zeros on each side."""

    size: int
    stride: int
    padding: int


@compiled
def _fill_patches(image, window, width_out, patches):
    """Row r of patches: the size×size×C_in window that output pixel r reads, zeros outside the image."""
    height, width, channels = image.shape
    size, stride, padding = window
    for r in range(len(patches)):
        top, left = r // width_out * stride - padding, r % width_out * stride - padding
        for i in range(size):
            for j in range(size):
                y, x, at = top + i, left + j, (i * size + j) * channels
                if 0 <= y < height and 0 <= x < width:
                    copy(image[y, x], patches[r, at : at + channels])
                else:
                    for c in range(channels):
                        patches[r, at + c] = 0


@compiled
def _group_patches(x, first, last, window, width_out, pixels):
    patches = np.empty(((last - first) * pixels, window.size * window.size * x.shape[3]), x.dtype)
    for n in range(first, last):
        rows = patches[(n - first) * pixels : (n - first + 1) * pixels]
        _fill_patches(x[n], window, width_out, rows)
    return patches


@compiled(parallel=True)
def forward(x, weight, window, width_out, out):
    """x [N, H, W, C_in], weight [k·k·C_in, C_out], out [N, pixels, C_out]; width_out: output pixels in a row."""
    count, pixels, features = out.shape
    group = max(1, GROUP_ROWS // pixels)
    for task in prange((count + group - 1) // group):
        first = np.int64(task) * group
        last = min(first + group, count)
        patches = _group_patches(x, first, last, window, width_out, pixels)
        np.dot(patches, weight, out[first:last].reshape((last - first) * pixels, features))


@compiled(parallel=True)
def weight_gradient(grad, x, window, width_out, partial):
    """grad [N, pixels, C_out]; partial [tasks, k·k·C_in, C_out], zeros on entry: the gradient is its sum over tasks."""
    count, pixels, features = grad.shape
    tasks = len(partial)
    group = max(1, GROUP_ROWS // pixels)
    images_per_task = (count + tasks - 1) // tasks
    for task in prange(tasks):
        begin = np.int64(task) * images_per_task
        end = min(begin + images_per_task, count)
        for first in range(begin, end, group):
            last = min(first + group, end)
            patches = _group_patches(x, first, last, window, width_out, pixels)
            product = np.dot(patches.T, grad[first:last].reshape((last - first) * pixels, features))
            into = partial[task]
            for i in range(len(product)):  # as `into += product` Numba would spend seconds compiling an error message
                for c in range(features):
                    into[i, c] += product[i, c]


@compiled(parallel=True)
def input_gradient(grad, weight, window, width_out, out):
    """grad [N, pixels, C_out], weight [k·k·C_in, C_out], out [N, H, W, C_in], zeros on entry."""
    count, pixels, features = grad.shape
    _, height, width, channels = out.shape
    size, stride, padding = window
    group = max(1, GROUP_ROWS // pixels)
    for task in prange((count + group - 1) // group):
        first = np.int64(task) * group
        last = min(first + group, count)
        patches = np.dot(grad[first:last].reshape((last - first) * pixels, features), weight.T)
        for r in range(len(patches)):
            image, pixel = first + r // pixels, r % pixels
            top, left = pixel // width_out * stride - padding, pixel % width_out * stride - padding
            for i in range(size):
                for j in range(size):
                    y, x, at = top + i, left + j, (i * size + j) * channels
                    if 0 <= y < height and 0 <= x < width:
                        add_scaled(patches[r, at : at + channels], out.dtype.type(1), out[image, y, x])
