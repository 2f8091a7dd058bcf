"""The diagnosis of an NIR file that the package nir cannot read: one sentence that names the node and what was expected.

An NIR file is an HDF5 file. The group node/nodes has a group for each node, which has its type and its parameters; the dataset
node/edges has the pairs of names that are connected.
"""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minihire.interop.nir import package
from minihire.interop.packages import require
from minihire.training.checkpoint import CheckpointError

RANKS = {"Conv2d": 4, "Conv1d": 3, "Affine": 2, "Linear": 2}  # dimensions of the weight
ARRAYS = {"weight", "bias", "tau", "r", "v_leak", "v_threshold", "v_reset"}
SHAPES = {"Input", "Output"}  # these have a shape in place of their fields
MAX_REASON = 300  # characters of another program's error message


def explain(path: Path, file: BinaryIO, error: Exception) -> CheckpointError:
    """The error to raise for an NIR file that nir.read refused. error: what nir.read raised."""
    h5py = require("h5py", "NIR")
    try:
        file.seek(0)
        with h5py.File(file, "r") as content:
            if not isinstance(content.get("node"), h5py.Group):
                return CheckpointError(
                    f"{path} has no group 'node', in which nir.write stores the graph: it is no NIR file"
                )
            sentence = _of_graph(path, content["node"], h5py)
    except Exception:  # h5py documents no common class for the errors of damaged files
        return CheckpointError(f"{path} is not a file that nir.write wrote, or it is damaged")
    return CheckpointError(sentence or f"{path} is not a valid NIR graph: {_reason(error)}")


def check_rank(where: str, name: str, weight: Any) -> None:
    """Raise CheckpointError unless the weight of a node of type `name` has as many dimensions as it must have."""
    rank = np.ndim(weight)
    if rank != RANKS.get(name, rank):
        shape = list(np.shape(weight))
        raise CheckpointError(f"the weight of {where} is {shape}, expected {RANKS[name]} dimensions for {name}")


def _of_graph(path, group, h5py):
    """The sentence about the first node or edge that is wrong, or None."""
    if not isinstance(group.get("nodes"), h5py.Group):
        return f"{path} has no nodes: nir.write stores them in the group 'node/nodes'"
    for name in group["nodes"]:
        sentence = _of_node(f"node {name!r:.60} of {path}", group["nodes"][name], h5py)
        if sentence:
            return sentence
    edges = group["edges"][()] if isinstance(group.get("edges"), h5py.Dataset) else None
    if edges is None or (edges.size and (edges.ndim != 2 or edges.shape[1] != 2)):
        return f"{path} has no list of edges: nir.write stores the pairs of connected nodes in 'node/edges'"
    for name in edges.reshape(-1):
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        if text not in group["nodes"]:
            return f"an edge of {path} has the end {text!r:.60}, but there is no node of this name"
    return None


def _of_node(where, group, h5py):
    """The sentence about a node, or None if nir can make it from the group."""
    if not isinstance(group, h5py.Group):
        return f"{where} is an array, expected a group with the type and the parameters of the node"
    values: dict[str, Any] = {}
    for key in group:
        try:
            found = group[key]
            values[key] = _plain(found[()]) if isinstance(found, h5py.Dataset) else {}
        except Exception:  # damaged data within the file
            return f"{key!r:.60} of {where} cannot be read: its data are damaged"
    if not isinstance(values.get("type"), str):
        return f"{where} has no 'type', such as 'Conv2d' or 'LIF'"
    name, nir = values["type"], package()
    kind = getattr(nir, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nir.NIRNode)):
        return f"{where} is of the type {name!r:.60}, which the package nir {nir.version} does not know"
    if kind is nir.NIRGraph:
        return None  # a graph within the graph, which the reader refuses by its name
    for part in _required(kind):
        if part not in values:
            return f"{where} has no {part!r}, which nodes of the type {name} need"
    for part in ARRAYS & values.keys():
        if np.asarray(values[part]).dtype.kind not in "fiu":
            return f"{part!r} of {where} is {type(values[part]).__name__}, expected an array of numbers"
    try:
        if "weight" in values:
            check_rank(where, name, values["weight"])
        nir.dict2NIRNode(dict(values))
    except CheckpointError as error:
        return str(error)
    except Exception as error:  # nir documents no class for them; most are failed assertions
        shapes = ", ".join(f"{part} {list(v.shape)}" for part, v in values.items() if isinstance(v, np.ndarray))
        return f"{where} is not a valid {name}: {_reason(error)}{f' ({shapes})' if shapes else ''}"
    return None


def _plain(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _required(kind):
    """The names of the parameters without a default value."""
    if kind.__name__ in SHAPES:
        return ["shape"]
    given = [f for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]
    return [f.name for f in given if f.name not in ("input_type", "output_type", "input_shape")]


def _reason(error):
    """The message of another program's error on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:MAX_REASON]
