"""Batches of images on a backend. Shuffling, cropping and flipping depend on (seed, epoch, batch) alone."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends.interface import Backend
from backends.randomness import Draw, integers, permutation
from minihire.data.dataset import Dataset
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream

PADDING = 4  # pixels of reflection padding, from which random crops are taken


@dataclass
class Batches:
    """The batches of a data set, as backend arrays. Iterating yields the batches of epoch 0.

    size: images per batch; the last batch may be smaller. shuffle: a new order in each epoch. augment: random horizontal
    flip, and random crop from reflection padding of 4 pixels. Raises MinihireError for a data set without images, a size below 1,
    and images that are too small to crop.
    """

    dataset: Dataset
    backend: Backend
    size: int
    seed: int = 0
    shuffle: bool = False
    augment: bool = False
    store: Any = field(init=False)
    order: tuple[int, np.ndarray] = field(init=False)

    def __post_init__(self):
        self.size = checks.whole("the batch size", self.size)
        if not len(self.dataset):
            raise MinihireError(f"{self.dataset.name} has no images: give at least one")
        if self.augment and min(self.dataset.shape[:2]) <= PADDING:
            height, width, _ = self.dataset.shape
            raise MinihireError(
                f"images of {height}×{width} pixels are too small for crops from {PADDING} pixels of padding: "
                "turn augmentation off"
            )
        self.store = self.backend.asarray(self.dataset.images)
        self.order = (-1, np.arange(len(self.dataset)))

    def __len__(self):
        return -(-len(self.dataset) // self.size)

    def image_count(self, batch: int) -> int:
        """Number of images in batch number `batch`: `size`, or fewer in the last batch."""
        return min(self.size, len(self.dataset) - batch * self.size)

    def load(self, epoch: int, batch: int, share: slice = slice(None)):
        """Return one batch: images [n, H, W, C] in [0, 1] and labels int64 [n], both backend arrays.

        share: load only these positions of the batch, as a data-parallel rank does. Each image gets the same crop and
        flip as in the whole batch.
        """
        if self.shuffle and self.order[0] != epoch:
            self.order = (epoch, permutation(Draw(self.seed, Stream.SHUFFLE, epoch), len(self.dataset)))
        index = self.order[1][batch * self.size : (batch + 1) * self.size]
        whole, index = len(index), index[share]
        shift, flip = np.full((len(index), 2), PADDING), np.zeros(len(index), np.int64)
        if self.augment:
            step = epoch * len(self) + batch
            shift = integers(Draw(self.seed, Stream.CROP, step), (whole, 2), 2 * PADDING + 1)[share]
            flip = integers(Draw(self.seed, Stream.FLIP, step), whole, 2)[share]
        images = self.backend.image_batch(self.store, index, shift, flip, PADDING)
        return images, self.backend.asarray(self.dataset.labels[index])

    def __iter__(self):
        return (self.load(0, batch) for batch in range(len(self)))
