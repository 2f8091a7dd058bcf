"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), from the binary or the Python version of their files.

A binary record is one label byte (CIFAR-100: a coarse and a fine one) and 3,072 bytes of pixels: 32×32 reds, then
greens, then blues. A file may hold fewer images than the official one, such as a subset of your own, as long as
its records are whole; the labels used are the 10 classes or the 100 fine ones.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from minihire.data.dataset import DataError, Dataset
from minihire.data.pickles import read_pickle
from minihire.data.sources import SOURCES, find

PIXELS = 3072
COARSE = 20  # classes of the coarse labels of CIFAR-100

# fmt: off
CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
        "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
        "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
        "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
        "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
        "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
        "willow_tree", "wolf", "woman", "worm",
    ),
}
# fmt: on
NORMALISATION = {  # mean and std of the official training images
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
NAME_FILES = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}
NAME_PICKLES = {"cifar10": ("batches.meta", "label_names"), "cifar100": ("meta", "fine_label_names")}
LABEL_KEYS = {"cifar10": "labels", "cifar100": "fine_labels"}


def read(name: str, data_dir: str | os.PathLike) -> tuple[Dataset, Dataset]:
    """Training and test images of "cifar10" or "cifar100": uint8 [N, 32, 32, 3] each, in the order of the files.

    Raises MissingData without the files, DataError where one is cut short, too long, mislabelled or not what it
    should be, with the file and the byte offset.
    """
    files = find(name, data_dir)
    classes = class_names(name, files[0].parent)
    most = 50_000 // (len(files) - 1)
    if files[0].suffix == ".bin":
        parts = [read_binary(path, name, 10_000 if path is files[-1] else most) for path in files]
    else:
        parts = [read_python(path, name, 10_000 if path is files[-1] else most) for path in files]
    return tuple(_join(name, classes, batch) for batch in (parts[:-1], parts[-1:]))


def read_binary(path: Path, name: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [n, 3072] and labels uint8 [n] of a file of 1 to `most` binary records; DataError if damaged."""
    kinds = 1 if name == "cifar10" else 2
    record = kinds + PIXELS
    try:
        data = np.fromfile(path, np.uint8, count=record * most + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the file and its permissions") from None
    if not 0 < len(data) <= record * most or len(data) % record:
        size, count = path.stat().st_size, len(data) // record
        rest = len(data) % record
        fault = f"and record {count} at byte offset {count * record} is cut short after {rest} bytes"
        if len(data) > record * most:
            fault = f"more than the {most} records ({record * most} bytes) that it may have"
        raise DataError(
            f"{path} has {size} bytes, {fault}; "
            f"expected 1 to {most} whole {SOURCES[name].title} records of {record} bytes: get the file again"
        )
    records = data.reshape(-1, record)
    for column in range(kinds):
        bound = COARSE if column < kinds - 1 else len(CLASSES[name])
        wrong = np.flatnonzero(records[:, column] >= bound)
        if len(wrong):
            offset = wrong[0] * record + column
            raise DataError(
                f"{path} has label {records[wrong[0], column]} at record {wrong[0]}, byte offset {offset}; "
                f"labels there run from 0 to {bound - 1}: this is not a {SOURCES[name].title} file, or it is damaged"
            )
    return records[:, kinds:], records[:, kinds - 1]


def read_python(path: Path, name: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [n, 3072] and labels [n] of a pickled batch, as read_binary; nothing in the pickle is run."""
    content = read_pickle(path, largest=most * (PIXELS + 256))
    pixels, labels = content.get("data"), content.get(LABEL_KEYS[name])
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        found = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"the entry 'data' of {path} is {found}; expected uint8 [n, {PIXELS}]: get the official file")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or not 1 <= len(labels) == len(pixels) <= most:
        found = f"{len(labels)} labels" if isinstance(labels, list) else f"labels of type {type(labels).__name__}"
        raise DataError(
            f"{path} has {len(pixels)} images and {found} under '{LABEL_KEYS[name]}'; "
            f"expected as many of each, 1 to {most}: get the official file"
        )
    for record, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASSES[name]):
            raise DataError(
                f"{path} has label {str(label)[:20]} at record {record}; labels there run from 0 to "
                f"{len(CLASSES[name]) - 1}: this is not a {SOURCES[name].title} file, or it is damaged"
            )
    return pixels, np.array(labels)


def class_names(name: str, folder: Path) -> tuple[str, ...]:
    """The class names beside the data (a text file or a pickle), or the official ones where there is no such file."""
    usual = CLASSES[name]
    listed, (pickled, key) = folder / NAME_FILES[name], NAME_PICKLES[name]
    if listed.is_file():
        found = listed.read_text(encoding="utf-8", errors="replace").split("\n")
    elif (folder / pickled).is_file():
        listed = folder / pickled
        found = read_pickle(listed, largest=100_000).get(key)
        if not isinstance(found, list) or not all(isinstance(entry, (str, bytes)) for entry in found):
            raise DataError(f"{listed} has no list of names under '{key}'; get the official file or remove this one")
        found = [entry if isinstance(entry, str) else entry.decode("utf-8", "replace") for entry in found]
    else:
        return usual
    names = tuple(entry.strip() for entry in found if entry.strip())
    if len(names) != len(usual):
        raise DataError(
            f"{listed} names {len(names)} classes; {SOURCES[name].title} has {len(usual)}: "
            "get the official file or remove this one"
        )
    return names


def _join(name: str, classes: tuple[str, ...], parts) -> Dataset:
    """One data set from the batches: colour planes become the last axis."""
    count = sum(len(labels) for _, labels in parts)
    images = np.empty((count, 32, 32, 3), np.uint8)
    start = 0
    for pixels, labels in parts:
        planes = pixels.reshape(-1, 3, 32, 32)
        for channel in range(3):  # plane by plane is several times faster than one transposed copy
            images[start : start + len(labels), ..., channel] = planes[:, channel]
        start += len(labels)
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    return Dataset(name, images, labels, classes, *NORMALISATION[name])
