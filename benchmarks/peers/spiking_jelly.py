"""Peer (b): SpikingJelly in multi-step mode, from its own layers, neuron and surrogate.

The neuron is its ParametricLIFNode with soft reset and without input decay: H[t] = V[t−1]·(1 − σ(w)) + I[t], the
spike's reset subtracted in the same step and detached, as in minihire. What differs: it fires at H ≥ v (ours: >); the
leak is trained through w (a leak of 1 becomes 1 − 1e-6, a leak below 1e-6 becomes that); the threshold is a constant; the
surrogate PiecewiseQuadratic(1/v) is the same triangle with height 1 in place of γ = 0.3.
The first convolution runs once, as a static one, the readout on summed spikes. Images are [T, B, C, H, W] as its
neurons make them; convolution weights are channels last, which is the faster order here, too.
"""

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate

from benchmarks.peers.layouts import walk
from benchmarks.peers.side import TorchSide
from minihire.layers import AvgPool, Conv2d, Flatten, Linear, Neuron, Readout

CLOSEST = 1e-6


class Jelly(TorchSide):
    """Modules by layer name; activations are [T, B, …], or [B, …] before the first neuron."""

    channels_first = True

    def build(self):
        """Modules with the problem's weights."""
        self.parts, self.first = {}, self.model.layers[0].name
        for part, shape in self.model.walk():
            if isinstance(part, Neuron):
                self.parts[part.name] = self.neuron(part)
            elif isinstance(part, Conv2d | Linear | Readout):
                self.parts[part.name] = self.linear(part, shape)
        self.net = torch.nn.ModuleList(self.parts.values())
        self.pool, self.flatten = layer.AvgPool2d(2, step_mode="m"), layer.Flatten(step_mode="m")
        self.mode(self.task == "train")

    def linear(self, part, shape):
        """A convolution or matrix; the first one and the readout see no time axis."""
        step_mode = "s" if part.name == self.first or isinstance(part, Readout) else "m"
        weight = self.layout.to_torch(f"{part.name}.weight", self.problem.parameter(f"{part.name}.weight"))
        if isinstance(part, Conv2d):
            made = layer.Conv2d(
                shape[2], part.features, part.size, part.stride, part.size // 2, bias=False, step_mode=step_mode
            )
        else:
            made = layer.Linear(shape[0], part.features, bias=False, step_mode=step_mode)
        made.weight = torch.nn.Parameter(weight)
        return made

    def neuron(self, part):
        """ParametricLIFNode, and dropout that shares its mask over time."""
        leak, threshold = (float(self.problem.parameter(f"{part.name}.{w}")[0]) for w in ("leak", "threshold"))
        node = neuron.ParametricLIFNode(
            init_tau=1 / max(1 - leak, CLOSEST) if leak > CLOSEST else 1 + CLOSEST,
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

    def mode(self, training):
        self.net.train(training)

    def logits(self, x):
        functional.reset_net(self.net)
        return walk(self.model.layers, self.model.image_shape, x, self.layer)

    def layer(self, part, x):
        """One layer."""
        if isinstance(part, AvgPool):
            return self.pool(x)
        if isinstance(part, Flatten):
            return self.flatten(x)
        if isinstance(part, Readout):
            x = x.sum(0)
        if isinstance(part, Neuron):
            if x.dim() == 4:  # the first: its current is the same at every step
                x = x.unsqueeze(0).expand(self.steps, *x.shape)
            out = self.parts[part.name](x)
            self.fired(part, out)
            return out
        return self.parts[part.name](x)
