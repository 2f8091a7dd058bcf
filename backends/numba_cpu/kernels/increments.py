"""Products of increments: x[t] − λ·x[s], the change of an array since the step processed before.

    W·x[t] = W·(x[t] − λ·x[s]) + λ·W·x[s]        s: the step before t in the order of processing

**Spikes** (λ = 1, from the first step to the last): the image is the same at all steps, so many neurons have the same output as
at the previous step, above all those that fire at every step. Lists of increments are then shorter than lists of spikes.

**Gradients of currents** (from the last step to the first): LIF neurons give the gradient d[t] = k[t]/v + λ·d[t+1] of their input
current (backends/lif.py), and k is zero wherever the surrogate is. The increment is k[t]/v, which has far more zeros than d[t].
Where k is zero the increment is exactly zero, because λ·d[t+1] is rounded in the same way both times it is computed.
`event_weight_gradient.leaky_weight_gradient` uses these increments, too.
"""

from typing import Any, NamedTuple

import numpy as np

from backends.numba_cpu.runtime.kernel_cache import compiled


class Order(NamedTuple):
    """The order in which the steps are processed, and the leak from one to the next."""

    leak: Any  # λ, float32; 0: the steps are unrelated, all their entries count as new
    first: int  # the first step to be processed
    direction: int  # from one step to the next: 1, or −1 for backwards


class Increments(NamedTuple):
    """An array over time, of which products take the increments; its entries are array · factor."""

    array: Any  # [T, B, …], floats or counts
    factor: Any  # float32
    leak: Any  # these three as in Order: Numba's parallel loops accept no nested tuples
    first: int
    direction: int

    @property
    def order(self) -> Order:
        """The order of its steps."""
        return Order(self.leak, self.first, self.direction)


UNRELATED = Order(np.float32(0), 0, 1)


@compiled
def subtract(now, leak, before, out):
    """out = now − λ·before; flat arrays, floats or counts."""
    for i in range(len(out)):
        out[i] = np.float32(now[i]) - leak * np.float32(before[i])


@compiled
def scale(before, leak, out):
    """out = λ·before; flat arrays."""
    for i in range(len(out)):
        out[i] = leak * before[i]


@compiled
def add_scaled(before, leak, out):
    """out += λ·before; flat arrays."""
    for i in range(len(out)):
        out[i] += leak * before[i]
