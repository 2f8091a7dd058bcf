"""SGD with momentum, Adam, and learning-rate schedules. Backends compute the updates; optimisers hold the state."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backends import moments16
from minihire.network import Network
from minihire.runtime.errors import MinihireError

ADAM_EPSILON = 1e-8


SCHEDULES = "step", "one-cycle"


class Schedule(NamedTuple):
    """How the learning rate changes during training.

    "step": multiplied by `factor` at each milestone, a fraction of all epochs. "one-cycle": rises linearly from 1/25 of the
    learning rate to all of it in the first 30 % of training, then falls along a cosine to 1/1000 of it.
    """

    kind: str = "step"
    milestones: tuple[float, ...] = (0.6, 0.8, 0.9)
    factor: float = 0.2

    def learning_rate(self, base: float, epoch: int, epochs: int, within: float) -> float:
        """The learning rate at epoch `epoch` + `within` (0 ≤ within < 1) out of `epochs`. base: the largest one."""
        if self.kind == "one-cycle":
            at = (epoch + within) / epochs
            if at < 0.3:
                return base * (0.04 + 0.96 * at / 0.3)
            return base * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (at - 0.3) / 0.7)))
        return base * self.factor ** sum(epoch >= milestone * epochs - 1e-9 for milestone in self.milestones)


@dataclass
class Optimiser:
    """The state of an optimiser for some parameters of a network.

    slots: arrays by slot and parameter, for example slots["mean"]["conv1.weight"]. steps: updates so far.
    """

    network: Network
    names: list[str]
    slots: dict[str, dict[str, Any]] = field(init=False)
    steps: int = field(default=0, init=False)
    slot_names = ()

    def __post_init__(self):
        if self.network.shares_weights:
            raise MinihireError("a view shares its weights with another network: train network.copy(…) instead")
        zeros, arrays = self.network.backend.zeros, self.network.parameters
        self.slots = {
            slot: {name: zeros(arrays[name].shape, self.slot_type(name)) for name in self.names}
            for slot in self.slot_names
        }

    def slot_type(self, name: str):
        """The type of a parameter's arrays; None for the backend's `dtype`."""

    def step(self, grads: dict[str, Any], learning_rate: float) -> None:
        """Update the network's parameters in place; a parameter without a gradient keeps its value."""
        self.steps += 1
        self.apply(grads, learning_rate, self.steps)

    def apply(self, grads: dict[str, Any], learning_rate, step) -> None:
        """Step number `step` (from 1), which the caller counts: both may be what `Services.captured` makes of numbers."""
        for name in self.names:
            if name in grads:
                bounds = self.network.specification[name]
                self._update(
                    name, self.network.parameters[name], grads[name], learning_rate, step, bounds.low, bounds.high
                )


@dataclass
class SGD(Optimiser):
    """velocity ← momentum·velocity + grad + decay·w; w ← w − learning_rate·velocity. Only weights decay."""

    momentum: float = 0.9
    decay: float = 5e-4
    slot_names = ("velocity",)

    def _update(self, name, parameter, grad, learning_rate, step, low, high):
        decay = self.decay if name.endswith(".weight") else 0.0
        self.network.backend.sgd_step(
            parameter, grad, self.slots["velocity"][name], learning_rate, self.momentum, decay, low, high
        )


@dataclass
class Adam(Optimiser):
    """Adam (β .9, .999, ε 1e-8), without weight decay."""

    decays: tuple[float, float] = (0.9, 0.999)
    slot_names = ("mean", "square")

    def _update(self, name, parameter, grad, learning_rate, step, low, high):
        mean, square = self.slots["mean"][name], self.slots["square"][name]
        largest = self.slots["largest"][name] if "largest" in self.slots else None
        self.network.backend.adam_step(
            parameter, grad, mean, square, largest, learning_rate, self.decays, ADAM_EPSILON, step, low, high
        )


@dataclass
class Adam16(Adam):
    """Adam that stores the moments of weights in 16 bits each (backends/moments16.py): a third less memory and traffic."""

    def slot_type(self, name):
        """uint16 for weights; biases, thresholds and leaks are too few to matter."""
        return moments16.TYPE if name.endswith(".weight") else None


@dataclass
class AMSGrad(Adam):
    """Adam with the running maximum of the second moment."""

    slot_names = ("mean", "square", "largest")


OPTIMISERS = {"sgd": SGD, "adam": Adam, "adam16": Adam16, "amsgrad": AMSGrad}
