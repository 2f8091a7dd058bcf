"""One function for all data sets: read (or make, or fetch), cut off held-out images, limit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from backends.randomness import Draw, Stream, permutation
from minihire.data import cifar, folder, mnist, shapes
from minihire.data.dataset import DataError, Dataset, Splits, split_training
from minihire.data.download import download as fetch
from minihire.data.sources import SOURCES, MissingData, find

# read(data_dir) → training and test images of a set whose files lie in a folder; an entry is all that a new one needs
READERS: dict[str, Callable[..., tuple[Dataset, Dataset]]] = {
    "cifar10": partial(cifar.read, "cifar10"),
    "cifar100": partial(cifar.read, "cifar100"),
    "mnist": mnist.read,
    "folder": folder.read,
}
NAMES = ("shapes", *READERS)


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    seed: int = 0,
    heldout: int | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    download: bool = False,
    size: int | None = None,
) -> Splits:
    """The training, held-out and test images of the data set `name` ("shapes" or one of READERS), its files in `data_dir`.

    The seed chooses the held-out images (unless given a tenth; 5,000 at most of a public set) and the order of the
    training images; the test images are the same for every seed. Limits take random subsets, nested as they grow;
    beyond its default size "shapes" makes more. `size`: side in pixels for a folder's images. Raises DataError.
    """
    _check(name, data_dir, download, size)
    if name == "shapes":
        return _load_shapes(seed, heldout, train_limit, test_limit)
    if download:
        _fetch_if_missing(name, data_dir)
    training, test = READERS[name](data_dir, size) if name == "folder" else READERS[name](data_dir)
    train, kept = split_training(training, _heldout_size(training, heldout), seed)
    if test_limit is not None and test_limit < len(test):
        # Not simply the first: a folder's images are sorted by class, and MNIST's first half is the easier one.
        test = test.take(permutation(Draw(0, Stream.SUBSET), len(test)))
    return Splits(_limited(train, train_limit), kept, _limited(test, test_limit))


def _check(name, data_dir, download, size) -> None:
    if name not in ("shapes", *READERS):
        raise DataError(f"there is no data set '{name}'; choose one of {', '.join(('shapes', *READERS))}")
    if name != "shapes" and data_dir is None:
        raise DataError(f"'{name}' needs a folder to read from and none was given; give its folder with --data-dir")
    if download and name not in SOURCES:
        raise DataError(f"there is nothing to download for '{name}'; leave --download out")
    if size is not None and name != "folder":
        raise DataError(f"an image size was given for '{name}', whose size is fixed; leave --image-size out")


def _fetch_if_missing(name: str, data_dir) -> None:
    try:
        find(name, data_dir)
    except MissingData:
        fetch(name, data_dir)


def _heldout_size(training: Dataset, heldout: int | None) -> int:
    if heldout is not None:
        return heldout
    tenth = max(1, len(training) // 10)
    return min(tenth, 5000) if training.name in SOURCES else tenth


def _limited(dataset: Dataset, limit: int | None) -> Dataset:
    return dataset if limit is None else dataset.limit(limit)


def _load_shapes(seed, heldout, train_limit, test_limit) -> Splits:
    """The held-out images come from the first 5,000 whatever the limit; further training images follow in order."""
    base = shapes.make("train", shapes.TRAIN)
    train, kept = split_training(base, _heldout_size(base, heldout), seed)
    lacking = (train_limit or 0) - len(train)
    if lacking > 0:
        more = shapes.make("train", shapes.TRAIN + lacking).take(np.arange(shapes.TRAIN, shapes.TRAIN + lacking))
        train = replace(
            train,
            images=np.concatenate([train.images, more.images]),
            labels=np.concatenate([train.labels, more.labels]),
        )
    test = shapes.make("test", shapes.TEST if test_limit is None else test_limit)
    return Splits(_limited(train, train_limit), kept, test)
