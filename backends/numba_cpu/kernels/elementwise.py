"""Image batches, sums, ReLU and 2×2 pools."""

import numpy as np
from numba import prange

from backends.numba_cpu.kernels.increments import scale
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.lanes import where_greater

BLOCK = 4096  # entries per task


@compiled(parallel=True)
def image_batch(store, index, shift, flip, padding, scale, out):
    """Copy images store[index], cropped from reflect padding, mirrored and scaled to [0, 1]; see Backend.image_batch."""
    _, height, width, channels = store.shape
    for b in prange(len(index)):
        for y in range(height):
            row = abs(y + shift[b, 0] - padding)
            row = row if row < height else 2 * (height - 1) - row
            for x in range(width):
                column = abs((width - 1 - x if flip[b] == 1 else x) + shift[b, 1] - padding)
                column = column if column < width else 2 * (width - 1) - column
                for c in range(channels):
                    out[b, y, x, c] = out.dtype.type(store[index[b], row, column, c]) * scale


@compiled
def _add(x, y, factor, out):
    for i in range(len(out)):  # a range from 0: Numba need not test whether an index is negative
        out[i] = x[i] + factor * y[i]


@compiled(parallel=True)
def expand(counts, factor, out):
    """out = counts · factor; flat arrays."""
    for task in prange((len(out) + BLOCK - 1) // BLOCK):
        a = np.int64(task) * BLOCK
        b = min(a + BLOCK, len(out))
        scale(counts[a:b], factor, out[a:b])


@compiled(parallel=True)
def add(x, y, factor, out):
    """out = x + y · factor; flat arrays, y floats or counts."""
    for task in prange((len(out) + BLOCK - 1) // BLOCK):
        a = np.int64(task) * BLOCK
        b = min(a + BLOCK, len(out))
        _add(x[a:b], y[a:b], factor, out[a:b])


@compiled(parallel=True)
def relu(x, keep, scale, out):
    """out = max(x, 0) · scale, and 0 where keep is 0; x [N, M], keep uint8 [M], or empty: keep all."""
    for n in prange(len(x)):
        row, into = x[n], out[n]
        for i in range(len(row)):
            into[i] = max(row[i], x.dtype.type(0)) * scale
        if len(keep):
            for i in range(len(row)):
                into[i] = into[i] if keep[i] else x.dtype.type(0)


@compiled(parallel=True)
def relu_gradient(grad, x, keep, scale, out):
    """out = grad · scale where x > 0 and keep is not 0, else 0; shapes as in `relu`."""
    zero = x.dtype.type(0)
    for n in prange(len(x)):
        row, above, into = grad[n], x[n], out[n]
        for i in range(len(row)):
            # not "… if above[i] > 0 else 0": a load under a condition is vectorised only with AVX
            into[i] = where_greater(above[i], zero, row[i] * scale, zero)
        if len(keep):
            for i in range(len(row)):
                into[i] = into[i] if keep[i] else zero


@compiled(parallel=True)
def sum_pool(counts, out):
    """Sums over 2×2 pixels: counts [N, H, W, C], out [N, H/2, W/2, C]."""
    for n in prange(len(counts)):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                into, first, second = out[n, i, j], counts[n, 2 * i, 2 * j], counts[n, 2 * i, 2 * j + 1]
                third, fourth = counts[n, 2 * i + 1, 2 * j], counts[n, 2 * i + 1, 2 * j + 1]
                for c in range(len(into)):
                    into[c] = first[c] + second[c] + third[c] + fourth[c]


@compiled(parallel=True)
def avg_pool(x, out):
    """Means over 2×2 pixels: x [N, H, W, C], out [N, H/2, W/2, C]."""
    quarter = x.dtype.type(0.25)
    for n in prange(len(x)):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                for c in range(out.shape[3]):
                    top = x[n, 2 * i, 2 * j, c] + x[n, 2 * i, 2 * j + 1, c]
                    out[n, i, j, c] = (top + x[n, 2 * i + 1, 2 * j, c] + x[n, 2 * i + 1, 2 * j + 1, c]) * quarter


@compiled(parallel=True)
def avg_pool_gradient(grad, out):
    """Each of 2×2 pixels receives a quarter of the gradient: grad [N, H/2, W/2, C], out [N, H, W, C].

    A pixel in no window, where H or W is odd, must be 0 on entry.
    """
    quarter = grad.dtype.type(0.25)
    for n in prange(len(grad)):
        for y in range(grad.shape[1] * 2):
            for x in range(grad.shape[2] * 2):
                for c in range(grad.shape[3]):
                    out[n, y, x, c] = grad[n, y // 2, x // 2, c] * quarter
