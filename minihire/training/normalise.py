"""Conversion of a network with biases: data-based normalisation of the weights.

Balanced thresholds (convert.py) suit networks without biases. There, the threshold of a layer divides all its firing rates by one
number, and so all currents of the next layer. A bias is not scaled with these currents, and the two branches of a residual block
may be scaled differently.
So each activation gets a scale u here. It is a percentile of the input of the ANN's ReLU: one for each channel of an image, and
one for all features of a linear layer. The firing rate of a neuron stands for its activation divided by the scale.

A layer has the weights W and the bias b, its inputs the scale u_in, and its outputs the scale u_out:

    W ← W·u_in/u_out        b ← b/u_out

All thresholds are 1. The neurons fire as often as with the original weights, input spikes of size u_in and thresholds u_out.
Neurons that follow other neurons with only pools in between keep the scale of those: averages of spikes do not exceed it.
Each membrane starts from half a threshold. So after T steps the number of spikes is T·activation/u rounded to the nearest whole
number; from 0 it would be rounded down, and spikes would lag behind the biases.

Sources: Diehl et al., IJCNN 2015 (normalisation); Rueckauer et al., Front. Neurosci. 2017 (biases, percentiles); Kim et al., AAAI
2020 (channels); Bu et al., AAAI 2022 (half a threshold).
"""

import math
from typing import Any

import numpy as np

from backends.interface import Array
from minihire.data.batches import Batches
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, Linear, Neuron, Readout
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import Progress
from minihire.training.calibration import keep_for

INITIAL = 0.5  # membrane: half a threshold
ROUNDED = 1 + 1e-6  # the input of neurons, in float32, may exceed its scale by this factor
Scales = dict[str, np.ndarray]  # by layer of neurons: [C], or [1] for one scale for all


def has_biases(network: Network) -> bool:
    """Whether a network has biases, so that balancing its thresholds alone does not convert it."""
    return any(name.endswith(".bias") for name in network.parameters)


def measure_scales(ann: Network, batches: Batches, percentile: float) -> Scales:
    """The percentile (nearest rank) of the input of every ReLU over all images: per channel of an image, or per linear layer.

    A channel whose percentile is not positive gets the smallest positive scale of its layer. Raises MinihireError if no channel
    of a layer has a positive one.
    """
    k, total = ann.backend, len(batches.dataset)
    kept: dict[str, np.ndarray] = {}  # [values, C]

    def observe(event: str, name: str, array: Array) -> None:
        if event == "current":
            shape = array.shape[2:]
            values = k.to_numpy(array).reshape(-1, shape[-1] if len(shape) == 3 else 1)
            count = total * math.prod(shape) // values.shape[1]
            keep = keep_for(count, percentile)
            kept[name] = _largest(np.concatenate([kept[name], values]) if name in kept else values, keep)

    with StopSignal(k) as stop, Progress("conversion", total) as progress:
        for images, _ in batches:
            stop.check("during the conversion; its results were discarded, so start it again")
            ann.forward(images, observe=observe)
            progress.add(images.shape[0], "activations")
    return {name: _scales(name, values.min(axis=0).astype(np.float64)) for name, values in kept.items()}


def _largest(values, keep):
    """The `keep` largest values of each column."""
    return np.partition(values, len(values) - keep, axis=0)[-keep:] if len(values) > keep else values


def _scales(name, percentiles):
    positive = percentiles[percentiles > 0]
    if not positive.size:
        raise MinihireError(
            f"{name} receives no positive current in the ANN: train the ANN for longer before converting"
        )
    return np.where(percentiles > 0, percentiles, positive.min())


def normalised(ann: Network, scales: Scales) -> dict[str, np.ndarray]:
    """The weights and biases of the SNN, by name, in float64.

    Raises MinihireError for a block other than Branches, and in two places without weights to scale: before neurons at the start
    of the network or of a branch, if their input is not spikes and may exceed its scale; and at the end of a branch whose scale
    differs from that of the sum.
    """
    weights = {name: ann.backend.to_numpy(array).astype(np.float64) for name, array in ann.parameters.items()}
    _Normalisation(weights, scales).sequence(ann.model.layers, ann.model.image_shape, np.ones(1), None)
    return weights


class _Normalisation:
    """Scales the weights of one layer after the other, in place."""

    def __init__(self, weights: dict[str, np.ndarray], scales: Scales):
        self.weights, self.scales = weights, scales

    def sequence(
        self, layers: Any, shape: tuple[int, ...], scale: np.ndarray, end: np.ndarray | None, spikes: bool = False
    ) -> np.ndarray:
        """Scale layers whose input [shape] has this scale, and return the scale of their output.

        end: the scale that the last layer's output should have; None: 1. spikes: whether the input is spikes or their averages.
        """
        for position, layer in enumerate(layers):
            wanted = self._wanted(layers[position + 1 :], end)
            if isinstance(layer, Neuron):
                if not spikes and np.any(self.scales[layer.name] > scale * ROUNDED):
                    raise MinihireError(
                        f"{layer.name} is at the start of the network or of a branch, without weights that conversion could "
                        f"scale: put {_identity(shape)} before it"
                    )
                spikes = True
            elif isinstance(layer, Flatten):
                scale = scale if len(scale) == 1 else np.tile(scale, shape[0] * shape[1])
            elif isinstance(layer, Branches):
                self._branches(layer, shape, scale, wanted, spikes)
                scale, spikes = wanted, False
            elif isinstance(layer, Conv2d | Linear | Readout):
                weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
                self.weights[weight] = self.weights[weight] * scale[:, None] / wanted
                if layer.bias:
                    self.weights[bias] = self.weights[bias] / wanted
                scale, spikes = wanted, False
            elif not isinstance(layer, AvgPool):
                raise MinihireError(f"a network with biases and a layer {type(layer).__name__} cannot be converted")
            shape = layer.output_shape(shape)
        return scale

    def _branches(
        self, layer: Branches, shape: tuple[int, ...], scale: np.ndarray, wanted: np.ndarray, spikes: bool
    ) -> None:
        """Scale both branches, so that their outputs have the scale `wanted`. The other arguments are those of `sequence`."""
        for branch in ("main", "shortcut"):
            found = self.sequence(getattr(layer, branch), shape, scale, wanted, spikes)
            if np.any(found != wanted):
                raise MinihireError(
                    f"the {branch} branch of {layer.name} has no weights after its last neurons that conversion could scale: "
                    f"end it with {_identity(layer.output_shape(shape))}"
                )

    def _wanted(self, following: Any, end: np.ndarray | None) -> np.ndarray:
        """The scale that the neurons after a layer with weights need. If other weights come first, any scale will do: 1."""
        for layer in following:
            if isinstance(layer, Neuron):
                return self.scales[layer.name]
            if not isinstance(layer, AvgPool | Flatten):
                return np.ones(1)
        return np.ones(1) if end is None else end


def _identity(shape: tuple[int, ...]) -> str:
    """The layer with which a user can give a place of this shape weights that change nothing."""
    kind = f"Conv2d(name, {shape[2]}, 1)" if len(shape) == 3 else f"Linear(name, {shape[0]})"
    return f"{kind} with the identity matrix as its weight"
