"""The input gradient of a 3×3 convolution of stride 1 over few channels: an image's, for attacks and crafted noise. float32.

    out[y + i − padding, x + j − padding, c] = Σ_f grad[y, x, f] · weight[i, j, c, f]        summed over i, j < 3 as well

A pixel's gradient contributes to three rows of the image, and in each row to three neighbouring pixels, which lie one after the
other: 9 numbers for 3 channels, i.e. one vector of 16 per row. Four pixels share every vector of weights that is loaded. The sums
have a border of one pixel.
"""

import numpy as np
from numba import prange

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.lanes import LANES, add_product, broadcast, load, store, where_greater
from backends.numba_cpu.simd.memory import copy, scratch

MAX_CHANNELS = LANES // 3
ROW = 3 * LANES  # numbers of the weights of one output channel


@compiled
def _add_rows(sums, place, line, mask, top, middle, bottom):
    """Add one pixel's contributions to three rows where mask is 1; elsewhere infinity times zero would add NaN."""
    zero = np.float32(0)
    for row in (top, middle, bottom):
        store(sums, place, load(sums, place, row) + where_greater(mask, zero, row, zero))
        place += line


@compiled
def _add_pixels(grad, features, pixels, weights, inside, sums, line):
    """Add the contributions of four pixels. pixels: (start of its gradient in grad, start of its top row in sums) for each.

    inside [LANES]: 1 where a vector holds a row's numbers, 0 beyond.
    """
    zeros = broadcast(np.float32(0))
    (a, to_a), (b, to_b), (c, to_c), (d, to_d) = pixels
    a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = zeros
    for f in range(features):
        top, middle = load(weights, f * ROW, zeros), load(weights, f * ROW + LANES, zeros)
        bottom = load(weights, f * ROW + 2 * LANES, zeros)
        g = grad[np.uint64(a + f)]  # unsigned: for a signed position Numba tests whether it is negative
        a0, a1, a2 = add_product(a0, top, g), add_product(a1, middle, g), add_product(a2, bottom, g)
        g = grad[np.uint64(b + f)]
        b0, b1, b2 = add_product(b0, top, g), add_product(b1, middle, g), add_product(b2, bottom, g)
        g = grad[np.uint64(c + f)]
        c0, c1, c2 = add_product(c0, top, g), add_product(c1, middle, g), add_product(c2, bottom, g)
        g = grad[np.uint64(d + f)]
        d0, d1, d2 = add_product(d0, top, g), add_product(d1, middle, g), add_product(d2, bottom, g)
    mask = load(inside, 0, zeros)
    _add_rows(sums, to_a, line, mask, a0, a1, a2)  # one pixel after the other: their rows overlap
    _add_rows(sums, to_b, line, mask, b0, b1, b2)
    _add_rows(sums, to_c, line, mask, c0, c1, c2)
    _add_rows(sums, to_d, line, mask, d0, d1, d2)


@compiled
def _pixel(p, shape, channels):
    """The starts of pixel p's gradient in [H', W', C_out] and of its top row in sums; a row beyond all if there is no pixel p."""
    rows, columns, features = shape
    line = (columns + 2) * channels
    if p < rows * columns:
        return p * features, p // columns * line + p % columns * channels
    return 0, (rows + 2) * line + LANES


@compiled(parallel=True)
def input_gradient(grad, weights, padding, out):
    """grad [N, H', W', C_out], weights from `pack_weights`, out [N, H' + 2 − 2·padding, W' + 2 − 2·padding, C], padding ≤ 2."""
    (rows, columns, features), (_, height, width, channels) = grad.shape[1:], out.shape
    line = (columns + 2) * channels
    for task in prange(len(out)):
        n = np.int64(task)
        flat_grad, into, sums = grad[n].reshape(-1), out[n].reshape(-1), scratch((rows + 5) * line + 2 * LANES)
        inside = np.zeros(LANES, np.float32)
        sums[:], inside[: 3 * channels] = 0, 1
        for p in range(0, rows * columns, 4):
            pixels = (
                _pixel(p, grad.shape[1:], channels),
                _pixel(p + 1, grad.shape[1:], channels),
                _pixel(p + 2, grad.shape[1:], channels),
                _pixel(p + 3, grad.shape[1:], channels),
            )
            _add_pixels(flat_grad, features, pixels, weights, inside, sums, line)
        for y in range(height):
            at = (y + padding) * line + padding * channels
            copy(sums[at : at + width * channels], into[y * width * channels : (y + 1) * width * channels])


def supports(size: int, stride: int, padding: int, channels: int) -> bool:
    """Whether this kernel supports a convolution of this shape."""
    return (size, stride) == (3, 1) and padding <= 2 and channels <= MAX_CHANNELS


def pack_weights(weight, out) -> None:
    """Write weight [3, 3, C, C_out] to out [C_out, 3, LANES]: the three taps of a row one after the other, then zeros."""
    channels, features = weight.shape[2:]
    out[:, :, 3 * channels :] = 0
    out[:, :, : 3 * channels] = weight.transpose(3, 0, 1, 2).reshape(features, 3, 3 * channels)
