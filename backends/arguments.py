"""Checks of the arguments of all kernels: one table of shapes and types, and the class decorator that applies it.

Compiled kernels do not check sizes: with wrong ones they would read memory of other arrays. So every public method of a backend
checks its arguments first, by the rules of its row in TABLE, from the first to the last. A rule has a pattern of sizes, such as
"K K C O". Equal letters are equal sizes in all arguments of a call, and "*S" stands for all further axes. `saved` holds the shape
of the forward kernel's result, and the gradient must have the same shape.
"""

import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backends.arrays import CurrentGradient, DropoutMask, OuterProduct, PooledGradient, SpikeTrain
from backends.errors import BackendError
from backends.interface import Adaptation, Backend, NeuronState
from backends.saved import Saved

COMPACT = SpikeTrain, PooledGradient, CurrentGradient  # forms of activations and of their gradients
INTEGERS = int, np.integer


@functools.cache
def _type_name(dtype) -> str:
    return str(dtype).removeprefix("torch.")


class Rule(NamedTuple):
    """A rule about one argument. fits(backend, value, sizes): whether it is right; adds the sizes that it finds to `sizes`.

    expected: what the message says about right values.
    """

    fits: Callable[[Any, Any, dict[str, Any]], bool]
    expected: str


class Relation(NamedTuple):
    """A rule about several arguments, whose sizes are known. holds(sizes) may add sizes. misfit(sizes): says what is wrong."""

    holds: Callable[[dict[str, Any]], bool]
    misfit: Callable[[dict[str, Any]], str]


def _pattern(pattern: str) -> Callable[[Any, dict[str, Any]], bool]:
    """A function (shape, sizes) that compares a shape with a pattern."""
    names = tuple(name for name in pattern.split() if name[0] != "*")
    rest, count = pattern.split()[-1] if "*" in pattern else None, len(names)
    only_rest = rest is not None and count == 0

    def matches(shape, sizes):
        if only_rest:  # the most frequent pattern
            return sizes.setdefault(rest, shape) == shape
        if len(shape) < count if rest else len(shape) != count:
            return False
        for name, size in zip(names, shape, strict=False):
            if sizes.setdefault(name, size) != size:
                return False
        return rest is None or sizes.setdefault(rest, tuple(shape[count:])) == tuple(shape[count:])

    return matches


def floats(pattern: str, *forms, optional: bool = False) -> Rule:
    """An array of the backend's dtype, or one of these compact forms."""
    matches = _pattern(pattern)

    def fits(k, value, sizes):
        if isinstance(value, k.array_types):
            return value.dtype == k.float and matches(value.shape, sizes)
        return (optional and value is None) or (isinstance(value, forms) and matches(value.shape, sizes))

    return Rule(fits, f"an array [{', '.join(pattern.split())}] of the backend's dtype" + " or None" * optional)


def typed(pattern: str, *kinds: str) -> Rule:
    """A plain array of the backend of one of these types; "dtype" is the backend's own. No kinds: any array."""
    matches = _pattern(pattern)

    def fits(k, value, sizes):
        if not isinstance(value, k.array_types):
            return not kinds and isinstance(value, COMPACT) and matches(value.shape, sizes)
        right = not kinds or ("dtype" in kinds and value.dtype == k.float) or _type_name(value.dtype) in kinds
        return right and matches(value.shape, sizes)

    return Rule(fits, f"an array [{', '.join(pattern.split())}] {('of ' + ' or '.join(kinds)) * bool(kinds)}".rstrip())


def whole(least: int, name: str = "") -> Rule:
    """A whole number, remembered as the size `name`."""

    def fits(k, value, sizes):
        sizes[name] = value
        return isinstance(value, INTEGERS) and value >= least

    return Rule(fits, f"a whole number of at least {least}")


def choice(*values) -> Rule:
    """One of these values."""
    return Rule(lambda k, value, sizes: value in values, f"one of {', '.join(map(repr, values))}")


def host(pattern: str, within: Callable[[Any, dict[str, Any]], bool], expected: str) -> Rule:
    """An int64 NumPy array whose values are within bounds."""
    matches = _pattern(pattern)

    def fits(k, value, sizes):
        right = isinstance(value, np.ndarray) and value.dtype == np.int64 and matches(value.shape, sizes)
        return right and (value.size == 0 or within(value, sizes))

    return Rule(fits, f"an int64 NumPy array [{', '.join(pattern.split())}] {expected}")


def state(pattern: str) -> Rule:
    """The state of neurons, or None; each of its arrays may be None."""
    array = floats(pattern, *COMPACT, optional=True)

    def fits(k, value, sizes):
        return value is None or (isinstance(value, NeuronState) and all(array.fits(k, x, sizes) for x in value))

    return Rule(fits, f"a NeuronState of arrays [{', '.join(pattern.split())}], or None")


def saved(kernel: str) -> Rule:
    """What this forward kernel saved."""

    def fits(k, value, sizes):
        if not isinstance(value, Saved) or value.kernel != kernel:
            return False
        sizes["*result"], sizes["*last"] = value.shape, value.shape[1:]
        return True

    return Rule(fits, f"what {kernel} saved")


def _steps(k, value, sizes) -> bool:
    return isinstance(value, INTEGERS) and value >= 1 and sizes["I"] in (1, value)


def _window(sizes) -> bool:
    """Whether the padded images are at least as large as the kernel. P and Q become the height and the width of the result."""
    side, stride, padding = sizes["K"], sizes["stride"], sizes["padding"]
    sizes["P"], sizes["Q"] = ((sizes[n] + 2 * padding - side) // stride + 1 for n in "HW")
    return sizes["P"] >= 1 and sizes["Q"] >= 1 and side >= 1


def _window_misfit(sizes) -> str:
    side, height, width = sizes["K"], *(sizes[n] + 2 * sizes["padding"] for n in "HW")
    return f"the {side}×{side} kernel is " + (f"larger than the padded {height}×{width} images" if side else "empty")


def _labels(k, value, sizes) -> bool:
    if not isinstance(value, (*k.array_types, np.ndarray)) or _type_name(value.dtype) != "int64":
        return False
    if tuple(value.shape) != (sizes["B"],):
        return False
    if k.device != "cpu" or not sizes["B"]:  # reading values would wait for a GPU
        return True
    values = np.asarray(value)
    return bool(values.min() >= 0 and values.max() < sizes["C"])


def _factors(k, value, sizes) -> bool:
    """An array of the shape S, or one number for each image."""
    if isinstance(value, COMPACT):
        return value.shape == sizes["*S"]
    right = isinstance(value, k.array_types) and value.dtype == k.float
    return right and tuple(value.shape) in (tuple(sizes["*S"]), tuple(sizes["*S"][:1]))


def _number(k, value, sizes) -> bool:
    """A number, or an array of shape []: `services.captured` turns numbers into such arrays."""
    return isinstance(value, int | float) or (isinstance(value, k.array_types) and tuple(value.shape) == ())


def _same_or_number(k, value, sizes) -> bool:
    return _number(k, value, sizes) or ACTIVATION.fits(k, value, sizes)


def _loss(k, value, sizes) -> bool:
    sizes["kind"] = value
    return isinstance(value, str) and value in CLASSES and sizes["C"] >= CLASSES[value]


def _targets(k, value, sizes) -> bool:
    sizes["targets"] = value is not None
    return value is None or _labels(k, value, sizes)


def _targets_for_loss(sizes) -> bool:
    return (sizes["kind"] == "dlr-targeted") == sizes.get("targets", False)


def _targets_misfit(sizes) -> str:
    if sizes["kind"] == "dlr-targeted":
        return "the loss dlr-targeted needs targets"
    return f"targets were given for the loss {sizes['kind']}, but only dlr-targeted takes them"


def _adaptation(k, value, sizes) -> bool:
    return value is None or (isinstance(value, Adaptation) and all(MEMORY.fits(k, x, sizes) for x in value))


def _shape(k, value, sizes) -> bool:
    try:
        return all(operator.index(n) >= 0 for n in value)
    except TypeError:
        return False


def _same_count(k, value, sizes) -> bool:
    return _shape(k, value, sizes) and math.prod(map(int, value)) == math.prod(sizes["*S"])


def _cropped(value, sizes) -> bool:
    """No shift, or shifts within the padding of images that are large enough for it."""
    padding, low, high = sizes["padding"], value.min(), value.max()
    inside = low >= 0 and high <= 2 * padding and padding < min(sizes["H"], sizes["W"])
    return inside or low == high == padding


def _per_channel(k, value, sizes) -> bool:
    return len(sizes["*S"]) > 0 and isinstance(value, tuple | list) and len(value) == sizes["*S"][-1]


def _whole_or_tensor(k, value, sizes) -> bool:
    return not isinstance(value, int) or value >= 1  # services.captured turns numbers into arrays


SHAPE = Rule(_shape, "whole numbers of at least 0")
STEPS = Rule(_steps, "a whole number of at least 1, and the steps of the current (or the current has one)")
CHANNELS = Rule(_per_channel, "a tuple of one number for each channel")
WINDOW = {
    "stride": whole(1, "stride"),
    "padding": whole(0, "padding"),
    "kernel and images": Relation(_window, _window_misfit),
}
NEURONS = {"reset": choice("immediate", "delayed"), "leak": floats("1"), "threshold": floats("1"), "steps": STEPS}
CLASSES = {"margin": 2, "zero-one": 2, "dlr": 3, "dlr-targeted": 4}  # the fewest classes for each loss
GRADIENT = OuterProduct, *COMPACT
ACTIVATION = floats("*S", *COMPACT)
RESULT = floats("*result", *COMPACT)
MEMORY = floats("*result")

# method → a rule for each of its arguments, and relations, in an order in which each knows the sizes that it needs. An argument
# that is not in the row may have any value.
TABLE: dict[str, dict[str, Rule | Relation]] = {
    "reshape": {"array": typed("*S"), "shape": Rule(_same_count, "a shape with as many entries")},
    "rows": {
        "array": typed("N *S"),
        "start": whole(0, "start"),
        "stop": Rule(lambda k, v, s: isinstance(v, INTEGERS) and s["start"] <= v <= s["N"], "start … N"),
    },
    "write_rows": {
        "array": typed("N *S"),
        "values": typed("M *S"),
        "start": Rule(lambda k, v, s: isinstance(v, INTEGERS) and 0 <= v <= s["N"] - s["M"], "0 … N − M"),
    },
    "top_k": {"array": typed("*S"), "count": whole(1)},
    "events": {"array": typed("*S")},
    "random": {"shape": SHAPE, "first": whole(0), "distribution": choice("uniform", "normal")},
    "dropout_mask": {
        "shape": SHAPE,
        "dropout_rate": Rule(lambda k, value, sizes: 0 <= value < 1, "a number in [0, 1)"),
        "first": whole(0),
    },
    "rate_code": {"images": floats("B *S", *COMPACT), "first_step": whole(0), "steps": whole(1), "first": whole(0)},
    "image_batch": {
        "store": typed("N H W C", "uint8"),
        "padding": whole(0, "padding"),
        "index": host("B", lambda value, s: value.min() >= 0 and value.max() < s["N"], "in 0 … N − 1"),
        "shift": host("B 2", _cropped, "in 0 … 2·padding, for images larger than the padding"),
        "flip": host("B", lambda value, s: value.min() >= 0 and value.max() <= 1, "of 0 and 1"),
    },
    "scale_shift": {"x": ACTIVATION, "scale": CHANNELS, "shift": CHANNELS},
    "clip": {"x": ACTIVATION},
    "clip_backward": {"saved": saved("clip"), "grad": RESULT},
    "sign_step": {"x": ACTIVATION, "grad": ACTIVATION, "center": floats("*S", optional=True)},
    "scale_to_norm": {"x": floats("B *S", *COMPACT), "order": choice(1, 2, math.inf)},
    "multiply": {"a": ACTIVATION, "b": Rule(_factors, "an array [*S] or [B]")},
    "greater": {"a": ACTIVATION, "b": Rule(_same_or_number, "an array [*S] or a number")},
    "select": {"a": floats("B *S", *COMPACT), "b": floats("B *S", *COMPACT), "flags": floats("B")},
    "power": {"x": ACTIVATION, "exponent": Rule(_number, "a number")},
    "add": {"a": floats("*S", *GRADIENT), "b": floats("*S", *GRADIENT)},
    "conv2d": {"x": floats("T B H W C", *COMPACT), "weight": floats("K K C O"), **WINDOW},
    "conv2d_backward": {"saved": saved("conv2d"), "grad": RESULT},
    "linear": {"x": floats("T B F", *COMPACT), "weight": floats("F O")},
    "linear_backward": {"saved": saved("linear"), "grad": RESULT},
    "avg_pool": {"x": floats("T B H W C", *COMPACT)},
    "avg_pool_backward": {"saved": saved("avg_pool"), "grad": RESULT},
    "sum_time": {"x": floats("T *S", *COMPACT)},
    "repeat_time": {"x": floats("1 *S", *COMPACT), "steps": whole(1)},
    "lif_forward": {
        "current": floats("I *S", *COMPACT),
        "state": state("*S"),
        "mask": floats("*S", DropoutMask, optional=True),
        **NEURONS,
    },
    "conv_lif_forward": {
        "x": floats("I B H W C", *COMPACT),
        "weight": floats("K K C O"),
        **WINDOW,
        "state": state("B P Q O"),
        "mask": floats("B P Q O", DropoutMask, optional=True),
        **NEURONS,
    },
    "lif_backward": {
        "saved": saved("lif_forward"),
        "grad_spikes": floats("*result", *COMPACT, optional=True),
        "grad_state": state("*last"),
        "adaptation": Rule(_adaptation, "an Adaptation of arrays [*result], or None"),
    },
    "relu": {"x": floats("T *S", *COMPACT), "mask": floats("*S", DropoutMask, optional=True)},
    "relu_backward": {"saved": saved("relu"), "grad": RESULT},
    "cross_entropy": {"logits": floats("B C"), "labels": Rule(_labels, "int64 [B] in 0 … C − 1")},
    "logit_loss": {
        "logits": floats("B C"),
        "labels": Rule(_labels, "int64 [B] in 0 … C − 1"),
        "kind": Rule(
            _loss, f"a loss for C classes, one of {', '.join(f'{name} ({n})' for name, n in CLASSES.items())}"
        ),
        "targets": Rule(_targets, "int64 [B] in 0 … C − 1, or None"),
        "targets and loss": Relation(_targets_for_loss, _targets_misfit),
    },
    "sgd_step": {"parameter": floats("*S"), "grad": floats("*S", *GRADIENT), "velocity": floats("*S")},
    "adam_step": {
        "parameter": floats("*S"),
        "grad": floats("*S", *GRADIENT),
        "mean": typed("*S", "dtype", "uint16"),
        "square": typed("*S", "dtype", "uint16"),
        "max_square": floats("*S", optional=True),
        "step": Rule(_whole_or_tensor, "a whole number of at least 1"),
    },
}
SAVED_AT = {"clip": 1, "conv2d": 1, "linear": 1, "avg_pool": 1, "relu": 1, "lif_forward": 2}  # position in the result


def checked(cls):
    """A class decorator: every method of TABLE checks its arguments. It raises BackendError, one sentence."""
    for name in TABLE:
        setattr(cls, name, _checked(name, getattr(cls, name)))
    return cls


def _checked(method: str, kernel):
    parameters = inspect.signature(getattr(Backend, method)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]  # without self
    rules, place = TABLE[method].items(), SAVED_AT.get(method)

    @functools.wraps(kernel)
    def call(self, *arguments, **options):
        given = {**dict(zip(positional, arguments, strict=False)), **options}
        sizes = {"1": 1, "2": 2}
        for name, rule in rules:
            if isinstance(rule, Relation):
                if not rule.holds(sizes):
                    raise _error(method, f"arguments that do not fit together: {rule.misfit(sizes)}")
            elif name in given and not rule.fits(self, given[name], sizes):
                raise _error(method, _wrong(name, given[name], rule.expected, sizes))
        result = kernel(self, *arguments, **options)
        if place is not None:
            result[place].kernel, result[place].shape = method, tuple(result[0].shape)
        elif method == "conv_lif_forward":
            shape = tuple(result[0].shape)
            result[2].kernel, result[2].shape = "lif_forward", shape
            result[3].kernel, result[3].shape = "conv2d", (sizes["I"], *shape[1:])
        return result

    return call


def _error(method: str, given: str) -> BackendError:
    return BackendError(f"{method} was given {given}: see {method} in backends/interface.py")


def _wrong(name: str, value, expected: str, sizes: dict[str, Any]) -> str:
    """The part of a message about one argument."""
    if hasattr(value, "shape"):
        kind = _type_name(getattr(value, "dtype", type(value).__name__))
        given = f"{name} = {kind} {list(value.shape)}"
    elif isinstance(value, NeuronState):
        given = f"{name} = NeuronState of {[list(getattr(x, 'shape', ())) for x in value]}"
    else:
        given = f"{name} = {' '.join(repr(value).split()):.60}"
    known = [
        f"{size} = {tuple(n) if isinstance(n, tuple) else n}"  # a torch.Size is a tuple, too, but prints its type
        for size, n in sizes.items()
        if size and not size.isdigit()
    ]
    where = f", where {', '.join(known)}" if known else ""
    return f"{given}, expected {expected}{where}"
