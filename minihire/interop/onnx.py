"""Networks as ONNX models: an ANN, or an SNN with its time steps written out one after the other.

    model = to_onnx(network)      onnx.save(model, "hire.onnx") writes it to a file

Input "images" [B, C, H, W] in [0, 1], output "logits" [B, classes]; B is free. Normalisation is part of the model. At each step
an SNN has the nodes of the neuron's equations (backends/lif.py). Values that do not change over time, such as the first
convolution of a direct-coded SNN, are computed once. All steps share the weights.
"""

from pathlib import Path
from typing import Any

import numpy as np

from backends import get_backend
from minihire.interop.layouts import weight_layouts
from minihire.interop.packages import require
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, Linear, Neuron, Residual
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.training.checkpoint import Checkpoint

MAX_STEPS = 10  # every step adds nodes
FLOAT = 1  # onnx.TensorProto.FLOAT
OPSET, IR_VERSION = 17, 8  # of 2022, so that older runtimes can read the files


def to_onnx(network: Network) -> Any:
    """The onnx.ModelProto of a network, in float32.

    Raises MinihireError for an SNN with more than 10 time steps, with rate coding, and with soft spikes.

    >>> from minihire import Network, build, get_backend, initialise
    >>> from minihire.interop import to_onnx
    >>> k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=16)
    >>> [output.name for output in to_onnx(Network(model, k, initialise(model, k, 0))).graph.output]
    ['logits']
    """
    steps = network.steps if network.spiking else 1
    if network.spiking:
        _check(network)
    onnx = require("onnx", "ONNX export")
    graph = _Graph(network, onnx.helper, steps)
    channels, (height, width) = network.model.image_shape[2], network.model.image_shape[:2]
    tensor = lambda name, *shape: onnx.helper.make_tensor_value_info(name, FLOAT, ["B", *shape])
    images, logits = tensor("images", channels, height, width), tensor("logits", network.model.classes)
    graph.run()
    content = onnx.helper.make_graph(graph.nodes, network.model.name, [images], [logits], graph.constants())
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(content, opset_imports=opsets, ir_version=IR_VERSION, producer_name="minihire")
    onnx.checker.check_model(model)
    return model


def _check(network: Network) -> None:
    """Raise MinihireError, with the remedy, for an SNN that cannot be written."""
    if network.steps > MAX_STEPS:
        problem = f"{network.steps} time steps"
        remedy = f"at most {MAX_STEPS} can: convert the ANN with steps={MAX_STEPS}, or export network.copy(steps={MAX_STEPS})"
    elif network.coding != "direct":
        problem, remedy = f"{network.coding} coding", "convert the ANN with direct coding"
    elif network.neuron.soft:
        problem, remedy = "soft spikes", "set soft=False in its NeuronOptions"
    else:
        return
    raise MinihireError(f"an SNN with {problem} cannot be exported to ONNX: {remedy}")


def write(path: Path, saved: Checkpoint) -> None:
    """Write the network of a checkpoint as an ONNX file. Errors as in `to_onnx`."""
    model = to_onnx(saved.network(get_backend("reference")))
    write_atomically(path, lambda file: file.write(model.SerializeToString()), new=True)


class _Graph:
    """Collects the nodes of a network.

    A signal is the list of the names of one layer's outputs: one for each time step, or a single one if it is the same at
    every step.
    """

    def __init__(self, network, helper, steps):
        self.network, self.helper, self.steps = network, helper, steps
        self.layouts, self.nodes, self.values = weight_layouts(network.model), [], {}

    def run(self):
        """Add all nodes, from "images" to "logits"."""
        model = self.network.model
        pairs = list(zip(model.mean, model.std, strict=True))
        scale = self.constant("scale", np.reshape([1 / std for _, std in pairs], (1, -1, 1, 1)))
        shift = self.constant("shift", np.reshape([-mean / std for mean, std in pairs], (1, -1, 1, 1)))
        image = self.node("Add", self.node("Mul", "images", scale), shift)
        signal = self.sequence(model.layers[:-1], [image], model.image_shape)
        self.node("Identity", self.readout(model.layers[-1], signal), name="logits")

    def constants(self):
        """All constants, as initialisers of the graph."""
        make = self.helper.make_tensor
        return [make(name, FLOAT, x.shape, x.tobytes(), raw=True) for name, x in self.values.items()]

    def constant(self, name, value):
        """The name of a float32 constant."""
        self.values[name] = np.ascontiguousarray(value, np.float32)
        return name

    def node(self, kind, *inputs, name=None, **attributes):
        """Add a node, and return the name of its output."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def sequence(self, layers, signal, shape):
        """The signal after the layers. shape: input shape of the first of them."""
        for layer in layers:
            signal = self.layer(layer, signal, shape)
            shape = layer.output_shape(shape)
        return signal

    def layer(self, layer, signal, shape):
        """The signal after one layer. Raises MinihireError for a layer without a counterpart."""
        if type(layer) is Residual:
            return self.sequence(layer.parts(shape), signal, shape)
        if type(layer) is Branches:
            return self.sum(*(self.sequence(branch, signal, shape) for branch in (layer.main, layer.shortcut)))
        if type(layer) is Neuron:
            return self.neuron(layer.name, signal) if self.network.spiking else [self.node("Relu", x) for x in signal]
        if type(layer) not in (AvgPool, Conv2d, Flatten, Linear):
            raise MinihireError(
                f"ONNX export does not support the layer {type(layer).__name__} of {self.network.model.name}"
            )
        return [self.each(layer, x) for x in signal]

    def each(self, layer, x):
        """A layer without neurons, at one time step."""
        if isinstance(layer, AvgPool):
            return self.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        if isinstance(layer, Flatten):
            return self.node("Flatten", x)
        weights = self.weights(layer)
        if isinstance(layer, Conv2d):
            pads, strides = [layer.border] * 4, [layer.stride] * 2
            return self.node("Conv", x, *weights, kernel_shape=[layer.size] * 2, pads=pads, strides=strides)
        return self.node("Gemm", x, *weights, transB=1)

    def weights(self, layer):
        """The names of the weight, and of the bias if the layer has one."""
        k, parameters, name = self.network.backend, self.network.parameters, f"{layer.name}.weight"
        if name not in self.values:
            self.constant(name, self.layouts[layer.name].to_theirs(k.to_numpy(parameters[name])))
        bias = f"{layer.name}.bias"
        return [name, self.constant(bias, k.to_numpy(parameters[bias]).reshape(-1))] if bias in parameters else [name]

    def sum(self, first, second):
        """The sum of two signals, at each step."""
        count = max(len(first), len(second))
        at = lambda signal, t: signal[t if len(signal) > 1 else 0]
        return [self.node("Add", at(first, t), at(second, t)) for t in range(count)]

    def neuron(self, name, current):
        """The spikes of LIF neurons: m = λ·u + I, s = 1 if m > v, u = m − v·s (with the delayed reset at the next step)."""
        k, parameters = self.network.backend, self.network.parameters
        names = [f"{name}.{part}" for part in ("leak", "threshold")]
        leak, threshold = (self.constant(part, k.to_numpy(parameters[part])) for part in names)
        initial, delayed = self.network.neuron.initial, self.network.neuron.reset == "delayed"
        state = self.constant(f"{name}.initial", np.array([initial], np.float32)) if initial else None
        spikes, reset = [], None
        for t in range(self.steps):
            membrane = current[t if len(current) > 1 else 0]
            if state is not None:
                membrane = self.node("Add", self.node("Mul", state, leak), membrane)
            if delayed and reset is not None:
                membrane = self.node("Sub", membrane, reset)
            fired = self.node("Greater", membrane, threshold)
            spikes.append(self.node("Cast", fired, name=f"{name}_spikes_{t}", to=FLOAT))
            reset = self.node("Mul", spikes[-1], threshold)
            state = membrane if delayed else self.node("Sub", membrane, reset)
        return spikes

    def readout(self, layer, signal):
        """The logits: Σ_t (W·s[t] + b), or the spike counts of the output neurons."""
        if self.network.spiking and self.network.readout == "spikes":
            return self.node("Sum", *self.neuron(layer.name, [self.each(layer, x) for x in signal]))
        if self.steps == 1:
            return self.each(layer, signal[0])
        weight, *bias = self.weights(layer)
        times = self.steps / len(signal)  # T for an image that passed no neurons
        return self.node(
            "Gemm", self.node("Sum", *signal), weight, *bias, transB=1, alpha=times, beta=float(self.steps)
        )
