"""Energies by hand: a toy of two layers, the full-size networks as ANNs, and which layers accumulate only."""

import csv
import io
import json
import math

import numpy as np
import pytest

from backends import get_backend
from minihire.analysis import COSTS, LayerActivity, measure_activity, measure_energy, operations
from minihire.models import build
from minihire.network import Network
from minihire.runtime.errors import MinihireError

PRINTED = "operation,int32,fp32\nmultiplication,3.1,3.7\naddition,0.1,0.9\nMAC,3.2,4.6\nAC,0.1,0.9\n"  # table 7


def _activity(first_events, readout_events):
    """Two images through the toy: conv1 is fed by 4 neurons, the readout by 4."""
    return [
        LayerActivity("conv1", "Conv2d", 4, 2, 4, first_events),
        LayerActivity("neuron1", "Neuron", 4, 2, 4, readout_events),
        LayerActivity("readout", "Readout", 4, 2, 4, readout_events),
    ]


def test_costs_are_table_7():
    for row in csv.DictReader(io.StringIO(PRINTED)):
        assert (COSTS["int32"][row["operation"]], COSTS["fp32"][row["operation"]]) == (
            float(row["int32"]),
            float(row["fp32"]),
        )
    for costs in COSTS.values():
        assert costs["MAC"] == pytest.approx(costs["multiplication"] + costs["addition"])
        assert costs["AC"] == costs["addition"]


def test_direct_coding_by_hand(toy):
    # conv1: 1²·2·2·1·1 = 4 MAC; readout: 4·3 = 12 operations, ζ = 6/8, so 9 AC (equation 8)
    found = measure_energy(toy(), _activity(None, 6))
    assert [(layer.kind, layer.dense, layer.received, layer.operations) for layer in found.layers] == [
        ("MAC", 4, 1.0, 4.0),
        ("AC", 12, 0.75, 9.0),
    ]
    assert found.total("fp32") == pytest.approx(4 * 4.6 + 9 * 0.9)  # 26.5 pJ
    assert found.total("int32") == pytest.approx(13.7)
    assert (found.ann("fp32"), found.ann("int32")) == pytest.approx((73.6, 51.2))  # 16 MAC
    assert found.ratio("fp32") == pytest.approx(73.6 / 26.5)


def test_first_layer_may_be_counted_every_step(toy):
    found = measure_energy(toy(), _activity(None, 6), first_layer_every_step=True)
    assert found.layers[0].operations == 16 and found.layers[1].operations == 9  # T = 4
    assert found.total("fp32") == pytest.approx(16 * 4.6 + 9 * 0.9)
    assert found.ann("fp32") == pytest.approx(73.6)  # the ANN has one step


def test_rate_coding_by_hand(toy):
    # ζ¹ = 20/8, so 10 AC, and 9 AC (equation 7), whatever is said of the first layer
    for every_step in (False, True):
        found = measure_energy(toy(coding="rate"), _activity(20, 6), first_layer_every_step=every_step)
        assert [(layer.kind, layer.operations) for layer in found.layers] == [("AC", 10.0), ("AC", 9.0)]
        assert (found.total("fp32"), found.total("int32")) == pytest.approx((17.1, 1.9))


def test_energy_of_a_measured_network(toy):
    # pixels 0.3, 0.6, 0.0, 1.0 make 6 spikes in 4 steps: ζ = 6/4, so 18 AC
    network = toy()
    found = measure_energy(network, measure_activity(network, [np.array([0.3, 0.6, 0.0, 1.0]).reshape(1, 2, 2, 1)]))
    assert found.total("fp32") == pytest.approx(4 * 4.6 + 18 * 0.9)


@pytest.mark.parametrize(
    ("name", "classes", "total"),
    [
        ("vgg5", 10, 1769472 + 18874368 + 37748736 + 33554432 + 16777216 + 40960),
        ("vgg11", 100, 1769472 + 18874368 + 2 * 75497472 + 2 * 150994944 + 2 * 37748736 + 33554432 + 16777216 + 409600),
        # stem 64: 32²; block 1: 16², identity; blocks 2-4: conv1, conv2 and a 1×1 shortcut
        ("resnet12", 10, 1769472 + 2 * 37748736 + 2 * 9437184 + 3 * (4718592 + 9437184 + 524288) + 20480),
    ],
)
def test_full_size_anns(name, classes, total):
    k, model = get_backend("reference"), build(name, classes)
    ann = Network(model, k, {p: k.zeros(s.shape) for p, s in model.parameters(False).items()})
    found = measure_energy(ann, measure_activity(ann, [k.zeros((1, 32, 32, 3))]), first_layer_every_step=True)
    assert {layer.kind for layer in found.layers} == {"MAC"}
    assert found.total("fp32") == pytest.approx(total * 4.6) == found.ann("fp32")
    assert found.total("int32") == pytest.approx(total * 3.2)
    assert found.ratio("fp32") == pytest.approx(1.0)


@pytest.mark.parametrize("coding", ["direct", "rate"])
@pytest.mark.parametrize("name", ["vgg5", "resnet12"])
def test_operations_follow_the_activity(random_network, images, name, coding):
    network = random_network(name, coding=coding)
    activity = measure_activity(network, [images])
    weights = {row.name: row for row in activity if row.kind != "Neuron"}
    found = operations(network, activity)
    assert [layer.name for layer in found] == list(weights)
    assert [layer.kind for layer in found] == ["MAC" if coding == "direct" else "AC"] + ["AC"] * (len(found) - 1)
    for layer in found[1:] if coding == "direct" else found:
        row = weights[layer.name]
        assert layer.operations == pytest.approx(layer.dense * row.events / (row.neurons * row.images))
    if coding == "rate":  # about Σ pixels, T times
        assert found[0].received == pytest.approx(5 * images.mean(), rel=0.05)


def test_analog_inputs_cost_macs_once(analog, images):
    """In every layer before the first neurons, whatever the time chunk; or T times with first_layer_every_step."""
    make, names = analog
    network = make()
    found = measure_energy(network, measure_activity(network, [images]))
    assert {layer.name for layer in found.layers if layer.kind == "MAC"} == names
    assert all((layer.received == 1) == (layer.name in names) for layer in found.layers)
    for chunk in (1, 2):
        network = make(time_chunk=chunk)
        assert measure_energy(network, measure_activity(network, [images])) == found
    again = measure_energy(network, measure_activity(network, [images]), first_layer_every_step=True)
    for layer, once in zip(again.layers, found.layers, strict=True):
        assert layer.operations == once.operations * (5 if layer.name in names else 1)  # T = 5


def test_shortcuts_are_counted(random_network, images):
    network = random_network("resnet12")
    found = {layer.name: layer for layer in operations(network, measure_activity(network, [images]))}
    # 8×8 images are 4×4 after the pool, 2×2 after block2; widths 6 and 13: 1²·2·2·13·6
    assert found["block2.shortcut"].dense == 312 and found["block2.conv1"].dense == 9 * 312
    assert found["block2.shortcut"].received == found["block2.conv1"].received > 0


def test_energy_goes_into_a_results_file(random_network, images):
    network = random_network()
    found = measure_energy(network, measure_activity(network, [images]))
    written = found.as_dict()
    assert json.loads(json.dumps(written)) == written
    assert written["first_layer_every_step"] is False
    for number_format in ("fp32", "int32"):
        assert written[number_format]["total_pj"] == pytest.approx(
            math.fsum(layer[f"{number_format}_pj"] for layer in written["layers"])
        )
        assert written[number_format]["ratio"] == pytest.approx(
            written[number_format]["ann_pj"] / written[number_format]["total_pj"]
        )


def test_a_silent_network_has_no_ratio(toy):
    found = measure_energy(toy(coding="rate"), _activity(0, 0))
    assert found.total("fp32") == 0 and found.ratio("fp32") is None


def test_activity_of_another_network_is_refused(toy, random_network, images):
    with pytest.raises(MinihireError, match="not measured on this"):
        measure_energy(random_network(), _activity(None, 6))
    with pytest.raises(MinihireError, match="not measured on this"):
        measure_energy(toy(coding="rate"), _activity(None, 6))  # analog: measured with direct coding
    with pytest.raises(MinihireError, match="not measured on this"):
        measure_energy(toy(spiking=False, steps=1), _activity(None, 6))
