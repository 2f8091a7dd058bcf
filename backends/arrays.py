"""The array types of the Numba and Torch backends besides plain arrays. The code above the kernels sees only `.shape`.

Spikes are small whole numbers times one common factor, so a byte each is enough. A gradient that would be written once and
read once stays in its compact form.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from backends.interface import Array, NeuronState


class SpikeTrain(NamedTuple):
    """count · scale: spikes (counts 0 and 1; scale 1, or dropout's 1/(1 − rate)), or sums of four of them after pooling."""

    counts: Array  # uint8, C-contiguous, at most 128
    scale: float
    binary: bool  # all counts are 0 or 1

    @property
    def shape(self):
        return self.counts.shape


class PackedSpikes(NamedTuple):
    """A spike train of counts 0 and 1, eight in a byte: as the Torch backend saves it for the backward pass."""

    bytes: Array  # uint8
    scale: float
    shape: tuple[int, ...]


class DropoutMask(NamedTuple):
    """keep · scale: 1 for the neurons that take part, and the factor 1/(1 − rate) of their spikes."""

    keep: Array  # uint8
    scale: float

    @property
    def shape(self):
        return self.keep.shape


class PooledGradient(NamedTuple):
    """The gradient of an average pool's input in compact form: each of a window's four pixels receives a quarter of it.

    It owns `grad`: no other array shares its memory.
    """

    grad: Array  # [T, B, H/2, W/2, C]
    shape: tuple[int, ...]  # [T, B, H, W, C]


class CurrentGradient(NamedTuple):
    """The gradient of a current that neurons with this leak integrated: see numba_cpu/kernels/increments.py."""

    grad: Array  # [T, B, …]
    leak: Any

    @property
    def shape(self):
        return self.grad.shape


class OuterProduct(NamedTuple):
    """A weight gradient xᵀ·grad as its two factors: the optimiser computes it block by block while it updates the weight."""

    x: "Array | SpikeTrain"  # [T, B, F_in]
    grad: "Array | CurrentGradient"  # [T, B, F_out]

    @property
    def shape(self):
        return (self.x.shape[-1], self.grad.shape[-1])


class SavedNeurons(NamedTuple):
    """What the backward pass of LIF neurons needs of the forward pass."""

    current: "Array | Callable[[], Array] | None"  # a static current [1, B, …], or a function that computes it again; or None
    membrane: Array | None  # m before the reset, [T, B, …] or flat [T, M]; the backward pass overwrites it
    start: NeuronState | None
    leak: Any
    threshold: Any
    reset: str
    keep: Array | None  # uint8 [M] of the dropout mask, or empty or None
    scale: Any
    shape: tuple[int, ...]  # [T, B, …]

    def static_current(self) -> Array:
        """The static current [1, B, …]."""
        return self.current() if callable(self.current) else self.current
