"""Array types of the Numba and Torch backends besides plain arrays. Code outside the backends uses only their `shape`.

Spikes are small integers times one common factor, so they are stored in one byte each. Some gradients are stored in a compact
form: this saves memory and time, because the full array would be written once and read only once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from backends.interface import Array, NeuronState


class SpikeTrain(NamedTuple):
    """Spikes, or sums of four spikes after a pool: the values are counts · scale. Dropout sets scale to 1/(1 − rate)."""

    counts: Array  # uint8, C-contiguous, at most 128
    scale: float
    binary: bool  # all counts are 0 or 1

    @property
    def shape(self):
        return self.counts.shape


class PackedSpikes(NamedTuple):
    """A spike train of counts 0 and 1, packed eight to a byte. The Torch backend saves spikes in this form."""

    bytes: Array  # uint8
    scale: float
    shape: tuple[int, ...]


class DropoutMask(NamedTuple):
    """A dropout mask: the values are keep · scale. keep is 1 for active neurons; scale is 1/(1 − rate)."""

    keep: Array  # uint8
    scale: float

    @property
    def shape(self):
        return self.keep.shape


class PooledGradient(NamedTuple):
    """The gradient of an average pool's input, in compact form: all four pixels of a window have the gradient grad / 4.

    No other array shares the memory of `grad`.
    """

    grad: Array  # [T, B, H/2, W/2, C]
    shape: tuple[int, ...]  # [T, B, H, W, C]


class CurrentGradient(NamedTuple):
    """The gradient of the current of LIF neurons with this leak.

    It leaks over time like a membrane: d[t] = k[t]/v + λ·d[t+1]. Its increments k[t]/v have more zeros than its entries, so
    products with it are faster from increments (numba_cpu/kernels/increments.py).
    """

    grad: Array  # [T, B, …]
    leak: Any

    @property
    def shape(self):
        return self.grad.shape


class OuterProduct(NamedTuple):
    """A weight gradient xᵀ·grad, stored as its two factors. The optimiser computes it block by block during the update."""

    x: "Array | SpikeTrain"  # [T, B, F_in]
    grad: "Array | CurrentGradient"  # [T, B, F_out]

    @property
    def shape(self):
        return (self.x.shape[-1], self.grad.shape[-1])


class SavedNeurons(NamedTuple):
    """The values of the forward pass that the backward pass of LIF neurons needs."""

    current: "Array | Callable[[], Array] | None"  # a static current [1, B, …], a function that recomputes it, or None
    membrane: Array | None  # m before the reset, [T, B, …] or flat [T, M]; the backward pass overwrites it
    start: NeuronState | None
    leak: Any
    threshold: Any
    reset: str
    keep: Array | None  # dropout mask uint8 [M], or empty, or None
    scale: Any
    shape: tuple[int, ...]  # [T, B, …]

    def static_current(self) -> Array:
        """The static current [1, B, …]."""
        return self.current() if callable(self.current) else self.current
