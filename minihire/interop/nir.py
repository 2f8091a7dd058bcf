"""Networks as NIR graphs (Neuromorphic Intermediate Representation), which snnTorch, SpikingJelly and Sinabs can read.

    graph = to_nir(network)              nir.write("hire.nir", graph) writes it to a file
    network = from_nir(graph, backend)

The time step is dt = 0.1 ms, as in the other libraries. With the Euler method, NIR's neurons compute

    LIF   τ·du/dt = (v_leak − u) + R·I    →  u + dt/τ·(R·I − u) = λ·u + I   for τ = dt/(1 − λ), R = 1/(1 − λ), v_leak = 0
    IF    du/dt = R·I                     →  u + dt·R·I = u + I             for R = 1/dt, which is λ = 1

NIR has no soft reset, no start membrane, no rate coding, no normalisation of images, and no sum over time. The graph's metadata
stores these as JSON under "minihire", and the exact λ as "leak" of each neuron. A program that ignores it computes other
spikes.
Source of the equations: https://neuroir.org/docs/primitives.html.
"""

import io
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from backends import get_backend
from minihire.interop.description import ExchangeWarning, describe
from minihire.interop.layouts import weight_layouts
from minihire.interop.packages import require
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, Linear, Neuron, Readout, Residual
from minihire.models import Model
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.training.checkpoint import Checkpoint, describe_network

DT = 1e-4  # seconds
KEY = "minihire"
LAYERS = (Conv2d, Neuron, AvgPool, Flatten, Linear, Readout)


def package() -> ModuleType:
    """The package nir. Raises MinihireError if it is not installed."""
    return require("nir", "NIR")


def to_nir(network: Network, *, pool: str = "average") -> Any:
    """The NIR graph of a spiking network without residual blocks. Arrays have channels first, and one value for each neuron.

    pool: "average" for AvgPool2d nodes; "sum" for SumPool2d nodes, where the factor ¼ is in the next weight, for programs
    without average pooling (Sinabs). Warns about what NIR does not express. Raises MinihireError for an ANN and for
    other layers.

    >>> from minihire import Network, build, get_backend, initialise
    >>> from minihire.interop import from_nir, to_nir
    >>> k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=16)
    >>> graph = to_nir(Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=4))
    >>> from_nir(graph, k)
    Network(vgg5: SNN of 4 time steps, 10 classes, reference backend)
    """
    graph = _graph(network, describe_network(network), pool)
    warnings.warn(_differences(network), ExchangeWarning, stacklevel=2)
    return graph


def write(path: Path, saved: Checkpoint) -> None:
    """Write the network of a checkpoint as an NIR file. Warnings and errors as in `to_nir`."""
    network = saved.network(get_backend("reference"))
    graph = _graph(network, saved.meta, "average")
    warnings.warn(_differences(network), ExchangeWarning, stacklevel=2)
    buffer = io.BytesIO()
    package().write(buffer, graph)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()), new=True)


def _differences(network: Network) -> str:
    """One sentence: the operations that NIR cannot express, so that another program must add them."""
    tasks = ["subtract the threshold after a spike instead of resetting to 0"]
    if network.neuron.initial:
        tasks.append(f"start the membranes at {network.neuron.initial:g}")
    if network.coding == "rate":
        tasks.append("turn the image into random spikes (rate coding)")
    elif any(network.model.mean) or set(network.model.std) != {1.0}:
        tasks.append("normalise the image")
    return (
        f"NIR does not express all of this network: another program must {', '.join(tasks)}, and sum the outputs over time "
        "(docs/exchange.md)"
    )


def _graph(network: Network, meta: dict[str, Any], pool: str) -> Any:
    nir = package()
    if not network.spiking:
        raise MinihireError(
            "NIR describes spiking networks, and this is an ANN: convert it first, or export it to .onnx"
        )
    if pool not in ("average", "sum"):
        raise MinihireError(f"pool must be 'average' or 'sum', not {pool!r}")
    values = {name: network.backend.to_numpy(array) for name, array in network.parameters.items()}
    layouts, nodes, scale = weight_layouts(network.model), {}, 1.0
    height, width, channels = network.model.image_shape
    nodes["input"] = nir.Input(np.array([channels, height, width]))
    for layer, name, shape in chain(network.model, network.readout):
        if isinstance(layer, Conv2d | Linear | Readout):
            weight = layouts[layer.name].to_theirs(values[f"{layer.name}.weight"])
            weight, scale = weight * weight.dtype.type(scale), 1.0
            bias = values.get(f"{layer.name}.bias", np.zeros(layer.features, weight.dtype)).reshape(-1)
            nodes[name] = (
                _convolution(layer, shape, weight, bias) if isinstance(layer, Conv2d) else nir.Affine(weight, bias)
            )
        elif isinstance(layer, Neuron):
            nodes[name] = _neuron(values[f"{layer.name}.leak"], values[f"{layer.name}.threshold"], _first(shape))
        elif isinstance(layer, AvgPool):
            two, kind = np.array([2, 2]), nir.AvgPool2d if pool == "average" else nir.SumPool2d
            scale *= 1.0 if pool == "average" else 0.25
            nodes[name] = kind(kernel_size=two, stride=two, padding=np.array([0, 0]))
        else:
            nodes[name] = nir.Flatten(np.array(_first(shape)), start_dim=0, end_dim=-1)
    nodes["output"] = nir.Output(np.array([network.model.classes]))
    names = list(nodes)
    description = {**describe(meta), "steps": network.steps, "dt": DT, "pool": pool}
    return nir.NIRGraph(nodes, list(zip(names, names[1:], strict=False)), {KEY: json.dumps(description)})


def chain(model: Model, readout: str):
    """Yield (layer, name of its node, input shape) of every layer, from input to output.

    Raises MinihireError for residual blocks and for layers that NIR does not have.
    """
    pools = 0
    for layer in model.layers:
        if isinstance(layer, Residual | Branches):
            raise MinihireError(f"NIR export has no residual blocks, but {model.name} has: export it to .onnx")
        if type(layer) not in LAYERS:
            kinds = ", ".join(kind.__name__ for kind in LAYERS)
            raise MinihireError(f"NIR files support the layers {kinds}, not the {type(layer).__name__} of {model.name}")
    for layer, shape in model.walk():
        pools += isinstance(layer, AvgPool)
        yield layer, getattr(layer, "name", f"pool{pools}" if isinstance(layer, AvgPool) else "flatten"), shape
    if readout == "spikes":
        yield Neuron(model.layers[-1].name), "output_neuron", (model.classes,)


def _first(shape):
    """(H, W, C) → (C, H, W)."""
    return (shape[-1], *shape[:-1])


def _convolution(layer, shape, weight, bias):
    pair = lambda n: np.array([n, n])
    return package().Conv2d(tuple(shape[:2]), weight, pair(layer.stride), pair(layer.border), pair(1), 1, bias)


def _neuron(leak, threshold, shape):
    """The node of a layer of neurons. leak, threshold: arrays [1], or [C] with one value for each channel."""
    zero = np.zeros(shape, leak.dtype)

    def every(values):
        return (zero + np.reshape(values, (-1,) + (1,) * (len(shape) - 1))).astype(leak.dtype)

    if (leak == 1).all():
        return package().IF(every(leak / DT), every(threshold), zero, metadata={"leak": leak})
    resistance = 1 / (1 - leak.astype(np.float64))
    arrays = every(DT * resistance), every(resistance), zero, every(threshold), zero
    return package().LIF(*arrays, metadata={"leak": leak})
