"""MNIST (LeCun, Cortes and Burges), from its idx files, plain or gzipped."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from minihire.data.dataset import DataError, Dataset
from minihire.data.sources import find

SIDE = 28
MOST = {"train": 60_000, "test": 10_000}
CLASSES = tuple("0123456789")
MEAN, STD = (0.1307,), (0.3081,)
IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049  # unsigned bytes (8) in three dimensions and in one


def read(data_dir: str | os.PathLike) -> tuple[Dataset, Dataset]:
    """Training and test images: uint8 [N, 28, 28, 1] each, in the order of the files.

    Raises MissingData without the files, DataError where one is cut short, too long, mislabelled or not idx.
    """
    train_images, train_labels, test_images, test_labels = find("mnist", data_dir)
    return (
        _read_part(train_images, train_labels, MOST["train"]),
        _read_part(test_images, test_labels, MOST["test"]),
    )


def read_idx(path: Path, magic: int, shape: tuple[int, ...], most: int) -> np.ndarray:
    """The array uint8 [n, *shape] of an idx file with 1 ≤ n ≤ `most`; DataError if it is anything else.

    No more is decompressed than the header announces, and a header that announces too much is refused first.
    """
    header = 8 + 4 * len(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            start = file.read(header)
            if len(start) < header:
                raise DataError(f"{path} ends after {len(start)} bytes, within its header of {header}: get it again")
            found, count, *sides = struct.unpack(f">{header // 4}I", start)
            if found != magic or tuple(sides) != shape or not 1 <= count <= most:
                raise DataError(
                    f"{path} begins with magic {found}, {count} entries and shape {sides}; expected magic {magic}, "
                    f"1 to {most} entries and shape {list(shape)}: this is another file, or it is damaged"
                )
            size = count * int(np.prod(shape))
            data = file.read(size + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"cannot read {path}: {error}; get the file again") from None
    if len(data) != size:
        found = f"ends at byte offset {header + len(data)}" if len(data) < size else "goes on"
        raise DataError(
            f"{path} announces {count} entries, {header + size} bytes in all, but {found}: get the file again"
        )
    return np.frombuffer(data, np.uint8).reshape(count, *shape)


def _read_part(image_path: Path, label_path: Path, most: int) -> Dataset:
    images = read_idx(image_path, IMAGE_MAGIC, (SIDE, SIDE), most)
    labels = read_idx(label_path, LABEL_MAGIC, (), most)
    if len(images) != len(labels):
        raise DataError(
            f"{image_path} has {len(images)} images but {label_path} {len(labels)} labels; get both files again"
        )
    wrong = np.flatnonzero(labels >= len(CLASSES))
    if len(wrong):
        raise DataError(
            f"{label_path} has label {labels[wrong[0]]} at record {wrong[0]}, byte offset {8 + wrong[0]}; "
            "labels there run from 0 to 9: this is another file, or it is damaged"
        )
    return Dataset("mnist", images[..., None].copy(), labels.astype(np.int64), CLASSES, MEAN, STD)
