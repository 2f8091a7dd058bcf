"""Our description of a network, which files of other formats store beside the weights."""

import json
from pathlib import Path
from typing import Any

from minihire.models import Model, rebuild
from minihire.network import MAX_STEPS
from minihire.runtime.errors import MinihireError
from minihire.training.checkpoint import CheckpointError

PARTS = ("model", "network", "about", "data")


class ExchangeWarning(UserWarning):
    """A property of a network that a format of another program does not express."""


def describe(meta: dict[str, Any]) -> dict[str, Any]:
    """The description, from the metadata of a checkpoint. It omits the time steps and the path of the data folder."""
    found = {name: meta[name] for name in PARTS if name in meta}
    found["network"] = {name: value for name, value in meta["network"].items() if name != "steps"}
    if isinstance(meta.get("about"), dict):
        found["about"] = {name: value for name, value in meta["about"].items() if name != "data_dir"}
    return found


def restore(path: Path, entry: dict[str, Any], data: str | None, steps: int | None) -> tuple[Model, dict[str, Any]]:
    """(model, metadata of a checkpoint) from the description in a file. steps: T (default: the model's).

    Raises CheckpointError if it does not describe a network of this version, and if a data set is given.
    """
    if data:
        raise CheckpointError(f"{path} records the data set it was trained on: omit --data")
    try:
        meta = json.loads(json.dumps({name: entry[name] for name in PARTS if name in entry}))
        meta.setdefault("about", None)
        model, network = rebuild(meta["model"]), meta["network"]
        network["spiking"] = network["spiking"] is True
        network["steps"] = 1 if not network["spiking"] else model.steps if steps is None else steps
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        MinihireError,
    ) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"'minihire' of {path} does not describe a network of this version: {reason}") from error
    return model, meta


def time_steps(path: Path, found: Any, given: int | None, name: str = "timesteps") -> int | None:
    """T as the file has it under `name`, or `given` if the file has none. Raises CheckpointError if the two differ."""
    if found is None:
        return given
    if type(found) is not int or not 1 <= found <= MAX_STEPS:
        shown = found if isinstance(found, int) else f"a {kind(found)}"
        raise CheckpointError(f"{name!r} of {path} is {shown}, expected a whole number in 1 … {MAX_STEPS}")
    if given not in (None, found):
        raise CheckpointError(f"--steps {given} contradicts {path}, which has {found} time steps: omit it")
    return found


def kind(value: Any) -> str:
    """The type of a value, and the shape of an array, for an error message."""
    return f"{value.dtype} {list(value.shape)}" if hasattr(value, "dtype") else type(value).__name__
