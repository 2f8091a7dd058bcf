"""The data-set types: images, labels, class names, and the normalisation that the network applies to its input."""

from __future__ import annotations

import hashlib
import operator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from backends.randomness import Draw, permutation
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream


class DataError(MinihireError):
    """Bad or missing data. The message is one sentence: what was given, what was expected, and what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images: `images` uint8 [N, H, W, C] in C order and `labels` int64 [N], which index `classes`.

    `mean` and `std` have one value per channel, in pixels of [0, 1]. A name that is no text becomes text.
    Raises DataError if shapes, types or labels are wrong.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.name))
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        images, labels = self.images, self.labels
        for what, array in (("images", images), ("labels", labels)):
            if not isinstance(array, np.ndarray):
                raise DataError(f"the {what} of {self.name} are of type {type(array).__name__}; give a NumPy array")
        if images.ndim != 4 or images.dtype != np.uint8 or not images.flags.c_contiguous:
            raise DataError(
                f"the images of {self.name} are {images.dtype} {list(images.shape)}; give uint8 [N, H, W, C] in C order"
            )
        if labels.shape != images.shape[:1] or labels.dtype != np.int64:
            raise DataError(
                f"the labels of {self.name} are {labels.dtype} {list(labels.shape)}; give int64 [{len(images)}]"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise DataError(
                f"the labels of {self.name} run from {labels.min()} to {labels.max()}; "
                f"give 0 to {len(self.classes) - 1}, an index into its {len(self.classes)} classes"
            )
        counts = {np.size(self.mean), np.size(self.std)}
        if np.ndim(self.mean) != 1 or counts != {images.shape[3]} or not all(s > 0 for s in self.std):
            first = " or, if the channels come first, images.transpose(0, 2, 3, 1).copy()"
            raise DataError(
                f"{self.name} has mean {self.mean} and std {self.std}; give a mean and a positive std "
                f"for each of its {images.shape[3]} channels{first if counts == {images.shape[1]} else ''}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        return f"Dataset({self.name}: {len(self):,} images of {size}, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        return self.images.shape[1:]

    def take(self, index: ArrayLike) -> Dataset:
        """Copy the images at `index` (integers, or a bool mask [N]) in that order. Raises DataError if one is out of range."""
        index = np.asarray(index)
        if index.dtype != bool:
            index = index.astype(np.int64).reshape(-1)
        try:
            return replace(self, images=self.images[index], labels=self.labels[index])
        except IndexError as error:
            raise DataError(f"cannot select these images of {self.name}, which has {len(self)}: {error}") from None

    def limit(self, count: int) -> Dataset:
        """Return the first `count` images. Raises DataError unless 1 ≤ count ≤ N."""
        if not 1 <= operator.index(count) <= len(self):
            raise DataError(
                f"{count} images of {self.name} were requested; this split has {len(self)}: give 1 to {len(self)}"
            )
        return self if count == len(self) else self.take(np.arange(count))


@dataclass(frozen=True, eq=False)
class Splits:
    """The three splits of a data set. `heldout` is cut from the training images and serves to choose hyper-parameters."""

    train: Dataset
    heldout: Dataset
    test: Dataset

    def __repr__(self) -> str:
        train, heldout, test = (f"{len(part or ()):,}" for part in (self.train, self.heldout, self.test))
        return f"Splits({self.train.name}: {train} training, {heldout} held-out and {test} test images)"


def split_training(dataset: Dataset, heldout: int, seed: int) -> tuple[Dataset, Dataset]:
    """Split training images at random into (train, held-out), with `heldout` images in the second part.

    The seed alone decides which images are held out. `train` is in random order, so `train.limit(n)` is a random subset,
    and a larger n contains every smaller one.
    Raises DataError unless 0 ≤ heldout < N; of no images, none can be held out.
    """
    if not 0 <= heldout < max(len(dataset), 1):
        raise DataError(
            f"{heldout} held-out images were requested; {dataset.name} has {len(dataset)} training images: "
            f"give 0 to {max(len(dataset) - 1, 0)}"
        )
    order = permutation(Draw(seed, Stream.SPLIT, 0), len(dataset))
    return dataset.take(order[heldout:]), dataset.take(order[:heldout])


def image_hashes(images: np.ndarray) -> list[str]:
    """A hash of each uint8 image of [N, H, W, C]: 16 hexadecimal digits, the same for identical pixels."""
    return [hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in images]


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images [N, H, W, C], in pixels of [0, 1], rounded to 4 digits.

    The sums are integers, so every machine gets the same result. std is at least 1/255, because a channel may be constant.
    """
    level = np.arange(256)
    mean, std = [], []
    for channel in range(images.shape[3]):
        count = np.bincount(images[..., channel].reshape(-1), minlength=256)
        total, first, second = (int((count * level**power).sum()) for power in (0, 1, 2))
        variance = (second * total - first * first) / total**2
        mean.append(round(first / total / 255, 4))
        std.append(round(max(variance**0.5, 1.0) / 255, 4))
    return tuple(mean), tuple(std)
