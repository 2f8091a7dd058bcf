"""Peer (a): the spiking network in dense, multi-step PyTorch, as fast as we can write it.

- Time is folded into the batch for every convolution and linear layer.
- The first convolution runs once, and its current is used for all steps.
- Images are channels last in memory.
- The neuron is one autograd.Function over all steps, which stores only membranes. It has the equations of minihire's.
- The dropout mask is shared over time, the readout receives summed spikes, and the optimiser is fused.
- Under bf16 autocast, currents, spikes and their gradients are bf16, so that products need no conversion. Membranes are float32.
- torch.compile gets the neuron in the form of lif_tensors.py, which it can trace and fuse.
"""

import torch
from torch.nn import functional

from benchmarks.peers.layouts import walk
from benchmarks.peers.lif import LIF
from benchmarks.peers.lif_tensors import LIFOnDevice
from benchmarks.peers.side import TorchSide
from minihire.layers import AvgPool, Conv2d, Flatten, Linear, Neuron, Readout


class Dense(TorchSide):
    """The dense peer. Activations are [T·B, …], or [B, …] before the first neuron, where they do not depend on time."""

    @property
    def numbers_on_host(self):
        """Whether the neuron reads leak and threshold as Python numbers: faster on a CPU, but a synchronisation on a GPU.

        torch.compile cannot trace it.
        """
        return self.device.type == "cpu" and not self.compiled

    def logits(self, x):
        return walk(self.model.layers, self.model.image_shape, x, self.layer)

    def layer(self, layer, x):
        """Apply one layer."""
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
        """Sum over time: [T·B, F] → [B, F]."""
        return x.reshape(self.steps, -1, x.shape[1]).sum(0)

    def mask(self, layer, x):
        """A new dropout mask [B, …] with entries 0 and 1/(1 − dropout rate), or None without dropout."""
        if not (self.training and layer.dropout):
            return None
        keep = 1 - layer.dropout
        return torch.empty_like(x[: len(self.labels)]).bernoulli_(keep).div_(keep)

    def neuron(self, layer, x):
        """The LIF neuron over all steps, with dropout."""
        leak, threshold = (self.weights[f"{layer.name}.{which}"] for which in ("leak", "threshold"))
        static = len(x) == len(self.labels) and self.steps > 1
        surrogate = self.problem.surrogate
        scale, mask = 1 / (1 - layer.dropout), self.mask(layer, x)
        lif = LIF if self.numbers_on_host else LIFOnDevice
        spikes = lif.apply(x, leak, threshold, mask, 1.0 if mask is None else scale, self.steps, static, surrogate)
        self.count_spikes(layer, spikes)
        return spikes
