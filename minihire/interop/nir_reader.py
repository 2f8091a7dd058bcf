"""Reader of NIR graphs and files: those that minihire wrote, and chains of layers of other programs. nir.py has the mapping."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from backends.interface import Backend
from minihire.data.cifar import CLASSES, NORMALISATION
from minihire.interop.description import ExchangeWarning, kind, restore, time_steps
from minihire.interop.layouts import weight_layouts
from minihire.interop.nir import DT, KEY, chain, package
from minihire.interop.nir_damage import check_rank, explain
from minihire.interop.packages import require
from minihire.interop.published import description_of
from minihire.layers import AvgPool, Conv2d, Flatten, Linear, Neuron, Readout
from minihire.models import assemble
from minihire.network import Network
from minihire.runtime.archive import SPARE_BYTES
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import open_regular
from minihire.training.checkpoint import MAX_META_BYTES, Checkpoint, CheckpointError

MAGIC = b"\x89HDF\r\n\x1a\n"
TOLERANCE = 1e-5  # relative; τ and R are float32
LINEAR, POOLS, NEURONS = ("Affine", "Linear"), ("AvgPool2d", "SumPool2d"), ("LIF", "IF")
NODES = {  # the nodes that a layer may be
    Conv2d: ("Conv2d",),
    Linear: LINEAR,
    Readout: LINEAR,
    Neuron: NEURONS,
    AvgPool: POOLS,
    Flatten: ("Flatten",),
}
FOREIGN = (
    "minihire did not write this graph: its neurons now subtract the threshold instead of resetting to 0, "
    "and its outputs are summed over time"
)
NOT_NORMALISED = "the graph does not say how images are normalised, so they are not: --data cifar10 normalises them"


def from_nir(graph: Any, backend: Backend, *, steps: int | None = None) -> Network:
    """The network of a graph that `to_nir` made, with exactly the same weights, or of a chain of layers from
    another program.

    steps: T, if the graph does not record it (default: 32). Warns about a graph of another program.
    Raises CheckpointError for graphs of other networks.
    """
    return _checkpoint(Path("the NIR graph"), graph, None, steps).network(backend)


def is_nir(path: Path) -> bool:
    """Whether a file has the first bytes of an NIR file, which is in the format HDF5. Also False if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: Path, *, data: str | None = None, steps: int | None = None) -> Checkpoint:
    """Read an NIR file into a Checkpoint of NumPy arrays.

    data: for a graph of another program, "cifar10" or "cifar100", whose normalisation the network applies (default: none).
    steps: T, if the graph does not record it. Raises CheckpointError, naming the file, if it is damaged, or if minihire does
    not have such a network.
    """
    path, nir = Path(path), package()
    try:
        with open_regular(path) as file:
            _check_declarations(path, file)
            try:
                graph = nir.read(file)
            except Exception as error:  # nir documents no common class for its errors
                raise explain(path, file, error) from error
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except Exception as error:  # h5py documents no common class for the errors of damaged files
        raise CheckpointError(f"{path} is not a file that nir.write wrote, or it is damaged") from error
    return _checkpoint(path, graph, data, steps)


def _check_declarations(path, file):
    """Raise CheckpointError if the file declares much more data than it has, or refers to other files."""
    h5py, size, declared = require("h5py", "NIR"), file.seek(0, 2), 0

    def check(_, item):
        nonlocal declared
        if isinstance(item, h5py.Group):
            links = [item.get(name, getlink=True) for name in item]
            outside = not all(isinstance(link, h5py.HardLink) for link in links)
        elif h5py.h5o.get_info(item.id).rc > 1:
            raise CheckpointError(f"{path} has several names for the same data, which nir.write never makes")
        else:
            outside, declared = bool(item.external or item.is_virtual), declared + item.nbytes
        if outside:
            raise CheckpointError(f"{path} refers to data outside of itself, which minihire does not read")

    with h5py.File(file, "r") as content:
        check("", content)
        content.visititems(check)
    if declared > size + SPARE_BYTES:
        raise CheckpointError(f"{path} declares {declared:,} bytes of data, but the file has {size:,}")
    file.seek(0)


def _checkpoint(path, graph, data, steps):
    """The content of a graph. The path is for error messages."""
    nodes = _in_order(path, graph)
    if not all(isinstance(node.metadata, dict) for node in (graph, *graph.nodes.values())):
        raise CheckpointError(f"{path} has metadata that is no dictionary, which nir.write never makes")
    text = graph.metadata.get(KEY)
    if text is None:
        model, meta = _assembled(path, nodes, data, steps)
    else:
        model, meta = _described(path, text, data, steps)
    try:
        expected = list(chain(model, meta["network"].get("readout")))
    except MinihireError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if len(expected) + 2 != len(nodes):
        raise CheckpointError(f"{path} has {len(nodes)} nodes, expected {len(expected) + 2} for {model.name}")
    return Checkpoint(path, meta, dict(_arrays(path, model, meta["network"], expected, nodes[1:-1])))


def _in_order(path, graph):
    """List (name, node) from the input to the output. Raises CheckpointError if the graph is not one chain."""
    following = dict(graph.edges)
    names = [name for name, node in graph.nodes.items() if kind(node) == "Input"][:1]
    while names and names[-1] in following and len(names) <= len(graph.nodes):
        names.append(following[names[-1]])
    if len(following) != len(graph.edges) or sorted(names) != sorted(graph.nodes):
        raise CheckpointError(
            f"{path} is not one chain of nodes from an input to an output, which is all minihire reads"
        )
    return [(name, graph.nodes[name]) for name in names]


def _described(path, text, data, steps):
    """(model, metadata) of a graph that minihire wrote."""
    try:
        if len(text) > MAX_META_BYTES:
            raise ValueError(f"{len(text):,} characters")
        entry = json.loads(text)
        found = entry.pop("steps")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"'{KEY}' of {path} is not the description of a network") from error
    return restore(path, entry, data, time_steps(path, found, steps, "steps"))


def _assembled(path, nodes, data, steps):
    """(model, metadata) of a graph of another program: a model of the layers that its nodes are."""
    fires = len(nodes) > 3 and kind(nodes[-2][1]) in NEURONS  # then the spikes of the output neurons are counted
    inner = nodes[1:-2] if fires else nodes[1:-1]
    try:
        layers = [
            _layer(f"node {name!r:.60} of {path}", node, i, len(inner)) for i, (name, node) in enumerate(inner, 1)
        ]
    except CheckpointError:
        raise
    except MinihireError as error:  # a layer that minihire cannot build
        raise CheckpointError(f"{path} is not a network of minihire: {error}") from error
    channels, height, width = (int(n) for n in _image_shape(path, nodes[0][1]))
    classes = getattr(layers[-1], "features", 0) if layers else 0
    mean, std = NORMALISATION[data] if data else ((0.0,) * channels, (1.0,) * channels)
    if data and classes != len(CLASSES[data]):
        raise CheckpointError(f"{path} has {classes} classes, but {data} has {len(CLASSES[data])}: leave --data out")
    try:
        model = assemble("from_nir", layers, (height, width, channels), classes, mean=mean, std=std)
        model.parameters(True)  # which fails for a convolution after Flatten
    except (MinihireError, IndexError) as error:
        raise CheckpointError(f"{path} is not a network of minihire: {error}") from error
    warnings.warn(FOREIGN, ExchangeWarning, stacklevel=4)
    if not data:
        warnings.warn(NOT_NORMALISED, ExchangeWarning, stacklevel=4)
    meta = description_of(model, True, data, model.steps if steps is None else steps, None)
    meta["network"]["readout"] = "spikes" if fires else "membrane"
    return model, meta | ({"data": {"name": data, "classes": list(CLASSES[data])}} if data else {})


def _image_shape(path, node):
    """[C, H, W]. Raises CheckpointError for inputs that are not images."""
    shape = list(node.input_type["input"])
    if len(shape) != 3:
        raise CheckpointError(f"the input of {path} has the shape {shape}, expected that of an image, [C, H, W]")
    return shape


def _layer(where, node, position, count):
    """The layer that a node is. position: 1 … count."""
    name, bias = kind(node), bool(np.any(getattr(node, "bias", 0)))
    if hasattr(node, "weight"):
        check_rank(where, name, node.weight)
    if name == "Conv2d":
        size = node.weight.shape[-1]
        padding = None if isinstance(node.padding, str) else int(np.ravel(node.padding)[0])
        return Conv2d(f"conv{position}", len(node.weight), size, int(np.ravel(node.stride)[0]), padding, bias)
    if name in LINEAR:
        last = position == count
        return (
            Readout("readout", len(node.weight), bias) if last else Linear(f"linear{position}", len(node.weight), bias)
        )
    if name in NEURONS:
        return Neuron(f"neuron{position}")
    if name in POOLS or name == "Flatten":
        return AvgPool() if name in POOLS else Flatten()
    raise CheckpointError(
        f"{where} is {name}, which minihire does not have: it reads {', '.join(sum(NODES.values(), ()))}"
    )


def _arrays(path, model, network, expected, nodes):
    """Yield (name in a checkpoint, array) of every parameter."""
    parameters, layouts = model.parameters(True, network.get("readout", "membrane")), weight_layouts(model)
    scale = 1.0  # of the next weight, where sum pools take the place of average pools
    for (layer, *_), (name, node) in zip(expected, nodes, strict=True):
        where = f"node {name!r:.60} of {path}"
        if kind(node) not in NODES[type(layer)]:
            raise CheckpointError(
                f"{where} is {kind(node)}, expected {' or '.join(NODES[type(layer)])} for {model.name}"
            )
        if isinstance(layer, Conv2d | Linear | Readout):
            weight, bias = _weight(where, layer, node, layouts[layer.name])
            yield f"parameter/{layer.name}.weight", weight * weight.dtype.type(scale)
            if f"{layer.name}.bias" in parameters:
                yield f"parameter/{layer.name}.bias", bias.reshape(1, -1)
            elif bias.any():
                raise CheckpointError(f"{where} has a bias, which layers of {model.name} do not have")
            scale = 1.0
        elif isinstance(layer, Neuron):
            counts = {part: math.prod(parameters[f"{layer.name}.{part}"].shape) for part in ("leak", "threshold")}
            for part, values in _neurons(where, node, counts):
                yield f"parameter/{layer.name}.{part}", values
        elif isinstance(layer, AvgPool):
            _require(where, node, kernel_size=2, stride=2, padding=0)
            scale *= 4.0 if kind(node) == "SumPool2d" else 1.0


def _weight(where, layer, node, layout):
    """The weight in our layout, and the bias [C_out]."""
    if isinstance(layer, Conv2d):
        same = isinstance(node.padding, str) and node.padding == "same" and 2 * layer.border + 1 == layer.size
        _require(where, node, stride=layer.stride, dilation=1, groups=1, **({} if same else {"padding": layer.border}))
    weight, bias = _floats(where, "weight", node.weight), getattr(node, "bias", None)
    bias = np.zeros(layer.features, weight.dtype) if bias is None else _floats(where, "bias", bias)
    if weight.shape != layout.theirs or bias.shape != (layer.features,):
        raise CheckpointError(f"the weight of {where} is {list(weight.shape)}, expected {list(layout.theirs)}")
    return layout.from_theirs(weight), bias


def _neurons(where, node, counts):
    """Yield ("leak", λ) and ("threshold", v), with as many values as `counts` says: 1, or one for each channel."""
    arrays = {name: _floats(where, name, getattr(node, name)) for name in ("r", "v_threshold", "v_reset")}
    if kind(node) == "LIF":
        arrays |= {name: _floats(where, name, getattr(node, name)) for name in ("tau", "v_leak")}
    for name in ("v_reset", "v_leak"):
        if name in arrays and arrays[name].any():
            raise CheckpointError(f"{name} of {where} is not 0, which minihire's neurons do not support")

    def per_channel(name, values, count):
        rows = values.reshape(count, -1) if values.size and values.size % count == 0 else values.reshape(1, -1)
        if rows.shape[0] != count or not (rows == rows[:, :1]).all():
            raise CheckpointError(f"{name} of {where} differs between neurons, which share one in minihire")
        return rows[:, 0].copy()

    resistance = arrays["r"].astype(np.float64)
    if kind(node) == "LIF":
        leaks, gain = 1 - DT / arrays["tau"].astype(np.float64), resistance * DT / arrays["tau"]
    else:  # other programs read R = 1 as a gain of 1, too
        leaks, gain = np.ones(resistance.shape), np.where(resistance == 1, 1.0, resistance * DT)
    leak, exact = per_channel("tau", leaks, counts["leak"]), node.metadata.get("leak")
    if exact is not None and np.shape(exact) == leak.shape and np.allclose(exact, leak, rtol=0, atol=TOLERANCE):
        leak = exact
    gain = np.where(np.abs(gain - 1) < TOLERANCE, 1.0, gain)  # a current that is scaled is a threshold that is divided
    thresholds = (arrays["v_threshold"] / gain).astype(arrays["v_threshold"].dtype)
    yield "threshold", per_channel("v_threshold", thresholds, counts["threshold"])
    yield "leak", np.asarray(leak).astype(arrays["v_threshold"].dtype)


def _floats(where, name, values):
    values = np.asarray(values)
    if values.dtype.kind != "f":
        raise CheckpointError(f"{name} of {where} is {values.dtype}, expected floating-point numbers")
    if not np.isfinite(values).all():
        raise CheckpointError(f"{name} of {where} contains NaN or infinite values")
    return values


def _require(where, node, **expected):
    """Raise CheckpointError unless all elements of the node's attributes have these values."""
    for name, value in expected.items():
        if not np.all(np.asarray(getattr(node, name)) == value):
            raise CheckpointError(f"{name} of {where} is {getattr(node, name)}, expected {value}")
