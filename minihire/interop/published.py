"""Reader and writer for the VGG checkpoints of the paper's authors, which torch.save wrote.

Their model is two torch Sequential modules, `features` and `classifier`. Each weight layer is followed by two modules
without weights, so the index N of a weight layer is a multiple of 3. Keys of their state dict:

    features    Conv2d, ReLU, Dropout (or AvgPool2d) | …                  features.N.weight [C_out, C_in, k, k]
    classifier  Linear, ReLU, Dropout | Linear, ReLU, Dropout | Linear    classifier.N.weight [F_out, F_in]
    neurons     one threshold and one leak per weight layer except        threshold.tN, leak.lN, scalars
                the readout; in the classifier, N continues from the
                length of `features`

layouts.py has the order of the weights. Source: the authors' repository, github.com/ksouvik52/hiresnn2021.
"""

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from pickletools import genops
from typing import Any, NamedTuple

import numpy as np

from backends import get_backend
from minihire.data.cifar import CLASSES, NORMALISATION
from minihire.engine.lif import NeuronOptions
from minihire.interop.description import describe, kind, restore, time_steps
from minihire.interop.layouts import Layout, weight_layouts
from minihire.interop.packages import require
from minihire.layers import Conv2d, Flatten, Linear, Neuron, Parameter, Readout
from minihire.models import MODELS, VGG, A, Model, build
from minihire.runtime.archive import ArchiveError, checked_copy, member_names
from minihire.runtime.files import open_regular, write_atomically
from minihire.runtime.pickle_nesting import TooNested, check_nesting
from minihire.training.checkpoint import Checkpoint, CheckpointError

FILE = "a .pt file"  # what needs torch
BLOCK = 3  # modules per weight layer: the weights, ReLU, and dropout or pool
# VGG models by their number of convolutions, from which a file is recognised.
FAMILY = {sum(size != A for size in row.features): name for name, row in MODELS.items() if isinstance(row, VGG)}
SCALAR = Layout((1,), (), (1, 1, 1))
GIVE = "give a .pt file of torch.save, or a .nir file"
PICKLE = b"\x80"  # its first byte
LEGACY_PICKLES = 5  # before torch 1.6: magic number, format, machine, content, names of the tensors' bytes
OWN = "this format is that of the paper's authors; minihire.interop.from_torch converts your own module"


class Entry(NamedTuple):
    """One array in both formats: key in their state dict, name and parameter in ours, and the shape in both."""

    key: str
    name: str
    ours: Parameter
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of their array."""
        return self.layout.theirs


def layout(model: Model, spiking: bool) -> list[Entry]:
    """List every array of a VGG model in both formats. Raises CheckpointError for another model."""
    if model.name not in FAMILY.values():
        raise CheckpointError(
            f"the authors' checkpoint format (.pt) does not support {model.name}, only {', '.join(FAMILY.values())}: "
            "give --to nir or --to onnx"
        )
    # index: of the next weight layer in its Sequential; start: length of `features`
    entries, part, start, index, layouts = [], "features", 0, 0, weight_layouts(model)
    for layer, shape in model.walk():
        ours = layer.parameters(shape, spiking)
        if isinstance(layer, Flatten):
            part, start, index = "classifier", index, 0
        elif isinstance(layer, Conv2d | Linear | Readout):
            entries += [Entry(f"{part}.{index}.weight", *item, layouts[layer.name]) for item in ours.items()]
            index += BLOCK
        elif isinstance(layer, Neuron):
            number = start + index - BLOCK
            keys = (f"threshold.t{number}", f"leak.l{number}")
            entries += [Entry(key, *item, SCALAR) for key, item in zip(keys, ours.items(), strict=False)]
    return entries


def read(
    path: Path,
    *,
    data: str | None = None,
    steps: int | None = None,
    about: Callable[[Model, str, int], dict[str, Any]] | None = None,
) -> Checkpoint:
    """Read a checkpoint of the authors, or one that `write` wrote, into a Checkpoint with float32 NumPy arrays.

    data: "cifar10" or "cifar100", whose normalisation the network applies (default: by the number of classes).
    steps: T, if the file does not contain it (default: that of the model). about: a function (model, data set, T) →
    settings to record for a file of the authors (default: none). Raises CheckpointError, naming file and key.
    """
    content = _load(Path(path))
    state, steps = _state(path, content), time_steps(path, content.get("timesteps"), steps)
    if isinstance(content.get("minihire"), dict):
        model, meta = restore(path, content["minihire"], data, steps)
    else:
        model, meta = _recognised(path, state, data, steps, about)
    arrays = _arrays(path, state, layout(model, meta["network"]["spiking"]), model)
    return Checkpoint(Path(path), meta, arrays)


def _load(path) -> dict:
    """Load the dictionary in the file. Other files than those of torch.save are refused without torch."""
    try:
        with open_regular(path) as file:
            is_zip = _is_zip_of_torch(path, file)
            torch = require("torch", FILE)
            content = _unpickled(torch, path, checked_copy(file) if is_zip else file)  # torch compares no checksums
    except ArchiveError as error:
        raise CheckpointError(f"{_not_saved_by_torch(path)} ({error})") from error
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}: {GIVE}") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder: {GIVE}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; {GIVE}") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} contains a {kind(content)}, expected a state dict, or a dictionary with 'state_dict'; {OWN}"
        )
    return content


def _is_zip_of_torch(path, file):
    """Whether torch.save wrote the file as a zip archive; False for a pickle, which torch before 1.6 wrote.

    Raises CheckpointError for any other file.
    """
    start = file.read(2)
    names = member_names(file) if start == b"PK" else []
    file.seek(0)
    if "meta.npy" in names:
        raise CheckpointError(f"{path} is a checkpoint of minihire already: give it to the other commands as it is")
    if not start.startswith(PICKLE) and not any(name.endswith("data.pkl") for name in names):
        raise CheckpointError(_not_saved_by_torch(path))
    return bool(names)


def _not_saved_by_torch(path):
    """The sentence about a file of another format, or a damaged one."""
    advice = {
        ".onnx": "ONNX files can be exported, but not imported",
        ".zip": "unpack it; a .npz file in it that `minihire pack` wrote needs no import",
        ".npz": "a checkpoint of minihire (.npz) needs no import: give it to the other commands as it is",
    }
    known = "import reads .pt files of torch.save and .nir files"
    return f"{path} is not a file that torch.save wrote, or it is damaged: {advice.get(path.suffix.lower(), known)}"


def _unpickled(torch, path, file):
    """Load the file. Only tensors and plain containers are accepted, so no code in the file can run."""
    if b"\nbytearray\n" in file.read():  # torch would make one of any size
        raise CheckpointError(f"{path} contains a bytearray, expected only tensors and plain containers; {OWN}")
    try:
        for opcodes in _pickles(file):
            check_nesting(opcodes)
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged files; the error below says what is wrong
            return torch.load(file, map_location="cpu", weights_only=True)
    except TooNested as error:
        raise CheckpointError(f"{path} contains {error}, which a state dict does not need; {OWN}") from error
    except Exception as error:  # torch documents no common class for the errors of damaged files
        found = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if not found:
            raise CheckpointError(_not_saved_by_torch(path)) from error
        raise CheckpointError(
            f"{path} contains a {found[1]}, expected only tensors and plain containers: "
            f"save only the state dict, with torch.save(model.state_dict(), FILE); {OWN}"
        ) from error


def _pickles(file):
    """The opcodes of each pickle in a file of torch.save: those of the zip archive, or the five before the tensors' bytes."""
    file.seek(0)
    is_zip = file.read(2) == b"PK"  # as torch decides; a pickle may end with a zip archive
    file.seek(0)
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            # torch ignores the case of the name
            yield from (genops(archive.read(name)) for name in archive.namelist() if name.lower().endswith("data.pkl"))
    else:
        yield from (genops(file) for _ in range(LEGACY_PICKLES))


def _state(path, content) -> dict[str, Any]:
    """Return the state dict: the content itself or its "state_dict", without the prefix that DataParallel adds to keys.

    Raises CheckpointError unless all values are dense floating-point tensors.
    """
    torch, state = require("torch", FILE), content.get("state_dict", content)
    if not isinstance(state, dict):
        raise CheckpointError(f"'state_dict' of {path} is a {kind(state)}, expected a dictionary of tensors")
    for key, value in state.items():
        if not isinstance(key, str):
            raise CheckpointError(f"{path} has a key that is a {kind(key)}, expected names such as features.0.weight")
        if not isinstance(value, torch.Tensor) or not _is_dense(torch, value):
            raise CheckpointError(
                f"{key!r:.60} of {path} is a {kind(value)}, expected a dense tensor of floating-point numbers; {OWN}"
            )
        if value.is_neg():
            raise CheckpointError(
                f"{key!r:.60} of {path} is a negated view of another tensor: save its values, tensor.resolve_neg()"
            )
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    if len(plain) < len(state):
        twice = next(key for key in state if f"module.{key}" in state)
        raise CheckpointError(f"{path} has both {twice!r:.60} and 'module.' before it: keep one of the two")
    return plain


def _is_dense(torch, tensor):
    """Whether the tensor is dense, floating-point, and stores as many numbers as its shape says."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.is_floating_point()
    return plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _recognised(path, state, data, steps, about):
    """Return (model, metadata) of a file of the authors.

    The number of convolutions identifies the model, and the shapes of the weights give its sizes.
    """
    sizes = {key: tensor.shape[0] for key, tensor in state.items() if tensor.ndim}
    indices = [int(found[1]) for key in state if (found := re.fullmatch(r"features\.([0-9]{1,4})\.weight", key))]
    count = max(indices) // BLOCK + 1 if indices else 0
    if count not in FAMILY:
        known = ", ".join(f"{count} ({name})" for count, name in FAMILY.items())
        raise CheckpointError(f"{path} has {count} convolutions features.N.weight, expected one of {known}; {OWN}")
    row = MODELS[FAMILY[count]]
    planned = [size for size in row.features if size != A]
    found = [sizes.get(f"features.{BLOCK * i}.weight") for i in range(count)]
    hidden = sizes.get("classifier.0.weight", row.hidden[0])
    data = _data_set(path, f"classifier.{BLOCK * len(row.hidden)}.weight", sizes, data)
    mean, std = NORMALISATION[data]
    model = build(
        FAMILY[count],
        len(CLASSES[data]),
        mean=mean,
        std=std,
        width=_width([pair for pair in zip(planned, found, strict=True) if pair[1]] or [(1, 1)]),
        hidden=None if hidden == row.hidden[0] else max(hidden, 1),
    )
    spiking = any(key.startswith(("threshold.", "leak.")) for key in state)
    return model, description_of(model, spiking, data, model.steps if steps is None else steps, about)


def description_of(model, spiking, data, steps, about):
    """The metadata of one of our checkpoints."""
    neuron = {**asdict(NeuronOptions()), "surrogate": list(NeuronOptions().surrogate)}
    network = {"coding": "direct", "readout": "membrane", "time_chunk": None, "neuron": neuron}
    return {
        "model": model.describe(),
        "network": {"spiking": spiking, "steps": steps if spiking else 1, **network},
        "about": about(model, data, steps) if about else {},
    }


def _width(pairs):
    """The `width` with which `build` gives the numbers of channels found in a file.

    pairs: for each convolution, its channels (planned in the table of models, found in the file).
    Channels are rounded, so a range of widths fits. The ratio of the last layer is used if it lies in that range, else
    the middle of the range.
    """
    low = max((found - 0.5) / planned if found > 1 else 0.0 for planned, found in pairs)
    high = min((found + 0.5) / planned for planned, found in pairs)
    planned, found = pairs[-1]
    return found / planned if low < found / planned < high else (low + high) / 2


def _data_set(path, key, sizes, data):
    """The name of the data set, given or found from the size of the last layer. Raises CheckpointError if they differ."""
    count = sizes.get(key)
    known = {len(classes): name for name, classes in CLASSES.items()}
    if count is None:  # _arrays reports the missing key
        return data or "cifar10"
    if count not in known:
        options = " and ".join(f"{name} {count}" for count, name in known.items())
        raise CheckpointError(f"{key} of {path} has {count} classes, expected those of a data set: {options}")
    if data not in (None, known[count]):
        raise CheckpointError(
            f"{key} of {path} has {count} classes, but {data} has {len(CLASSES[data])}: give --data {known[count]}"
        )
    return known[count]


def _arrays(path, state, entries, model):
    """Convert all arrays to ours, by their names in a checkpoint. Raises CheckpointError for missing and unknown keys."""
    kind = f"{model.name} with width {model.width:g} and {model.classes} classes"
    missing = [entry.key for entry in entries if entry.key not in state]
    unknown = sorted(state.keys() - {entry.key for entry in entries})
    if missing:
        raise CheckpointError(f"{path} lacks {missing[0]}{_more(missing)}, expected for {model.name}")
    if unknown:
        raise CheckpointError(f"{path} has {unknown[0]!r:.60}{_more(unknown)}, which {model.name} does not have")
    return {f"parameter/{entry.name}": _array(path, entry, state[entry.key], kind) for entry in entries}


def _more(keys):
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""


def _array(path, entry, tensor, kind):
    """Convert one array to ours. A scalar may have shape [] or [1]."""
    key, shape = f"{entry.key} of {path}", tuple(tensor.shape)
    if shape != entry.shape and (entry.shape, shape) != ((), (1,)):
        raise CheckpointError(f"{key} is {list(shape)}, expected {list(entry.shape)} for {kind}")
    array = tensor.detach().float().numpy()
    if not np.isfinite(array).all():
        raise CheckpointError(f"{key} has NaN or infinite values, expected finite numbers")
    low, high = entry.ours.low, entry.ours.high
    if not ((array >= low) & (array <= high)).all():
        raise CheckpointError(f"{key} is {array.flat[0]:.6g}, expected a number from {low:g} to {high:g}")
    return entry.layout.from_theirs(array)


def write(path: Path, saved: Checkpoint) -> None:
    """Write a checkpoint that the authors' code can load.

    The file also contains "timesteps" for an SNN, and under "minihire" our description of the network, with which `read`
    restores it exactly. The description omits the path of the data folder. Raises CheckpointError for a ResNet, and for
    an SNN whose coding, readout, reset or initial membrane the authors' model does not support.
    """
    torch = require("torch", FILE)
    network = saved.network(get_backend("reference"))
    _refuse_other_neurons(saved.path, network)
    state = {
        entry.key: torch.from_numpy(entry.layout.to_theirs(network.parameters[entry.name]))
        for entry in layout(network.model, network.spiking)
    }
    content = {
        "state_dict": state,
        **({"timesteps": network.steps} if network.spiking else {}),
        "minihire": describe(saved.meta),
    }
    buffer = io.BytesIO()  # torch's writer would hide the OSError of a full disk
    torch.save(content, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()), new=True)


def _refuse_other_neurons(path, network):
    theirs = {"coding": "direct", "readout": "membrane", "reset": "immediate", "soft": False, "initial": 0.0}
    neuron = {name: getattr(network.neuron, name) for name in ("reset", "soft", "initial")}
    ours = {"coding": network.coding, "readout": network.readout, **neuron}
    for name, value in theirs.items():
        if network.spiking and ours[name] != value:
            raise CheckpointError(f"{path} has {name} {ours[name]!r}, but the authors' model supports only {value!r}")
