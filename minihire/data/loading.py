"""`load`: one function for all data sets. It reads, draws or downloads the images and splits them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backends.randomness import Draw, permutation
from minihire.data import cifar, folder, mnist, shapes
from minihire.data.dataset import DataError, Dataset, Splits, split_training
from minihire.data.download import download as fetch
from minihire.data.sources import SOURCES, MissingData, find_files
from minihire.runtime import checks
from minihire.runtime.random_streams import Stream

# name → read(data_dir), which returns the training and test images. To add a data set, add an entry here.
READERS: dict[str, Callable[..., tuple[Dataset, Dataset]]] = {
    "cifar10": partial(cifar.read, "cifar10"),
    "cifar100": partial(cifar.read, "cifar100"),
    "mnist": mnist.read,
    "folder": folder.read,
}
NAMES = ("shapes", *READERS)
FEWEST_HELDOUT = 30  # of a folder of images, by default


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    heldout: int | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    download: bool = False,
    size: int | None = None,
    flexible: Collection[str] = (),
) -> Splits:
    """Load the training, held-out and test images of the data set `name`: "shapes" or one of READERS.

    data_dir: the folder with the files; "shapes" needs none.
    seed: decides which training images are held out, and the order of the rest. The test images never depend on it.
    heldout: number of held-out images. Default: a tenth of the training images, at most 5,000 of a public data set; none of a
        "folder" if that were fewer than 30, because an accuracy on so few says little and each image helps the training.
    train_limit, test_limit: keep this many images, chosen at random. A larger limit contains every smaller one.
        "shapes" draws more training images if the limit exceeds its default size.
    download: download a public data set if its files are missing.
    size: side in pixels to which the images of a "folder" are resized. Default: their own size if all have the same, else 32.
    flexible: those of "heldout", "train_limit" and "test_limit" that are lowered where the data set has too few images;
        held-out images then are a tenth of the training images. "shapes" lowers none.

    Raises DataError for an unknown name, an unsuitable option, missing or damaged files, and a reader that does not return two
    Datasets; MinihireError for numbers that are not whole.

    >>> from minihire import load_data
    >>> images = load_data("shapes", train_limit=100, test_limit=20)
    >>> images.train.images.shape, len(images.test), images.test.classes[0]
    ((100, 32, 32, 3), 20, 'disc')
    """
    _check(name, data_dir, download, size)
    seed = checks.whole("the seed", seed, None)
    given = {"heldout": heldout, "train_limit": train_limit, "test_limit": test_limit, "size": size}
    heldout, train_limit, test_limit, size = (
        None if value is None else checks.whole(option, value, None) for option, value in given.items()
    )
    if name == "shapes":
        return _load_shapes(seed, heldout, train_limit, test_limit)
    if download and data_dir is not None:
        _fetch_if_missing(name, data_dir)
    training, test = _read(name, data_dir, *([size] if name == "folder" else []))
    if "heldout" in flexible and heldout and 2 * heldout > len(training):
        heldout = None
    train, held_out = split_training(training, _heldout_size(training, heldout), seed)
    if "train_limit" in flexible and train_limit:
        train_limit = min(train_limit, len(train))
    if "test_limit" in flexible and test_limit:
        test_limit = min(test_limit, len(test))
    if test_limit is not None and test_limit < len(test):
        # The first images would be a biased subset: a folder is sorted by class, and MNIST's first half is easier.
        test = test.take(permutation(Draw(0, Stream.SUBSET), len(test)))
    return Splits(_limited(train, train_limit), held_out, _limited(test, test_limit))


def _check(name: str, data_dir: str | os.PathLike[str] | None, download: bool, size: int | None) -> None:
    if name not in ("shapes", *READERS):
        raise DataError(f"there is no data set '{name}'; choose one of {', '.join(('shapes', *READERS))}")
    if name != "shapes" and data_dir is None:
        raise DataError(
            f"'{name}' is read from a folder, but none was given; give the folder of its files (--data-dir or data_dir)"
        )
    if name == "shapes" and data_dir is not None:
        raise DataError(f"'shapes' is drawn, not read, but the folder {data_dir} was given; leave it out")
    if download and name not in SOURCES:
        raise DataError(f"'{name}' cannot be downloaded; leave the download out")
    if size is not None and name != "folder":
        raise DataError(f"an image size was given, but the images of '{name}' have a fixed size; leave the size out")


def _read(name: str, *arguments: Any) -> tuple[Dataset, Dataset]:
    """Call the reader of this name with the folder, and for "folder" the size. Raises DataError for other than two Datasets."""
    checks.callable_with(f"the reader {name!r} of READERS", READERS[name], *("data_dir", "size")[: len(arguments)])
    found = READERS[name](*arguments)
    parts = found if isinstance(found, tuple | list) else (found,)
    if len(parts) != 2 or not all(isinstance(part, Dataset) for part in parts):
        given = type(found).__name__ if parts != found else f"({', '.join(type(part).__name__ for part in parts)})"
        raise DataError(f"the reader {name!r} returned {given}; let it return two Datasets, for training and for test")
    return parts[0], parts[1]


def _fetch_if_missing(name: str, data_dir: str | os.PathLike[str]) -> None:
    try:
        find_files(name, data_dir)
    except MissingData:
        fetch(name, data_dir)


def _heldout_size(training: Dataset, heldout: int | None) -> int:
    if heldout is not None:
        return heldout
    tenth = max(1, len(training) // 10)
    if training.name == "folder" and tenth < FEWEST_HELDOUT:
        return 0
    return min(tenth, 5000) if training.name in SOURCES else tenth


def _limited(dataset: Dataset, limit: int | None) -> Dataset:
    return dataset if limit is None else dataset.limit(limit)


def _load_shapes(seed: int, heldout: int | None, train_limit: int | None, test_limit: int | None) -> Splits:
    """Split off held-out images from the default set, then append further training images if the limit needs them.

    So the held-out images do not depend on the limit.
    """
    base = shapes.make("train", shapes.TRAIN)
    train, held_out = split_training(base, _heldout_size(base, heldout), seed)
    most = shapes.MAX_IMAGES - len(held_out)
    if train_limit is not None and not 1 <= train_limit <= most:
        raise DataError(f"{train_limit} training images of shapes were requested; give 1 to {most}")
    missing = (train_limit or 0) - len(train)
    if missing > 0:
        more = shapes.make("train", shapes.TRAIN + missing).take(np.arange(shapes.TRAIN, shapes.TRAIN + missing))
        train = replace(
            train,
            images=np.concatenate([train.images, more.images]),
            labels=np.concatenate([train.labels, more.labels]),
        )
    test = shapes.make("test", shapes.TEST if test_limit is None else test_limit)
    return Splits(_limited(train, train_limit), held_out, test)
