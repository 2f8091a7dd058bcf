"""A torch module as a list of its operations, in which residual additions are sums of two branches.

`torch.fx` records which modules and functions the forward method calls, and in which order. Nothing is computed. Functions and
methods of tensors become the modules that do the same, so that the rest of the conversion sees modules only.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from minihire.runtime.errors import MinihireError

SUPPORTED = (
    "Conv2d, Linear, BatchNorm1d, BatchNorm2d, ReLU, AvgPool2d, AdaptiveAvgPool2d, MaxPool2d, Dropout, Flatten, Identity and the "
    "sum of two branches"
)
MODULES: dict[type, str] = {
    nn.Conv2d: "convolution",
    nn.Linear: "linear",
    nn.BatchNorm1d: "batch norm",
    nn.BatchNorm2d: "batch norm",
    nn.ReLU: "relu",
    nn.AvgPool2d: "average pool",
    nn.AdaptiveAvgPool2d: "adaptive pool",
    nn.MaxPool2d: "max pool",
    nn.Dropout: "dropout",
    nn.Dropout1d: "identity",  # those of whole channels have no counterpart in training
    nn.Dropout2d: "identity",
    nn.Identity: "identity",
    nn.Flatten: "flatten",
}


class DropoutInEvaluation(nn.Module):
    """`functional.dropout` without training=False, which also drops values in evaluation."""


LOGITS = "return the logits, and leave the softmax to the loss"
RECTIFY = "spike rates stand for ReLU; train the network with ReLU"
STATISTICS = "its statistics depend on the image, so it cannot be folded; train with BatchNorm2d"
NORMALISE = "if it normalises the images, leave it out of the module, and give from_torch mean= and std="
PLAIN = "use nn.Conv2d, nn.Linear and nn.BatchNorm2d themselves, not functions or subclasses"
LAZY = "call the module once with a batch of images, so that it knows its input"
ADVICE = {  # what to do about modules, functions and methods that many networks have, by their names
    **dict.fromkeys(("Softmax", "LogSoftmax", "softmax", "log_softmax"), LOGITS),
    **dict.fromkeys(("LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "Hardswish", "ReLU6", "Tanh"), RECTIFY),
    **dict.fromkeys(("leaky_relu", "prelu", "elu", "gelu", "silu", "hardswish", "relu6", "tanh"), RECTIFY),
    **dict.fromkeys(("Sigmoid", "sigmoid"), f"{RECTIFY}; at its end, return one logit for each class"),
    **dict.fromkeys(("LayerNorm", "GroupNorm", "InstanceNorm2d", "layer_norm", "group_norm", "instance_norm"), STATISTICS),
    **dict.fromkeys(("sub", "truediv", "div", "mul"), NORMALISE),
    **dict.fromkeys(("conv2d", "linear", "batch_norm"), PLAIN),
    **dict.fromkeys(("LazyConv2d", "LazyLinear", "LazyBatchNorm1d", "LazyBatchNorm2d"), LAZY),
    **dict.fromkeys(("ParametrizedConv2d", "ParametrizedLinear"),
                    "call torch.nn.utils.parametrize.remove_parametrizations for each of its weights"),
    "DropoutInEvaluation": "it also drops values in evaluation: give it training=self.training",
}  # fmt: skip
SPIKING = ("snntorch", "spikingjelly", "norse", "sinabs")  # programs whose modules are neurons
WRAPPED = {  # what to give instead of modules that contain the user's module, by their names
    "DataParallel": "its attribute `module`",
    "DistributedDataParallel": "its attribute `module`",
    "OptimizedModule": "the module that you gave to torch.compile",
    "ScriptModule": "the module that you gave to torch.jit",
    "RecursiveScriptModule": "the module that you gave to torch.jit",
    "TopLevelTracedModule": "the module that you gave to torch.jit",
}


class Op(NamedTuple):
    """One call of a module. path: where the module is in the network, or for a function, the function's name in its module."""

    path: str
    kind: str  # a value of MODULES
    module: nn.Module


class Sum(NamedTuple):
    """The sum of two branches, each a list of Op and Sum. Both start from the same value."""

    path: str
    branches: tuple[list[Any], list[Any]]


def _flatten(start_dim: int = 0, end_dim: int = -1) -> list[nn.Module]:
    return [nn.Flatten(start_dim, end_dim)]


def _view(*shape: Any) -> list[nn.Module] | None:
    """x.view(batch, features), where either may be -1; None for another shape."""
    shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    return [nn.Flatten()] if len(shape) == 2 and (isinstance(shape[0], fx.Node) or -1 in shape) else None


def _mean(dim: Any = None, keepdim: bool = False) -> list[nn.Module] | None:
    """x.mean over rows and columns; None for other axes."""
    if not isinstance(dim, tuple | list) or sorted(d % 4 for d in dim) != [2, 3]:
        return None
    return [nn.AdaptiveAvgPool2d(1)] if keepdim else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _avg_pool(kernel_size: Any, stride: Any = None, *rest: Any, **options: Any) -> list[nn.Module]:
    return [nn.AvgPool2d(kernel_size, stride, *rest, **options)]


def _max_pool(kernel_size: Any, stride: Any = None, *rest: Any, **options: Any) -> list[nn.Module]:
    return [nn.MaxPool2d(kernel_size, stride, *rest, **options)]


def _relu(inplace: bool = False) -> list[nn.Module]:
    return [nn.ReLU(inplace)]


def _dropout(p: float = 0.5, training: Any = True, inplace: bool = False) -> list[nn.Module]:
    return [DropoutInEvaluation() if training else nn.Dropout(p)]


# Functions, and methods by their name → their arguments without the first → modules.
FUNCTIONS: dict[Any, Callable[..., list[nn.Module] | None]] = {
    torch.relu: _relu,
    functional.relu: _relu,
    "relu": _relu,
    **dict.fromkeys((torch.relu_, functional.relu_, "relu_"), lambda: [nn.ReLU(inplace=True)]),
    "contiguous": lambda: [nn.Identity()],
    torch.flatten: _flatten,
    "flatten": _flatten,
    "view": _view,
    "reshape": _view,
    torch.mean: _mean,
    "mean": _mean,
    functional.dropout: _dropout,
    functional.avg_pool2d: _avg_pool,
    functional.max_pool2d: _max_pool,
    torch.max_pool2d: _max_pool,
    functional.adaptive_avg_pool2d: lambda output_size: [nn.AdaptiveAvgPool2d(output_size)],
}
ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")


def trace(module: nn.Module) -> list[Any]:
    """The operations from the image to the logits, a list of Op and Sum.

    Raises MinihireError, in one sentence, for a module that `torch.fx` cannot trace, for an operation that is not supported, and
    for connections that are not sums of two branches.
    """
    kind = type(module).__name__
    if kind in WRAPPED:
        raise MinihireError(f"{kind} is not supported: give {WRAPPED[kind]}")
    for part in module.modules():
        program = type(part).__module__.partition(".")[0]
        if program in SPIKING:
            raise MinihireError(
                f"{kind} is a spiking network of {program}, and from_torch converts networks with ReLU: export it to a NIR file, "
                "and import that (`minihire import`, docs/exchange.md)"
            )
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # whatever the module's own code raises when it is given a proxy instead of a tensor
        reason = str(error).strip().split("\n")[0]
        raise MinihireError(
            f"torch.fx cannot trace {kind} ({reason}): its forward method may not branch on values or shapes of tensors"
        ) from error
    return _Walk(module, graph).operations()


class _Walk:
    """Turns the graph of `torch.fx` into nested lists.

    `dominators[n]` is the last value through which every path from the image to n goes. The two branches of a sum start from
    the last value that dominates both.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph):
        self.modules = dict(module.named_modules())
        inputs = [node for node in graph.nodes if node.op == "placeholder" and node.users]
        (output,) = (node.args[0] for node in graph.nodes if node.op == "output")
        if len(inputs) != 1 or not isinstance(output, fx.Node):
            raise MinihireError(
                f"{type(module).__name__} must take one batch of images and return one tensor of logits: "
                "wrap it in a module that does"
            )
        self.image, self.logits = inputs[0], output
        self.visited: set[fx.Node] = set()
        self.depth: dict[fx.Node, int] = {self.image: 0}
        self.dominators: dict[fx.Node, fx.Node] = {}

    def operations(self) -> list[Any]:
        """The whole graph."""
        self._find_dominators()
        return self._between(self.image, self.logits)

    def _find_dominators(self) -> None:
        needed, todo = set(), [self.logits]
        while todo:
            node = todo.pop()
            if node not in needed and node is not self.image:
                needed.add(node)
                todo += self._inputs(node)
        for node in self.image.graph.nodes:  # in the order of the calls, which is topological
            if node in needed:
                self.dominators[node] = functools.reduce(self._common, self._inputs(node))
                self.depth[node] = self.depth[self.dominators[node]] + 1

    def _common(self, a: fx.Node, b: fx.Node) -> fx.Node:
        """The last value that dominates both (or is one of them)."""
        while a is not b:
            if self.depth[a] < self.depth[b]:
                a, b = b, a
            a = self.dominators[a]
        return a

    def _between(self, start: fx.Node, end: fx.Node) -> list[Any]:
        """The operations that turn the value `start` into `end`."""
        found: list[Any] = []
        node = end
        while node is not start:
            if node in self.visited:
                raise MinihireError(
                    f"the result of {self._name(node)} is used in several places that do not join in one sum: only series of "
                    "layers and sums of two branches are supported"
                )
            self.visited.add(node)
            inputs = self._inputs(node)
            if len(inputs) == 2:
                fork = self._common(*inputs)
                found.append(Sum(self._path(node), (self._between(fork, inputs[0]), self._between(fork, inputs[1]))))
                node = fork
            else:
                found += reversed(self._read(node))
                node = inputs[0]
        return found[::-1]

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        """The values that a call computes with: two for an addition, else one."""
        if node.op == "call_module":
            found = list(node.args[:1])
        elif node.target in ADDITIONS and len(node.args) == 2 and not node.kwargs:
            found = list(node.args)
        else:
            found = list(node.args[:1])
            self._read(node)  # refuses what is not supported
        if not found or not all(isinstance(x, fx.Node) for x in found):
            raise MinihireError(f"{self._name(node)} is not supported: {SUPPORTED} are")
        return found

    def _read(self, node: fx.Node) -> list[Op]:
        """The modules of one call that is not an addition."""
        if node.op == "call_module":
            found: list[nn.Module] | None = [self.modules[str(node.target)]]
        elif node.target in FUNCTIONS:
            try:
                found = FUNCTIONS[node.target](*node.args[1:], **node.kwargs)
            except TypeError:
                found = None
        else:
            found = None
        if found is None or any(type(part) not in MODULES for part in found):
            names = [*(type(part).__name__ for part in found or ()), self._name(node).split(" at ")[0]]
            advice = next((ADVICE[name] for name in names if name in ADVICE), f"{SUPPORTED} are")
            raise MinihireError(f"{self._name(node)} is not supported: {advice}")
        for part in found:
            if getattr(part, "inplace", False) and isinstance(part, nn.ReLU) and len(node.args[0].users) > 1:
                raise MinihireError(
                    f"{self._name(node)} overwrites a value that is used again: build it with inplace=False and train again"
                )
        return [Op(self._path(node), MODULES[type(part)], part) for part in found]

    def _path(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return str(node.target)
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        around = list(node.meta.get("nn_module_stack", {}))
        return f"{around[-1]}.{name}" if around else name

    def _name(self, node: fx.Node) -> str:
        """The call in a message: "ELU at features.3", or for a function, "sigmoid at head.sigmoid"."""
        path = self._path(node)
        if node.op == "call_module":
            return f"{type(self.modules[path]).__name__} at {path}"
        if node.op == "get_attr":
            return f"the tensor {node.target}, which is not a module's weight,"
        return f"{path.rsplit('.', 1)[-1]} at {path}"
