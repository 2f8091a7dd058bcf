"""The inputs of the commands: settings, backend, images and checkpoints. Each is checked before it is used."""

import argparse
import contextlib
import json
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import backends
from backends import processors
from backends.errors import choose
from backends.interface import Backend
from backends.surrogates import triangle
from minihire.app.flags import flag_of, given_settings
from minihire.data import cifar, mnist, shapes
from minihire.data.dataset import Dataset, Splits
from minihire.data.sources import SOURCES, MissingData, find_files
from minihire.models import has_hidden, refuse_foreign
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import read_text
from minihire.runtime.progress import say
from minihire.study import own_images
from minihire.study.networks import load_data
from minihire.study.settings import DATA, Config, preset
from minihire.training import checkpoint
from minihire.training.checkpoint import Checkpoint

MAX_SHOWN = 12  # number of names in a message


def resolve(
    options: argparse.Namespace,
    saved: Checkpoint | dict | None = None,
    uses: Iterable[str] = (),
    needs_data: bool = True,
) -> Config:
    """Determine the settings of a command. Flags come first, then the checkpoint or resumed run, then the preset.

    saved: the checkpoint, or the settings of the run to resume. uses: names of the settings that the command uses. If it does
    not use `periods`, they are limited to the time steps, and then the time division is dropped. needs_data: whether the data set
    must be known. Raises MinihireError for a value out of range, for unreadable saved settings, and for data that the checkpoint
    was not trained on.
    """
    given = given_settings(options)
    if given.get("data_dir"):
        given["data_dir"] = os.path.abspath(given["data_dir"])  # a run may be resumed from another working directory
    about = saved.meta.get("about") if isinstance(saved, Checkpoint) else saved
    if isinstance(about, dict):
        refuse_foreign(about.get("model"), saved.path if isinstance(saved, Checkpoint) else "this run")
    if isinstance(saved, Checkpoint):
        given = _its_own_data(saved, given, needs_data)
        if given.get("data") == "folder" and "image_size" not in (about if isinstance(about, dict) else ()):
            given = {"image_size": _side_of_images(saved), **given}
    try:
        if isinstance(about, dict) and about and getattr(options, "preset", about.get("preset")) == about.get("preset"):
            known = {name: value for name, value in about.items() if name in Config.__dataclass_fields__}
            known["methods"] = tuple(known["methods"])
            base = Config(**known)
        else:
            base = preset(preset_of(options, given))
    except (TypeError, LookupError) as error:
        raise MinihireError(f"the saved settings are not readable: {error}") from error
    if base.data == "folder" and given.get("data", "folder") != "folder":
        given.setdefault("image_size", None)  # the preset's size is for images of any size
    if "periods" not in uses and "steps" in given and isinstance(given["steps"], int):
        periods = max(1, min(base.periods, given["steps"]))
        if periods != base.periods:  # the steps of each period are no longer those of the training
            given |= {"periods": periods, "time_division": None}
    config = replace(base, **given)
    if config.data == "shapes" and given.get("data_dir") is not None:
        # the data set of a checkpoint cannot be changed
        other = "" if saved else "give the data set's name with --data too, or "
        raise MinihireError(
            f"--data-dir {options.data_dir} was given, but the data set shapes needs no files: {other}leave --data-dir out"
        )
    return config


def read_config(path: Path) -> tuple[dict, Collection[str]]:
    """The settings in a file, such as config.json of a run, complete and with valid values, and the names of those it has.

    The others are those of its preset. A folder stands for its config.json. Raises MinihireError for a file that cannot be read,
    and for unknown names.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(read_text(path))
    except OSError as error:
        raise MinihireError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise MinihireError(f"{path} is not JSON: give a file such as config.json, which every run writes") from error
    if not isinstance(content, dict):
        raise MinihireError(f"{path} has no settings: give a file such as config.json, which every run writes")
    if "schema" in content:
        raise MinihireError(f"{path} has the results of a run, not its settings: give config.json in the same folder")
    name = content.pop("preset", "mini")
    for setting in content:
        if setting not in Config.__dataclass_fields__:
            raise MinihireError(
                f"{path}: there is no setting {setting!r}: {choose(setting, Config.__dataclass_fields__)}"
            )
    if isinstance(content.get("methods"), list):
        content["methods"] = tuple(content["methods"])
    try:
        return preset(name, **content).describe(), [*content]
    except TypeError as error:
        raise MinihireError(f"{path}: the preset must be a name, not {name!r}") from error


def preset_of(options: argparse.Namespace, given: dict) -> str:
    """The preset of --preset. By default: "folder" for a folder of images, otherwise "mini". given: the settings given.

    A --data-dir without --data is a folder of images. Raises MinihireError if it has the files of a public data set.
    """
    if hasattr(options, "preset"):
        return options.preset
    if "data" not in given and given.get("data_dir"):
        for name, source in SOURCES.items():
            with contextlib.suppress(MissingData, OSError):
                find_files(name, given["data_dir"])
                raise MinihireError(f"{options.data_dir} contains {source.title}: give --data {name} too")
        return own_images.PRESET
    return own_images.PRESET if given.get("data") == "folder" else "mini"


def refuse_test_only(config: Config, splits: Splits) -> None:
    """Raise MinihireError if there are no training images."""
    if not len(splits.train):
        raise MinihireError(
            f"{config.data_dir} has only test images, in its folder test: put training images into its folder train"
        )


def adapt(config: Config, options: argparse.Namespace, splits: Splits, named: Collection[str] = ()) -> Config:
    """The settings of the preset folder for this number of training images. Prints one line.

    Flags stay as given, and so do the settings in `named`, which a file of settings has.
    """
    refuse_test_only(config, splits)
    adapted = own_images.adapt(config, len(splits.train), {*given_settings(options), *named})
    if adapted.preset == own_images.PRESET:
        say(own_images.in_words(adapted, len(splits.train)))
    return adapted


def refuse_hidden(options: argparse.Namespace, model: str) -> None:
    """Raise MinihireError if --hidden was given, but the model has no hidden linear layers."""
    if hasattr(options, "hidden") and not has_hidden(model):
        raise MinihireError(f"{model} has no hidden linear layers, to which --hidden applies: leave it out")


def refuse_seed(options: argparse.Namespace, network: Network) -> None:
    """Raise MinihireError if --seed was given, but the network's answers do not depend on it."""
    if hasattr(options, "seed") and not network.random:
        raise MinihireError(
            "--seed chooses the random spikes of rate coding, which this network does not use: leave it out"
        )


def refuse_samples(options: argparse.Namespace, *networks: Network) -> None:
    """Raise MinihireError if --samples was given, but none of the networks is random."""
    if options.samples is not None and not any(network.random for network in networks):
        raise MinihireError("--samples averages over random spikes, which no network here has: leave it out")


def data_of(saved: Checkpoint) -> tuple[str | None, tuple[str, ...]]:
    """The name and classes of the data set that a checkpoint was trained on, or (None, ()) if it does not record them.

    Checkpoints of earlier versions record only the name.
    """
    data, about = saved.meta.get("data"), saved.meta.get("about")
    if isinstance(data, dict) and isinstance(data.get("name"), str) and isinstance(data.get("classes"), list):
        return data["name"], tuple(map(str, data["classes"]))
    name = about.get("data") if isinstance(about, dict) else None
    return (name if isinstance(name, str) else None), ()


def class_names(saved: Checkpoint, network: Network, data: str | None = None) -> tuple[str, ...]:
    """The names of a network's classes, in the order of its logits. If no names are known: 0, 1, …, and a note says so.

    data: the data set of --data, for a checkpoint that does not say which one it was trained on. Raises MinihireError if the
    checkpoint names another data set, or if this one has no names or another number of classes.
    """
    (name, classes), count = data_of(saved), network.model.classes
    known = {**cifar.CLASSES, "mnist": mnist.CLASSES, "shapes": shapes.CLASSES}
    if data:
        _its_own_data(saved, {"data": data})
        if name is None and data not in known:
            raise MinihireError(
                f"--data {data} has no class names of its own: leave it out for numbers, or give one of {', '.join(known)}"
            )
        if data in known and len(known[data]) != count:
            raise MinihireError(
                f"{saved.path} has {count} classes, but {data} has {len(known[data])}: leave --data out"
            )
    found = next((c for c in (classes, known.get(name or data or "", ())) if len(c) == count), None)
    if found is None:
        fitting = [other for other, names in known.items() if len(names) == count and name is None]
        flag = f"; to name them, give its data set with --data: {', '.join(fitting)}" if fitting else ""
        say(f"note: {saved.path} does not record the names of its classes, so they are numbers from 0{flag}")
    return tuple(found or map(str, range(count)))


def _its_own_data(saved, given, needed=True):
    """The given settings with the checkpoint's data set. Raises MinihireError for another one, and if a needed one is unknown."""
    name, _ = data_of(saved)
    if name is not None and name not in DATA:  # a Dataset that was made in Python
        if "data" not in given and needed:
            raise MinihireError(
                f"{saved.path} was trained on the Dataset {name!r} of a Python program: give images of the same classes with "
                "--data and --data-dir, or use Python"
            )
        return given
    if name is None and "data" not in given and needed:
        raise MinihireError(f"{saved.path} does not say which data set it was trained on: give it with --data")
    if name is not None and given.get("data", name) != name:
        raise MinihireError(f"{saved.path} was trained on {name}, not on {given['data']}: leave --data out")
    return given if name is None else {**given, "data": name}


def _side_of_images(saved):
    """The number of pixels to which images are resized for a checkpoint that does not say how its own were: its network's."""
    description = saved.meta.get("model")
    shape = description.get("image_shape") if isinstance(description, dict) else None
    return shape[0] if isinstance(shape, list) and shape[0] == shape[1] else None


def open_backend(options: argparse.Namespace) -> Backend:
    """Create the backend that the flags select. Raises backends.BackendError, and MinihireError for --record without CUDA."""
    record = getattr(options, "record", None)
    if record is not None and not options.device.startswith("cuda"):
        raise MinihireError(
            f"{'--record' if record else '--no-record'} applies to --device cuda only, not to {options.device}: leave it out"
        )
    backend = backends.get_backend(
        options.backend,
        options.device,
        threads=options.threads,
        precision=options.precision,
        record=record is not False,
    )
    backend.services.announce(say)
    cores = processors.affinity()
    if options.threads is not None and options.threads > cores:
        available = f"{cores} core{'s' if cores > 1 else ''}"
        say(f"note: --threads {options.threads} is more than the {available} that the program may use")
    return backend


def open_data(config: Config, options: argparse.Namespace, backend: Backend, uses: Iterable[str]) -> Splits:
    """Load the data set. With several processes, the first one loads (and downloads) it before the others.

    Limits of splits that the command does not use are ignored, because they may not fit the data. Limits that come from the
    preset are lowered to the number of images. Raises DataError.
    """
    unused = {"train_limit": None, "test_limit": None, "heldout": 0}
    config = replace(config, **{name: value for name, value in unused.items() if name not in uses})
    given = given_settings(options)
    splits = load_data(config, options.download, given) if backend.services.rank == 0 else None
    backend.services.wait_for_all_ranks()
    return splits or load_data(config, given=given)


def open_checkpoint(path: Path, note: bool = True) -> Checkpoint:
    """Read the network of a checkpoint, without the state of its training.

    note: whether to print a note if the training is not finished.

    Raises MinihireError if the path is a folder, not a regular file, missing or damaged. For a folder, the message lists the
    checkpoints in it.
    """
    if path.is_dir():
        found = sorted(str(file) for file in path.rglob("*.npz") if file.name != ".npz")
        listed = ", ".join(found[:MAX_SHOWN]) + (
            f" and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
        )
        raise MinihireError(
            f"{path} is a folder: give one of its checkpoints, {listed}"
            if found
            else f"{path} is a folder without checkpoints: give a checkpoint, an .npz file"
        )
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise MinihireError(f"{path} is not a regular file: give a checkpoint, an .npz file")
    saved = checkpoint.load(path, training=False)
    if note and unfinished(saved):
        say(f"note: the training of {path} is not finished; resumed, it may change the answers")
    return saved


def unfinished(saved: Checkpoint) -> bool:
    """Whether the checkpoint is that of a training which can be resumed. Of files of earlier versions it is not known: False."""
    content = saved.meta.get("training")
    position = content.get("position") if isinstance(content, dict) else None
    return isinstance(position, dict) and position.get("finished") is False


def apply_flags(network: Network, config: Config, options: argparse.Namespace, path: Path) -> Network:
    """Apply the flags that change a network without training: time steps, time chunk, γ and the gradient of the reset.

    Raises MinihireError if such a flag is given for an ANN.
    """
    given = given_settings(options)
    changed = [name for name in ("steps", "time_chunk", "gamma", "reset_grad") if name in given]
    if changed and not network.spiking:
        raise MinihireError(f"{path} is an ANN, to which {flag_of(changed[0])} does not apply: leave it out")
    changes = {name: given[name] for name in ("steps", "time_chunk") if name in given}
    if {"gamma", "reset_grad"} & given.keys():
        surrogate = triangle(config.gamma) if "gamma" in given else network.neuron.surrogate
        reset_grad = given.get("reset_grad", network.neuron.reset_grad)
        changes["neuron"] = replace(network.neuron, surrogate=surrogate, reset_grad=reset_grad)
    return replace(network, **changes) if changes else network


def refuse_misfit(saved: Checkpoint, network: Network, data: Dataset) -> None:
    """Raise MinihireError if the image shape or the classes differ from those that the checkpoint was trained on."""
    ours, theirs = (network.model.image_shape, network.model.classes), (data.shape, len(data.classes))
    if ours != theirs:
        raise MinihireError(
            f"this checkpoint is for images of {ours[0]} and {ours[1]} classes, "
            f"{data.name} has {theirs[0]} and {theirs[1]}: give its own data set"
        )
    _, classes = data_of(saved)
    if classes and classes != data.classes:
        raise MinihireError(
            f"{saved.path} was trained on the classes {first_names(classes)}, "
            f"but {data.name} has {first_names(data.classes)}: give the data that it was trained on"
        )


def first_names(classes: tuple[str, ...]) -> str:
    """The first names of classes, for a message."""
    return ", ".join(classes[:MAX_SHOWN]) + (" …" if len(classes) > MAX_SHOWN else "")
