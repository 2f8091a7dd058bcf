"""Gradients that are computed where they are used, step by step and some images at a time: see arrays.py."""

from torch.nn import functional

from backends.arrays import InputGradient


def whole(handle):
    """All of a PooledGradient or InputGradient, [T, B, H, W, C]."""
    if isinstance(handle, InputGradient):
        return of_input(handle, handle.grad.flatten(0, 1)).reshape(handle.shape)
    out = handle.grad.new_empty(handle.shape)
    spread(handle.grad.flatten(0, 1), handle.shape[2:], out.view(-1))
    return out


def part(handle, t, images, room):
    """The gradient [n·H·W·C] of a slice of n images at step t; room [n·H·W·C] may take it."""
    grad = handle.grad[t, images]
    if isinstance(handle, InputGradient):
        return of_input(handle, grad).reshape(-1)
    return spread(grad, handle.shape[2:], room)


def of_input(handle, grad):
    """The gradient [N, H, W, C_in] of a convolution's input, grad [N, H_out, W_out, C_out]."""
    size = handle.weight.shape[2]
    left = [handle.shape[2 + i] - ((grad.shape[1 + i] - 1) * handle.stride - 2 * handle.padding + size) for i in (0, 1)]
    found = functional.conv_transpose2d(
        grad.permute(0, 3, 1, 2), handle.weight, stride=handle.stride, padding=handle.padding, output_padding=left
    )
    return found.permute(0, 2, 3, 1).contiguous()


def spread(grad, shape, out):
    """Fill out [N·H·W·C] with the gradient of N images of the shape [H, W, C] before a pool, grad [N, H//2, W//2, C]."""
    (height, width, channels), (rows, columns) = shape, grad.shape[1:3]
    images = out.view(-1, height, width, channels)
    if height % 2 or width % 2:
        images.zero_()
    windows = images[:, : rows * 2, : columns * 2].unflatten(2, (columns, 2)).unflatten(1, (rows, 2))
    windows.copy_((grad / 4)[:, :, None, :, None])
    return out
