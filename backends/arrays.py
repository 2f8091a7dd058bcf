"""Arrays of the Numba and Torch backends that are more than one array: nothing above the kernels can tell.

Spikes are small whole numbers times one factor that all share, so a byte each is enough. Large arrays that would be
written to be read once stay what they are made of.
"""

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
    """A spike train of counts 0 and 1 that waits for the backward pass, on the Torch backend: eight in a byte."""

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
    """The gradient of average pooling before it is spread: each of four pixels of `shape` receives a quarter of it."""

    grad: Any  # [T, B, H/2, W/2, C], of any kind
    shape: tuple[int, ...]  # [T, B, H, W, C]


class InputGradient(NamedTuple):
    """The gradient of a convolution's input that was not yet computed: neurons do, some images at a time."""

    grad: Array  # [T, B, H_out, W_out, C_out]
    weight: Array  # as the backend's product takes it
    shape: tuple[int, ...]  # [T, B, H, W, C_in]
    stride: int
    padding: int


class Convolved(NamedTuple):
    """A convolution's result, to be computed where it is used.

    On the Torch backend of one step alone: the neurons that fire T times in answer would else keep it for their backward
    pass. On the Numba backend of spikes: the neurons fire while their currents are in the cache.
    """

    x: "Array | SpikeTrain"  # [T, B, H, W, C_in]
    weight: Array  # as the backend's product takes it
    stride: int
    padding: int
    shape: tuple[int, ...]  # [T, B, H_out, W_out, C_out]
    found: list | None = None  # on the Numba backend: the array, once somebody else has asked for it


class CurrentGradient(NamedTuple):
    """The gradient of a current that neurons with this leak integrated: see numba_cpu/increments.py."""

    grad: Array  # [T, B, …]
    leak: Any

    @property
    def shape(self):
        return self.grad.shape


class OuterProduct(NamedTuple):
    """A weight gradient xᵀ·grad that was not yet computed: the optimiser does, block by block, while it updates."""

    x: "Array | SpikeTrain"  # [T, B, F_in]
    grad: "Array | CurrentGradient"  # [T, B, F_out]

    @property
    def shape(self):
        return (self.x.shape[-1], self.grad.shape[-1])


class SavedNeurons(NamedTuple):
    """What the backward pass of LIF neurons needs of the forward pass."""

    current: "Array | Convolved | None"  # [1, B, …] where it was the same at every step, else
    membrane: Array | None  # m before the reset, [T, B, …] or flat [T, M]
    start: NeuronState | None
    leak: Any
    threshold: Any
    reset: str
    keep: Array | None  # uint8 [M] of the dropout mask, or empty or None
    scale: Any
    shape: tuple[int, ...]  # [T, B, …]
    reuse: bool  # the gradient may take the membrane's place


class Prepared(NamedTuple):
    """A weight of this shape in the order and type in which products take it, on the Torch backend."""

    tensor: Array
    shape: tuple[int, ...]
