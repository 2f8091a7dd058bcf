"""The pictures that a run keeps: exact while they are small, few and cut where they are large."""

from types import SimpleNamespace

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.attacks import perturb, pgd
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.study import pictures
from minihire.study.images import from_png
from minihire.training import CraftedNoise, GaussianNoise, Recipe, train


@pytest.fixture
def backend():
    return get_backend("reference")


def always(backend, label):
    """A network that always gives the same answer."""
    logits = np.eye(3)[[label]]
    return SimpleNamespace(
        backend=backend, forward=lambda images, draws: backend.asarray(np.repeat(logits, len(images), 0))
    )


@pytest.mark.parametrize(
    ("shape", "count", "kept"),
    [
        ((32, 32, 3), 6, (32, 32, 3)),
        ((28, 28, 1), 6, (28, 28)),
        ((64, 64, 3), 3, (64, 64, 3)),
        ((200, 120, 3), 3, (96, 96, 3)),
    ],
)
def test_examples(backend, shape, count, kept):
    levels, labels = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8), np.arange(count) % 3
    data = Dataset("x", levels, labels, ("a", "b", "c"), (0.5,) * shape[2], (0.25,) * shape[2])
    images = (levels / 255).astype(np.float32)
    rows = pictures.attacked_examples("hire", always(backend, 1), data, pgd(), 0, images, 1 - images)
    assert len(rows) == count
    top, left = (shape[0] - kept[0]) // 2, (shape[1] - kept[1]) // 2
    for i, row in enumerate(rows):
        assert (row["model"], row["attack"], row["label"], row["clean_prediction"]) == ("hire", "pgd", labels[i], 1)
        middle = levels[i, top : top + kept[0], left : left + kept[1]].reshape(kept)
        assert np.array_equal(from_png(row["clean_png"]), middle)
        assert np.array_equal(from_png(row["attacked_png"]), 255 - middle)


def test_examples_after_the_first_images_are_attacked_as_these_are(backend):
    levels = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3), np.uint8)
    data = Dataset("x", levels, np.array([0, 0, 0, 0, 1, 1, 1, 1]), ("a", "b"), (0.5,) * 3, (0.25,) * 3)
    model = build("vgg5", 2, (16, 16, 3), width=0.05, hidden=8)
    network, attack = Network(model, backend, initialise(model, backend, 0)), pgd(0.1)
    clean = backend.asarray(levels * np.float32(1 / 255))
    attacked = backend.to_numpy(perturb(network, clean, backend.asarray(data.labels), attack, Draws(3)))
    whole, part = (pictures.attacked_examples("x", network, data, attack, 3, clean[:n], attacked[:n]) for n in (8, 3))
    assert whole == part and [row["label"] for row in part] == [0, 0, 0, 1, 1, 1]
    assert all(row["clean_png"] != row["attacked_png"] for row in part)


@pytest.mark.parametrize(
    ("labels", "side", "chosen"),
    [
        ([0] * 50 + [1] * 50 + [2] * 50 + [3] * 50, 32, [0, 1, 50, 51, 100, 150]),  # sorted by class, as folders are
        ([2, 2, 1, 2, 1, 1, 0, 0], 32, [0, 1, 2, 4, 6, 7]),
        ([2, 2, 1, 2, 1, 1, 0, 0], 64, [0, 2, 6]),
        ([0] * 9, 32, [0, 1, 2, 3, 4, 5]),
        ([1, 0], 32, [0, 1]),
    ],
)
def test_the_examples_are_of_as_many_classes_as_possible(labels, side, chosen):
    images = np.zeros((len(labels), side, side, 3), np.uint8)
    data = Dataset("x", images, np.array(labels), ("a", "b", "c", "d"), (0.5,) * 3, (0.2,) * 3)
    assert pictures.choose_examples(data) == chosen


def finished(backend, noise, **options):
    data = np.random.default_rng(1).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    images = Dataset("dots", data, np.arange(10) % 2, ("a", "b"), (0.5,) * 3, (0.25,) * 3)
    model = build("vgg5", 2, (16, 16, 3), width=0.05, hidden=8)
    parameters = initialise(model, backend, 0, spiking=True)
    network = Network(model, backend, parameters, spiking=True, steps=2)
    recipe = Recipe(epochs=1, batch_size=4, periods=2, augment=False, noise=noise, **options)
    return train(network, recipe, images), data


def test_kappa_is_drawn_from_black_to_white_beside_its_images(backend):
    training, data = finished(backend, CraftedNoise(0.02, 0.05))
    kept = pictures.noise_pictures(training)
    assert kept["scale"] == 0.05 and len(kept["images"]) == 2  # 10 images in batches of 4: the last has 2
    kappa = backend.to_numpy(training.kappa)
    for i, pair in enumerate(kept["images"]):
        assert np.any(np.all(from_png(pair["image_png"]) == data, axis=(1, 2, 3)))  # one of the images, not augmented
        drawn = from_png(pair["kappa_png"]).astype(float) / 255
        assert np.abs(drawn - (kappa[i] / 0.05 / 2 + 0.5)).max() <= 0.5 / 255 + 1e-6


def test_gaussian_noise_is_drawn_to_three_deviations(backend):
    training, _ = finished(backend, GaussianNoise(0.01))
    kept = pictures.noise_pictures(training)
    assert kept["scale"] == pytest.approx(0.03)
    values = np.concatenate([from_png(pair["kappa_png"]).ravel() for pair in kept["images"]]) / 255
    assert (values - 0.5).std() == pytest.approx(1 / 6, rel=0.1)


def test_without_noise_there_is_no_picture_and_a_bound_of_zero_is_grey(backend):
    assert pictures.noise_pictures(finished(backend, Recipe().noise)[0]) is None
    kept = pictures.noise_pictures(finished(backend, CraftedNoise(0.0, 0.0))[0])
    assert {int(level) for pair in kept["images"] for level in np.unique(from_png(pair["kappa_png"]))} == {128}
