"""Reader for CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), in the binary or the Python version of their files.

A binary record is a label byte and 3,072 bytes of pixels: the 32×32 red values, then green, then blue. CIFAR-100 has
two label bytes, coarse and fine; the fine label is used. A file may contain fewer records than the official one.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from minihire.data.dataset import DataError, Dataset
from minihire.data.pickles import read_pickle
from minihire.data.sources import SOURCES, find_files
from minihire.runtime.files import open_regular, read_text

PIXELS = 3072  # bytes of one image
COARSE_CLASSES = 20  # of CIFAR-100

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
# Mean and std of each colour with which the authors' code normalises the images; their checkpoints need these values. The means
# are those of the pixels of the training images. For CIFAR-10, the second row is not the std of these pixels, which is
# (0.2470, 0.2435, 0.2616), but the mean of the stds of the single images.
NORMALISATION = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
NAME_FILES = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}
NAME_PICKLES = {"cifar10": ("batches.meta", "label_names"), "cifar100": ("meta", "fine_label_names")}
LABEL_KEYS = {"cifar10": "labels", "cifar100": "fine_labels"}


def read(name: str, data_dir: str | os.PathLike) -> tuple[Dataset, Dataset]:
    """Return training and test images of "cifar10" or "cifar100", uint8 [N, 32, 32, 3] each, in the order of the files.

    Raises MissingData if files are missing. Raises DataError, with the file and the byte offset, if a file has the wrong
    length or format, or a label out of range.
    """
    files = find_files(name, data_dir)
    classes = class_names(name, files[0].parent)
    max_records = 50_000 // (len(files) - 1)
    if files[0].suffix == ".bin":
        parts = [read_binary(path, name, 10_000 if path is files[-1] else max_records) for path in files]
    else:
        parts = [read_python(path, name, 10_000 if path is files[-1] else max_records) for path in files]
    return tuple(_join(name, classes, batch) for batch in (parts[:-1], parts[-1:]))


def read_binary(path: Path, name: str, max_records: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of 1 to `max_records` binary records: pixels uint8 [n, 3072] and labels uint8 [n].

    Raises DataError if the file is damaged.
    """
    label_bytes = 1 if name == "cifar10" else 2
    record = label_bytes + PIXELS
    try:
        with open_regular(path) as file:
            data = np.frombuffer(file.read(record * max_records + 1), np.uint8)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the file and its permissions") from None
    if not 0 < len(data) <= record * max_records or len(data) % record:
        size, count = path.stat().st_size, len(data) // record
        rest = len(data) % record
        fault = f"and record {count} at byte offset {count * record} ends after {rest} bytes"
        if len(data) > record * max_records:
            fault = f"more than {max_records} records ({record * max_records} bytes)"
        raise DataError(
            f"{path} has {size} bytes, {fault}; "
            f"expected 1 to {max_records} complete {SOURCES[name].title} records of {record} bytes: get the file again"
        )
    records = data.reshape(-1, record)
    for column in range(label_bytes):
        bound = COARSE_CLASSES if column < label_bytes - 1 else len(CLASSES[name])
        wrong = np.flatnonzero(records[:, column] >= bound)
        if len(wrong):
            offset = wrong[0] * record + column
            raise DataError(
                f"{path} has label {records[wrong[0], column]} at record {wrong[0]}, byte offset {offset}; expected a label "
                f"from 0 to {bound - 1}: the file is damaged or not a {SOURCES[name].title} file"
            )
    return records[:, label_bytes:], records[:, label_bytes - 1]


def read_python(path: Path, name: str, max_records: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a pickled batch like `read_binary`: pixels uint8 [n, 3072] and labels int64 [n]. No code in the pickle runs."""
    content = read_pickle(path, max_bytes=max_records * (PIXELS + 256))
    pixels, labels = content.get("data"), content.get(LABEL_KEYS[name])
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        found = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"the entry 'data' of {path} is {found}; expected uint8 [n, {PIXELS}]: get the official file")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or not 1 <= len(labels) == len(pixels) <= max_records:
        found = f"{len(labels)} labels" if isinstance(labels, list) else f"labels of type {type(labels).__name__}"
        raise DataError(
            f"{path} has {len(pixels)} images and {found} under '{LABEL_KEYS[name]}'; "
            f"expected equal numbers, from 1 to {max_records}: get the official file"
        )
    for record, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASSES[name]):
            shown = f"{label}"[:20] if isinstance(label, int | float | str) else f"of type {type(label).__name__}"
            raise DataError(
                f"{path} has the label {shown} at record {record}; expected a label from 0 to "
                f"{len(CLASSES[name]) - 1}: the file is damaged or not a {SOURCES[name].title} file"
            )
    return pixels, np.array(labels)


def class_names(name: str, folder: Path) -> tuple[str, ...]:
    """Read the class names from the text file or pickle in `folder`. Without such a file, return the official names.

    Raises DataError if the file does not list one name per class.
    """
    official = CLASSES[name]
    listed, (pickled, key) = folder / NAME_FILES[name], NAME_PICKLES[name]
    if listed.is_file():
        found = read_text(listed, "replace").split("\n")
    elif (folder / pickled).is_file():
        listed = folder / pickled
        found = read_pickle(listed, max_bytes=100_000).get(key)
        if not isinstance(found, list) or not all(isinstance(entry, (str, bytes)) for entry in found):
            raise DataError(f"{listed} has no list of names under '{key}'; get the official file or remove this one")
        found = [entry if isinstance(entry, str) else entry.decode("utf-8", "replace") for entry in found]
    else:
        return official
    names = tuple(entry.strip() for entry in found if entry.strip())
    if len(names) != len(official):
        raise DataError(
            f"{listed} names {len(names)} classes; {SOURCES[name].title} has {len(official)}: "
            "get the official file or remove this one"
        )
    return names


def _join(name: str, classes: tuple[str, ...], parts) -> Dataset:
    """Concatenate the batches and move the colour planes to the last axis."""
    count = sum(len(labels) for _, labels in parts)
    images = np.empty((count, 32, 32, 3), np.uint8)
    start = 0
    for pixels, labels in parts:
        planes = pixels.reshape(-1, 3, 32, 32)
        for channel in range(3):  # copying plane by plane is several times faster than transposing at once
            images[start : start + len(labels), ..., channel] = planes[:, channel]
        start += len(labels)
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    return Dataset(name, images, labels, classes, *NORMALISATION[name])
