"""Spiking activity (definition 1): how often neurons fire, and how many events each layer of weights receives.

SA of a layer is its spikes over all T steps per neuron, TASA = SA/T, and ζ, which the energy needs, the events that a
layer of weights receives over all T steps per input neuron. After a pool the events are its non-zero outputs, each
counted once (as the released code counts); the row of the neurons before the pool shows their spikes.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minihire.layers import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError


@dataclass(frozen=True)
class LayerActivity:
    """One layer, over all images: a "Neuron" by the spikes it emits, the others by the events they receive.

    neurons: those of the layer itself, or those that feed it, per image. events: spikes emitted or non-zero inputs
    received, over all images and steps; None where values are analog, so that there is nothing to count.
    """

    name: str
    kind: str  # "Neuron", "Conv2d", "Linear" or "Readout"
    neurons: int
    images: int
    steps: int
    events: int | None

    @property
    def spikes(self) -> int | None:
        """Spikes emitted over all images and steps; None for weights and for an ANN's ReLUs."""
        return self.events if self.kind == "Neuron" else None

    @property
    def spiking_activity(self) -> float | None:
        """SA: spikes over all T steps per neuron, the mean over images (definition 1); None where there are no spikes."""
        return None if self.spikes is None else self.spikes / (self.neurons * self.images)

    @property
    def time_averaged(self) -> float | None:
        """TASA = SA/T, in 0 … 1 (definition 1)."""
        return None if self.spikes is None else self.spiking_activity / self.steps

    @property
    def received(self) -> float | None:
        """ζ: events received over all T steps per input neuron (table 6), 1 for analog inputs; None for neurons."""
        if self.kind == "Neuron":
            return None
        return 1.0 if self.events is None else self.events / (self.neurons * self.images)

    def as_dict(self) -> dict:
        """For a results file; None where a figure has no meaning for the layer."""
        return {
            "name": self.name,
            "kind": self.kind,
            "neurons": self.neurons,
            "images": self.images,
            "steps": self.steps,
            "spikes": self.spikes,
            "sa": self.spiking_activity,
            "tasa": self.time_averaged,
            "received": self.received,
        }


def measure_activity(
    network: Network, batches: Iterable[Any], *, steps: int | None = None, seed: int = 0
) -> list[LayerActivity]:
    """Every layer's activity over batches of backend images [B, H, W, C], in the order of the signal.

    Only counts are kept, so any number of images fits. Rate coding draws by an image's place in the whole sequence:
    the batch size does not matter. An ANN is not run: there are no events in it to count. Raises MinihireError for no
    images, images of another shape, and less than one step.
    """
    steps = time_steps(network, steps)
    counts: Counter = Counter()
    images = 0

    def count(event, name, array):
        if event != "current":
            counts[event, name] += network.backend.events(array)

    for batch in batches:
        if tuple(batch.shape[1:]) != network.model.image_shape:
            raise MinihireError(
                f"activity is measured on batches of images of {network.model.image_shape}, "
                f"not on an array of {tuple(batch.shape)}"
            )
        if network.spiking:
            network.forward(batch, steps=steps, draws=Draws(seed, 0, images), observe=count)
        images += batch.shape[0]
    if images == 0:
        raise MinihireError("activity cannot be measured without images: give at least one batch")
    return _rows(network, counts, images, steps)


def time_steps(network: Network, steps: int | None) -> int:
    """The T of a measurement: steps, by default the network's own; 1 for an ANN. Raises MinihireError below 1."""
    steps = network.steps if steps is None else steps
    if steps < 1:
        raise MinihireError(f"a network runs for at least 1 time step, not {steps}")
    return steps if network.spiking else 1


def _rows(network, counts, images, steps):
    """One row per layer with operations or spikes; output neurons that fire follow the readout."""
    table = network.model.table()
    first = next(row.name for row in table if row.operations)
    rows = []
    for row in table:
        neuron = row.kind == "Neuron"
        if not (neuron or row.operations):
            continue
        analog = not network.spiking or (row.name == first and network.coding == "direct")
        events = None if analog else counts["spikes" if neuron else "input", row.name]
        rows.append(LayerActivity(row.name, row.kind, math.prod(row.input_shape), images, steps, events))
    if network.spiking and network.readout == "spikes":
        name, classes = table[-1].name, network.model.classes
        rows.append(LayerActivity(name, "Neuron", classes, images, steps, counts["spikes", name]))
    return rows
