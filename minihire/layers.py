"""The layers. A layer is a small, frozen description. The forward pass gets weights and neuron states in a `ForwardContext`.

Shapes of layers are those of one image at one time step: (H, W, C), or (F,) after `Flatten`. The same description serves ANN
and SNN: a `Neuron` is a ReLU in an ANN and a layer of LIF neurons in an SNN.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

from backends.interface import Adaptation, NeuronState
from backends.randomness import Draws
from minihire.engine import Tape, Variable, ops
from minihire.engine.arrays import full
from minihire.engine.lif import NeuronInputs, NeuronOptions, conv_lif, lif
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream


@dataclass
class ForwardContext:
    """The context of a forward pass over one chunk of time: tape, weights, options, and neuron states."""

    tape: Tape
    weights: dict[str, Variable]
    spiking: bool
    steps: int
    neuron: NeuronOptions = NeuronOptions()
    readout: str = "membrane"
    state: dict[str, NeuronState] = field(default_factory=dict)  # at the end of the previous chunk, by layer
    # Each layer stores its state after the last step of this chunk here. None: the layers store nothing.
    end_state: dict[str, NeuronState] | None = field(default_factory=dict)
    dropout: Draws | None = None  # None: evaluation
    # The memory of the adaptive surrogate, by layer. A layer that has no entry adds one. None: the layers use no memory.
    adaptation: dict[str, Adaptation] | None = None
    observe: Callable[[str, str, Any], None] | None = None  # (event, layer, array); see `Network.forward`

    def notify(self, event: str, name: str, x: Variable) -> None:
        """Pass an array to the observer, if there is one."""
        if self.observe:
            self.observe(event, name, x.value)


class Parameter(NamedTuple):
    """Shape, initialisation and bounds of a parameter.

    std: standard deviation of its normal initialisation; if it is 0, all entries start from `start`. low, high: bounds that
    the optimiser enforces.
    """

    shape: tuple[int, ...]
    std: float = 0.0
    start: float = 0.0
    low: float = float("-inf")
    high: float = float("inf")


THRESHOLD_FLOOR = 1e-3
THRESHOLD = Parameter((1,), start=1.0, low=THRESHOLD_FLOOR)
LEAK = Parameter((1,), start=1.0, low=0.0, high=1.0)


@dataclass(frozen=True)
class Conv2d:
    """k×k convolution with zero padding. Initial weights ~ N(0, σ²), σ = √(2/(k²·C_out)); initial biases are 0.

    padding: None for k//2. bias: whether each output channel also gets a constant current, the same at every time step.
    """

    name: str
    features: int
    size: int = 3
    stride: int = 1
    padding: int | None = None
    bias: bool = False

    def __post_init__(self) -> None:
        _check_fields(self, features=1, size=1, stride=1, **({} if self.padding is None else {"padding": 0}))

    @property
    def border(self) -> int:
        """The number of zeros on each side of the image."""
        return self.size // 2 if self.padding is None else self.padding

    def output_shape(self, shape):
        """(H, W, C_in) → (H_out, W_out, C_out)."""
        return tuple((n + 2 * self.border - self.size) // self.stride + 1 for n in shape[:2]) + (self.features,)

    def parameters(self, shape, spiking):
        """The kernel [k, k, C_in, C_out], and the bias [1, C_out]."""
        std = (2 / (self.size**2 * self.features)) ** 0.5
        kernel = Parameter((self.size, self.size, shape[2], self.features), std)
        return {f"{self.name}.weight": kernel, **_bias_parameter(self)}

    def operations(self, shape):
        """k²·H_out·W_out·C_out·C_in (table 6)."""
        rows, columns, features = self.output_shape(shape)
        return self.size**2 * rows * columns * features * shape[2]

    def __call__(self, ctx: ForwardContext, x):
        ctx.notify("input", self.name, x)
        out = ops.conv2d(ctx.tape, x, ctx.weights[f"{self.name}.weight"], self.stride, self.border)
        return ops.add_bias(ctx.tape, out, ctx.weights[f"{self.name}.bias"]) if self.bias else out


@dataclass(frozen=True)
class Linear:
    """Linear layer. Initial weights ~ N(0, σ²), σ = √(2/F_in); initial biases are 0.

    bias: whether each output also gets a constant current, the same at every time step.
    """

    name: str
    features: int
    bias: bool = False

    def __post_init__(self) -> None:
        _check_fields(self, features=1)

    def output_shape(self, shape):
        """(F_in,) → (F_out,)."""
        return (self.features,)

    def parameters(self, shape, spiking):
        """The matrix [F_in, F_out], and the bias [1, F_out]. Raises MinihireError for an image: Flatten has to come first."""
        if len(shape) != 1:
            raise MinihireError(f"{self.name} needs a Flatten before it, because its input is {shape}")
        matrix = Parameter((shape[0], self.features), (2 / shape[0]) ** 0.5)
        return {f"{self.name}.weight": matrix, **_bias_parameter(self)}

    def operations(self, shape):
        """F_in·F_out."""
        return shape[0] * self.features

    def __call__(self, ctx: ForwardContext, x):
        ctx.notify("input", self.name, x)
        out = ops.linear(ctx.tape, x, ctx.weights[f"{self.name}.weight"])
        return ops.add_bias(ctx.tape, out, ctx.weights[f"{self.name}.bias"]) if self.bias else out


def _check_fields(layer, **least: int) -> None:
    """Turn fields of a frozen layer into Python's own types, which checkpoints can store: `bias` and the whole numbers `least`.

    least: the smallest value of each field. Raises MinihireError for other values.
    """
    for name, low in least.items():
        object.__setattr__(layer, name, checks.whole(f"{name} of {layer.name!r}", getattr(layer, name), low))
    if hasattr(layer, "bias"):
        object.__setattr__(layer, "bias", bool(layer.bias))


def dropout_rate(name: str, value: Any) -> float:
    """`value` as a float. name: in the message. Raises MinihireError unless it is from 0 to below 1."""
    if checks.number(name, value, 0, 1) == 1:
        raise MinihireError(f"{name} is {value}, which drops all spikes: give a number below 1")
    return float(value)


def _bias_parameter(layer):
    """The bias of a layer as the weights [1, C_out] of an input that is always 1, or nothing."""
    return {f"{layer.name}.bias": Parameter((1, layer.features))} if layer.bias else {}


@dataclass(frozen=True)
class Neuron:
    """The nonlinearity: ReLU (ANN) or LIF with one trainable threshold and leak (SNN), then dropout.

    The dropout mask is drawn once per forward pass and shared by all time steps.
    """

    name: str
    dropout: float = 0.0
    index: int = 0  # distinguishes the dropout masks of different layers

    def __post_init__(self) -> None:
        _check_fields(self, index=0)
        object.__setattr__(self, "dropout", dropout_rate(f"dropout of {self.name!r}", self.dropout))

    def output_shape(self, shape):
        """The shape of the input."""
        return shape

    def parameters(self, shape, spiking):
        """Threshold v and leak λ, [1] each, in an SNN; none in an ANN."""
        return {f"{self.name}.threshold": THRESHOLD, f"{self.name}.leak": LEAK} if spiking else {}

    def __call__(self, ctx: ForwardContext, x):
        ctx.notify("current", self.name, x)
        mask = self._dropout_mask(ctx, x.shape[1:])
        if ctx.spiking:
            leak, threshold = self._leak_and_threshold(ctx)
            fired = self.fire(ctx, x, leak, threshold, mask)
            out, end_state = checks.pair(f"fire of {self.name}", fired, "(spikes, last state)")
            self._store(ctx, end_state)
        else:
            out = ops.relu(ctx.tape, x, mask)
        ctx.notify("spikes", self.name, out)
        return out

    def fire(self, ctx: ForwardContext, x, leak, threshold, mask):
        """Compute (spikes [T, B, …] times the mask, last state or None) from the current x [T or 1, B, …].

        Another neuron model is a subclass that overrides this method.
        """
        return lif(ctx.tape, x, self._inputs(ctx, x.shape[1:], leak, threshold, mask))

    def convolve_and_fire(self, ctx: ForwardContext, conv: "Conv2d", x):
        """Compute the convolution of x and the spikes for its result in one kernel. `can_fuse` says when this is possible."""
        weight, shape = ctx.weights[f"{conv.name}.weight"], (x.shape[1], *conv.output_shape(x.shape[2:]))
        inputs = self._inputs(ctx, shape, *self._leak_and_threshold(ctx), self._dropout_mask(ctx, shape))
        out, end_state = conv_lif(ctx.tape, x, weight, conv.stride, conv.border, inputs)
        self._store(ctx, end_state)
        return out

    def _inputs(self, ctx, shape, leak, threshold, mask):
        """The inputs of neurons [B, …] besides the current."""
        start, adaptation = self._start(ctx, shape), self._adaptation(ctx, shape)
        want_state = ctx.end_state is not None
        return NeuronInputs(leak, threshold, ctx.steps, ctx.neuron, start, mask, want_state, adaptation)

    def _dropout_mask(self, ctx, shape):
        """The dropout mask for neurons [B, …], or None."""
        if not (ctx.dropout and self.dropout):
            return None
        draw = ctx.dropout.key(Stream.DROPOUT, self.index)
        return ctx.tape.backend.dropout_mask(draw, shape, self.dropout, ctx.dropout.skipped(shape))

    def _start(self, ctx, shape):
        """The state of neurons [B, …] before this chunk, the initial membrane before the first one. None: a membrane of 0."""
        start, initial = ctx.state.get(self.name), ctx.neuron.initial
        if start is not None or not initial:
            return start
        k = ctx.tape.backend
        membrane = full(k, shape, initial)
        spikes = Variable(k.zeros(shape)) if ctx.neuron.reset == "delayed" else None
        return NeuronState(Variable(membrane), spikes)

    def _leak_and_threshold(self, ctx):
        return ctx.weights[f"{self.name}.leak"], ctx.weights[f"{self.name}.threshold"]

    def _adaptation(self, ctx, shape):
        """The memory of the adaptive surrogate for neurons [B, …], or None. A new one has the mean 1 and the deviation 0."""
        if ctx.adaptation is None:
            return None
        if self.name not in ctx.adaptation:
            k, every_step = ctx.tape.backend, (ctx.steps, *shape)
            ctx.adaptation[self.name] = Adaptation(full(k, every_step, 1.0), k.zeros(every_step))
        return ctx.adaptation[self.name]

    def _store(self, ctx, end_state):
        if ctx.end_state is not None and end_state is not None:
            checks.instance(f"the last state that fire of {self.name} returned", end_state, NeuronState)
            ctx.end_state[self.name] = end_state


def can_fuse(ctx: ForwardContext, layer, following) -> bool:
    """Whether one kernel can compute a convolution and the neurons after it.

    It can if both are the plain layers of this module, the convolution has no bias, spikes are not soft, and no observer wants
    the current.
    """
    return (
        ctx.spiking
        and ctx.observe is None
        and not ctx.neuron.soft
        and type(layer) is Conv2d
        and not layer.bias
        and isinstance(following, Neuron)
        and type(following).__call__ is Neuron.__call__
        and type(following).fire is Neuron.fire  # not another neuron model
    )


def forward(ctx: ForwardContext, layers, x):
    """Apply `layers` in sequence and return the output."""
    position = 0
    while position < len(layers):
        layer = layers[position]
        following = layers[position + 1] if position + 1 < len(layers) else None
        if can_fuse(ctx, layer, following):
            x = following.convolve_and_fire(ctx, layer, x)
            position += 2
        else:
            x = layer(ctx, x)
            position += 1
        if not isinstance(x, Variable):
            name = getattr(layer, "name", type(layer).__name__)
            raise MinihireError(f"the layer {name} returned {type(x).__name__}: let it return a Variable")
    return x


@dataclass(frozen=True)
class AvgPool:
    """2×2 average pooling."""

    def output_shape(self, shape):
        """(H, W, C) → (H/2, W/2, C)."""
        return (shape[0] // 2, shape[1] // 2, shape[2])

    def parameters(self, shape, spiking):
        """No parameters."""
        return {}

    def __call__(self, ctx: ForwardContext, x):
        return ops.avg_pool(ctx.tape, x)


@dataclass(frozen=True)
class Flatten:
    """(H, W, C) → (H·W·C,), row-major."""

    def output_shape(self, shape):
        """(H, W, C) → (H·W·C,)."""
        return (shape[0] * shape[1] * shape[2],)

    def parameters(self, shape, spiking):
        """No parameters."""
        return {}

    def __call__(self, ctx: ForwardContext, x):
        return ops.reshape(ctx.tape, x, (*x.shape[:2], *self.output_shape(x.shape[2:])))


@dataclass(frozen=True)
class Residual:
    """Residual block: neuron2(conv2(neuron1(conv1(x))) + shortcut(x)).

    The shortcut has no neuron: it is the identity, or a 1×1 convolution if the shape changes. `stride` applies to conv1 and to
    this 1×1 convolution.
    """

    name: str
    features: int
    stride: int
    dropout: float
    index: int

    def __post_init__(self) -> None:
        _check_fields(self, features=1, stride=1, index=0)
        object.__setattr__(self, "dropout", dropout_rate(f"dropout of {self.name!r}", self.dropout))

    def parts(self, shape) -> "tuple[Branches, Neuron]":
        """The sum of the two branches, and neuron2. shape: that of the block's input."""
        main = (
            Conv2d(f"{self.name}.conv1", self.features, stride=self.stride),
            Neuron(f"{self.name}.neuron1", self.dropout, self.index),
            Conv2d(f"{self.name}.conv2", self.features),
        )
        changes = self.stride != 1 or shape[2] != self.features
        shortcut = (Conv2d(f"{self.name}.shortcut", self.features, 1, self.stride),) if changes else ()
        return Branches(self.name, main, shortcut), Neuron(f"{self.name}.neuron2")

    def output_shape(self, shape):
        """(H, W, C) → the output shape of both branches."""
        return self.parts(shape)[0].output_shape(shape)

    def children(self, shape):
        """List (layer, input shape) of all parts, from input to output."""
        return [*walk(self.parts(shape), shape)]

    def parameters(self, shape, spiking):
        """The parameters of all parts."""
        return _parameters(self.children(shape), spiking)

    def __call__(self, ctx: ForwardContext, x):
        return forward(ctx, self.parts(x.shape[2:]), x)


@dataclass(frozen=True)
class Branches:
    """The sum of two branches of the same output shape: main(x) + shortcut(x). An empty branch is the identity.

    `Residual` is the paper's block; this is the sum in any other residual network.
    """

    name: str
    main: tuple[Any, ...]
    shortcut: tuple[Any, ...]

    def __post_init__(self) -> None:
        for branch in ("main", "shortcut"):
            object.__setattr__(self, branch, tuple(getattr(self, branch)))

    def output_shape(self, shape):
        """The output shape of the branches. Raises ValueError if they differ."""
        main, shortcut = (reduce(lambda s, layer: layer.output_shape(s), b, shape) for b in (self.main, self.shortcut))
        if main != shortcut:
            raise ValueError(f"the branches of {self.name} end in the shapes {main} and {shortcut}")
        return main

    def children(self, shape):
        """List (layer, input shape) of all parts, main branch first."""
        return [*walk(self.main, shape), *walk(self.shortcut, shape)]

    def parameters(self, shape, spiking):
        """The parameters of all parts."""
        return _parameters(self.children(shape), spiking)

    def __call__(self, ctx: ForwardContext, x):
        parts = [forward(ctx, branch, x) for branch in (self.main, self.shortcut)]
        steps = max(part.shape[0] for part in parts)  # a branch of the image without neurons has one step
        main, shortcut = (p if p.shape[0] == steps else ops.repeat_time(ctx.tape, p, steps) for p in parts)
        return ops.add(ctx.tape, main, shortcut)


def _parameters(parts, spiking):
    """The parameters of (layer, input shape) pairs."""
    return {name: p for layer, shape in parts for name, p in layer.parameters(shape, spiking).items()}


def walk(layers, shape) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Yield (layer, input shape) from input to output. A block of layers is replaced by its parts."""
    for layer in layers:
        yield from layer.children(shape) if hasattr(layer, "children") else [(layer, shape)]
        shape = layer.output_shape(shape)


@dataclass(frozen=True)
class Readout:
    """The last linear layer: logits [B, classes] = Σ_t W·s[t], without leak and without spikes.

    The sum over time comes first, so the product is computed once. A bias is added at each step, so the logits get T times the
    bias. Readout "spikes" is the one in the paper's text: the output neurons fire, and the logits are their spike counts.
    """

    name: str
    features: int
    bias: bool = False

    def __post_init__(self) -> None:
        _check_fields(self, features=1)

    def output_shape(self, shape):
        """(F,) → (classes,)."""
        return (self.features,)

    def parameters(self, shape, spiking):
        """The matrix [F, classes] and the bias [1, classes]. `Model.parameters` adds threshold and leak for readout "spikes"."""
        return Linear(self.name, self.features, self.bias).parameters(shape, spiking)

    def operations(self, shape):
        """F·classes."""
        return shape[0] * self.features

    def __call__(self, ctx: ForwardContext, x):
        ctx.notify("input", self.name, x)
        tape, weight = ctx.tape, ctx.weights[f"{self.name}.weight"]
        bias = ctx.weights[f"{self.name}.bias"] if self.bias else None
        if ctx.spiking and ctx.readout == "spikes":
            current = ops.linear(tape, x, weight)
            spikes = Neuron(self.name)(ctx, current if bias is None else ops.add_bias(tape, current, bias))
            logits = ops.sum_time(tape, spikes)
        else:
            if ctx.spiking and x.shape[0] < ctx.steps:  # the image itself, without neurons before the readout
                x = ops.repeat_time(tape, x, ctx.steps)
            logits = ops.linear(tape, ops.sum_time(tape, x), weight)
            logits = logits if bias is None else ops.add_bias(tape, logits, bias, count=x.shape[0])
        return ops.reshape(tape, logits, logits.shape[1:])
