"""Peer (c): snnTorch with the time loop of its tutorials: all layers compute one step, then the next step.

The neuron is snn.Leaky(reset_mechanism="subtract") with learned beta (our leak) and threshold. Differences from minihire's
default:
- The reset is delayed, as in equation 1: U[t] = βU[t−1] + I[t] − v·S[t−1]. This is minihire's reset="delayed", and it
  equals the immediate reset if the leak is 1.
- The surrogate is the same triangle, through custom_surrogate, but with the initial threshold of the layer and without
  the gradient of 1/v.

We optimised the tutorials' code: the first convolution runs once, images are channels last, the dropout mask is shared
over time, and the optimiser is fused.
"""

import snntorch
import torch
from snntorch import surrogate
from torch.nn import functional

from benchmarks.peers.layouts import walk
from benchmarks.peers.side import TorchSide
from minihire.layers import AvgPool, Conv2d, Flatten, Neuron


class TimeLoop(TorchSide):
    """The snnTorch peer. Activations are [B, …], for one time step."""

    def build(self):
        super().build()
        self.neurons = {}
        for part, _ in self.model.walk():
            if isinstance(part, Neuron):
                leak, threshold = (self.weights.pop(f"{part.name}.{which}") for which in ("leak", "threshold"))
                self.neurons[part.name] = snntorch.Leaky(
                    beta=leak,
                    threshold=threshold,
                    learn_beta=True,
                    learn_threshold=True,
                    reset_mechanism="subtract",
                    spike_grad=surrogate.custom_surrogate(triangle(float(threshold), *self.problem.surrogate)),
                )

    def trained(self):
        leaks = {f"{name}.leak": neuron.beta for name, neuron in self.neurons.items()}
        return self.weights | leaks | {f"{name}.threshold": n.threshold for name, n in self.neurons.items()}

    def logits(self, x):
        self.membranes, self.masks, self.static = {}, {}, None
        total = 0
        for _ in range(self.steps):
            total = total + walk(self.model.layers, self.model.image_shape, x, self.layer)
        return total

    def layer(self, part, x):
        """Apply one layer for one time step."""
        if isinstance(part, Neuron):
            return self.neuron(part, x)
        if isinstance(part, AvgPool):
            return functional.avg_pool2d(x, 2)
        if isinstance(part, Flatten):
            return x.permute(0, 2, 3, 1).flatten(1)
        weight = self.weights[f"{part.name}.weight"]
        if not isinstance(part, Conv2d):
            return functional.linear(x, weight)
        if part is not self.model.layers[0]:
            return functional.conv2d(x, weight, stride=part.stride, padding=part.size // 2)
        if self.static is None:
            self.static = functional.conv2d(x, weight, stride=part.stride, padding=part.size // 2)
        return self.static

    def neuron(self, part, x):
        """snn.Leaky, whose membrane is stored for the next step, then dropout."""
        leaky = self.neurons[part.name]
        if part.name not in self.membranes:
            self.membranes[part.name] = torch.zeros_like(x)
        spikes, self.membranes[part.name] = leaky(x, self.membranes[part.name])
        self.count_spikes(part, spikes)
        if not (self.training and part.dropout):
            return spikes
        if part.name not in self.masks:
            self.masks[part.name] = functional.dropout(torch.ones_like(x), part.dropout)
        return spikes * self.masks[part.name]


def triangle(threshold: float, height: float, width: float):
    """The surrogate gradient height·max(0, 1 − |x|/(v·width))/v of x = U − v, as a function for custom_surrogate."""

    def gradient(x, grad, spikes):
        return grad * (x.abs().mul_(-height / (threshold**2 * width)).add_(height / threshold).clamp_(min=0))

    return gradient
