"""Files of adversarial images: crafted once, then shown to any network. NumPy's .npz format, which other programs can read.

images                  float32 [N, H, W, C] in [0, 1]
rounded                 uint8 [N, H, W, C]: the images in 8 bits, as a picture file stores them
labels                  int64 [N]
predictions             int64 [N]: the attacked network's classes of `images`
rounded_predictions     int64 [N]: those of `rounded`

A file of another program needs only `images` and `labels`.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backends.randomness import Draws
from minihire.analysis.accuracy import BATCH, predict
from minihire.attacks.gradient import Attack, checked_attacker, measured_distance, warn_outside_ball
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.encoding import in_8_bits, unit_pixels
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.archive import ArchiveError, read_arrays
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import Progress, counted


class Crafted(NamedTuple):
    """Adversarial images; the arrays of the file."""

    images: Any
    rounded: Any
    labels: Any
    predictions: Any
    rounded_predictions: Any


def craft_images(
    target: Network, source: Network, data: Dataset, attack: Attack, *, seed: int = 0, batch_size: int = BATCH
) -> Crafted:
    """Craft all images of `data` on `source`, as `attack_accuracy` does, and classify them with `target`. For one rank."""
    k, parts, attacker = source.backend, [], checked_attacker(attack, source)
    if k.services.ranks > 1:
        raise MinihireError("adversarial images are crafted by one process: run without torchrun")
    batches = Batches(data, k, batch_size)
    farthest = 0.0
    with StopSignal(k) as stop, Progress(attack.name, len(data)) as progress:
        for number in range(len(batches)):
            stop.check(f"during {attack.name}")
            (images, labels), draws = batches.load(0, number), Draws(seed, 0, number * batch_size)
            crafted = k.to_numpy(attacker(images, labels, draws)).astype(np.float32)
            farthest = max(farthest, measured_distance(attack, crafted, k.to_numpy(images)))
            rounded, batch = in_8_bits(crafted), slice(draws.first, draws.first + len(crafted))
            found = classify(target, crafted, draws, attack.samples), classify(target, rounded, draws, attack.samples)
            parts.append((crafted, rounded, data.labels[batch], *found))
            progress.add(len(crafted))
    warn_outside_ball(attack, farthest)
    return Crafted(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def classify(network: Network, images: np.ndarray[Any, Any], draws: Draws, samples: int = 1) -> np.ndarray[Any, Any]:
    """The network's classes, int64 [B], of one batch of images: floats in [0, 1], or uint8."""
    k = network.backend
    pixels = unit_pixels(images, k.dtype) if images.dtype == np.uint8 else images.astype(np.float32)
    return predict(network, k.asarray(pixels), draws, samples)


def save_images(path: os.PathLike[str], crafted: Crafted) -> None:
    """Write the file."""
    write_atomically(Path(path), lambda file: np.savez(file, **crafted._asdict()))


def load_images(path: os.PathLike[str], *, foreign: bool = False) -> Crafted:
    """Read a file. foreign: accept one that has only `images` and `labels`; its predictions are None.

    Raises MinihireError if the file is missing, damaged, or not such a file.
    """
    wanted = "one that --save-images wrote"
    wanted += ", or one with the arrays images, float32 [N, H, W, C] in [0, 1], and labels [N]" if foreign else ""
    refused = MinihireError(f"{path} is not a file of adversarial images: give {wanted}")
    try:
        arrays = read_arrays(Path(path))
    except FileNotFoundError as error:
        raise MinihireError(f"{path} does not exist: give {wanted}") from error
    except (OSError, ArchiveError) as error:
        raise refused from error
    brief = foreign and arrays.keys() == {"images", "labels"}
    if not brief and arrays.keys() != {*Crafted._fields}:
        raise refused
    found = Crafted(**{name: arrays.get(name) for name in Crafted._fields})
    images, labels = found.images, found.labels
    classes = (labels,) if brief else (labels, found.predictions, found.rounded_predictions)
    fits = images.ndim == 4 and images.dtype == np.float32 and images.size > 0
    fits = fits and (brief or (found.rounded.shape == images.shape and found.rounded.dtype == np.uint8))
    if not fits or any(array.shape != images.shape[:1] or array.dtype.kind not in "iu" for array in classes):
        raise refused
    if not (images.min() >= 0 and images.max() <= 1 and labels.min() >= 0):
        raise MinihireError(f"{path} has pixels outside [0, 1] or labels below 0: give {wanted}")
    return found._replace(rounded=in_8_bits(images)) if brief else found


def evaluate_images(
    network: Network, crafted: Crafted, *, seed: int = 0, batch_size: int = BATCH
) -> dict[str, np.ndarray[Any, Any]]:
    """Whether the network classifies each image correctly, bool [N]: {"images": …, "rounded": …}.

    Raises MinihireError if images or classes do not fit the network, and for batch_size < 1.
    """
    batch_size = checks.whole("the batch size", batch_size)
    shape, classes = network.model.image_shape, network.model.classes
    if crafted.images.shape[1:] != shape or crafted.labels.max() >= classes:
        raise MinihireError(
            f"these images are {crafted.images.shape[1:]} with labels up to {crafted.labels.max()}, but the network has images "
            f"{shape} and {classes} classes: give a network for the same data set"
        )
    found, count = {}, len(crafted.labels)
    for name in ("images", "rounded"):
        images = getattr(crafted, name)
        starts = counted(range(0, count, batch_size), name, count, count=lambda _: batch_size)
        classes = [classify(network, images[i : i + batch_size], Draws(seed, 0, i)) for i in starts]
        found[name] = np.concatenate(classes) == crafted.labels
    return found
