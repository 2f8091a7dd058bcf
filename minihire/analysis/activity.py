"""Spiking activity (definition 1): how often neurons fire, and how many events each weight layer receives.

SA is the number of spikes per neuron over all T steps, and TASA = SA/T. ζ is the number of events that a weight layer
receives per input neuron over all T steps; the energy depends on it. If a pool feeds the layer, each non-zero output of the
pool counts as one event, as in the authors' released code. So does each non-zero output of weights or of a sum of branches, if
neurons come before them.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backends.randomness import Draws
from minihire.layers import Branches, Neuron, Residual
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError


@dataclass(frozen=True)
class LayerActivity:
    """The activity of one layer, summed over all images. A neuron layer emits events; a weight layer receives them.

    neurons: neurons of the layer, or inputs of a weight layer, per image.
    events: spikes emitted, or non-zero inputs received, over all images and steps. None if the values are analog (see
    `analog_layers`).
    """

    name: str
    kind: str  # "Neuron", "Conv2d", "Linear" or "Readout"
    neurons: int
    images: int
    steps: int
    events: int | None

    @property
    def spikes(self) -> int | None:
        """Spikes emitted over all images and steps. None for a weight layer and for an ANN."""
        return self.events if self.kind == "Neuron" else None

    @property
    def spiking_activity(self) -> float | None:
        """SA: spikes per neuron over all T steps, averaged over images (definition 1). None if the layer has no spikes."""
        return None if self.spikes is None else self.spikes / (self.neurons * self.images)

    @property
    def time_averaged(self) -> float | None:
        """TASA = SA/T, in 0 … 1 (definition 1). None if the layer has no spikes."""
        return None if self.spikes is None else self.spiking_activity / self.steps

    @property
    def received(self) -> float | None:
        """ζ: events received per input neuron over all T steps (table 6). 1 for analog inputs; None for a neuron layer."""
        if self.kind == "Neuron":
            return None
        return 1.0 if self.events is None else self.events / (self.neurons * self.images)

    def as_dict(self) -> dict:
        """The entry of a results file. Values that do not apply to the layer are None."""
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
    """Measure the activity of every layer, from input to output, over batches of backend images [B, H, W, C].

    Memory does not grow with the number of images, because only counts are stored. With rate coding the draws of an image
    depend on its index in the sequence, not on the batch size. An ANN is not run, because it has no events.
    Raises MinihireError if there are no images, if images have the wrong shape, and if steps < 1.
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
    """Return the T of a measurement: `steps`, or by default the network's T; 1 for an ANN. Raises MinihireError if steps < 1."""
    steps = network.steps if steps is None else checks.whole("the number of time steps", steps)
    return steps if network.spiking else 1


def analog_layers(network: Network) -> set[str]:
    """The names of the weight layers with analog inputs. They need MACs, once for all steps, because the inputs do not change.

    With direct coding these are the layers that the image reaches without passing neurons; with rate coding, none; in an ANN,
    all layers.
    """
    model = network.model
    if not network.spiking:
        return {row.name for row in model.table() if row.operations}
    found: set[str] = set()
    _find_analog(model.layers, model.image_shape, network.coding == "direct", found)
    return found


def _find_analog(layers: Iterable[Any], shape: tuple[int, ...], analog: bool, found: set[str]) -> bool:
    """Add the names of the layers with analog inputs. analog: whether the input [shape] is. Returns whether the output is."""
    for layer in layers:
        if isinstance(layer, Neuron):
            analog = False
        elif isinstance(layer, Branches):
            outputs = [_find_analog(branch, shape, analog, found) for branch in (layer.main, layer.shortcut)]
            analog = all(outputs)
        elif isinstance(layer, Residual):
            analog = _find_analog(layer.parts(shape), shape, analog, found)
        elif hasattr(layer, "children"):  # another block: its layers in sequence, each with its own input shape
            for part, inside in layer.children(shape):
                analog = _find_analog([part], inside, analog, found)
        elif analog and hasattr(layer, "operations"):
            found.add(layer.name)
        shape = layer.output_shape(shape)
    return analog


def _rows(network, counts, images, steps):
    """One row per layer with operations or spikes. With readout "spikes" the output neurons come last."""
    table, analog = network.model.table(), analog_layers(network)
    rows = []
    for row in table:
        neuron = row.kind == "Neuron"
        if not (neuron or row.operations):
            continue
        uncounted = row.name in analog or not network.spiking
        events = None if uncounted else counts["spikes" if neuron else "input", row.name]
        rows.append(LayerActivity(row.name, row.kind, math.prod(row.input_shape), images, steps, events))
    if network.spiking and network.readout == "spikes":
        name, classes = table[-1].name, network.model.classes
        rows.append(LayerActivity(name, "Neuron", classes, images, steps, counts["spikes", name]))
    return rows
