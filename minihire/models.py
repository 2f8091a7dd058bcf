"""The models: the paper's VGG5, VGG11 and ResNet12, and variants. One table lists them; a new model is one line.

A VGG row gives the channels of the convolutions, with "A" for 2×2 average pooling, the hidden linear sizes and default T.
A ResNet row gives the channels of the stem's convolutions, (channels, stride) of each block, and default T.
For another architecture, write a class like VGG and ResNet, and add an object of this class to MODELS. The
class needs an attribute `steps` (the default T) and a method `layers(width, hidden, dropout)` that returns all layers except the
readout.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from backends.errors import choose
from minihire.layers import (
    AvgPool,
    Branches,
    Conv2d,
    Flatten,
    Linear,
    Neuron,
    Parameter,
    Readout,
    Residual,
    dropout_rate,
    walk,
)
from minihire.runtime import checks
from minihire.runtime.archive import is_array_name
from minihire.runtime.errors import MinihireError


class VGG(NamedTuple):
    """A row of the table: convolutions and average pools, then hidden linear layers. `steps` is the default T."""

    features: tuple[int | str, ...]
    hidden: tuple[int, ...] = (4096, 4096)
    steps: int = 8

    def layers(self, width: float, hidden: int | None, dropout: float) -> list[Any]:
        """All layers except the readout. Arguments as in `build`."""
        layers: list[Any] = []
        n = 0
        features = checks.several("the features of a VGG", self.features)
        for feature, next_feature in zip(features, (*features, None)[1:], strict=True):
            if feature == A:
                layers.append(AvgPool())
                continue
            n += 1
            layers += [
                Conv2d(f"conv{n}", _scaled(feature, width)),
                Neuron(f"neuron{n}", 0.0 if next_feature == A else dropout, n),  # no dropout before a pool
            ]
        layers.append(Flatten())
        for i, size in enumerate(checks.several("the hidden sizes of a VGG", self.hidden), 1):
            n += 1
            layers += [Linear(f"linear{i}", hidden or size), Neuron(f"neuron{n}", dropout, n)]
        return layers


class ResNet(NamedTuple):
    """A row of the table: stem convolutions, an average pool, residual blocks. `steps` is the default T."""

    stem: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    steps: int = 10

    def layers(self, width: float, hidden: int | None, dropout: float) -> list[Any]:
        """All layers except the readout. Arguments as in `build`; `hidden` has no effect."""
        layers: list[Any] = []
        for n, features in enumerate(self.stem, 1):
            last = n == len(self.stem)  # no dropout before a pool
            layers += [Conv2d(f"conv{n}", _scaled(features, width)), Neuron(f"neuron{n}", 0.0 if last else dropout, n)]
        layers.append(AvgPool())
        for n, (features, stride) in enumerate(self.blocks, 1):
            layers.append(Residual(f"block{n}", _scaled(features, width), stride, dropout, len(self.stem) + n))
        return [*layers, Flatten()]


A = "A"
WIDEST = 1000.0  # largest factor on the channel counts, beyond any use; the flag --width allows at most 8
MODELS: dict[str, Any] = {
    "vgg5": VGG((64, A, 128, 128, A), steps=6),
    "vgg9": VGG((64, A, 128, 256, A, 256, 512, A, 512, A, 512)),
    "vgg11": VGG((64, A, 128, 256, A, 512, 512, 512, A, 512, 512)),
    "vgg13": VGG((64, 64, A, 128, 128, A, 256, 256, A, 512, 512, 512, A, 512)),
    "vgg16": VGG((64, 64, A, 128, 128, A, 256, 256, 256, A, 512, 512, 512, A, 512, 512, 512)),
    "resnet12": ResNet((64, 64, 64), ((64, 1), (128, 2), (256, 2), (512, 2))),
    "resnet20": ResNet((64, 64, 64), ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))),
}


class Row(NamedTuple):
    """One line of `Model.table`: a layer with weights or spikes.

    Shapes are those of one image. operations: multiply-accumulates for one image and one step, with every input non-zero.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weights: int
    operations: int


@dataclass(frozen=True)
class Model:
    """The description of a network without its weights. The same description builds the ANN and the SNN.

    image_shape: (H, W, C). mean, std: normalisation per channel, in pixels of [0, 1]. steps: default T. width, hidden,
    dropout: as in `build`.
    """

    name: str
    layers: tuple[Any, ...]
    image_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    steps: int
    width: float
    hidden: int | None
    dropout: float
    listed: bool = True

    def walk(self) -> Iterator[tuple[Any, tuple[int, ...]]]:
        """Yield (layer, input shape) from input to output. A residual block is replaced by its layers."""
        yield from walk(self.layers, self.image_shape)

    def up_to(self, name: str) -> list[Any]:
        """The layers from the first to the one of this name, or to the block that it is in.

        Raises MinihireError if no layer has the name.
        """
        found, shape = [], self.image_shape
        for layer in self.layers:
            found.append(layer)
            if name in {getattr(part, "name", None) for part, _ in walk([layer], shape)}:
                return found
            shape = layer.output_shape(shape)
        named = [part.name for part, _ in self.walk() if hasattr(part, "name")]
        raise MinihireError(f"{self.name} has no layer {name!r}: {choose(name, named)}")

    def parameters(self, spiking: bool, readout: str = "membrane") -> dict[str, Parameter]:
        """Shape, initialisation and bounds of every trainable array, by name.

        readout: "spikes" adds the threshold and leak of the output neurons.
        """
        found = {k: p for layer, shape in self.walk() for k, p in layer.parameters(shape, spiking).items()}
        if spiking and readout == "spikes":
            found |= Neuron(self.layers[-1].name).parameters((self.classes,), True)
        return found

    def table(self) -> list[Row]:
        """List the layers that have weights or spikes, from input to output."""
        rows = []
        for layer, shape in self.walk():
            weights = sum(math.prod(p.shape) for p in layer.parameters(shape, False).values())
            count = layer.operations(shape) if hasattr(layer, "operations") else 0
            spikes = isinstance(layer, Neuron)
            if weights or count or spikes:
                kind = "Neuron" if spikes else type(layer).__name__
                rows.append(Row(layer.name, kind, shape, layer.output_shape(shape), weights, count))
        return rows

    def describe(self) -> dict[str, Any]:
        """The arguments with which `rebuild` creates the same model. Checkpoints store them.

        Raises MinihireError for a model of `assemble` with layers that are not of `minihire.layers`.
        """
        common = {
            "name": self.name,
            "image_shape": list(self.image_shape),
            "classes": self.classes,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        if not self.listed:
            return {**common, "steps": self.steps, "layers": _describe_layers(self.layers)}
        return {**common, "width": self.width, "hidden": self.hidden, "dropout": self.dropout}


def build(
    name: str,
    classes: int = 10,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    width: float = 1.0,
    hidden: int | None = None,
    dropout: float = 0.2,
) -> Model:
    """Build the model `name`, one of MODELS, for images of shape (H, W, C) = image_shape.

    mean, std: normalisation per channel, in pixels of [0, 1] (default: 0.5 and 0.25). width: factor on the number of
    channels. hidden: size of the hidden linear layers of a VGG (default: that of the table). dropout: dropout rate.
    Raises MinihireError for an unknown name, for values out of range, and for images too small for the pools and strides.

    >>> from minihire import build
    >>> model = build("vgg5", classes=10, width=0.25)
    >>> model.table()[0]
    Row(name='conv1', kind='Conv2d', input_shape=(32, 32, 3), output_shape=(32, 32, 16), weights=432, operations=442368)
    """
    row = _row(name)
    whole_shape = _image_shape(image_shape)
    classes = checks.whole("the number of classes", classes, 2)
    width = checks.positive("the model's width", checks.number("the model's width", width, 0, WIDEST))
    hidden = None if hidden is None else checks.whole("the model's number of hidden neurons", hidden)
    dropout = dropout_rate("the model's dropout", dropout)
    own = checks.several(f"the layers of the row {name!r} of MODELS", row.layers(width, hidden, dropout))
    layers = _with_distinct_masks((*own, Readout("readout", classes)))
    for shape in _output_shapes(name, layers, whole_shape):
        if min(shape) < 1:
            raise MinihireError(
                f"{name} halves the image too often for {image_shape[0]}×{image_shape[1]} pixels: "
                f"use larger images or a smaller model"
            )
    channels = whole_shape[2]
    mean, std = (default if x is None else x for x, default in ((mean, (0.5,) * channels), (std, (0.25,) * channels)))
    mean, std = _normalisation(channels, mean, std)
    model = Model(name, layers, whole_shape, classes, mean, std, row.steps, width, hidden, dropout)
    _check_parameter_names(model)
    return model


def assemble(
    name: str,
    layers: Sequence[Any],
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    steps: int = 32,
) -> Model:
    """A model of any layers of `minihire.layers`, the last one a `Readout`. Its checkpoints contain the list of layers.

    Neurons with dropout get different values of `index`, so that their masks differ. Other arguments as in `build`. Raises
    MinihireError for a name of MODELS, for layers that do not fit together, and for two layers of the same name.

    >>> from minihire.layers import Flatten, Linear, Neuron, Readout
    >>> from minihire.models import assemble
    >>> layers = [Flatten(), Linear("hidden", 20, bias=True), Neuron("neuron1"), Readout("readout", 4)]
    >>> assemble("small", layers, (8, 8, 1), 4, mean=[0.5], std=[0.25]).table()[0].weights
    1300
    """
    if not isinstance(name, str) or name in MODELS:
        raise MinihireError(f"a model of other layers needs a name that is not in MODELS, not {name!r}")
    whole_shape = _image_shape(image_shape)
    classes, steps = checks.whole("the number of classes", classes), checks.whole("the number of time steps", steps)
    layers = _with_distinct_masks(layers)
    shape: tuple[int, ...] = whole_shape
    for layer, shape in zip(layers, _output_shapes(name, layers, whole_shape), strict=True):
        if min(shape) < 1:
            nothing = f"{_name(layer)} leaves nothing of the image"
            raise MinihireError(f"the layers of {name} do not fit images of {whole_shape}: {nothing}")
    if not layers or not isinstance(layers[-1], Readout) or shape != (classes,):
        raise MinihireError(
            f"the last layer of {name} must be a Readout of {classes} classes, but its output is {shape}"
        )
    mean, std = _normalisation(whole_shape[2], mean, std)
    model = Model(name, layers, whole_shape, classes, mean, std, steps, 1.0, None, 0.0, listed=False)
    _check_parameter_names(model)
    return model


def rebuild(description: dict[str, Any]) -> Model:
    """The model that `Model.describe` described.

    Raises MinihireError, LookupError, TypeError or ValueError if it describes no model.
    """
    if "layers" not in description:
        return build(**description)
    return assemble(**{**description, "layers": _layers_from(description["layers"])})


BUILDING_BLOCKS = {
    kind.__name__: kind for kind in (AvgPool, Branches, Conv2d, Flatten, Linear, Neuron, Readout, Residual)
}


def _describe_layers(layers: Sequence[Any]) -> list[dict[str, Any]]:
    """Each layer as its class name and its fields; a branch is a list of layers again.

    Raises MinihireError for a layer of another class than BUILDING_BLOCKS, which `rebuild` could not make.
    """
    foreign = next((type(layer).__name__ for layer in layers if type(layer) not in BUILDING_BLOCKS.values()), None)
    if foreign:
        raise MinihireError(
            f"a checkpoint cannot contain the layer {foreign}, which is not of minihire.layers: add a model with it to MODELS, "
            "and make the network with build"
        )
    return [
        {
            "kind": type(layer).__name__,
            **{f.name: getattr(layer, f.name) for f in fields(layer) if not isinstance(getattr(layer, f.name), tuple)},
            **{f.name: _describe_layers(x) for f in fields(layer) if isinstance(x := getattr(layer, f.name), tuple)},
        }
        for layer in layers
    ]


def _layers_from(descriptions: Any, depth: int = 0) -> tuple[Any, ...]:
    """The layers that `_describe_layers` described. Raises TypeError or ValueError for anything else."""
    if not isinstance(descriptions, list) or depth > 20:
        raise TypeError("its list of layers is not one, or its branches are nested too deeply")
    layers = []
    for description in descriptions:
        values = dict(description)
        kind = BUILDING_BLOCKS[values.pop("kind")]
        for f in fields(kind):
            allowed: Any = f.type
            if f.name in ("main", "shortcut"):
                values[f.name] = _layers_from(values[f.name], depth + 1)
            elif f.name in values and not isinstance(values[f.name], int | float if allowed is float else allowed):
                raise TypeError(f"{f.name} of a {kind.__name__} is {values[f.name]!r:.20}")
        layers.append(kind(**values))
    return tuple(layers)


def _normalisation(
    channels: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std as tuples. Raises MinihireError unless each is one number per channel, and each std is above 0."""
    try:
        found = tuple(map(float, mean)), tuple(map(float, std))
        fits = len(found[0]) == len(found[1]) == channels
        fits = fits and all(map(math.isfinite, (*found[0], *found[1]))) and min(found[1], default=0) > 0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise MinihireError(
            f"normalisation needs a finite mean and a std above 0 for each of {channels} channels, not {mean} and {std}"
        )
    return found


def _image_shape(given: Sequence[int]) -> tuple[int, int, int]:
    """(H, W, C) as Python's int. Raises MinihireError for anything but three whole numbers of at least 1."""
    try:
        height, width, channels = (checks.whole("a side of an image", n) for n in given)
    except (TypeError, ValueError, MinihireError) as error:
        raise MinihireError(
            f"the image shape is {given!r}: give (height, width, channels), three whole numbers of at least 1"
        ) from error
    return height, width, channels


def _with_distinct_masks(layers: Sequence[Any]) -> tuple[Any, ...]:
    """The layers, with a new index where an earlier layer with dropout has the same: two layers would share one mask."""
    found = [*_with_dropout(layers)]
    free = iter(range(max((layer.index for layer in found), default=0) + 1, sys.maxsize))
    return _renumbered(layers, set(), free)


def _with_dropout(layers: Sequence[Any]) -> Iterator[Any]:
    """Every neuron and residual block that drops spikes, those inside of branches too."""
    for layer in layers:
        if isinstance(layer, Branches):
            yield from _with_dropout((*layer.main, *layer.shortcut))
        elif isinstance(layer, Neuron | Residual) and layer.dropout:
            yield layer


def _renumbered(layers: Sequence[Any], taken: set[int], free: Iterator[int]) -> tuple[Any, ...]:
    """The layers, those that drop spikes with an index that is not in `taken`. free: indices that no layer has."""
    found = []
    for layer in layers:
        if isinstance(layer, Branches):
            main, shortcut = (_renumbered(branch, taken, free) for branch in (layer.main, layer.shortcut))
            layer = replace(layer, main=main, shortcut=shortcut)
        elif isinstance(layer, Neuron | Residual) and layer.dropout:
            if layer.index in taken:
                layer = replace(layer, index=next(free))
            taken.add(layer.index)
        found.append(layer)
    return tuple(found)


def _check_parameter_names(model: Model) -> None:
    """Raise MinihireError for a name that no checkpoint can contain, and for one that two layers have: they would share it."""
    found: set[str] = set()
    outputs = Neuron(model.layers[-1].name)  # those of the readout "spikes"
    for layer, shape in (*model.walk(), (outputs, (model.classes,))):
        own = layer.parameters(shape, True)
        if found & own.keys():
            raise MinihireError(f"{model.name} has two layers named {layer.name!r}: give each layer a name of its own")
        if wrong := [name for name in own if not is_array_name(f"optimiser/max_square/{name}")]:
            raise MinihireError(
                f"{model.name} has the parameter {wrong[0]!r:.60}, which a checkpoint cannot contain: give its layer a shorter "
                "name, of printable characters without \\"
            )
        found |= own.keys()


def _output_shapes(name: str, layers: Sequence[Any], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the shape after each layer, for images of a shape. name: of the model.

    Raises MinihireError for a layer that lacks a method, for wrong parameters, and for a layer that does not fit its input.
    """
    image_shape = shape
    for layer in layers:
        what = f"the layer {_name(layer)}"
        checks.methods(what, layer, Neuron if isinstance(layer, Neuron) else Flatten)
        try:
            parameters, shape = layer.parameters(shape, True), layer.output_shape(shape)  # no convolution after Flatten
        except (MinihireError, ValueError, IndexError, ArithmeticError) as error:
            reason = (
                error
                if isinstance(error, MinihireError | ValueError)
                else f"{_name(layer)} cannot take an input of {shape}"
            )
            raise MinihireError(f"the layers of {name} do not fit images of {image_shape}: {reason}") from error
        if not isinstance(parameters, dict) or not all(isinstance(p, Parameter) for p in parameters.values()):
            raise MinihireError(
                f"parameters of {what} returned {checks.shown(parameters)}: return a Parameter for each name"
            )
        if not isinstance(shape, tuple) or not all(isinstance(side, int | np.integer) for side in shape):
            raise MinihireError(
                f"output_shape of {what} returned {checks.shown(shape)}: return whole numbers, as (H, W, C)"
            )
        yield shape


def _name(layer: Any) -> str:
    """The name of a layer for messages, or that of its class."""
    return str(getattr(layer, "name", type(layer).__name__))


def has_hidden(name: str) -> bool:
    """Whether the model `name` has layers whose size `hidden` sets. Raises MinihireError for an unknown name."""
    small, large = (_row(name).layers(1.0, hidden, 0.0) for hidden in (1, 2))
    return bool(small != large)


def refuse_foreign(name: Any, owner: Any) -> None:
    """Raise MinihireError if a checkpoint or a run, `owner`, has a model that is not in MODELS."""
    if isinstance(name, str) and name not in MODELS:
        raise MinihireError(
            f"{owner} has the model {name!r}, which minihire does not have: give --module FILE.py, the file that adds it to "
            "MODELS (in Python: import that file)"
        )


def _row(name: str) -> Any:
    """The model's row of MODELS."""
    if not isinstance(name, str) or name not in MODELS:
        raise MinihireError(f"there is no model {name!r}: choose {', '.join(MODELS)}")
    row, what = MODELS[name], f"the row {name!r} of MODELS"
    if isinstance(row, type) or not hasattr(row, "steps") or not hasattr(row, "layers"):
        raise MinihireError(
            f"{what} is {checks.shown(row)}: give an object with the attribute steps and the method layers(width, hidden, "
            "dropout), as in docs/extending.md"
        )
    checks.whole(f"steps of {what}", row.steps)
    checks.callable_with(f"layers of {what}", row.layers, "width", "hidden", "dropout")
    return row


def _scaled(features: int | str, width: float) -> int:
    return max(1, round(checks.whole("a number of channels in MODELS", features) * width))
