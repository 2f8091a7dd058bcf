"""Gradients with respect to the inputs of convolutions and pools."""

from torch.nn import functional


def of_input(grad, kernel, sides, stride, padding):
    """Gradient [N, H, W, C_in] of a convolution's input from grad [N, H_out, W_out, C_out]. sides: (H, W)."""
    size = kernel.shape[2]
    left = [sides[i] - ((grad.shape[1 + i] - 1) * stride - 2 * padding + size) for i in (0, 1)]
    found = functional.conv_transpose2d(
        grad.permute(0, 3, 1, 2), kernel, stride=stride, padding=padding, output_padding=left
    )
    return found.permute(0, 2, 3, 1).contiguous()


def whole(pooled):
    """Expand a PooledGradient to [T, B, H, W, C]."""
    out = pooled.grad.new_empty(pooled.shape)
    spread(pooled.grad.flatten(0, 1), pooled.shape[2:], out.view(-1))
    return out


def part(pooled, t, images, room):
    """Expand a PooledGradient for a slice of n images at step t, into `room` [n·H·W·C]."""
    return spread(pooled.grad[t, images], pooled.shape[2:], room)


def spread(grad, shape, out):
    """Fill `out` [N·H·W·C] with the gradient of the input of a pool. shape: (H, W, C); grad: [N, H//2, W//2, C]."""
    (height, width, channels), (rows, columns) = shape, grad.shape[1:3]
    images = out.view(-1, height, width, channels)
    if height % 2 or width % 2:
        images.zero_()
    windows = images[:, : rows * 2, : columns * 2].unflatten(2, (columns, 2)).unflatten(1, (rows, 2))
    windows.copy_((grad / 4)[:, :, None, :, None])
    return out
