"""NIR graphs: a round trip is exact, other programs compute the same spikes after the documented changes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_files import command, weights

from backends import get_backend
from minihire.app import cli
from minihire.data.dataset import Dataset
from minihire.engine.lif import NeuronOptions
from minihire.interop import from_nir, nir_reader, to_nir
from minihire.interop.description import ExchangeWarning
from minihire.layers import AvgPool, Conv2d, Flatten, Linear, Neuron
from minihire.models import MODELS, build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.training import checkpoint, convert
from minihire.training.checkpoint import CheckpointError

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from handbook_pages import blocks, run

nir = pytest.importorskip("nir", reason="NIR graphs need the package nir")
h5py = pytest.importorskip("h5py")

STEPS = 4
pytestmark = pytest.mark.filterwarnings("ignore::minihire.interop.description.ExchangeWarning")


class Biased:
    """Convolutions and linear layers with biases, one of them without padding."""

    steps = 3

    def layers(self, width, hidden, dropout):
        return [
            *(Conv2d("conv1", 4, bias=True), Neuron("neuron1"), AvgPool()),
            *(Conv2d("conv2", 8, stride=2, padding=0, bias=True), Neuron("neuron2"), Flatten()),
            *(Linear("linear1", 8, bias=True), Neuron("neuron3")),
        ]


def network(name="vgg5", dtype="float32", classes=7, **options):
    """A small spiking network with different thresholds and leaks; the leak of the second layer is 1."""
    k = get_backend("reference", dtype=dtype)
    model = build(name, classes, (16, 24, 3), width=1 / 8, hidden=9, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    parameters = initialise(model, k, 3, True, options.get("readout", "membrane"))
    for n, (key, array) in enumerate(parameters.items()):
        if key.endswith((".threshold", ".leak")):
            array[:] = 0.3 + n / 50
        elif key.endswith(".bias"):
            array[:] = np.random.default_rng(n).normal(size=array.shape) / 5
    parameters["neuron2.leak"][:] = 1
    return Network(model, k, parameters, True, STEPS, **options)


def images(seed=0):
    return np.random.default_rng(seed).random((3, 16, 24, 3), np.float32)


def written(graph, folder):
    """The graph that a file gives."""
    nir.write(folder / "x.nir", graph)
    return nir.read(folder / "x.nir")


def same(first, second):
    """Assert that weights and logits are bit-identical."""
    assert {k: v.tobytes() for k, v in first.parameters.items()} == {
        k: v.tobytes() for k, v in second.parameters.items()
    }
    x = first.backend.asarray(images())
    assert first.forward(x).tobytes() == second.forward(x).tobytes()


@pytest.mark.parametrize("pool", ["average", "sum"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"readout": "spikes"},
        {"coding": "rate"},
        {"dtype": "float64"},
        {"neuron": NeuronOptions("delayed")},
        {"neuron": NeuronOptions(initial=0.5)},
    ],
    ids=["default", "readout", "coding", "float64", "reset", "start"],
)
def test_a_round_trip_is_exact(tmp_path, options, pool):
    ours = network(**options)
    again = from_nir(written(to_nir(ours, pool=pool), tmp_path), ours.backend)
    same(ours, again)
    for name in ("model", "steps", "coding", "readout", "neuron"):
        assert getattr(again, name) == getattr(ours, name)


def converted(reset="immediate"):
    """An SNN that `convert` made from a network of `from_torch`: biases, thresholds of 1, and names with points."""
    torch = pytest.importorskip("torch")
    from minihire.interop import from_torch

    torch.manual_seed(0)
    features = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d(2))
    module = torch.nn.Sequential(features, torch.nn.Flatten(), torch.nn.Linear(4 * 8 * 12, 7))
    pixels = (images() * 255).astype(np.uint8)
    data = Dataset("mine", pixels, np.zeros(3, np.int64), tuple("abcdefg"), (0.0,) * 3, (1.0,) * 3)
    ann = from_torch(module, data, backend=get_backend("reference", dtype="float32"))
    return convert(ann, data, steps=STEPS, neuron=NeuronOptions(reset))


def test_a_round_trip_of_a_network_from_torch_is_exact(tmp_path):
    """Its neurons start at half their threshold."""
    ours = converted()
    again = from_nir(written(to_nir(ours), tmp_path), ours.backend)
    assert again.neuron.initial == 0.5
    same(ours, again)


def test_biases_strides_and_padding_are_written(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "biased", Biased())
    ours = network("biased")
    graph = written(to_nir(ours), tmp_path)
    assert np.array_equal(graph.nodes["conv2"].bias, ours.parameters["conv2.bias"][0])
    assert [*graph.nodes["conv2"].stride, *graph.nodes["conv2"].padding] == [2, 2, 0, 0]
    same(ours, from_nir(graph, ours.backend))


def test_the_graph_has_the_layout_and_the_constants_of_nir():
    ours = network()
    nodes = to_nir(ours).nodes
    assert list(nodes["input"].input_type["input"]) == [3, 16, 24]
    for o, i, y, x in ((0, 2, 0, 1), (5, 1, 2, 0)):
        assert nodes["conv1"].weight[o, i, y, x] == ours.parameters["conv1.weight"][y, x, i, o]
    height, width, channels = 4, 6, 16
    for f, c, y, x in ((0, 15, 1, 2), (8, 3, 3, 5)):  # C·H·W there, H·W·C here
        theirs = nodes["linear1"].weight[f, (c * height + y) * width + x]
        assert theirs == ours.parameters["linear1.weight"][(y * width + x) * channels + c, f]
    leak, threshold = float(ours.parameters["neuron1.leak"][0]), ours.parameters["neuron1.threshold"][0]
    neuron = nodes["neuron1"]
    assert neuron.tau.shape == (8, 16, 24) and (neuron.v_threshold == threshold).all()
    assert np.allclose(neuron.tau, 1e-4 / (1 - leak)) and np.allclose(neuron.r, 1 / (1 - leak))
    assert type(nodes["neuron2"]).__name__ == "IF" and np.allclose(nodes["neuron2"].r, 1e4)
    assert not nodes["conv1"].bias.any() and not nodes["readout"].bias.any()
    summed = to_nir(ours, pool="sum").nodes
    assert type(summed["pool1"]).__name__ == "SumPool2d"
    assert np.array_equal(4 * summed["conv2"].weight, nodes["conv2"].weight)


def test_the_metadata_has_what_nir_does_not_express():
    graph = to_nir(network(neuron=NeuronOptions("delayed"), readout="spikes"))
    found = json.loads(graph.metadata["minihire"])
    assert (found["steps"], found["dt"], found["network"]["readout"]) == (STEPS, 1e-4, "spikes")
    assert (found["network"]["neuron"]["reset"], found["model"]["mean"]) == ("delayed", [0.4, 0.5, 0.6])


@pytest.mark.parametrize(
    ("options", "plain_images", "says"),
    [
        ({}, False, "instead of resetting to 0, normalise the image, and sum the outputs over time"),
        ({}, True, "instead of resetting to 0, and sum the outputs over time"),
        ({"coding": "rate"}, False, "to 0, turn the image into random spikes (rate coding), and sum"),
        ({"neuron": NeuronOptions(initial=0.5)}, True, "to 0, start the membranes at 0.5, and sum"),
    ],
)
def test_writing_warns_once_of_what_this_network_needs(options, plain_images, says):
    ours = network(**options)
    with pytest.warns(ExchangeWarning, match="another program must subtract the threshold") as caught:
        to_nir(plain(ours) if plain_images else ours)
    assert len(caught) == 1 and says in str(caught[0].message)


# ---------------------------------------------------------------- other programs


def expected(ours):
    """({layer: spikes}, logits) of our network."""
    counts = {}
    logits = ours.forward(
        images(), observe=lambda event, name, x: event == "spikes" and counts.update({name: int(x.sum())})
    )
    return counts, logits


def prepared(ours, torch):
    """The normalised images in torch's layout."""
    mean, std = np.float32(ours.model.mean), np.float32(ours.model.std)
    return torch.from_numpy(((images() - mean) / std).transpose(0, 3, 1, 2).copy())


def count(theirs, names, spikes=lambda output: output):
    """A dictionary in which hooks count the spikes of the layers."""
    counts = dict.fromkeys(names, 0)
    for name in names:
        module = dict(theirs.named_modules()).get(name) or theirs.get_submodule(name.replace(".", "_"))
        module.register_forward_hook(
            lambda _, __, output, name=name: counts.update({name: counts[name] + int(spikes(output).sum())})
        )
    return counts


def reader(name, monkeypatch):
    """A function of the second code block of docs/exchange.md, section NIR."""
    return run(blocks("exchange.md")["NIR"][1], "exchange", monkeypatch)[name]


def started(reset="immediate"):
    """A network with an initial membrane; every threshold is above it."""
    return network(neuron=NeuronOptions(reset, initial=0.15))


@pytest.mark.parametrize("make", [network, started, converted])
def test_spikingjelly_computes_the_same_spikes(monkeypatch, tmp_path, make):
    torch = pytest.importorskip("torch")
    pytest.importorskip("nirtorch")
    pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    ours = make()
    (spikes, logits), state, total = expected(ours), None, 0
    theirs = reader("spikingjelly_network", monkeypatch)(written(to_nir(ours), tmp_path))
    found = count(theirs, spikes, lambda output: output[0])
    with torch.no_grad():
        for _ in range(STEPS):
            output, state = theirs(prepared(ours, torch), state)
            total = total + output
    assert found == spikes and min(spikes.values()) > 0
    assert np.allclose(total.numpy(), logits, atol=1e-5)


@pytest.mark.parametrize("make", [lambda reset: network(neuron=NeuronOptions(reset)), started, converted])
def test_snntorch_computes_the_same_spikes_with_the_delayed_reset(monkeypatch, tmp_path, make):
    torch = pytest.importorskip("torch")
    pytest.importorskip("nirtorch")
    pytest.importorskip("snntorch.import_nir")
    ours = make("delayed")
    (spikes, logits), total = expected(ours), 0
    theirs = reader("snntorch_network", monkeypatch)(written(to_nir(ours), tmp_path))
    found = count(theirs, spikes)
    with torch.no_grad():
        for _ in range(STEPS):
            output = theirs(prepared(ours, torch))
            total = total + (output[0] if isinstance(output, tuple) else output)
    assert found == spikes and min(spikes.values()) > 0
    assert np.allclose(total.numpy(), logits, atol=1e-5)


@pytest.mark.parametrize("make", [network, started, converted])
def test_sinabs_computes_the_same_spikes(monkeypatch, tmp_path, make):
    torch = pytest.importorskip("torch")
    pytest.importorskip("nirtorch")
    pytest.importorskip("sinabs.nir", exc_type=ImportError)
    ours = make()
    spikes, logits = expected(ours)
    theirs = reader("sinabs_network", monkeypatch)(written(to_nir(ours, pool="sum"), tmp_path), 3, STEPS)
    found = count(theirs, spikes)
    with torch.no_grad():
        output = theirs(prepared(ours, torch).repeat_interleave(STEPS, 0))
    output = output[0] if isinstance(output, tuple) else output
    assert found == spikes and min(spikes.values()) > 0
    assert np.allclose(output.reshape(3, STEPS, -1).sum(1).numpy(), logits, atol=1e-5)


# ---------------------------------------------------------------- graphs of other programs


def foreign(ours):
    """The graph as another program would write it: without our metadata, and other names."""
    graph = to_nir(ours)
    for node in graph.nodes.values():
        node.metadata = {}
    names = {name: str(i) for i, name in enumerate(graph.nodes)}
    nodes = {names[name]: node for name, node in graph.nodes.items()}
    return nir.NIRGraph(nodes, [(names[a], names[b]) for a, b in graph.edges])


@pytest.mark.parametrize("name", ["vgg5", "biased"])
@pytest.mark.parametrize("readout", ["membrane", "spikes"])
def test_a_network_of_another_program_is_read(tmp_path, monkeypatch, readout, name):
    monkeypatch.setitem(MODELS, "biased", Biased())
    ours = network(name, readout=readout)
    graph = written(foreign(ours), tmp_path)
    with pytest.warns(ExchangeWarning) as caught:
        found = from_nir(graph, ours.backend, steps=STEPS)
    assert [str(w.message)[:30] for w in caught] == ["minihire did not write this gr", "the graph does not say how ima"]
    assert (found.model.mean, found.model.std, found.readout, found.steps) == ((0, 0, 0), (1, 1, 1), readout, STEPS)
    for first, second in zip(ours.parameters.values(), found.parameters.values(), strict=True):
        assert np.allclose(first, second, rtol=1e-6, atol=0)
    assert np.allclose(found.forward(images()), plain(ours).forward(images()), atol=1e-5)


def plain(network):
    """The same network without normalisation."""
    return network.copy(model=replace(network.model, mean=(0.0,) * 3, std=(1.0,) * 3))


def test_a_scaled_current_becomes_a_scaled_threshold():
    ours, graph = network(), foreign(network())
    neuron = graph.nodes["2"]
    neuron.r[:] = 1  # SpikingJelly's decay_input: u + dt/τ·(I − u)
    found = from_nir(graph, ours.backend)
    leak, threshold = ours.parameters["neuron1.leak"], ours.parameters["neuron1.threshold"]
    assert np.allclose(found.parameters["neuron2.threshold"], threshold / (1 - leak))


# ---------------------------------------------------------------- what is refused


def test_an_ann_a_resnet_and_an_unknown_pool_are_refused():
    k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=8)
    with pytest.raises(MinihireError, match=r"this is an ANN: convert it first, or export it to \.onnx"):
        to_nir(Network(model, k, initialise(model, k, 0)))
    model = build("resnet12", width=1 / 32)
    with pytest.raises(MinihireError, match="NIR export has no residual blocks, but resnet12 has: export it to .onnx"):
        to_nir(Network(model, k, initialise(model, k, 0, True), True, 2))
    with pytest.raises(MinihireError, match="pool must be 'average' or 'sum', not 'max'"):
        to_nir(network(), pool="max")


def changed(name, attribute, value):
    def change(graph):
        old = getattr(graph.nodes[name], attribute)
        setattr(graph.nodes[name], attribute, value(old) if callable(value) else value)

    return change


def one(array, value):
    array = array.copy()
    array.flat[0] = value
    return array


REFUSED = {
    "a bias": (changed("conv1", "bias", lambda b: b + 1), "node 'conv1' of .* has a bias, which layers of vgg5 do not"),
    "a reset": (changed("neuron1", "v_reset", lambda v: v - 1), "v_reset of node 'neuron1' of .* is not 0"),
    "a resting voltage": (changed("neuron1", "v_leak", lambda v: v + 0.5), "v_leak of .* is not 0"),
    "thresholds": (changed("neuron1", "v_threshold", lambda v: one(v, 9)), "v_threshold of .* differs between neurons"),
    "leaks": (changed("neuron1", "tau", lambda v: one(v, 9)), "tau of .* differs between neurons"),
    "a stride": (changed("conv1", "stride", np.array([2, 2])), r"stride of node 'conv1' of .* is \[2 2\], expected 1"),
    "a pool": (changed("pool1", "kernel_size", np.array([3, 3])), r"kernel_size of .* is \[3 3\], expected 2"),
    "a shape": (changed("linear2", "weight", np.ones((9, 8), "f")), r"linear2' of .* is \[9, 8\], expected \[9, 9\]"),
    "not a number": (
        changed("readout", "weight", lambda w: one(w, np.nan)),
        "weight of node 'readout' of .* contains NaN or infinite values",
    ),
    "no λ": (changed("neuron1", "tau", lambda v: v * 0 + 1e-5), "neuron1.leak has values that are .* out of range"),
    "no threshold": (changed("neuron1", "v_threshold", lambda v: v * 0), "neuron1.threshold has values that are"),
    "two outputs": (lambda graph: graph.edges.append(("conv1", "conv2")), "is not one chain of nodes"),
    "a loop": (lambda graph: graph.edges.__setitem__(-1, ("readout", "conv1")), "is not one chain of nodes"),
    "an isolated node": (lambda graph: graph.edges.pop(), "is not one chain of nodes"),
    "another kind": (
        lambda graph: graph.nodes.update(pool1=graph.nodes["flatten"]),
        "node 'pool1' of .* is Flatten, expected AvgPool2d or SumPool2d for vgg5",
    ),
    "no JSON": (
        lambda graph: graph.metadata.update(minihire="{"),
        "'minihire' of .* is not the description of a network",
    ),
    "a list": (lambda graph: graph.metadata.update(minihire="[]"), "'minihire' of .* is not the description"),
    "much text": (
        lambda graph: graph.metadata.update(minihire=graph.metadata["minihire"] + " " * checkpoint.MAX_META_BYTES),
        "'minihire' of .* is not the description",
    ),
    "half a step": (lambda graph: describe(graph, steps=2.5), "'steps' of .* is a float, expected a whole number"),
    "another model": (lambda graph: describe(graph, model={"name": "vgg6"}), "there is no model 'vgg6'"),
    "another size": (lambda graph: describe(graph, model={"name": "vgg9"}), "has 16 nodes, expected 26 for vgg9"),
    "a ResNet": (
        lambda graph: describe(graph, model={"name": "resnet12"}),
        "no residual blocks, but resnet12 has",
    ),
}


def describe(graph, **changes):
    graph.metadata["minihire"] = json.dumps(json.loads(graph.metadata["minihire"]) | changes)


@pytest.mark.parametrize(("change", "match"), REFUSED.values(), ids=REFUSED)
def test_another_graph_is_refused(change, match):
    graph = to_nir(network())
    change(graph)
    with pytest.raises(CheckpointError, match=match) as caught:
        from_nir(graph, get_backend("reference"))
    assert "\n" not in str(caught.value)


def test_graphs_of_other_networks_are_refused():
    reference = get_backend("reference")

    def refused(change, match):
        graph = foreign(network())
        change(graph)
        with pytest.raises(CheckpointError, match=match):
            from_nir(graph, reference)

    refused(
        lambda g: g.nodes.update({"5": nir.Threshold(np.ones((8, 8, 12), "f"))}), "node '5' of .* is Threshold, which"
    )
    refused(lambda g: g.nodes.pop("14"), "is not one chain")
    refused(
        lambda g: g.nodes.update({"9": g.nodes["3"]}),
        r"linear10 needs a Flatten before it, because its input is \(2, 3, 16\)",
    )
    refused(lambda g: g.nodes.update({"10": g.nodes["1"]}), "the NIR graph is not a network of minihire: ")
    refused(
        lambda g: setattr(g.nodes["1"], "weight", np.ones(27, "f")),
        r"weight of node '1' of .* is \[27\], expected 4 dim",
    )
    refused(lambda g: g.nodes["0"].input_type.update(input=np.array([5])), r"\[.*5.*\], expected that of an image")


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "x.nir"
    nir.write(path, to_nir(network()))
    content = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(CheckpointError, match="x.nir is not a file that nir.write wrote, or it is damaged"):
            nir_reader.read(path)
    path.write_bytes(b"hello")
    with pytest.raises(CheckpointError, match="is not a file that nir.write wrote"):
        nir_reader.read(path)
    with pytest.raises(CheckpointError, match="there is no file"):
        nir_reader.read(tmp_path / "none.nir")


def remove(path):
    def change(file):
        del file["node/" + path]

    return change


def put(path, value):
    def change(file):
        if "node/" + path in file:
            del file["node/" + path]
        file["node/" + path] = value

    return change


def spoil(path):
    """Overwrite the first bytes of compressed data."""

    def change(file):
        info = file["node/" + path].id.get_chunk_info(0)
        file.flush()
        with open(file.filename, "r+b") as raw:
            raw.seek(info.byte_offset)
            raw.write(b"\xff" * 8)

    return change


DAMAGED = {  # nodes of `foreign`: 0 is the input, 1 a convolution, 2 its neurons, 3 a pool, 14 the last weight
    "no graph": (
        lambda file: file.move("node", "other"),
        "x.nir has no group 'node', in which nir.write stores the graph",
    ),
    "no nodes": (remove("nodes"), "x.nir has no nodes: nir.write stores them in the group 'node/nodes'"),
    "no type": (remove("nodes/2/type"), "node '2' of .*x.nir has no 'type', such as 'Conv2d' or 'LIF'"),
    "an unknown type": (
        put("nodes/2/type", "Hodgkin"),
        "node '2' of .* is of the type 'Hodgkin', which the package nir ",
    ),
    "an array": (put("nodes/2", np.ones(3)), "node '2' of .* is an array, expected a group with the type"),
    "no stride": (remove("nodes/1/stride"), "node '1' of .*x.nir has no 'stride', which nodes of the type Conv2d need"),
    "no time constant": (remove("nodes/2/tau"), "node '2' of .*x.nir has no 'tau', which nodes of the type LIF need"),
    "no input shape": (
        remove("nodes/0/shape"),
        "node '0' of .*x.nir has no 'shape', which nodes of the type Input need",
    ),
    "a text": (put("nodes/1/weight", "heavy"), "'weight' of node '1' of .* is str, expected an array of numbers"),
    "a flat weight": (
        put("nodes/1/weight", np.ones(27, "f")),
        r"the weight of node '1' of .* is \[27\], expected 4 dimensions for Conv2d",
    ),
    "other shapes": (
        put("nodes/2/tau", np.ones(4, "f")),
        r"node '2' of .* is not a valid LIF: All parameters must have the same shape \(.*tau \[4\]",
    ),
    "damaged data": (spoil("nodes/1/weight"), "'weight' of node '1' of .*x.nir cannot be read: its data are damaged"),
    "no edges": (remove("edges"), "x.nir has no list of edges: nir.write stores the pairs"),
    "an edge to nowhere": (
        lambda file: file["node/edges"].write_direct(np.array([["0", "99"]], h5py.string_dtype()), dest_sel=np.s_[:1]),
        "an edge of .*x.nir has the end '99', but there is no node of this name",
    ),
    "layers that do not fit": (
        put("nodes/14/weight", np.ones((3, 5), "f")),
        r"x.nir is not a valid NIR graph: .*14.input: \[\[5\]\]",
    ),
}


@pytest.mark.parametrize(("change", "match"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_of_another_program_is_refused_by_its_node(tmp_path, change, match):
    path = tmp_path / "x.nir"
    nir.write(path, foreign(network()))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(CheckpointError, match=match) as caught:
        nir_reader.read(path)
    assert "\n" not in str(caught.value)


def larger(file):
    del file["node/nodes/readout/weight"]
    file["node/nodes/readout"].create_dataset("weight", (1 << 20, 1 << 20), "f4", compression="gzip", chunks=(64, 64))


def linked(file):
    file["node/nodes/other"] = h5py.ExternalLink("/etc/passwd", "/")


def external(file):
    del file["node/nodes/readout/weight"]
    file["node/nodes/readout"].create_dataset("weight", (7, 9), "f4", external=[("/etc/passwd", 0, 252)])


def twice(file):
    file["node/nodes/readout/again"] = file["node/nodes/readout/weight"]


def no_dictionary(file):
    del file["node/nodes/neuron1/metadata"]
    file["node/nodes/neuron1/metadata"] = "text"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (twice, "several names for the same data"),
        (no_dictionary, "metadata that is no dictionary"),
        (larger, r"declares [0-9,]+ bytes of data, but the file has"),
        (linked, "outside"),
        (external, "outside of itself"),
    ],
)
def test_a_file_that_declares_too_much_or_refers_to_others_is_refused(tmp_path, change, match):
    path = tmp_path / "x.nir"
    nir.write(path, to_nir(network()))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(CheckpointError, match=match):
        nir_reader.read(path)


# ---------------------------------------------------------------- the commands


@pytest.fixture
def saved(tmp_path):
    """The path of a checkpoint with a data set."""
    about = {"data": "cifar10", "data_dir": "/home/me"}
    extra = {"about": about, "data": {"name": "cifar10", "classes": list("abcdefg")}}
    checkpoint.save(tmp_path / "snn.npz", network(), extra=extra)
    return tmp_path / "snn.npz"


@pytest.mark.parametrize(
    "flags", [("--to", "nir"), ("--out", "{folder}/snn.nir"), ("--to", "nir", "--out", "{folder}/a.bin")]
)
def test_export_and_import_give_the_same_checkpoint(saved, tmp_path, flags):
    flags = [flag.format(folder=tmp_path) for flag in flags]
    code, text = command("export", saved, *flags)
    assert code == 0 and text.count("warning: NIR does not express all") == 1
    name = tmp_path / ("a.bin" if "a.bin" in flags[-1] else "snn.nir")
    assert f"{name}: an SNN of 4 time steps, vgg5" in text
    assert command("import", name, "--out", tmp_path / "again.npz")[0] == 0
    first, second = checkpoint.load(saved), checkpoint.load(tmp_path / "again.npz")
    assert weights(saved) == weights(tmp_path / "again.npz")
    assert (first.meta["model"], first.meta["network"]) == (second.meta["model"], second.meta["network"])
    assert (second.meta["about"], second.meta["data"]) == ({"data": "cifar10"}, first.meta["data"])


def test_import_of_another_program_s_graph_needs_no_metadata(tmp_path):
    nir.write(tmp_path / "x.nir", foreign(network(classes=10)))
    code, text = command("import", tmp_path / "x.nir", "--data", "cifar10", "--steps", "3")
    assert code == 0 and text.count("warning: ") == 1 and "instead of resetting to 0" in text
    meta = checkpoint.load(tmp_path / "x.npz").meta
    assert (meta["network"]["steps"], meta["model"]["mean"]) == (3, [0.4914, 0.4822, 0.4465])
    assert (meta["data"]["name"], len(meta["data"]["classes"])) == ("cifar10", 10)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (("--out", "x.gguf"), "--out x.gguf does not name a format: end it in .pt, .pth, .nir, .onnx"),
        (("--out", "x"), "--out x does not name a format"),
        (("--out", "x.pt", "--to", "nir"), "--to nir contradicts x.pt, which is the name of a .pt file"),
    ],
)
def test_export_refuses_a_name_of_no_or_another_format(saved, tmp_path, monkeypatch, capsys, flags, match):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(saved), *flags]) == 2
    assert match in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["snn.npz"]


def test_the_python_code_of_the_page_runs(saved, tmp_path, monkeypatch):
    block, _ = blocks("exchange.md")["NIR"]
    monkeypatch.chdir(tmp_path)
    block = block.replace("runs/mini/models/hire.npz", "snn.npz").replace("get_backend()", "get_backend('reference')")
    found = run(block, "page", monkeypatch)
    same(found["network"], found["again"])
