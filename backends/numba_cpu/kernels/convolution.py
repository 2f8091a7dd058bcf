"""Convolution as patches times weights, a group of images per task.

Tasks write disjoint outputs, or (the weight gradient) partial sums whose number depends on the shapes alone, so results
are the same for any number of threads. Each matrix product is one single-threaded BLAS call.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.kernels.increments import add_scaled
from backends.numba_cpu.simd.memory import copy

GROUP_ROWS = 256  # patches per matrix product: enough for BLAS to run at speed, few enough to stay in cache


@njit(cache=True)
def _fill_patches(image, size, stride, padding, width_out, patches):
    """Row r of patches: the size×size×C_in window that output pixel r reads, zeros outside the image."""
    height, width, channels = image.shape
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


@njit(cache=True)
def _group_patches(x, first, last, size, stride, padding, width_out, pixels):
    patches = np.empty(((last - first) * pixels, size * size * x.shape[3]), x.dtype)
    for n in range(first, last):
        rows = patches[(n - first) * pixels : (n - first + 1) * pixels]
        _fill_patches(x[n], size, stride, padding, width_out, rows)
    return patches


@njit(parallel=True, cache=True)
def forward(x, weight, size, stride, padding, width_out, out):
    """x [N, H, W, C_in], weight [k·k·C_in, C_out], out [N, pixels, C_out]."""
    count, pixels, features = out.shape
    group = max(1, GROUP_ROWS // pixels)
    for task in prange((count + group - 1) // group):
        first = np.int64(task) * group
        last = min(first + group, count)
        patches = _group_patches(x, first, last, size, stride, padding, width_out, pixels)
        np.dot(patches, weight, out[first:last].reshape((last - first) * pixels, features))


@njit(parallel=True, cache=True)
def weight_gradient(grad, x, size, stride, padding, width_out, partial):
    """grad [N, pixels, C_out]; partial [tasks, k·k·C_in, C_out], zeros on entry, to be summed over its first axis."""
    count, pixels, features = grad.shape
    tasks = len(partial)
    group = max(1, GROUP_ROWS // pixels)
    share = (count + tasks - 1) // tasks
    for task in prange(tasks):
        begin = np.int64(task) * share
        end = min(begin + share, count)
        for first in range(begin, end, group):
            last = min(first + group, end)
            patches = _group_patches(x, first, last, size, stride, padding, width_out, pixels)
            product = np.dot(patches.T, grad[first:last].reshape((last - first) * pixels, features))
            into = partial[task]
            for i in range(len(product)):  # written with +=, Numba would compile, for seconds, what an error would say
                for c in range(features):
                    into[i, c] += product[i, c]


@njit(parallel=True, cache=True)
def input_gradient(grad, weight, size, stride, padding, width_out, out):
    """grad [N, pixels, C_out], weight [k·k·C_in, C_out], out [N, H, W, C_in], zeros on entry."""
    count, pixels, features = grad.shape
    _, height, width, channels = out.shape
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
