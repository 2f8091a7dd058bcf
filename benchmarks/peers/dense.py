"""Peer (a): the spiking network as dense PyTorch, multi-step, as fast as we can write it.

Time is folded into the batch for every convolution and linear layer; the first convolution runs once and its current
is used for all steps; images are channels last in memory; the neuron is one autograd.Function over all steps that
keeps its membranes only; the dropout mask is shared over time; the readout sees summed spikes; the optimiser is fused.
The neuron is minihire's, equation by equation. (torch.compile of the neuron's two passes was measured: compiled code,
one loop over all steps, took as long as these in-place passes, and ten seconds to make.)
"""

import torch
from torch.nn import functional

from benchmarks.peers.layouts import walk
from benchmarks.peers.lif import LIF
from benchmarks.peers.lif_tensors import LIFOnDevice
from benchmarks.peers.side import TorchSide
from minihire.layers import AvgPool, Conv2d, Flatten, Linear, Neuron, Readout


class Dense(TorchSide):
    """Activations are [T·B, …], or [B, …] before the first neuron, where they do not depend on time."""

    @property
    def numbers_on_host(self):
        """Whether leak and threshold are read where they are used: fastest on a CPU, a wait on a GPU."""
        return self.device.type == "cpu"

    def logits(self, x):
        return walk(self.model.layers, self.model.image_shape, x, self.layer)

    def layer(self, layer, x):
        """One layer of either kind of memory order."""
        if isinstance(layer, Neuron):
            return self.neuron(layer, x)
        if isinstance(layer, AvgPool):
            return functional.avg_pool2d(x, 2)
        if isinstance(layer, Flatten):
            return x.permute(0, 2, 3, 1).flatten(1)
        weight = self.weights[f"{layer.name}.weight"]
        if isinstance(layer, Conv2d):
            return functional.conv2d(x, weight, stride=layer.stride, padding=layer.size // 2)
        if isinstance(layer, Readout):
            x = self.summed(x)
        assert isinstance(layer, Linear | Readout)
        return functional.linear(x, weight)

    def summed(self, x):
        """[T·B, F] → [B, F]."""
        return x.reshape(self.steps, -1, x.shape[1]).sum(0)

    def mask(self, layer, x):
        """A fresh dropout mask [B, …] with entries 0 and 1/(1 − rate), or None."""
        if not (self.training and layer.dropout):
            return None
        keep = 1 - layer.dropout
        return torch.empty_like(x[: len(self.labels)], dtype=self.dtype).bernoulli_(keep).div_(keep)

    def neuron(self, layer, x):
        """LIF over all steps."""
        leak, threshold = (self.weights[f"{layer.name}.{which}"] for which in ("leak", "threshold"))
        static = len(x) == len(self.labels) and self.steps > 1
        surrogate = self.problem.surrogate
        scale, mask = 1 / (1 - layer.dropout), self.mask(layer, x)
        lif = LIF if self.numbers_on_host else LIFOnDevice
        spikes = lif.apply(x, leak, threshold, mask, 1.0 if mask is None else scale, self.steps, static, surrogate)
        self.fired(layer, spikes)
        return spikes
