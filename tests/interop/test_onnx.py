"""ONNX models: onnxruntime computes the same logits as the network."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_files import command

from backends import get_backend
from minihire.app import cli
from minihire.engine.lif import NeuronOptions
from minihire.interop import to_onnx
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, Linear, Neuron, Readout
from minihire.models import MODELS, assemble, build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.training import checkpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from handbook_pages import blocks, run

onnx = pytest.importorskip("onnx", reason="ONNX export needs the package onnx")


def branches():
    """Biases, a stride, a convolution without padding, and a sum of branches at the input."""
    layers = [
        Branches("sum1", (Conv2d("conv1", 4, bias=True), Neuron("neuron1")), (Conv2d("conv2", 4, size=1),)),
        *(AvgPool(), Conv2d("conv3", 6, stride=2, padding=0, bias=True), Neuron("neuron3")),
        Branches("sum2", (Conv2d("conv4", 6, bias=True),), ()),
        *(Neuron("neuron4"), Flatten(), Linear("linear1", 9, bias=True), Neuron("neuron5")),
        Readout("readout", 7, bias=True),
    ]
    return assemble("branches", layers, (16, 24, 3), 7, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def network(name="vgg5", spiking=True, steps=4, **options):
    """A small network with different thresholds, leaks and biases."""
    k = get_backend("reference")
    size = {"width": 1 / 8, "hidden": None if name == "resnet12" else 9}
    options_of_model = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3), **size}
    model = branches() if name == "branches" else build(name, 7, (16, 24, 3), **options_of_model)
    parameters = initialise(model, k, 3, spiking, options.get("readout", "membrane"))
    for n, (key, array) in enumerate(parameters.items()):
        if key.endswith((".threshold", ".leak")):
            low = name == "vgg11" and key.endswith(".threshold")  # so that deep layers fire too
            array[:] = (0.3 + n / 50) / (4 if low else 1)
        elif key.endswith(".bias"):
            array[:] = np.random.default_rng(n).normal(size=array.shape) / 5
    return Network(model, k, parameters, spiking, steps if spiking else 1, **options)


def images(count=3):
    return np.random.default_rng(0).random((count, 16, 24, 3), np.float32)


def logits(model, pixels):
    """The logits that onnxruntime computes for images in our layout."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model if isinstance(model, bytes) else model.SerializeToString())
    return session.run(["logits"], {"images": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})[0]


CASES = {
    "snn": {},
    "one step": {"steps": 1},
    "ten steps": {"steps": 10},
    "delayed reset": {"neuron": NeuronOptions("delayed")},
    "initial membrane": {"name": "branches", "neuron": NeuronOptions(initial=0.2)},
    "initial membrane, delayed reset": {"neuron": NeuronOptions("delayed", initial=0.2)},
    "spike counts": {"readout": "spikes"},
    "ann": {"spiking": False},
    "resnet ann": {"name": "resnet12", "spiking": False},
    "resnet snn": {"name": "resnet12"},
    "vgg11 snn": {"name": "vgg11", "steps": 3},
    "branches ann": {"name": "branches", "spiking": False},
    "branches snn": {"name": "branches"},
    "branches spike counts": {"name": "branches", "readout": "spikes"},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_onnxruntime_computes_the_same_logits(case):
    ours = network(**case)
    expected = ours.forward(images())
    found = logits(to_onnx(ours), images())
    assert found.shape == (3, 7) and np.abs(expected).max() > 0.1
    assert np.allclose(found, expected, atol=2e-5 * max(1, np.abs(expected).max()))
    assert not np.allclose(expected[0], expected[1], atol=1e-3)  # the images are told apart


@pytest.mark.parametrize("readout", ["membrane", "spikes"])
def test_the_readout_of_an_image_that_passes_no_neurons(readout):
    """It counts once per step."""
    k, layers = get_backend("reference"), [Flatten(), Readout("readout", 7, bias=True)]
    model = assemble("linear", layers, (16, 24, 3), 7, mean=(0.5,) * 3, std=(0.25,) * 3)
    parameters = initialise(model, k, 3, True, readout)
    parameters["readout.bias"][:] = np.linspace(-1, 1, 7)
    ours = Network(model, k, parameters, True, 4, readout=readout)
    assert np.allclose(logits(to_onnx(ours), images()), ours.forward(images()), atol=1e-4)


def test_the_batch_is_free_and_the_first_convolution_is_computed_once():
    ours = network(steps=4)
    model = to_onnx(ours)
    for count in (1, 5):
        assert np.allclose(logits(model, images(count)), ours.forward(images(count)), atol=1e-4)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 1 + 4 * 2 and kinds.count("Greater") == 4 * 5
    assert kinds.count("Gemm") == 4 * 2 + 1  # the readout once, on the sum over time
    assert {tensor.name for tensor in model.graph.initializer} == {*ours.parameters, "scale", "shift"}


class Other(Neuron):
    """A neuron with another forward pass."""


def test_networks_that_cannot_be_written_are_refused(monkeypatch):
    def refused(match, ours):
        with pytest.raises(MinihireError, match=match):
            to_onnx(ours)

    refused("^an SNN with 11 time steps cannot be exported to ONNX: at most 10 can: convert", network(steps=11))
    refused("^an SNN with rate coding cannot be exported to ONNX: convert the ANN with", network(coding="rate"))
    refused(
        "^an SNN with soft spikes cannot be exported to ONNX: set soft=False", network(neuron=NeuronOptions(soft=True))
    )
    row = MODELS["vgg5"]
    other = type("Row", (), {"steps": 3, "layers": lambda self, *a: [*row.layers(*a), Other("last")]})()
    monkeypatch.setitem(MODELS, "other", other)
    refused("ONNX export does not support the layer Other of other", network("other"))


def test_the_command_writes_the_model(tmp_path, capsys):
    ours = network()
    checkpoint.save(tmp_path / "snn.npz", ours)
    code, text = command("export", tmp_path / "snn.npz", "--out", tmp_path / "x.onnx")
    assert (code, text) == (0, f"{tmp_path / 'x.onnx'}: an SNN of 4 time steps, vgg5 with width 0.125, for 7 classes\n")
    assert np.allclose(logits((tmp_path / "x.onnx").read_bytes(), images()), ours.forward(images()), atol=1e-4)
    assert command("export", tmp_path / "snn.npz", "--to", "onnx")[0] == 0
    assert (tmp_path / "snn.onnx").read_bytes() == (tmp_path / "x.onnx").read_bytes()
    checkpoint.save(tmp_path / "long.npz", replace(ours, steps=12))
    assert cli.main(["export", str(tmp_path / "long.npz"), "--to", "onnx"]) == 2
    assert capsys.readouterr().err.startswith("minihire: an SNN with 12 time steps")
    assert not (tmp_path / "long.onnx").exists()


def test_the_python_code_of_the_page_runs(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    (block,) = blocks("exchange.md")["ONNX"]
    ours = network()
    (tmp_path / "hire.onnx").write_bytes(to_onnx(ours).SerializeToString())
    monkeypatch.chdir(tmp_path)
    found = run(block, "page", monkeypatch, images=images())
    assert np.allclose(found["logits"], ours.forward(images()), atol=1e-4)
