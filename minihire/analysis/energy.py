"""The compute energy of one inference (section 5.4): operations from table 6, costs from table 7, equations 7 and 8.

An ANN layer performs a multiply-accumulate (MAC) for every product of a weight and an input. A spiking layer needs only
accumulates (AC): each event that it receives adds one weight to each output that it reaches. So it needs ζ times the operations
of the ANN layer, where ζ is the number of events per input neuron. (After average pooling an input is ¼, ½, ¾ or 1. As in the
paper and its code, each that is not zero counts as one accumulate; neurobench.py counts such inputs as MACs.)
With direct coding the first layer has analog inputs and needs MACs. So do further layers that the image reaches without passing
neurons, such as a convolution after a BatchNorm of the image. As in the paper, the sums omit memory traffic, pools, identity
shortcuts and neuron updates.
"""

from dataclasses import dataclass

from minihire.analysis.activity import LayerActivity, analog_layers
from minihire.network import Network
from minihire.runtime.errors import MinihireError

# Table 7: pJ per operation, 45 nm CMOS at 0.9 V (Horowitz, 2014).
COSTS = {
    "int32": {"multiplication": 3.1, "addition": 0.1, "MAC": 3.2, "AC": 0.1},
    "fp32": {"multiplication": 3.7, "addition": 0.9, "MAC": 4.6, "AC": 0.9},
}


@dataclass(frozen=True)
class LayerOperations:
    """Operations of one weight layer for one image.

    dense: MACs of the layer in an ANN, one for each product of a weight and an input (table 6). received: ζ, events received
    per input neuron.
    """

    name: str
    dense: int
    received: float
    kind: str  # "MAC" or "AC"

    @property
    def operations(self) -> float:
        """dense · ζ per image (table 6)."""
        return self.dense * self.received

    def energy(self, number_format: str) -> float:
        """Energy in pJ per image for number_format "fp32" or "int32" (table 7)."""
        return self.operations * COSTS[number_format][self.kind]

    def as_dict(self) -> dict:
        """The entry of a results file, with energies in pJ per image."""
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
    """The compute energy for one image, by layer, and that of an ANN with the same model.

    first_layer_every_step: whether the first layer of a direct-coded SNN (all layers with analog inputs) counts T times instead
    of once.
    """

    layers: tuple[LayerOperations, ...]
    first_layer_every_step: bool

    def total(self, number_format: str) -> float:
        """Energy in pJ per image for "fp32" or "int32": equation 7 (rate coding) or 8 (direct coding)."""
        return sum(layer.energy(number_format) for layer in self.layers)

    def ann(self, number_format: str) -> float:
        """Energy in pJ per image of an ANN with the same model: every operation is a MAC."""
        return sum(layer.dense for layer in self.layers) * COSTS[number_format]["MAC"]

    def ratio(self, number_format: str) -> float | None:
        """ANN energy divided by this energy. None if this energy is 0, because no event occurred."""
        total = self.total(number_format)
        return self.ann(number_format) / total if total else None

    def as_dict(self) -> dict:
        """The entry of a results file: total_pj, ann_pj and ratio (ANN / this) for each number format, and the layers."""
        totals = {f: {"total_pj": self.total(f), "ann_pj": self.ann(f), "ratio": self.ratio(f)} for f in COSTS}
        return {
            **totals,
            "first_layer_every_step": self.first_layer_every_step,
            "layers": [layer.as_dict() for layer in self.layers],
        }


def operations(
    network: Network, activity: list[LayerActivity], *, first_layer_every_step: bool = False
) -> list[LayerOperations]:
    """Operations per image of every weight layer (table 6), with ζ from `measure_activity` on the same network.

    With direct coding the first layer is computed once (ζ¹ = 1), because its input does not change over time. The same holds for
    all `analog_layers`. first_layer_every_step counts them T times instead. Raises MinihireError if another network was measured.
    """
    table = [row for row in network.model.table() if row.operations]
    measured = [row for row in activity if row.kind != "Neuron"]
    # Compare the names, and also which layers have analog inputs: their ζ is 1, not a number of events.
    analog = analog_layers(network)
    if [(a.name, a.events is None) for a in measured] != [(row.name, row.name in analog) for row in table]:
        raise MinihireError(
            f"the activity was not measured on this {network.model.name}: call measure_activity with this network"
        )
    repeated = analog if first_layer_every_step and network.spiking else ()
    result = []
    for row, layer in zip(table, measured, strict=True):
        result.append(
            LayerOperations(
                row.name,
                row.operations,
                layer.received * (layer.steps if row.name in repeated else 1),
                "MAC" if row.name in analog else "AC",
            )
        )
    return result


def measure_energy(network: Network, activity: list[LayerActivity], *, first_layer_every_step: bool = False) -> Energy:
    """Return the compute energy per image: equation 7 (rate coding), equation 8 (direct coding), or only MACs (ANN).

    Arguments and errors as in `operations`.
    """
    return Energy(
        tuple(operations(network, activity, first_layer_every_step=first_layer_every_step)), first_layer_every_step
    )
