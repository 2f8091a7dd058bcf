"""Import of a trained torch module as an ANN, which `convert` turns into an SNN.

    ann = from_torch(module, images)                 # logits equal to the module's
    snn = convert(ann, data, steps=32)

`torch.fx` records the operations of the module (torch_graph.py), and each becomes layers and weights of minihire
(torch_layers.py). The resulting network does not use torch.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from backends import get_backend
from backends.interface import Backend
from minihire.data.dataset import Dataset
from minihire.interop.packages import require
from minihire.models import assemble
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError

torch = require("torch", "from_torch")

from minihire.interop import torch_graph, torch_layers  # noqa: E402  (they import torch)

COMPARED = 8  # images
TOLERANCE = 1e-3  # of the largest absolute logit, or of 1 if that is larger


def from_torch(
    module: torch.nn.Module,
    images: Any,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    backend: Backend | None = None,
    name: str | None = None,
) -> Network:
    """An ANN whose logits are those of a trained torch module in evaluation mode.

    module: layers in series and sums of two branches, as in VGG and ResNet, of Conv2d, Linear, BatchNorm, ReLU, AvgPool2d,
    AdaptiveAvgPool2d, MaxPool2d, Dropout, Flatten and Identity, and the functions that do the same. The module is not changed.
    BatchNorm is folded; a layer that is called twice becomes two layers.
    images: a batch [B, C, H, W] in [0, 1] as a tensor or an array, or a Dataset. The network gets the images' shape, and its
    logits for the first of them are compared with the module's.
    mean, std: the numbers of `transforms.Normalize(mean, std)`, if you normalise the images before the module; a single number
    is that of every channel. Images of minihire are in [0, 1], and the network normalises them. backend: default numba. name: of
    the model, default the class name.

    Raises MinihireError for an unsupported operation, naming its path; for images of another size than the module needs; and
    if the logits differ.

    >>> import numpy as np
    >>> from torch import nn
    >>> from minihire.interop import from_torch
    >>> convolution = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(4)]
    >>> from_torch(nn.Sequential(*convolution, nn.Flatten(), nn.Linear(512, 10)), np.zeros((1, 3, 32, 32)))
    Network(Sequential: ANN, 10 classes, numba backend)
    """
    if not isinstance(module, torch.nn.Module):
        raise MinihireError(f"from_torch takes a torch.nn.Module, not {type(module).__name__}")
    pixels = _pixels(images)
    channels, height, width = pixels.shape[1:]
    module = _copied(module).eval()  # evaluation mode without an effect on the caller's module
    name = type(module).__name__ if name is None else name
    builder = torch_layers.Builder((height, width, channels)).add(torch_graph.trace(module))
    layers = builder.finish(name)
    if layers[-1].features == 1:
        raise MinihireError(
            f"{name} returns one number, but one logit for each class is needed: give its last layer two outputs, 0 and this "
            "number"
        )
    model = assemble(
        name,
        layers,
        (height, width, channels),
        layers[-1].features,
        mean=_per_channel("mean", 0.0 if mean is None else mean, channels),
        std=_per_channel("std", 1.0 if std is None else std, channels),
    )
    expected = model.parameters(spiking=False)
    network = Network(model, backend or get_backend(), {n: builder.weights[n] for n in expected})
    _compare(network, module, pixels)
    return network


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """A copy. Raises MinihireError for weights that are computed from others, and for those without values."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    absent = next((name for name, tensor in tensors if tensor.device.type == "meta"), None)
    if absent:
        raise MinihireError(f"{absent} of {type(module).__name__} has no values (device meta): load the weights first")
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise MinihireError(
            f"{type(module).__name__} cannot be copied ({' '.join(str(error).split())[:100]}): remove weight_norm "
            "(torch.nn.utils.remove_weight_norm) and pruning (torch.nn.utils.prune.remove) first"
        ) from error


def _per_channel(name: str, value: Any, channels: int) -> list[float]:
    """`value`, a number or one number for each channel, as a list."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # of a list of lists, or a tensor of a GPU
        array = np.empty(0, object)
    if array.dtype.kind not in "fiu" or array.shape not in ((), (1,), (channels,)) or not np.isfinite(array).all():
        raise MinihireError(f"{name} is {value!r}: give a number, or one for each of the {channels} channels")
    numbers: list[float] = np.broadcast_to(array.astype(float), channels).tolist()
    return numbers


def _pixels(images: Any) -> Any:
    """The first images [B, C, H, W] as a float64 NumPy array."""
    if isinstance(images, Dataset):
        return np.ascontiguousarray(images.images[:COMPARED].transpose(0, 3, 1, 2)) / 255
    array = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    if array.ndim != 4 or not len(array) or array.dtype.kind != "f":
        raise MinihireError(
            f"from_torch needs images [B, C, H, W] as floating-point numbers in [0, 1], not {array.dtype} {list(array.shape)}"
        )
    array = array[:COMPARED].astype(np.float64, order="C")  # the module may use view()
    checks.pixels(array.min(), array.max())
    return array


def _compare(network: Network, module: torch.nn.Module, pixels: Any) -> None:
    """Raise MinihireError if the logits of the network and of the module differ."""
    model, k = network.model, network.backend
    found = k.to_numpy(network.forward(k.asarray(pixels.transpose(0, 2, 3, 1))))
    shape = (1, -1, 1, 1)
    normalised = (pixels - np.reshape(model.mean, shape)) / np.reshape(model.std, shape)
    like = next(module.parameters(), torch.zeros(()))
    with torch.no_grad():
        expected = module(torch.as_tensor(normalised, dtype=like.dtype, device=like.device)).cpu().double().numpy()
    if found.shape != expected.shape or not np.isfinite(expected).all():
        raise MinihireError(
            f"{model.name} must return finite logits [B, classes], but for {len(pixels)} images it returned "
            f"{list(expected.shape)} with the largest value {np.abs(expected).max()}"
        )
    error = np.abs(found - expected).max()
    if error > TOLERANCE * max(1, np.abs(expected).max()):
        raise MinihireError(
            f"the logits of {model.name} and of the network made from it differ by {error:.3g}: "
            "the module computes something that torch.fx does not record, such as a hook or a change in place"
        )
