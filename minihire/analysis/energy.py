"""Compute energy of one inference (section 5.4): operations of table 6, costs of table 7, sums of equations 7 and 8.

An ANN multiplies and accumulates (MAC) every input. A spiking layer only accumulates (AC), once for every event that it
receives, so its operations are an ANN's times ζ. With direct coding the first layer's input is analog: MACs.
Memory traffic, pools, the additions of identity shortcuts and the neurons' own arithmetic are not in the paper's sums.
"""

from dataclasses import dataclass

from minihire.analysis.activity import LayerActivity
from minihire.network import Network
from minihire.runtime.errors import MinihireError

# Table 7: pJ per operation, 45 nm CMOS at 0.9 V (Horowitz, 2014).
COSTS = {
    "int32": {"multiplication": 3.1, "addition": 0.1, "MAC": 3.2, "AC": 0.1},
    "fp32": {"multiplication": 3.7, "addition": 0.9, "MAC": 4.6, "AC": 0.9},
}


@dataclass(frozen=True)
class LayerOperations:
    """A layer of weights, per image: `dense` operations were every input active once (table 6), ζ as `received`."""

    name: str
    dense: int
    received: float
    kind: str  # "MAC" or "AC"

    @property
    def operations(self) -> float:
        """dense · ζ per image (table 6)."""
        return self.dense * self.received

    def energy(self, number_format: str) -> float:
        """pJ per image in "fp32" or "int32" (table 7)."""
        return self.operations * COSTS[number_format][self.kind]

    def as_dict(self) -> dict:
        """For a results file; energies in pJ per image."""
        return {
            "name": self.name,
            "kind": self.kind,
            "dense": self.dense,
            "received": self.received,
            "operations": self.operations,
            **{f"{number_format}_pj": self.energy(number_format) for number_format in COSTS},
        }


@dataclass(frozen=True)
class Energy:
    """Compute energy of one image, layer by layer, beside that of the same model as an ANN."""

    layers: tuple[LayerOperations, ...]
    first_layer_every_step: bool

    def total(self, number_format: str) -> float:
        """pJ per image in "fp32" or "int32": equation 7 or 8, as the layers' kinds say."""
        return sum(layer.energy(number_format) for layer in self.layers)

    def ann(self, number_format: str) -> float:
        """pJ per image of the same model as an ANN: a MAC for every input of every layer."""
        return sum(layer.dense for layer in self.layers) * COSTS[number_format]["MAC"]

    def ratio(self, number_format: str) -> float | None:
        """How many times less than the ANN it takes; None if it takes nothing (no event at all)."""
        total = self.total(number_format)
        return self.ann(number_format) / total if total else None

    def as_dict(self) -> dict:
        """For a results file: total_pj, ann_pj and ratio (ANN/this) per number format, and the layers."""
        totals = {f: {"total_pj": self.total(f), "ann_pj": self.ann(f), "ratio": self.ratio(f)} for f in COSTS}
        return {
            **totals,
            "first_layer_every_step": self.first_layer_every_step,
            "layers": [layer.as_dict() for layer in self.layers],
        }


def operations(
    network: Network, activity: list[LayerActivity], *, first_layer_every_step: bool = False
) -> list[LayerOperations]:
    """Operations per image of every layer of weights (table 6) with the ζ of `measure_activity` on the same network.

    With direct coding the first layer's input does not change, so it is computed once (ζ¹ = 1); first_layer_every_step
    counts it T times. Raises MinihireError for the activity of another network.
    """
    table = [row for row in network.model.table() if row.operations]
    measured = [row for row in activity if row.kind != "Neuron"]
    # An analog input where events are expected, or the other way round, would be taken for ζ = 1.
    analog = [not network.spiking or (i == 0 and network.coding == "direct") for i in range(len(table))]
    if [(a.name, a.events is None) for a in measured] != [
        (row.name, dense) for row, dense in zip(table, analog, strict=True)
    ]:
        raise MinihireError(
            f"this activity was not measured on this {network.model.name}: use measure_activity on the network itself"
        )
    found = []
    for i, (row, layer) in enumerate(zip(table, measured, strict=True)):
        repeated = first_layer_every_step and i == 0 and network.spiking and analog[0]
        found.append(
            LayerOperations(
                row.name,
                row.operations,
                layer.received * (layer.steps if repeated else 1),
                "MAC" if analog[i] else "AC",
            )
        )
    return found


def measure_energy(network: Network, activity: list[LayerActivity], *, first_layer_every_step: bool = False) -> Energy:
    """Compute energy per image in pJ: equation 7 (rate coding), equation 8 (direct coding), or all MACs (ANN).

    Arguments and errors as of `operations`.
    """
    return Energy(
        tuple(operations(network, activity, first_layer_every_step=first_layer_every_step)), first_layer_every_step
    )
