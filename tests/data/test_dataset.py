"""Data sets as values: checked when made, taken from, limited and split."""

import numpy as np
import pytest

from minihire.data import DataError, Dataset
from minihire.data.dataset import channel_statistics, split_training
from minihire.runtime.errors import MinihireError


def numbered(count=40, classes=("a", "b", "c")):
    """Images whose pixels tell which they are."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    return Dataset("numbered", images, np.arange(count) % len(classes), classes, (0.5,), (0.25,))


def which(dataset):
    return dataset.images[:, 0, 0, 0].tolist()


def test_length_and_shape_are_those_of_the_images():
    data = numbered()
    assert len(data) == 40
    assert data.shape == (2, 3, 1)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"images": np.zeros((3, 2, 2), np.uint8)}, "uint8 [3, 2, 2]; give uint8 [N, H, W, C]"),
        ({"images": np.zeros((3, 2, 2, 1), np.float32)}, "float32 [3, 2, 2, 1]"),
        ({"images": np.zeros((3, 4, 2, 1), np.uint8)[:, ::2]}, "in C order"),
        ({"labels": np.zeros(2, np.int64)}, "int64 [2]; give int64 [3]"),
        ({"labels": np.zeros(3, np.int32)}, "int32 [3]; give int64 [3]"),
        ({"labels": np.array([0, 1, 2])}, "from 0 to 2; give 0 to 1"),
        ({"labels": np.array([0, -1, 1])}, "from -1 to 1"),
        ({"mean": (0.5, 0.5)}, "its 1 channels"),
        ({"std": (0.0,)}, "positive std"),
        ({"mean": 0.5, "std": 0.5}, "odd has mean 0.5 and std 0.5; give a mean and a positive std for each of its 1"),
        (
            {"images": np.zeros((3, 1, 2, 2), np.uint8)},
            "2 channels or, if the channels come first, images.transpose(0, 2, 3, 1)",
        ),
        ({"images": [[[[0]]]] * 3}, "the images of odd are of type list; give a NumPy array"),
        ({"labels": [0, 1, 1]}, "the labels of odd are of type list; give a NumPy array"),
    ],
)
def test_images_labels_and_classes_that_do_not_fit_are_refused(change, said):
    fitting = {
        "images": np.zeros((3, 2, 2, 1), np.uint8),
        "labels": np.array([0, 1, 1]),
        "classes": ("a", "b"),
        "mean": (0.5,),
        "std": (0.5,),
    }
    Dataset("fitting", **fitting)
    with pytest.raises(DataError) as caught:
        Dataset("odd", **{**fitting, **change})
    assert said in str(caught.value)
    assert isinstance(caught.value, MinihireError)


def test_take_keeps_the_order_asked_for_and_copies():
    data = numbered()
    some = data.take([5, 0, 5])
    assert which(some) == [5, 0, 5]
    assert some.labels.tolist() == [2, 0, 2]
    some.images[:] = 99
    assert which(data)[5] == 5
    assert which(data.take(data.labels == 1))[:3] == [1, 4, 7]
    assert len(data.take([])) == 0


@pytest.mark.parametrize("index", [[40], [0, -41], [True, False]])
def test_take_outside_the_set_is_refused(index):
    with pytest.raises(DataError, match="which has 40"):
        numbered().take(np.array(index))


def test_limit_keeps_the_first_images():
    assert which(numbered().limit(3)) == [0, 1, 2]
    assert len(numbered().limit(40)) == 40


@pytest.mark.parametrize("count", [0, -1, 41])
def test_a_limit_outside_the_set_is_refused(count):
    with pytest.raises(DataError, match=f"^{count} images of numbered .* give 1 to 40$"):
        numbered().limit(count)


def test_a_split_loses_and_repeats_no_image():
    train, heldout = split_training(numbered(), 7, seed=3)
    assert (len(train), len(heldout)) == (33, 7)
    assert sorted(which(train) + which(heldout)) == list(range(40))
    assert all(
        label == image % 3 for part in (train, heldout) for label, image in zip(part.labels, which(part), strict=True)
    )
    assert which(train) != sorted(which(train))


def test_a_split_is_the_same_for_a_seed_and_another_for_another():
    first, again, other = (which(split_training(numbered(), 7, seed)[1]) for seed in (3, 3, 4))
    assert first == again != other


def test_a_split_of_known_seed_stays_as_it_is():
    """Checkpoints rely on it: who resumes must not meet held-out images in training."""
    assert which(split_training(numbered(), 5, seed=0)[1]) == [30, 26, 24, 2, 28]


def test_a_split_may_hold_out_no_image():
    train, heldout = split_training(numbered(), 0, seed=0)
    assert (len(train), len(heldout)) == (40, 0)


@pytest.mark.parametrize("heldout", [-1, 40, 41])
def test_a_split_that_leaves_nothing_is_refused(heldout):
    with pytest.raises(DataError, match=f"^{heldout} held-out images .* give 0 to 39$"):
        split_training(numbered(), heldout, seed=0)


def test_statistics_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    images[..., 1] //= 4
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), atol=5.1e-5)


def test_a_constant_channel_can_still_be_divided_by_its_deviation():
    assert channel_statistics(np.full((4, 2, 2, 1), 255, np.uint8)) == ((1.0,), (0.0039,))
