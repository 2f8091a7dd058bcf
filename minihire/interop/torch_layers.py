"""The operations of a torch module as layers and weights of minihire.

Weights are computed in float64 and in our layout: [k, k, C_in, C_out], [F_in, F_out] with the features of an image in the order
H·W·C, biases [1, C_out]. An operation without a layer of its own becomes other layers that compute the
same:

    BatchNorm             multiplied into the weights before it; where there are none, a 1×1 convolution with a diagonal matrix
    AvgPool2d(2ⁿ)         n average pools of 2×2; other sizes: a convolution with a diagonal matrix
    AdaptiveAvgPool2d     an average pool; with windows of several sizes, it is multiplied into the linear layer after it
    MaxPool2d             max(a, b) = b + ReLU(a − b): convolutions and neurons that compare the values in pairs
    residual identity     a 1×1 convolution with the identity matrix, because conversion gives both branches the same scale
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minihire.interop.torch_graph import Op, Sum
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, Linear, Neuron, Readout
from minihire.runtime.errors import MinihireError


@dataclass
class Names:
    """Names of layers, each of them used once, and the number of neuron layers so far."""

    used: set[str] = field(default_factory=set)
    neurons: int = 0

    def new(self, path: str) -> str:
        """`path`, or with a number after it if the name is taken."""
        name, count = path, 1
        while name in self.used:
            name, count = f"{path}_{count}", count + 1
        self.used.add(name)
        return name


@dataclass
class Builder:
    """Appends layers to a sequence, and their weights to `weights`.

    shape: of the values so far, (H, W, C) or (F,). rectified: whether they are known to be at least 0. grid: (C, positions) if
    they are an image that was flattened; torch orders it by channel first. pooling: [positions after, positions before], a pool
    of the flattened image that still has to be multiplied into the next weights.
    """

    shape: tuple[int, ...]
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    layers: list[Any] = field(default_factory=list)
    rectified: bool = False
    grid: tuple[int, int] | None = None
    pooling: np.ndarray | None = None
    pooled: str = ""  # the name of this pool

    def add(self, operations: list[Any]) -> "Builder":
        """Append all operations."""
        for op in _max_pools_last(operations):
            if self.pooling is not None and getattr(op, "kind", "sum") not in (
                "flatten",
                "linear",
                "dropout",
                "identity",
            ):
                raise MinihireError(f"{self.pooled} has windows of several sizes: Flatten and Linear must follow it")
            if isinstance(op, Sum):
                self._sum(op)
            else:
                HANDLERS[op.kind](self, op)
        return self

    def finish(self, module_name: str) -> list[Any]:
        """All layers. The last linear layer is the readout."""
        if len(self.shape) != 1:
            raise MinihireError(
                f"{module_name} returns values of the shape {self.shape} for each image: end it with Flatten and a Linear layer"
            )
        if not self.layers or not isinstance(self.layers[-1], Linear):
            self._append_linear("readout", np.eye(self._features()), None)
        last = self.layers.pop()
        return [*self.layers, Readout(last.name, last.features, bias=True)]

    # ---------------------------------------------------------------- layers with weights

    def convolution(self, op: Op) -> None:
        """nn.Conv2d, with the same number of rows and columns everywhere."""
        module = op.module
        size, stride = _square(op, "kernel_size"), _square(op, "stride")
        padding: Any = module.padding
        if padding in ("same", "valid"):
            padding = size // 2 if padding == "same" and size % 2 and stride == 1 else 0 if padding == "valid" else None
        else:
            padding = _square(op, "padding")
        if module.groups != 1 or _square(op, "dilation") != 1 or module.padding_mode != "zeros" or padding is None:
            _refuse(op, "only groups=1, dilation=1 and zero padding that is equal on all sides are")
        self._needs_image(op, module.in_channels)
        kernel = _array(module.weight).transpose(2, 3, 1, 0)
        self._append_conv(op.path, kernel, stride, padding, _array(module.bias))

    def linear(self, op: Op) -> None:
        """nn.Linear."""
        if len(self.shape) != 1:
            _refuse(op, "it is given an image, so put nn.Flatten before it")
        if op.module.in_features != self._features():
            raise MinihireError(
                f"Linear at {op.path} takes {op.module.in_features} features, but images of this size give "
                f"{self._features()}: give images of the size that the network was trained on"
            )
        self._append_linear(op.path, _array(op.module.weight).T, _array(op.module.bias))

    def batch_norm(self, op: Op) -> None:
        """y = (x − μ)·γ/√(σ² + ε) + β, with the statistics of the training."""
        module = op.module
        if module.running_mean is None:
            _refuse(
                op, "its statistics depend on the other images of the batch, so build it with track_running_stats=True"
            )
        channels = self.shape[2] if len(self.shape) == 3 else self._features()
        if module.num_features != channels:
            raise MinihireError(f"{_title(op)} has {module.num_features} channels, but it is given {channels}")
        scale = 1 / np.sqrt(_array(module.running_var) + module.eps)
        scale = scale if module.weight is None else scale * _array(module.weight)
        shift = -_array(module.running_mean) * scale
        shift = shift if module.bias is None else shift + _array(module.bias)
        if not (self.layers and isinstance(self.layers[-1], Conv2d | Linear) and self.layers[-1].bias):
            self._append_diagonal(op.path, scale, shift)
            return
        name = self.layers[-1].name
        self.weights[f"{name}.weight"] = self.weights[f"{name}.weight"] * scale
        self.weights[f"{name}.bias"] = self.weights[f"{name}.bias"] * scale + shift

    def _append_conv(self, path, kernel, stride=1, padding=0, bias=None, zero_bias=True):
        size, features = kernel.shape[0], kernel.shape[3]
        layer = Conv2d(self.names.new(path), features, size, stride, padding, bias=bias is not None or zero_bias)
        self._append(layer, kernel, bias)

    def _append_linear(self, path, matrix, bias, zero_bias=True):
        """matrix [features in torch's order, outputs]."""
        features = matrix.shape[1]
        if self.grid:
            channels, positions = self.grid
            planes = matrix.reshape(channels, positions, features)
            planes = planes if self.pooling is None else np.einsum("cpf,pq->cqf", planes, self.pooling)
            matrix = planes.transpose(1, 0, 2).reshape(-1, features)
        self.grid = self.pooling = None
        self._append(Linear(self.names.new(path), features, bias=bias is not None or zero_bias), matrix, bias)

    def _append_diagonal(self, path, scale, shift=None):
        """Multiply each channel by a number; with a shift, the layer has a bias."""
        if len(self.shape) == 3:
            self._append_conv(path, np.diag(scale)[None, None], bias=shift, zero_bias=False)
        else:
            self._append_linear(path, np.diag(scale), shift, zero_bias=False)

    def _append(self, layer, weight, bias):
        self.weights[f"{layer.name}.weight"] = weight
        if layer.bias:
            self.weights[f"{layer.name}.bias"] = np.zeros((1, layer.features)) if bias is None else bias[None]
        self.layers.append(layer)
        self._advance(layer)
        self.rectified = False

    # ---------------------------------------------------------------- layers without weights

    def relu(self, op: Op) -> None:
        """A layer of neurons. A ReLU of values that are at least 0 already changes nothing."""
        if self.rectified:
            return
        if not self._weighted():
            self._append_diagonal(f"{op.path}.identity", np.ones(self._features()))
        self._append_neuron(op.path)

    def dropout(self, op: Op) -> None:
        """Dropout after a ReLU belongs to the neurons. Elsewhere it is left out: it does nothing in evaluation."""
        if self.layers and isinstance(self.layers[-1], Neuron) and 0 < op.module.p < 1:
            self.layers[-1] = replace(self.layers[-1], dropout=float(op.module.p))

    def identity(self, op: Op) -> None:
        """Nothing."""

    def flatten(self, op: Op) -> None:
        """(H, W, C) → (H·W·C,). The order of features differs from torch's, so the next weights are permuted."""
        last = op.module.end_dim
        if op.module.start_dim != 1 or last not in (-1, len(self.shape)):
            _refuse(op, "only start_dim=1 and end_dim=-1 are")
        if len(self.shape) == 3:
            positions = self.shape[0] * self.shape[1] if self.pooling is None else len(self.pooling)
            self.grid = self.shape[2], positions
            self._append_plain(Flatten())

    def average_pool(self, op: Op) -> None:
        """nn.AvgPool2d without rounding up."""
        self._needs_image(op)
        module = op.module
        size, stride, padding = (_square(op, name) for name in ("kernel_size", "stride", "padding"))
        if module.ceil_mode or module.divisor_override or (padding and not module.count_include_pad):
            _refuse(op, "ceil_mode, divisor_override, and padding that is left out of the mean are not")
        self._pool(op, size, stride, padding)

    def adaptive_pool(self, op: Op) -> None:
        """nn.AdaptiveAvgPool2d: an average pool if all windows have the same size."""
        self._needs_image(op)
        size = op.module.output_size
        rows, columns = (size, size) if isinstance(size, int) else size
        height, width, _ = self.shape
        rows, columns = height if rows is None else rows, width if columns is None else columns
        if height % rows == 0 and width % columns == 0 and height // rows == width // columns:
            self._pool(op, height // rows, height // rows, 0)
        else:
            self.pooling, self.pooled = (
                np.kron(_windows(height, rows), _windows(width, columns)),
                f"the pool at {op.path}",
            )

    def max_pool(self, op: Op) -> None:
        """max(a, b) = b + ReLU(a − b), for values in pairs until one is left. The values must be at least 0, as after a ReLU."""
        self._needs_image(op)
        module = op.module
        size, stride, padding = (_square(op, name) for name in ("kernel_size", "stride", "padding"))
        if module.ceil_mode or module.return_indices or _square(op, "dilation") != 1:
            _refuse(op, "ceil_mode, return_indices and dilation are not")
        if not self.rectified:
            _refuse(op, "put it directly before or after a ReLU, because spikes represent values of at least 0")
        # [inputs, values]: how each value to compare is computed from the inputs, in every channel
        values = np.eye(size * size)
        while values.shape[1] > 1:
            pairs, odd = divmod(values.shape[1], 2)
            first, second, rest = values[:, : 2 * pairs : 2], values[:, 1 : 2 * pairs : 2], values[:, 2 * pairs :]
            self._append_mixing(op.path, np.concatenate([first - second, second, rest], 1), size, stride, padding)
            self._append_neuron(f"{op.path}.neuron")
            size, stride, padding = 1, 1, 0
            sums = np.concatenate([np.eye(pairs), np.eye(pairs)])  # b + ReLU(a − b)
            values = np.block([[sums, np.zeros((2 * pairs, odd))], [np.zeros((odd, pairs)), np.eye(odd)]])
        self._append_mixing(op.path, values, size, stride, padding)
        self.rectified = True

    def _append_mixing(self, path, mixing, kernel_size, stride, padding):
        """Append a convolution that computes `mixing` [inputs per channel, outputs per channel] in every channel of the image.

        Inputs of one channel are the pixels of the window, or if the kernel has one pixel, the groups of channels.
        """
        channels = self.shape[2] if kernel_size > 1 else self.shape[2] // len(mixing)
        kernel = np.einsum("io,cd->icod", mixing, np.eye(channels))
        kernel = kernel.reshape(kernel_size, kernel_size, -1, mixing.shape[1] * channels)
        self._append_conv(path, kernel, stride, padding)

    def _pool(self, op, size, stride, padding):
        if padding == 0 and size == stride and size & (size - 1) == 0:
            for _ in range(size.bit_length() - 1):
                self._append_plain(AvgPool())
            return
        rectified = self.rectified
        kernel = np.broadcast_to(np.eye(self.shape[2]) / size**2, (size, size, self.shape[2], self.shape[2]))
        self._append_conv(op.path, kernel, stride, padding, zero_bias=False)
        self.rectified = rectified

    def _append_neuron(self, path):
        self.names.neurons += 1
        self._append_plain(Neuron(self.names.new(path), index=self.names.neurons))
        self.rectified = True

    def _append_plain(self, layer):
        self.layers.append(layer)
        self._advance(layer)

    # ---------------------------------------------------------------- sums

    def _sum(self, op: Sum) -> None:
        branches = []
        for operations in op.branches:
            branch = Builder(self.shape, self.weights, self.names, [], self.rectified, self.grid).add(operations)
            if branch.pooling is not None:
                raise MinihireError(f"{branch.pooled} has windows of several sizes: Flatten and Linear must follow it")
            if not branch._weighted() or branch.grid:
                branch._append_diagonal(f"{op.path}.identity", np.ones(branch._features()))
            branches.append(tuple(branch.layers))
        layer = Branches(self.names.new(op.path), *branches)
        self.grid, self.rectified = None, False
        try:
            self._append_plain(layer)
        except ValueError as error:
            raise MinihireError(f"{error}: sums of different shapes are not supported") from error

    def _weighted(self) -> bool:
        """Whether there are weights between the last neurons of this sequence, or its start, and its end."""
        kinds = [type(layer) for layer in self.layers if isinstance(layer, Conv2d | Linear | Branches | Neuron)]
        return bool(kinds) and kinds[-1] is not Neuron

    def _advance(self, layer):
        shape = layer.output_shape(self.shape)
        if min(shape) < 1:
            raise MinihireError(
                f"{getattr(layer, 'name', type(layer).__name__)} leaves nothing of {self.shape[0]}×{self.shape[1]} values: "
                "give images of the size that the network was trained on"
            )
        self.shape = shape

    def _features(self) -> int:
        """The number of channels, or of features as torch counts them."""
        return self.shape[-1] if self.grid is None else self.grid[0] * self.grid[1]

    def _needs_image(self, op, channels=None):
        if len(self.shape) != 3:
            _refuse(op, "it comes after Flatten")
        if channels not in (None, self.shape[2]):
            raise MinihireError(
                f"{_title(op)} takes {channels} channels, but it is given {self.shape[2]}: images must be [B, C, H, W]"
            )


HANDLERS: dict[str, Callable[[Builder, Op], None]] = {
    "convolution": Builder.convolution,
    "linear": Builder.linear,
    "batch norm": Builder.batch_norm,
    "relu": Builder.relu,
    "average pool": Builder.average_pool,
    "adaptive pool": Builder.adaptive_pool,
    "max pool": Builder.max_pool,
    "dropout": Builder.dropout,
    "identity": Builder.identity,
    "flatten": Builder.flatten,
}


def _max_pools_last(operations: list[Any]) -> list[Any]:
    """Move each ReLU before the max pools that it follows: ReLU(max(a, b)) = max(ReLU(a), ReLU(b))."""
    ordered: list[Any] = []
    for op in operations:
        position = len(ordered)
        while (
            position
            and isinstance(op, Op)
            and op.kind == "relu"
            and getattr(ordered[position - 1], "kind", "") == "max pool"
        ):
            position -= 1
        ordered.insert(position, op)
    return ordered


def _windows(length: int, count: int) -> np.ndarray:
    """The windows of an adaptive pool along one axis, as a matrix [count, length] of means."""
    windows = np.zeros((count, length))
    for i in range(count):
        first, end = i * length // count, -(-(i + 1) * length // count)
        windows[i, first:end] = 1 / (end - first)
    return windows


def _square(op: Op, name: str) -> int:
    """A setting of a module that may have two equal numbers, for rows and columns."""
    value = getattr(op.module, name)
    first, second = (value, value) if isinstance(value, int) else value
    if first != second:
        _refuse(op, f"{name}={value}, but rows and columns must be equal")
    return int(first)


def _array(tensor: Any) -> Any:
    """A parameter or buffer as a float64 NumPy array; None stays None."""
    return None if tensor is None else tensor.detach().cpu().double().numpy()


def _title(op: Op) -> str:
    return f"{type(op.module).__name__} at {op.path}"


def _refuse(op: Op, reason: str) -> None:
    raise MinihireError(f"{_title(op)} is not supported: {reason}")
