"""Checkpoints: one NumPy archive, no pickle, written atomically.

The archive has the arrays "parameter/NAME", "optimiser/SLOT/NAME" and "kappa". The array "meta" is JSON as bytes. It has the
format, the versions, the model's description, the network's options, the data set of the training ("data"; old files have none,
or no hashes of the images) and the settings ("about"). A checkpoint of a training also has its recipe, its position and its
history ("training").
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backends.interface import Backend
from backends.surrogates import Surrogate
from minihire import __version__
from minihire.data.dataset import Dataset, image_hashes
from minihire.engine.lif import NeuronOptions
from minihire.layers import Parameter
from minihire.models import rebuild, refuse_foreign
from minihire.network import Network
from minihire.runtime.archive import ArchiveError, read_arrays, write_arrays
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically

FORMAT = 1
MAX_META_BYTES = 16 << 20  # of metadata larger than the file: Python's objects take up to 26 times as much memory
OTHER_FORMATS = {  # what to do about other files
    **dict.fromkeys((".nir", ".pt", ".pth"), "`minihire import` makes a checkpoint of a .nir or .pt file"),
    ".onnx": "ONNX files can be exported, but not read",
    ".zip": "unpack it, and give the .npz file in it",
}


class CheckpointError(MinihireError):
    """A checkpoint that cannot be read or used here."""


class Checkpoint(NamedTuple):
    """The content of a checkpoint. Arrays are NumPy arrays; `network` copies them to a backend."""

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def __repr__(self) -> str:
        model = self.meta.get("model")
        name = model.get("name") if isinstance(model, dict) else "no model"
        return f"Checkpoint({str(self.path)!r}: {name}, {len(self.arrays)} arrays)"

    def network(self, backend: Backend) -> Network:
        """The network, on a backend. Raises CheckpointError if the model is not in MODELS, or the weights do not fit it."""
        try:
            if "layers" not in self.meta["model"]:
                refuse_foreign(self.meta["model"]["name"], "it")
            options = dict(self.meta["network"])
            neuron = dict(options.pop("neuron"))
            surrogate = Surrogate(*neuron.pop("surrogate"))
            model = rebuild(self.meta["model"])
            parameters = {k.removeprefix("parameter/"): v for k, v in self.arrays.items() if k.startswith("parameter/")}
            if type(options["spiking"]) is not bool:
                raise MinihireError(f"spiking is {options['spiking']!r:.20}, not true or false")
            expected = model.parameters(options["spiking"], options["readout"])
            if parameters.keys() != expected.keys():
                raise MinihireError(
                    f"its weights are not those of {model.name}: "
                    f"{sorted(parameters.keys() ^ expected.keys())[0]} is missing or not expected"
                )
            for name, parameter in expected.items():
                _check(backend, name, parameters[name], parameter)
            parameters = {name: parameters[name] for name in expected}  # in the model's order
            return Network(model, backend, parameters, neuron=NeuronOptions(surrogate=surrogate, **neuron), **options)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MinihireError) as error:
            raise CheckpointError(f"{self.path} does not describe a network of this version: {error}") from error


def recordable(what: str, value: Any) -> Any:
    """The value as a file of JSON returns it: NumPy's numbers become Python's, tuples become lists, NaN and infinity None.

    Raises MinihireError for what JSON cannot express. what: the value's name in the message.
    """
    try:
        return json.loads(json.dumps(value, default=_python_number), parse_constant=lambda _: None)
    except (TypeError, ValueError) as error:
        raise MinihireError(
            f"{what} cannot be written to a file ({error}): use numbers, text, lists and dictionaries only"
        ) from error


def _python_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")


def weights_digest(arrays: dict[str, Any], to_numpy: Callable[[Any], np.ndarray[Any, Any]] = np.asarray) -> str:
    """A hash of the weights in a checkpoint's arrays: 32 hexadecimal digits. It tells whether two files hold the same network.

    to_numpy: makes a NumPy array of each of `arrays`.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        if name.startswith("parameter/"):
            array = np.ascontiguousarray(to_numpy(arrays[name]))
            digest.update(f"{name} {array.dtype.str}".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def network_digest(network: Network) -> str:
    """`weights_digest` of a network."""
    arrays = {f"parameter/{name}": array for name, array in network.parameters.items()}
    return weights_digest(arrays, network.backend.to_numpy)


def describe_data(data: Dataset, seen: Iterable[str] = ()) -> dict[str, Any]:
    """What a checkpoint records about the images that its network was trained on: the data set's name and the class names.

    The pictures of a "folder" may change after the training. So their hashes are recorded too, with those of `seen`: the images
    that the network was trained on before.
    """
    found = {"name": data.name, "classes": list(data.classes)}
    return found | {"images": sorted({*image_hashes(data.images), *seen})} if data.name == "folder" else found


def training_images(saved: Checkpoint) -> frozenset[str]:
    """The hashes of the images that a network was trained on. Empty if the checkpoint does not record them.

    Only trainings on a folder of images record them, and those of older checkpoints did not.
    """
    data = saved.meta.get("data")
    hashes = data.get("images") if isinstance(data, dict) else None
    return frozenset(map(str, hashes)) if isinstance(hashes, list) else frozenset()


def describe_network(network: Network) -> dict[str, Any]:
    """What a checkpoint records about the network itself: the arguments of its model and its options."""
    names = ("spiking", "steps", "coding", "readout", "time_chunk")
    neuron = {**asdict(network.neuron), "surrogate": list(network.neuron.surrogate)}
    options = {name: getattr(network, name) for name in names}
    return {"model": network.model.describe(), "network": {**options, "neuron": neuron}}


def _check(backend: Backend, name: str, array: np.ndarray[Any, Any], expected: Parameter) -> None:
    """Raise ValueError for a wrong shape, type or range. Kernels do not check these."""
    if array.shape != expected.shape or array.dtype.kind != "f":
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, not {backend.dtype} {list(expected.shape)}")
    if not np.all((array >= expected.low) & (array <= expected.high) & np.isfinite(array)):
        raise ValueError(f"{name} has values that are not finite or out of range")


def save(
    path: Path,
    network: Network,
    *,
    data: Dataset | None = None,
    extra: dict[str, Any] | None = None,
    arrays: dict[str, Any] | None = None,
    new: bool = False,
) -> None:
    """Write a checkpoint of a network.

    data: the data set that it was trained on; its name and the names of its classes are recorded (`describe_data`).
    extra: further meta data. arrays: further backend arrays, by their name in the archive. new: never replace a file; if there is
    one, the checkpoint gets a name with a number, which the error says.

    The file appears whole or not at all. Raises CheckpointError for what is not a Network or not a Dataset, and MinihireError
    where the file cannot be written.

    >>> from minihire import Network, build, get_backend, initialise, load_checkpoint, save_checkpoint
    >>> k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=16)
    >>> save_checkpoint("ann.npz", Network(model, k, initialise(model, k, seed=0)))
    >>> load_checkpoint("ann.npz").network(k).model.name
    'vgg5'
    """
    if not isinstance(network, Network):
        raise CheckpointError(
            f"a checkpoint contains a Network, not {type(network).__name__}: from_torch makes one of a torch module"
        )
    if data is not None and not isinstance(data, Dataset):
        raise CheckpointError(
            f"a checkpoint records a Dataset, not {type(data).__name__}: give the training images' Dataset"
        )
    k = network.backend
    meta: dict[str, Any] = {
        "format": FORMAT,
        "minihire": __version__,
        "numpy": np.__version__,
        "backend": k.name,
        "dtype": k.dtype,
        **describe_network(network),
        **({"data": describe_data(data)} if data is not None else {}),
        **(extra or {}),
    }
    held = {**{f"parameter/{name}": array for name, array in network.parameters.items()}, **(arrays or {})}

    def entries() -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        for name, array in held.items():
            yield name, k.to_numpy(array)
        yield "meta", np.frombuffer(json.dumps(meta, default=_python_number).encode(), np.uint8)

    write_atomically(path, lambda file: write_arrays(file, entries()), new)


def load(
    path: Path, *, training: bool = True, remedy: str = "give a file that `minihire train` or `run` wrote"
) -> Checkpoint:
    """Read a checkpoint (never a pickle). Raises CheckpointError: missing, not a checkpoint, damaged, or of a newer format.

    training: whether to read the arrays with which a training resumes, too: κ and the optimiser's. With Adam they are twice as
    large as the network. remedy: what the error message says to do about a damaged file.

    >>> from minihire import Network, build, get_backend, initialise, load_checkpoint, save_checkpoint
    >>> k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=16)
    >>> save_checkpoint("ann.npz", Network(model, k, initialise(model, k, seed=0)))
    >>> load_checkpoint("ann.npz").network(k).model.name
    'vgg5'
    """
    path = Path(path)
    try:
        arrays = read_arrays(path, wanted=lambda name: training or name == "meta" or name.startswith("parameter/"))
        meta = json.loads(_text_of_meta(arrays.pop("meta"), path.stat().st_size))
        too_new = meta["format"] > FORMAT
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no checkpoint {path}: name a file that minihire saved, such as models/hire.npz of a run"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or 'it is not a NumPy archive'}") from error
    except (ArchiveError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, ArchiveError) else ""
        remedy = OTHER_FORMATS.get(path.suffix.lower(), remedy)
        raise CheckpointError(f"{path} is not a minihire checkpoint, or it is damaged{reason}: {remedy}") from error
    if too_new:
        raise CheckpointError(
            f"{path} has checkpoint format {meta['format']}, this version reads up to {FORMAT}: update minihire"
        )
    return Checkpoint(path, meta, arrays)


def _text_of_meta(array: np.ndarray[Any, Any], file_size: int) -> str:
    """The JSON text in the array "meta". Raises ArchiveError if it is large and was compressed, which `save` does not do."""
    if array.nbytes > max(MAX_META_BYTES, file_size):
        raise ArchiveError(f"its metadata have {array.nbytes:,} bytes, but the file has {file_size:,}")
    return bytes(array).decode()
