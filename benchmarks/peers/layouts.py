"""Conversion of weights between minihire's and torch's layouts: convolutions [k, k, I, O] ↔ [O, I, k, k], linear [I, O] ↔ [O, I].

minihire flattens images in the order (H, W, C). A torch network with channels-last images can do this without a copy. A
network that flattens in the order (C, H, W) needs the columns of the first linear weight reordered.
"""

import math

import numpy as np

from minihire.layers import Conv2d, Flatten, Linear, Readout, Residual


def walk(layers, shape, x, apply):
    """Pass x through all layers and return the output. apply(layer, x) computes one layer.

    shape: shape (H, W, C) of one image. A residual block is split into its layers, and the two paths are added.
    """
    for layer in layers:
        if isinstance(layer, Residual):
            first, inner, second, *shortcut, outer = [part for part, _ in layer.children(shape)]
            main = apply(second, apply(inner, apply(first, x)))
            x = apply(outer, main + (apply(shortcut[0], x) if shortcut else x))
        else:
            x = apply(layer, x)
        shape = layer.output_shape(shape)
    return x


class Layout:
    """The layouts of a model's weights. channels_first: whether the torch network flattens images as (C, H, W)."""

    def __init__(self, model, channels_first: bool):
        self.flattened, images = {}, None
        self.convolutions, self.matrices = set(), set()
        for layer, shape in model.walk():
            if isinstance(layer, Conv2d):
                self.convolutions.add(f"{layer.name}.weight")
            elif isinstance(layer, Flatten):
                images = shape
            elif isinstance(layer, Linear | Readout):
                self.matrices.add(f"{layer.name}.weight")
                if images and channels_first:
                    self.flattened[f"{layer.name}.weight"] = images
                images = None

    def to_torch(self, name, array):
        """Copy minihire's array into a torch tensor with torch's layout. Convolution weights are channels last in memory."""
        import torch

        if name in self.convolutions:
            return torch.from_numpy(np.array(array.transpose(3, 0, 1, 2), order="C")).permute(0, 3, 1, 2)
        if name in self.flattened:
            height, width, channels = self.flattened[name]
            array = array.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(array.shape)
        if name in self.matrices:
            return torch.from_numpy(np.array(array.T, order="C"))
        return torch.from_numpy(np.array(array))

    def to_minihire(self, name, tensor):
        """Convert a torch tensor to a NumPy array with minihire's layout: the inverse of `to_torch`."""
        array = tensor.detach().cpu().numpy()
        if name in self.convolutions:
            return array.transpose(2, 3, 1, 0)
        if name in self.flattened:
            height, width, channels = self.flattened[name]
            array = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
            return array.reshape(-1, math.prod((height, width, channels))).T
        return array.T if name in self.matrices else array
