"""Checkpoints of networks that a Python program trained on a Dataset of its own: the commands take images of the same classes."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from backends import get_backend
from minihire import Network, Recipe, build, initialise, save_checkpoint, train
from minihire.app import cli
from minihire.data import Dataset
from minihire.training.checkpoint import CheckpointError

CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """trained.npz, saved.npz and plain.npz, and a folder of images with the same classes."""
    place, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 16, 3), np.uint8)
    data = Dataset("mine", pixels, np.arange(12) % 2, CLASSES, (0.5,) * 3, (0.25,) * 3)
    k, model = get_backend("numba"), build("vgg5", 2, (16, 16, 3), width=1 / 16, hidden=8)
    ann = Network(model, k, initialise(model, k, 0))
    train(ann, Recipe(1, 4, optimiser="sgd", augment=False), data, path=place / "trained.npz")
    save_checkpoint(place / "saved.npz", ann, data=data)
    save_checkpoint(place / "plain.npz", ann)
    for number, image in enumerate(pixels):
        path = place / "images" / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return place


@pytest.mark.parametrize("name", ["trained", "saved"])
def test_the_commands_take_a_folder_of_the_same_classes(place, tmp_path, name, capsys):
    file, images = str(place / f"{name}.npz"), str(place / "images")
    scores = tmp_path / "scores.json"
    given = ["--data", "folder", "--data-dir", images]
    assert cli.main(["attack", file, *given, "--attacks", "fgsm", "--json", str(scores)]) == 0
    assert json.loads(scores.read_text())["accuracy"]["clean"]["count"] == 2
    assert (
        cli.main(
            ["convert", file, *given, "--steps", "3", "--calibration-images", "4", "--out", str(tmp_path / "s.npz")]
        )
        == 0
    )
    assert cli.main(["attack", file, str(place / "images" / "cat" / "0.png"), "--attacks", "fgsm"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", file, str(place / "images" / "cat" / "0.png")]) == 0
    assert {"cat", "dog"} & set(capsys.readouterr().out.split())


@pytest.mark.parametrize("flags", [[], ["--data", "cifar10", "--data-dir", "."]])
def test_without_such_images_one_sentence_says_so(place, flags, capsys):
    assert cli.main(["attack", str(place / "saved.npz"), *flags, "--attacks", "fgsm"]) == 2
    error = capsys.readouterr().err
    expected = "was trained on the Dataset 'mine' of a Python program: give images of the same classes with --data"
    assert flags or expected in error
    assert error.count("\n") == 1


def test_what_is_no_data_set_is_refused(place, tmp_path):
    k, model = get_backend("reference"), build("vgg5", 2, (16, 16, 3), width=1 / 16, hidden=8)
    with pytest.raises(
        CheckpointError, match="^a checkpoint records a Dataset, not tuple: give the training images' Dataset$"
    ):
        save_checkpoint(tmp_path / "x.npz", Network(model, k, initialise(model, k, 0)), data=CLASSES)


def test_a_folder_of_test_images_only_is_for_commands_that_do_not_train(place, tmp_path, capsys):
    shutil.copytree(place / "images", tmp_path / "new" / "test")
    given = ["--data", "folder", "--data-dir", str(tmp_path / "new")]
    scores = tmp_path / "scores.json"
    attack = ["attack", str(place / "saved.npz"), *given, "--attacks", "fgsm", "--json", str(scores)]
    assert cli.main(attack) == 0 and json.loads(scores.read_text())["accuracy"]["clean"]["count"] == 12
    capsys.readouterr()
    ann = str(tmp_path / "a.npz")
    assert cli.main(["train", "ann", "--data-dir", str(place / "images"), "--ann-epochs", "1", "--out", ann]) == 0
    capsys.readouterr()
    for path in (tmp_path / "new" / "test").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)  # new pictures
    assert cli.main(["attack", ann, "--data-dir", str(tmp_path / "new"), "--attacks", "fgsm"]) == 0
    assert "has changed since the training" not in capsys.readouterr().out
    for command in (["run", "--data-dir", str(tmp_path / "new")], ["convert", str(place / "saved.npz"), *given]):
        assert cli.main([*command, "--out", str(tmp_path / "out.npz")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "has only test images, in its folder test" in error
