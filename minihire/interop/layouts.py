"""Weights in the layout of torch, NIR and ONNX: outputs first, channels before pixels.

Our weights are [k, k, C_in, C_out] and [F_in, F_out], and our channels come last. Theirs are [C_out, C_in, k, k] and
[F_out, F_in]. So the inputs of the first linear layer must be reordered from H·W·C to C·H·W. Comparing shapes cannot detect
a mistake there, because both orders have the same shape.
"""

from typing import NamedTuple

import numpy as np

from minihire.layers import Conv2d, Flatten, Linear, Readout
from minihire.models import Model


class Layout(NamedTuple):
    """The shape of one weight in both layouts.

    planes: shape of their array as [outputs, channels, positions]. Ours is its transpose, [positions, channels, outputs].
    Positions: the k·k entries of a kernel, or for the first linear layer the H·W pixels before Flatten; else 1.
    """

    ours: tuple[int, ...]
    theirs: tuple[int, ...]
    planes: tuple[int, int, int]

    def from_theirs(self, array: np.ndarray) -> np.ndarray:
        """Transpose and reshape their array to our layout."""
        return array.reshape(self.planes).T.reshape(self.ours).copy()

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Transpose and reshape our array to their layout."""
        return array.reshape(self.planes[::-1]).T.reshape(self.theirs).copy()


def weight_layouts(model: Model) -> dict[str, Layout]:
    """The layout of the weight of every convolution and linear layer, by layer name."""
    found, grid = {}, None  # grid: shape before Flatten, until the first linear layer
    for layer, shape in model.walk():
        if isinstance(layer, Flatten):
            grid = shape
        elif isinstance(layer, Conv2d):
            k, outputs, channels = layer.size, layer.features, shape[2]
            found[layer.name] = Layout((k, k, channels, outputs), (outputs, channels, k, k), (outputs, channels, k * k))
        elif isinstance(layer, Linear | Readout):
            inputs, outputs = shape[0], layer.features
            channels = grid[2] if grid else inputs
            found[layer.name] = Layout((inputs, outputs), (outputs, inputs), (outputs, channels, inputs // channels))
            grid = None
    return found
