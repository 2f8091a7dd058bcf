"""Peer (b): SpikingJelly in multi-step mode, with its own layers, neuron and surrogate.

The neuron is ParametricLIFNode with soft reset and without input decay: H[t] = V[t−1]·(1 − σ(w)) + I[t]. As in minihire,
the reset happens in the same step and is detached. Differences:
- It fires at H ≥ v; minihire fires at H > v.
- The leak is trained through w. Its range is 1e-6 to 1 − 1e-6.
- The threshold is constant.
- The surrogate PiecewiseQuadratic(1/v) is the same triangle with height 1 instead of γ = 0.3.

With torch.compile, SpikingJelly 2 gives TorchInductor the equations of its multi-step neuron, so one kernel computes all steps.

The first convolution runs once, and the readout receives summed spikes. Activations are [T, B, C, H, W]. Convolution
weights are channels last, because this is faster.
"""

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate

from benchmarks.peers.layouts import walk
from benchmarks.peers.side import TorchSide
from minihire.layers import AvgPool, Conv2d, Flatten, Linear, Neuron, Readout

MARGIN = 1e-6  # distance of the leak from 0 and 1


class Jelly(TorchSide):
    """The SpikingJelly peer. Activations are [T, B, …], or [B, …] before the first neuron."""

    channels_first = True

    def build(self):
        """Create the modules with the problem's weights."""
        self.parts, self.first = {}, self.model.layers[0].name
        for part, shape in self.model.walk():
            if isinstance(part, Neuron):
                self.parts[part.name] = self.neuron(part)
            elif isinstance(part, Conv2d | Linear | Readout):
                self.parts[part.name] = self.linear(part, shape)
        self.net = torch.nn.ModuleList(self.parts.values())
        self.pool, self.flatten = layer.AvgPool2d(2, step_mode="m"), layer.Flatten(step_mode="m")
        self.set_mode(self.task in ("train", "hire"))

    def linear(self, part, shape):
        """A convolution or linear layer. The first one and the readout have inputs without a time axis."""
        step_mode = "s" if part.name == self.first or isinstance(part, Readout) else "m"
        weight = self.layout.to_torch(f"{part.name}.weight", self.problem.parameter(f"{part.name}.weight"))
        if isinstance(part, Conv2d):
            module = layer.Conv2d(
                shape[2], part.features, part.size, part.stride, part.size // 2, bias=False, step_mode=step_mode
            )
        else:
            module = layer.Linear(shape[0], part.features, bias=False, step_mode=step_mode)
        module.weight = torch.nn.Parameter(weight)
        return module

    def neuron(self, part):
        """ParametricLIFNode, then dropout with a mask that is shared over time."""
        leak, threshold = (float(self.problem.parameter(f"{part.name}.{w}")[0]) for w in ("leak", "threshold"))
        node = neuron.ParametricLIFNode(
            init_tau=1 / max(1 - leak, MARGIN) if leak > MARGIN else 1 + MARGIN,
            decay_input=False,
            v_threshold=threshold,
            v_reset=None,
            surrogate_function=surrogate.PiecewiseQuadratic(alpha=1 / threshold),
            detach_reset=True,
            step_mode="m",
        )
        return torch.nn.Sequential(node, *([layer.Dropout(part.dropout, step_mode="m")] if part.dropout else []))

    def trained(self):
        names = {f"{name}.weight": m.weight for name, m in self.parts.items() if hasattr(m, "weight")}
        return names | {f"{name}.w": m[0].w for name, m in self.parts.items() if isinstance(m, torch.nn.Sequential)}

    def set_mode(self, training):
        self.net.train(training)

    def start_batch(self):
        functional.reset_net(self.net)

    def logits(self, x):
        return walk(self.model.layers, self.model.image_shape, x, self.layer)

    def layer(self, part, x):
        """Apply one layer."""
        if isinstance(part, AvgPool):
            return self.pool(x)
        if isinstance(part, Flatten):
            return self.flatten(x)
        if isinstance(part, Readout):
            x = x.sum(0)
        if isinstance(part, Neuron):
            if x.dim() == 4:  # the first neuron: its current is the same at every step
                x = x.unsqueeze(0).expand(self.steps, *x.shape)
            out = self.parts[part.name](x)
            self.count_spikes(part, out)
            return out
        return self.parts[part.name](x)
