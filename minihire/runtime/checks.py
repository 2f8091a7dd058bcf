"""Checks of arguments: numbers, images, labels, data sets, functions. Each raises MinihireError with one sentence.

The public functions call them once, where the input comes in. Loops inside an attack or a training do not call them again,
except `belongs`: every pass checks the parameters, because a user may replace them.
"""

import inspect
import math
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from backends.interface import Array, Backend
from backends.surrogates import CODES, TABLE, WITHOUT_ROW, Surrogate
from minihire.runtime.errors import MinihireError

MARGIN = 1e-3  # how far a pixel may lie outside of [0, 1]: by rounding in other programs, or for a finite difference


def whole(name: str, value: Any, least: int | None = 1) -> int:
    """`value`, a whole number of Python or NumPy, as an int. least: the smallest one allowed."""
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        raise MinihireError(
            f"{name} is {value!r}: give a whole number" + ("" if least is None else f" of at least {least}")
        )
    return number


def number(name: str, value: Any, low: float = 0.0, high: float = math.inf, advice: str = "") -> float:
    """`value`, a number of Python or NumPy from low to high, as a finite float. advice: ends the sentence."""
    numeric = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not numeric or not low <= value <= high or not math.isfinite(value):
        limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise MinihireError(
            f"{name} is {value!r}: give a number {limits if math.isfinite(low) else ''}{advice}".rstrip()
        )
    return float(value)


def positive(name: str, value: Any) -> float:
    """`value` as a finite float above 0."""
    if number(name, value, -math.inf) > 0:
        return float(value)
    raise MinihireError(f"{name} is {value!r}: give a number above 0")


def instance(name: str, value: Any, kind: type, example: str = "") -> None:
    """Check that `value` is of this class. example: ends the sentence."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise MinihireError(
            f"{name} is {shown(value)}: give {article} {kind.__name__}{example and f', as in {example}'}"
        )


def several(name: str, values: Any, kind: type | None = None) -> tuple[Any, ...]:
    """`values`, a list or another iterable, as a tuple. kind: the class of its items, if it matters. name: in the plural."""
    single = (str, kind) if kind else str  # both may be iterable
    if isinstance(values, single) or not isinstance(values, Iterable):
        raise MinihireError(f"{name} are {shown(values)}: give a list, even of one")
    found = tuple(values)
    for value in found if kind else ():
        instance(f"one of {name}", value, kind)
    return found


def pair(name: str, value: Any, expected: str) -> Any:
    """`value`, what a user's method returned, if it is a tuple or a list of two. expected: both, in the message."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise MinihireError(f"{name} returned {type(value).__name__}: let it return {expected}")
    return value


def path(name: str, value: Any) -> Path:
    """`value`, a string or a path, as a Path."""
    if not isinstance(value, str | os.PathLike):
        raise MinihireError(f"{name} is {shown(value)}: give a string or a Path")
    return Path(value)


def callable_with(name: str, function: Any, *arguments: str) -> None:
    """Check that `function` can be called with positional arguments of these names, which the message shows.

    A function without a signature, such as some that are written in C, is not checked.
    """
    expected = f"({', '.join(arguments)})"
    if not callable(function):
        raise MinihireError(f"{name} is {shown(function)}: give a function that takes {expected}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        called = getattr(function, "__name__", type(function).__name__)
        raise MinihireError(f"{name} is {called}({', '.join(signature.parameters)}): let it take {expected}") from None


def methods(name: str, value: Any, like: type) -> None:
    """Check that `value`, an object of a user's class, has the public methods of the class `like`, with the same arguments."""
    if isinstance(value, type):
        raise MinihireError(f"{value.__name__} is a class: give an object of it, as in {value.__name__}(…)")
    for method, pattern in vars(like).items():
        public = inspect.isfunction(pattern) and (not method.startswith("_") or method == "__call__")
        if public and getattr(type(value), method, None) is not pattern:
            given = inspect.signature(pattern).parameters.values()
            _, *arguments = (p.name for p in given if p.kind is p.POSITIONAL_OR_KEYWORD)
            callable_with(f"{method} of {name}", getattr(value, method, None), *arguments)


def shown(value: Any) -> str:
    """`value` as code, in one line and shortened, for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"


def surrogate(name: str, value: Any) -> Surrogate:
    """`value`, a surrogate gradient. name: what it belongs to, in the message."""
    if not isinstance(value, Surrogate):
        raise MinihireError(
            f"{name} is {value!r}: give a function of backends.surrogates with its arguments, as in arctan(2.0)"
        )
    if value.kind not in (*TABLE, *WITHOUT_ROW):
        raise MinihireError(f"{name} has the kind {value.kind!r}: choose {', '.join((*TABLE, *WITHOUT_ROW))}")
    if value.kind not in (*CODES, *WITHOUT_ROW):  # a row that a user has added
        row = TABLE[value.kind]
        if not isinstance(row, tuple) or len(row) != 2:
            raise MinihireError(f"the row {value.kind!r} of TABLE is {shown(row)}: give (f, F), two functions")
        for symbol, function in zip("fF", row, strict=True):
            callable_with(f"{symbol} in the row {value.kind!r} of TABLE", function, "z", "height", "width")
    number(f"the height of {name}", value.height)
    positive(f"the width of {name}", value.width)
    # Checkpoints and keys contain these numbers as JSON, which knows no NumPy types.
    return Surrogate(*(x.item() if isinstance(x, np.generic) else x for x in value))


def images(k: Backend, array: Array, shape: tuple[int, ...], name: str = "this network") -> None:
    """Check that images are an array [B, H, W, C] of the backend k, where (H, W, C) is the `shape` that the network expects.

    On a CPU the pixels must be in [0, 1]. On a GPU they are not read, because reading waits for the GPU.
    """
    given = tuple(getattr(array, "shape", ()))
    if len(given) != 4 or given[1:] != shape:
        raise MinihireError(f"{name} was built for images of {shape}, not {given[1:]}: give images [B, H, W, C]")
    belongs(k, "these images", array)
    if k.device == "cpu":
        pixels(np.asarray(array).min(initial=0), np.asarray(array).max(initial=0))


def pictures(k: Backend, array: Any, shape: tuple[int, ...], name: str) -> np.ndarray[Any, Any]:
    """Images [N, H, W, C], uint8 or floats in [0, 1], as a NumPy array. (H, W, C) is the `shape` that the network expects."""
    found: np.ndarray[Any, Any] = k.to_numpy(array) if isinstance(array, k.array_types) else np.asarray(array)
    if found.ndim != 4 or found.shape[1:] != shape:
        one = "; of a single image, give image[None]" if found.shape == shape else ""
        raise MinihireError(
            f"{name} was built for images of {shape}, but an array of shape {found.shape} was given: "
            f"give [N, {', '.join(map(str, shape))}]{one}"
        )
    if not len(found):
        raise MinihireError("no images were given: give at least one")
    if found.dtype != np.uint8 and found.dtype.kind != "f":
        raise MinihireError(f"these images are {found.dtype}: give uint8, from 0 to 255, or floats from 0 to 1")
    if found.dtype != np.uint8:
        pixels(found.min(), found.max())
    return found


def pixels(low: Any, high: Any) -> None:
    """Check the smallest and the largest pixel of some images; NaN and infinity are refused, too."""
    if not (low >= -MARGIN and high <= 1 + MARGIN):
        raise MinihireError(
            f"these images have pixels from {float(low):g} to {float(high):g}, expected 0 to 1: divide 0 … 255 by 255, "
            "and remove NaN and infinities"
        )


def finite_logits(logits: np.ndarray[Any, Any]) -> None:
    """Check the logits of a network, before classes and probabilities are made of them."""
    if not np.isfinite(logits).all():
        raise MinihireError(
            "the network's logits are not finite, because its weights are too large: give another network, or train it with a "
            "lower learning rate"
        )


def belongs(k: Backend, name: str, array: Array) -> None:
    """Check that this is a floating-point array of the backend."""
    kind = str(getattr(array, "dtype", type(array).__name__)).removeprefix("torch.")
    if kind != k.dtype or not isinstance(array, k.array_types):
        raise MinihireError(
            f"{name}: {kind} ({type(array).__module__.split('.')[0]}) was given, but the {k.name} backend computes with its own "
            f"{k.dtype} arrays: give backend.asarray(…)"
        )


def labels(k: Backend, array: Array, count: int, classes: int) -> Array:
    """The labels [B] of `count` images, as an int64 array of the backend.

    The range of int64 labels on a GPU is not checked, because reading it waits for the GPU.
    """
    try:
        array = np.asarray(array) if isinstance(array, list | tuple) else array
    except ValueError:
        raise MinihireError(
            f"these labels are a list of parts of unequal length: give one whole number per image, int64 [{count}]"
        ) from None
    kind = str(getattr(array, "dtype", type(array).__name__)).removeprefix("torch.")
    shape = tuple(getattr(array, "shape", ()))
    if "int" not in kind or shape != (count,):
        raise MinihireError(f"these labels are {kind} {list(shape)}: give one whole number per image, int64 [{count}]")
    on_host = k.device == "cpu" or isinstance(array, np.ndarray)
    if on_host or kind != "int64":
        values = np.asarray(array) if on_host else k.to_numpy(array)
        if count and not 0 <= values.min() <= values.max() < classes:
            raise MinihireError(
                f"these labels run from {values.min()} to {values.max()}: give 0 to {classes - 1}, one of {classes} classes"
            )
        return k.asarray(values.astype(np.int64)) if kind != "int64" or isinstance(array, np.ndarray) else array
    return array


def data(dataset: Any, model: Any, part: str = "test") -> None:
    """Check that this is a data set with images, whose shape and number of classes are those of the model.

    part: of the parts that `load_data` returns, the one that messages advise.
    """
    if not hasattr(dataset, "labels"):
        expected = f"a Dataset, as in load_data(…).{part} or Dataset(name, images, labels, classes, mean, std)"
        if hasattr(dataset, part):
            expected = f"one of its parts, as in images.{part}"
        raise MinihireError(f"the data is of type {type(dataset).__name__}: give {expected}")
    if not len(dataset):
        raise MinihireError(f"{dataset.name} has no images: give at least one")
    ours, theirs = (model.image_shape, model.classes), (dataset.shape, len(dataset.classes))
    if ours != theirs:
        raise MinihireError(
            f"{dataset.name} has images of {theirs[0]} and {theirs[1]} classes, but {model.name} was built for images of "
            f"{ours[0]} and {ours[1]} classes: give a network for this data set"
        )
