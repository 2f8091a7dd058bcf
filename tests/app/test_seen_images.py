"""A folder that changes after the training: no network is silently tested on images that it was trained on."""

import json
import shutil

import pytest
from own_pictures import draw
from PIL import Image
from run_files import command

from backends import get_backend
from minihire.data import load
from minihire.data.dataset import image_hashes
from minihire.data.folder import read_image, resize
from minihire.models import build
from minihire.network import Network, initialise
from minihire.training import checkpoint

K = get_backend("reference")
QUICK = ["--attacks", "fgsm", "--backend", "reference"]
TINY = ["--width", 1 / 16, "--hidden", 8, "--ann-epochs", 1, "--backend", "reference"]


@pytest.fixture
def place(tmp_path):
    """A folder of 3 × 10 pictures, and a checkpoint that says that it was trained on them."""
    data = load("folder", draw(tmp_path / "photos", 10)).train
    model = build("vgg5", 3, width=1 / 16, hidden=8)
    network = Network(model, K, initialise(model, K, 0))
    about = checkpoint.describe_data(data)
    checkpoint.save(tmp_path / "a.npz", network, extra={"data": about})
    del about["images"]
    checkpoint.save(tmp_path / "old.npz", network, extra={"data": about})
    return tmp_path


def attack(place, name="a", *flags, folder="photos"):
    return command("attack", place / f"{name}.npz", "--data-dir", place / folder, *QUICK, *flags)


def warnings(place, **options):
    code, text = attack(place, "a", "--json", "-", **options)
    assert code == 0
    return json.loads(text)["warnings"]


def test_the_folder_of_the_training_is_accepted(place):
    assert warnings(place) == []


@pytest.mark.parametrize(
    ("name", "flags"),
    [("attack", ["--attacks", "fgsm"]), ("attack", ["--suite", "parity"]), ("pack", ["--license", __file__])],
)
def test_training_images_that_became_test_images_are_refused(place, capsys, name, flags):
    (place / "photos" / "crosses" / "00.png").unlink()
    flags = ["--data-dir", place / "photos", "--backend", "reference", *flags]
    assert command(name, place / "a.npz", *flags)[0] == 2
    folder = place / "photos"
    told = f"{place / 'a.npz'} was trained on 1 of the 5 test images in {folder}, which has changed since"
    assert told in capsys.readouterr().err
    assert command(name, place / "old.npz", *flags)[0] == 0  # it does not record its images


def test_new_images_in_another_folder_are_no_training_images(place):
    draw(place / "others", 10, seed=1)
    (sentence,) = warnings(place, folder="others")
    assert "or it is another folder: 24 of the 24 images" in sentence


def test_edited_training_images_are_told(place):
    (edited,) = [p for p in sorted((place / "photos" / "circles").iterdir()) if seen(place, p)][:1]
    Image.open(edited).rotate(90, expand=True).save(edited)
    code, text = attack(place)
    assert code == 0
    assert (
        f"warning: {place / 'photos'} has changed since the training, or it is another folder: 1 of the 24 im" in text
    )


def test_copies_of_training_images_are_told(place):
    pictures = sorted((place / "photos" / "circles").iterdir())
    first_test = next(p for p in pictures if not seen(place, p))
    shutil.copy(next(p for p in pictures if seen(place, p)), first_test)
    (sentence,) = warnings(place)
    assert sentence.startswith(f"1 of the 6 test images in {place / 'photos'} are copies of training images")


def seen(place, path):
    """Whether the picture is among those of the training."""
    (found,) = image_hashes(resize(read_image(path), 32, 32)[None])
    return found in checkpoint.load(place / "a.npz").meta["data"]["images"]


def test_trainings_record_all_images_that_they_or_earlier_ones_used(place, monkeypatch):
    monkeypatch.chdir(place)
    draw(place / "others", 5, seed=1)
    assert command("train", "ann", "--data-dir", "photos", *TINY, "--out", "ann.npz", "--keep-every", 1)[0] == 0
    code, _ = command("convert", "ann.npz", "--data-dir", "others", "--out", "snn.npz", "--backend", "reference")
    assert code == 0
    arguments = ["train", "hire", "--from", "snn.npz", "--data-dir", "others", "--snn-epochs", 1, "--train-limit", 4]
    assert command(*arguments, "--out", "hire.npz", "--backend", "reference")[0] == 0
    first, kept, converted, last = (
        set(checkpoint.load(place / name).meta["data"]["images"])
        for name in ("ann.npz", "ann.epoch-1.npz", "snn.npz", "hire.npz")
    )
    assert first == kept == set(checkpoint.load(place / "a.npz").meta["data"]["images"])
    assert converted == last and first < last and len(last) == 24 + 12
