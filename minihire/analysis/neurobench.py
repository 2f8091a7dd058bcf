"""The metrics of NeuroBench, by the definitions of its code: footprint, sparsity, synaptic operations, membrane updates.

The network is taken to run step by step: every weight layer is called once per time step, with a batch of inputs. Only the
first layer of a direct-coded SNN (and any other of `analog_layers`) is called once, because its input does not change over time;
a program that calls it at every step counts T times its operations. The differences from the paper's energy model (energy.py):

- The operations of a call are accumulates (ACs) if all its inputs are 0 or ±1. One other input, such as the 0.25 that an
  average pool makes of one spike, makes all operations of the call multiply-accumulates (MACs). The paper counts ACs there.
- Effective operations leave out zero inputs, zero weights and the padding of convolutions. Dense operations leave out only
  the padding. The paper counts the padding.

Source: Yik et al., The NeuroBench framework, Nature Communications 16 (2025), and neurobench 2.3 (github.com/NeuroBench).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends.randomness import Draws
from minihire.analysis.activity import analog_layers
from minihire.analysis.energy import COSTS, Energy
from minihire.layers import Conv2d, Neuron
from minihire.network import Network
from minihire.runtime.errors import MinihireError


@dataclass(frozen=True)
class SynapticOperations:
    """Operations of one weight layer per image, over all calls. dense_call: dense operations per image of one call."""

    name: str
    effective_macs: float
    effective_acs: float
    dense: float
    dense_call: int


@dataclass(frozen=True)
class NeuroBench:
    """The metrics of one network.

    footprint: bytes of all parameters. connection_sparsity: fraction of weights that are zero. activation_sparsity: fraction
    of neuron outputs that are zero, over all neurons, steps and images. membrane_updates: changes of membranes per image,
    where the first step counts every neuron; None if a layer has another neuron model.
    """

    footprint: int
    connection_sparsity: float
    activation_sparsity: float
    membrane_updates: float | None
    layers: tuple[SynapticOperations, ...]

    @property
    def effective_macs(self) -> float:
        """Effective multiply-accumulates per image."""
        return sum(layer.effective_macs for layer in self.layers)

    @property
    def effective_acs(self) -> float:
        """Effective accumulates per image."""
        return sum(layer.effective_acs for layer in self.layers)

    @property
    def dense(self) -> float:
        """Dense operations per image."""
        return sum(layer.dense for layer in self.layers)

    def energy(self, number_format: str) -> float:
        """Energy in pJ per image of the effective operations, with the costs of table 7, for "fp32" or "int32".

        NeuroBench itself does not define an energy.
        """
        costs = COSTS[number_format]
        return self.effective_macs * costs["MAC"] + self.effective_acs * costs["AC"]

    def ratio(self, number_format: str) -> float | None:
        """The energy of an ANN that computes every dense operation once, as MACs, divided by this energy. None for energy 0."""
        total = self.energy(number_format)
        return sum(layer.dense_call for layer in self.layers) * COSTS[number_format]["MAC"] / total if total else None

    def reprice(self, energy: Energy, number_format: str) -> float:
        """Energy in pJ per image of the operations that the paper counts, as MACs where NeuroBench counts MACs.

        energy: the paper's, of the same network and images.
        """
        costs, total = COSTS[number_format], 0.0
        for ours, theirs in zip(energy.layers, self.layers, strict=True):
            effective = theirs.effective_macs + theirs.effective_acs
            macs = theirs.effective_macs / effective if effective else 0.0
            total += ours.operations * (macs * costs["MAC"] + (1 - macs) * costs["AC"])
        return total

    def as_dict(self, energy: Energy) -> dict:
        """The entry of a results file. energy: as in `reprice`.

        total_pj, ratio: of NeuroBench's counts. paper_pj, paper_ratio: of the paper's counts, priced anew.
        """
        prices = {f: self.reprice(energy, f) for f in COSTS}
        return {
            "footprint_bytes": self.footprint,
            "connection_sparsity": self.connection_sparsity,
            "activation_sparsity": self.activation_sparsity,
            "membrane_updates": self.membrane_updates,
            "effective_macs": self.effective_macs,
            "effective_acs": self.effective_acs,
            "dense": self.dense,
            **{
                f: {
                    "total_pj": self.energy(f),
                    "ratio": self.ratio(f),
                    "paper_pj": price,
                    "paper_ratio": energy.ann(f) / price if price else None,
                }
                for f, price in prices.items()
            },
            "layers": [vars(layer) for layer in self.layers],
        }


def measure_neurobench(network: Network, batches: Iterable[Any], *, seed: int = 0) -> NeuroBench:
    """Measure the metrics over batches of backend images [B, H, W, C]. One batch is one call per layer and step.

    With rate coding the draws of an image depend on its index, as in `measure_activity`. Raises MinihireError if there are no
    images, and as `Network.forward` does.
    """
    k, counter, images = network.backend, _Counter(network), 0
    for batch in batches:
        counter.start_batch()
        network.forward(batch, draws=Draws(seed, 0, images), observe=counter.observe)
        images += batch.shape[0]
    if images == 0:
        raise MinihireError("the metrics cannot be measured without images: give at least one batch")
    arrays = {name: k.to_numpy(array) for name, array in network.parameters.items()}
    weights = [array for name, array in arrays.items() if name.endswith(".weight")]
    zeros, total = sum(np.count_nonzero(w == 0) for w in weights), sum(w.size for w in weights)
    return NeuroBench(
        footprint=sum(array.nbytes for array in arrays.values()),
        connection_sparsity=zeros / total,
        activation_sparsity=counter.zero_outputs / counter.outputs if counter.outputs else 0.0,
        membrane_updates=None if counter.unknown_neurons else counter.updates / images,
        layers=tuple(calls.per_image(name, images) for name, calls in counter.calls.items()),
    )


@dataclass
class _Calls:
    """The operations of all calls of one weight layer, as sums over images.

    fan_out: for each input, the number of products with non-zero weights. dense: the number of all products. static: whether the
    input is the same at every step.
    """

    fan_out: np.ndarray
    dense_call: int
    static: bool
    macs: int = 0
    acs: int = 0
    dense: int = 0

    def add(self, inputs):
        """Count one call for each step of the inputs [T, B, …]."""
        fan_out = self.fan_out.reshape(-1)
        for x in inputs:
            x = x.reshape(-1)
            places = np.flatnonzero(x)  # most inputs are zero
            operations = int(fan_out[places % fan_out.size].sum())
            if (np.abs(x[places]) == 1).all():
                self.acs += operations
            else:
                self.macs += operations
            self.dense += x.size // fan_out.size * self.dense_call

    def per_image(self, name, images):
        return SynapticOperations(name, self.macs / images, self.acs / images, self.dense / images, self.dense_call)


@dataclass
class _Counter:
    """Counts during the forward passes of a network."""

    network: Network
    calls: dict[str, _Calls] = field(default_factory=dict)
    outputs: int = 0
    zero_outputs: int = 0
    updates: int = 0
    unknown_neurons: bool = False

    def __post_init__(self):
        network = self.network
        analog = analog_layers(network)
        for layer, shape in network.model.walk():
            if hasattr(layer, "operations"):
                weight = network.backend.to_numpy(network.parameters[f"{layer.name}.weight"])
                dense = int(_fan_out(layer, shape, np.ones(weight.shape, bool)).sum())
                self.calls[layer.name] = _Calls(_fan_out(layer, shape, weight != 0), dense, layer.name in analog)
            elif isinstance(layer, Neuron):
                self.unknown_neurons |= type(layer).fire is not Neuron.fire
        self.start_batch()

    def start_batch(self):
        """Forget the membranes of the previous batch."""
        self.seen, self.currents, self.states = set(), {}, {}

    def observe(self, event, name, array):
        """Count the values of one event of the network; see `Network.forward`."""
        values = self.network.backend.to_numpy(array)
        if event == "input":
            if not (self.calls[name].static and name in self.seen):  # one call, whatever the time chunks
                self.calls[name].add(values)
            self.seen.add(name)
        elif event == "current":
            self.currents[name] = values
        else:
            self.outputs += values.size
            self.zero_outputs += values.size - np.count_nonzero(values)
            if self.network.spiking and not self.unknown_neurons:
                self._update_membranes(name, self.currents.pop(name), values)

    def _update_membranes(self, name, current, spikes):
        """Compute the membranes by the equations of backends/lif.py, and count those that change."""
        k, parameters = self.network.backend, self.network.parameters
        leak, threshold = (k.to_numpy(parameters[f"{name}.{part}"])[0] for part in ("leak", "threshold"))
        delayed = self.network.neuron.reset == "delayed"
        membrane, reset = self.states.get(name, (None, None))
        initial = self.network.neuron.initial
        for t, fired in enumerate(spikes):
            before, last_reset = membrane, reset
            membrane = current[t if len(current) > 1 else 0] + leak * (initial if before is None else before)
            reset = threshold * fired
            if not delayed:
                membrane = membrane - reset
            elif last_reset is not None:
                membrane = membrane - last_reset
            self.updates += membrane.size if before is None else np.count_nonzero(membrane != before)
        self.states[name] = membrane, reset


def _fan_out(layer, shape, used):
    """For each input of a layer, the number of its products with the weights that `used` marks."""
    if not isinstance(layer, Conv2d):
        return used.sum(axis=1)  # [F_in]
    height, width, _ = shape
    rows, columns, _ = layer.output_shape(shape)
    count = np.zeros(shape, np.int64)
    for i, per_row in enumerate(used.sum(axis=3)):
        for j, per_channel in enumerate(per_row):
            # output y reads input y·stride + i − border
            y, x = (np.arange(n) * layer.stride + offset - layer.border for n, offset in ((rows, i), (columns, j)))
            y, x = y[(y >= 0) & (y < height)], x[(x >= 0) & (x < width)]
            count[np.ix_(y, x)] += per_channel
    return count
