"""The embedded data set: the same for everyone, balanced, and told apart by form alone."""

import hashlib

import numpy as np
import pytest

from minihire.data import DataError, shapes
from minihire.data.dataset import channel_statistics

TRAIN_DIGEST, TEST_DIGEST = "736b108f10ba325d", "30e736fbf34e1709"


def digest(data):
    return hashlib.sha256(data.images.tobytes() + data.labels.astype("<i8").tobytes()).hexdigest()[:16]


def lens(big, small, apart):
    """The area that two circles have in common."""
    a = np.arccos((apart**2 + big**2 - small**2) / (2 * apart * big))
    b = np.arccos((apart**2 + small**2 - big**2) / (2 * apart * small))
    return big**2 * (a - np.sin(2 * a) / 2) + small**2 * (b - np.sin(2 * b) / 2)


def test_shapes_have_the_documented_form():
    data = shapes.make("train", 1000)
    assert data.shape == (32, 32, 3) and data.images.dtype == np.uint8
    assert data.classes == (
        "disc",
        "ring",
        "square",
        "frame",
        "triangle",
        "cross",
        "star",
        "bars",
        "crescent",
        "checker",
    )
    assert np.bincount(data.labels).tolist() == [100] * 10


def test_the_images_are_the_same_on_every_machine():
    """Results in the handbook were made with these images."""
    assert digest(shapes.make("train", 500)) == TRAIN_DIGEST
    assert digest(shapes.make("test", 500)) == TEST_DIGEST


def test_a_longer_set_begins_with_the_shorter_one():
    longer = shapes.make("train", 1200)
    for count in (1, 499, 500, 501):
        shorter = shapes.make("train", count)
        assert len(shorter) == count
        np.testing.assert_array_equal(shorter.images, longer.images[:count])
        np.testing.assert_array_equal(shorter.labels, longer.labels[:count])


def test_no_image_occurs_twice():
    train, test = shapes.make("train", 1000), shapes.make("test", 500)
    assert len({image.tobytes() for data in (train, test) for image in data.images}) == 1500


def test_another_seed_makes_another_set():
    assert digest(shapes.make("test", 500, seed=1)) != digest(shapes.make("test", 500))


def test_a_set_can_be_changed_without_changing_the_next():
    shapes.make("test", 500).images[:] = 0
    assert digest(shapes.make("test", 500)) == TEST_DIGEST


def test_the_normalisation_is_that_of_the_training_images():
    assert channel_statistics(shapes.make("train", shapes.TRAIN).images) == (shapes.MEAN, shapes.STD)


def test_classes_do_not_differ_in_colour():
    """Mean colours of the classes lie within what chance allows (5 standard errors)."""
    data = shapes.make("train", shapes.TRAIN)
    colours = data.images.mean((1, 2))
    for k in range(10):
        mine = colours[data.labels == k]
        error = colours.std(0) / len(mine) ** 0.5
        assert (abs(mine.mean(0) - colours.mean(0)) < 5 * error).all()


def test_figures_have_the_areas_that_geometry_says():
    """Each distance function against the area it must enclose, on a fine grid."""
    axis = (np.arange(1000, dtype=np.float32) + 0.5) / 400 - 1.25
    u, v = np.meshgrid(axis, axis)
    areas = {name: float((distance(u, v) < 0).mean() * 6.25) for name, distance in shapes.FIGURES.items()}
    expected = {
        "disc": np.pi * 0.85**2,
        "ring": np.pi * (0.95**2 - 0.55**2),
        "square": 1.5**2,
        "frame": (2 * 0.83) ** 2 - (2 * 0.47) ** 2,
        "triangle": 3 * 3**0.5 * 0.5**2,
        "cross": 2 * 1.9 * 0.54 - 0.54**2,
        "star": 5 * 0.36**2 * np.tan(np.pi / 5) * (1 + np.tan(np.pi / 5) * np.tan(2 * np.pi / 5)),
        "bars": 3 * 0.3 * 1.6,
        "crescent": np.pi * 0.9**2 - lens(0.9, 0.68, 0.42),
        "checker": 2 * 0.8**2,
    }
    assert areas == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("count", [0, -5, shapes.MAX_IMAGES + 1])
def test_counts_out_of_range_are_refused(count):
    with pytest.raises(
        DataError, match=f"^{count} train images of shapes were requested; give 1 to {shapes.MAX_IMAGES}$"
    ):
        shapes.make("train", count)


def test_other_parts_are_refused():
    with pytest.raises(DataError, match="no part 'heldout' of shapes; choose train or test"):
        shapes.make("heldout", 5)
