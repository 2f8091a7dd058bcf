"""Reader for MNIST (LeCun, Cortes and Burges): idx files, plain or gzipped."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from minihire.data.dataset import DataError, Dataset
from minihire.data.sources import find_files
from minihire.runtime.files import open_regular

SIDE = 28
MAX_IMAGES = {"train": 60_000, "test": 10_000}  # as many as the official files have
CLASSES = tuple("0123456789")
MEAN, STD = (0.1307,), (0.3081,)
IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049  # 8·256 + dimensions, where 8 is the code of unsigned bytes


def read(data_dir: str | os.PathLike) -> tuple[Dataset, Dataset]:
    """Return training and test images, uint8 [N, 28, 28, 1] each, in the order of the files.

    Raises MissingData if files are missing. Raises DataError if a file is not idx, has the wrong length, or has a label
    above 9.
    """
    train_images, train_labels, test_images, test_labels = find_files("mnist", data_dir)
    return (
        _read_part(train_images, train_labels, MAX_IMAGES["train"]),
        _read_part(test_images, test_labels, MAX_IMAGES["test"]),
    )


def read_idx(path: Path, magic: int, shape: tuple[int, ...], max_count: int) -> np.ndarray:
    """Read an idx file of 1 to `max_count` entries: uint8 [n, *shape]. Raises DataError for any other content.

    The header is checked first, and no more bytes are decompressed than it announces. So a small gzip file cannot fill
    the memory.
    """
    header = 8 + 4 * len(shape)
    try:
        with open_regular(path) as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            start = file.read(header)
            if len(start) < header:
                raise DataError(
                    f"{path} ends after {len(start)} bytes, within its header of {header}: get the file again"
                )
            found, count, *sides = struct.unpack(f">{header // 4}I", start)
            if found != magic or tuple(sides) != shape or not 1 <= count <= max_count:
                raise DataError(
                    f"{path} begins with magic {found}, {count} entries and shape {sides}; expected magic {magic}, "
                    f"1 to {max_count} entries and shape {list(shape)}: the file is damaged or not an MNIST file"
                )
            size = count * int(np.prod(shape))
            data = file.read(size + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"cannot read {path}: {error}; get the file again") from None
    if len(data) != size:
        found = f"ends at byte offset {header + len(data)}" if len(data) < size else "contains more"
        raise DataError(
            f"{path} announces {count} entries, {header + size} bytes in all, but {found}: get the file again"
        )
    return np.frombuffer(data, np.uint8).reshape(count, *shape)


def _read_part(image_path: Path, label_path: Path, max_count: int) -> Dataset:
    images = read_idx(image_path, IMAGE_MAGIC, (SIDE, SIDE), max_count)
    labels = read_idx(label_path, LABEL_MAGIC, (), max_count)
    if len(images) != len(labels):
        raise DataError(
            f"{image_path} has {len(images)} images, but {label_path} has {len(labels)} labels; get both files again"
        )
    wrong = np.flatnonzero(labels >= len(CLASSES))
    if len(wrong):
        raise DataError(
            f"{label_path} has label {labels[wrong[0]]} at record {wrong[0]}, byte offset {8 + wrong[0]}; "
            "expected a label from 0 to 9: the file is damaged or not an MNIST file"
        )
    return Dataset("mnist", images[..., None].copy(), labels.astype(np.int64), CLASSES, MEAN, STD)
