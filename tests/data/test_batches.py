"""Batches: order, crops and mirrors by draws, the last batch smaller, small images refused."""

import numpy as np
import pytest

from backends import get_backend
from minihire.data import Dataset
from minihire.data.batches import PADDING, Batches
from minihire.runtime.errors import MinihireError


def make(count=10, side=8):
    images = np.arange(count * side * side * 3, dtype=np.uint32).reshape(count, side, side, 3).astype(np.uint8)
    return Dataset("tiny", images, np.arange(count) % 2, ("a", "b"), (0.5,) * 3, (0.25,) * 3)


def test_without_shuffling_and_augmentation_the_images_come_as_they_are():
    data = make()
    found = list(Batches(data, get_backend("reference"), 4))
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in found]), data.images * np.float32(1 / 255))
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]), data.labels)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    data = make(40)
    batches = Batches(data, get_backend("reference"), 7, seed=3, shuffle=True)
    orders = [
        np.concatenate([batches.load(epoch, i)[0][:, 0, 0, 0] for i in range(len(batches))]) for epoch in (0, 1, 0)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(data.images[:, 0, 0, 0] * np.float32(1 / 255))
    assert not np.array_equal(orders[0], orders[1]) and np.array_equal(orders[0], orders[2])


def test_augmentation_is_the_same_on_both_backends_and_new_in_each_epoch():
    data = make(20)
    loads = [Batches(data, get_backend(name), 20, shuffle=True, augment=True).load for name in ("reference", "numba")]
    np.testing.assert_array_equal(loads[0](0, 0)[0], loads[1](0, 0)[0])
    plain = Batches(data, get_backend("reference"), 20, shuffle=True).load(0, 0)[0]
    assert not np.array_equal(loads[0](0, 0)[0], plain) and not np.array_equal(loads[0](0, 0)[0], loads[0](1, 0)[0])


@pytest.mark.parametrize("batch", [0, 1])
def test_shares_of_a_batch_make_up_the_batch(batch):
    """Crops and mirrors included; of the second batch, of 4 images, the last share is empty."""
    batches = Batches(make(13), get_backend("reference"), 9, shuffle=True, augment=True)
    shares = [batches.load(2, batch, slice(first, first + 3)) for first in (0, 3, 6)]
    for whole, parts in zip(batches.load(2, batch), zip(*shares, strict=True), strict=True):
        assert (
            len(whole) == batches.image_count(batch) and [len(part) for part in parts] == [[3, 3, 3], [3, 1, 0]][batch]
        )
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_images_smaller_than_the_padding_are_refused():
    with pytest.raises(MinihireError, match="4×4 pixels are too small for crops .*turn augmentation off"):
        Batches(make(side=PADDING), get_backend("reference"), 4, augment=True)
    assert Batches(make(side=PADDING), get_backend("numba"), 4).load(0, 0)[0].shape == (4, 4, 4, 3)
