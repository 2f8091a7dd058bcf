"""`minihire attack CHECKPOINT FILE …`: answers before and after attacks on image files, and the PNG files."""

import json

import numpy as np
import pytest
from PIL import Image
from run_files import command

from backends import get_backend
from backends.randomness import Draws
from minihire.app.attack_files import attack_each
from minihire.attacks import fgsm, perturb, pgd
from minihire.data.folder import read_image, resize
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.files import FileError
from minihire.training import checkpoint

K = get_backend("reference")
NAMES = ["circle", "cross", "square"]
REFERENCE = ["--backend", "reference"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Networks, and a folder of pictures of which two have the same name up to its case."""
    folder, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for name, channels, extra, options in (
        ("ann", 3, {"data": {"name": "folder", "classes": NAMES}}, {}),
        ("other", 3, {"data": {"name": "folder", "classes": NAMES}}, {"seed": 2}),
        ("rate", 3, {"data": {"name": "folder", "classes": NAMES}}, {"spiking": True, "steps": 4, "coding": "rate"}),
        ("grey", 1, {"data": {"name": "folder", "classes": NAMES}}, {}),
        ("nameless", 3, {}, {}),
    ):
        model, seed = build("vgg5", 3, (16, 12, channels), width=1 / 16, hidden=8), options.pop("seed", 1)
        network = Network(model, K, initialise(model, K, seed, options.get("spiking", False)), **options)
        checkpoint.save(folder / f"{name}.npz", network, extra=extra)
    (folder / "pictures" / "below").mkdir(parents=True)
    for name, shape in (
        ("a.png", (16, 12)),
        ("b.jpg", (40, 30)),
        ("below/A.png", (7, 90)),
        ("below/a-2.png", (16, 12)),
    ):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / "pictures" / name)
    return folder


def attack(place, name, *arguments):
    code, text = command("attack", place / f"{name}.npz", *arguments, *REFERENCE)
    assert code == 0, text
    return text


def as_json(place, name, *arguments):
    return json.loads(attack(place, name, *arguments, "--json", "-"))


def test_the_answers_are_those_to_images_crafted_with_the_network_s_own_class(place):
    found = as_json(place, "ann", place / "pictures", "--epsilon", "0.1")
    files = [place / "pictures" / name for name in ("a.png", "b.jpg", "below/A.png", "below/a-2.png")]
    assert [row["image"] for row in found["images"]] == list(map(str, files)) and found["classes"] == NAMES
    network = checkpoint.load(place / "ann.npz").network(K)
    for row, path in zip(found["images"], files, strict=True):
        image = resize(read_image(path), 16, 12)[None]
        before = network.predict(image)
        assert row["class"] == NAMES[before.classes[0]] and row["probabilities"] == before.probabilities[0].tolist()
        for made in fgsm(0.1), pgd(0.1):
            pixels = K.asarray(image * np.float32(1 / 255))
            crafted = K.to_numpy(perturb(network, pixels, K.asarray(before.classes), made, Draws(0)))
            after, rounded = network.predict(crafted), network.predict(np.round(crafted * 255).astype(np.uint8))
            told = row["attacks"][made.name]
            assert told["probabilities"] == after.probabilities[0].tolist() and told["file"] is None
            assert told["rounded"]["probabilities"] == rounded.probabilities[0].tolist()
            assert told["class"] == NAMES[after.classes[0]]
            assert after.probabilities[0, before.classes[0]] < before.probabilities[0, before.classes[0]]


def test_the_table_has_the_answers_before_and_after(place):
    (row,) = as_json(place, "ann", place / "pictures" / "a.png", "--epsilon", "0.1")["images"]
    lines = attack(place, "ann", place / "pictures" / "a.png", "--epsilon", "0.1").splitlines()
    assert lines[0] == f"{place / 'ann.npz'}, white box; ε = 25.5/255, PGD: α = 0.01, K = 7"
    assert lines[1].split() == ["image", "attack", "before", "after", "after,", "8", "bits"] and len(lines) == 5
    for line, (name, after) in zip(lines[3:], row["attacks"].items(), strict=True):
        answers = [f"{found['class']} {100 * found['probability']:.1f} %" for found in (row, after, after["rounded"])]
        assert line.split() == [str(place / "pictures" / "a.png"), name, *" ".join(answers).split()]
    found = as_json(place, "ann", place / "pictures", "--epsilon", "0.9")["images"]
    *_, last = attack(place, "ann", place / "pictures", "--epsilon", "0.9").splitlines()
    changed = [row["attacks"]["pgd"]["class"] != row["class"] for row in found]
    assert last.split()[:3] == ["pgd", "4", str(sum(changed))] and any(changed)


def test_a_result_does_not_depend_on_other_files(place):
    for name in ("ann", "rate"):
        both = as_json(place, name, place / "pictures", "--attacks", "pgd")["images"]
        alone = as_json(place, name, place / "pictures" / "below" / "a-2.png", "--attacks", "pgd")["images"]
        assert both[-1] == alone[0]


def test_the_attacked_images_are_png_files_that_predict_answers_as_the_attack_said(place, tmp_path):
    out = tmp_path / "new" / "attacked"
    found = as_json(place, "ann", place / "pictures", "--epsilon", "0.1", "--save-images", out)["images"]
    stems = ["a", "b", "A-2", "a-2-2"]
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{s}.{a}.png" for s in stems for a in ("fgsm", "pgd"))
    code, text = command("predict", place / "ann.npz", out, "--json", "-", *REFERENCE)
    answers = {row["image"]: row for row in json.loads(text)["images"]}
    for row, stem in zip(found, stems, strict=True):
        before = resize(read_image(row["image"]), 16, 12).astype(int)
        for name, after in row["attacks"].items():
            assert after["file"] == str(out / f"{stem}.{name}.png")
            for key in ("class", "probability"):
                assert answers[after["file"]][key] == pytest.approx(after["rounded"][key])
            moved = abs(read_image(after["file"]).astype(int) - before).max()
            assert 20 <= moved <= 26  # 0.1 is 25.5 levels


def test_no_file_is_overwritten(place, tmp_path, capsys):
    mine = tmp_path / "a.pgd.png"
    mine.write_text("mine")
    arguments = ["attack", place / "ann.npz", place / "pictures", *REFERENCE, "--save-images"]
    for target, sentence in (
        (tmp_path, f"{mine} exists, and --save-images replaces no file: give another folder, or delete it"),
        (mine, f"--save-images writes PNG files if image files are attacked: give a folder, not {mine}"),
        (tmp_path / "x.npz", "--save-images writes PNG files if image files are attacked: give a folder, not"),
    ):
        assert command(*arguments, target)[0] == 2
        assert sentence in capsys.readouterr().err
    assert mine.read_text() == "mine" and list(tmp_path.iterdir()) == [mine]


def unwritable(*_, **__):
    raise FileError("cannot write it: No space left on device; choose another place or free some space")


def test_a_place_that_cannot_be_written_is_named_before_the_attack(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minihire.app.attack_files.attack_each", None)
    (tmp_path / "file").write_text("a file")
    long = tmp_path / f"{'a' * 240}.png"
    long.write_bytes((place / "pictures" / "a.png").read_bytes())
    for picture, flags in (
        (place / "pictures", ["--save-images", tmp_path / "file" / "new"]),
        (place / "pictures", ["--json", tmp_path / "file" / "x.json"]),
        (long, ["--attacks", "sa-pgd", "--save-images", tmp_path / "new"]),
    ):
        assert command("attack", place / "ann.npz", picture, *flags, "--quiet", *REFERENCE) == (2, "")
        assert capsys.readouterr().err.startswith(f"minihire: cannot write {flags[-1]}")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "file", long])


def test_the_answers_are_not_lost_if_a_file_cannot_be_written_after_the_attack(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minihire.app.attack_files.write_atomically", unwritable)
    flags = ["--attacks", "fgsm", "--save-images", tmp_path, "--json", tmp_path / "x.json", *REFERENCE]
    code, text = command("attack", place / "ann.npz", place / "pictures", *flags)
    assert code == 2 and capsys.readouterr().err.startswith("minihire: cannot write it: No space left on device")
    assert "b.jpg" in text and "PNG files" not in text
    rows = json.loads((tmp_path / "x.json").read_text())["images"]
    assert [row["attacks"]["fgsm"]["file"] for row in rows] == [None] * 4


def test_a_file_that_appears_during_the_attack_is_kept_and_all_other_images_are_written(
    place, tmp_path, capsys, monkeypatch
):
    appeared = tmp_path / "a.fgsm.png"

    def crafted(*arguments):
        appeared.write_text("theirs")
        return attack_each(*arguments)

    monkeypatch.setattr("minihire.app.attack_files.attack_each", crafted)
    flags = ["--attacks", "fgsm", "--save-images", tmp_path, *REFERENCE]
    assert command("attack", place / "ann.npz", place / "pictures", *flags)[0] == 2
    assert f"{appeared} exists by now" in capsys.readouterr().err and appeared.read_text() == "theirs"
    assert len(list(tmp_path.glob("*.png"))) == 5  # and the image that would have replaced it


def test_a_grey_network_writes_grey_images(place, tmp_path):
    attack(place, "grey", place / "pictures" / "a.png", "--attacks", "fgsm", "--save-images", tmp_path)
    with Image.open(tmp_path / "a.fgsm.png") as picture:
        assert picture.mode == "L" and picture.size == (12, 16)


def test_images_are_crafted_on_another_network(place):
    arguments = [place / "pictures" / "a.png", "--attacks", "fgsm", "--epsilon", "0.1"]
    own, other = (as_json(place, "ann", *arguments, *more) for more in ([], ["--source", place / "other.npz"]))
    assert own["images"][0]["attacks"] != other["images"][0]["attacks"]
    assert other["source"] == str(place / "other.npz")
    text = attack(place, "ann", *arguments, "--source", place / "other.npz")
    assert f"black box, crafted on {place / 'other.npz'}" in text


def test_images_that_cannot_be_read_do_not_stop_the_others(place, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "good.png").write_bytes((place / "pictures" / "a.png").read_bytes())
    code, text = command("attack", place / "ann.npz", tmp_path, "--json", tmp_path / "x.json", *REFERENCE)
    assert code == 2 and "cannot read the image" in capsys.readouterr().err and "good.png" in text
    bad, good = json.loads((tmp_path / "x.json").read_text())["images"]
    assert "cannot read the image" in bad["error"] and list(good["attacks"]) == ["fgsm", "pgd"]
    (tmp_path / "good.png").unlink()
    assert command("attack", place / "ann.npz", tmp_path, *REFERENCE) == (2, "")


def test_a_checkpoint_without_names_has_numbers_or_those_of_data(place):
    text = attack(place, "nameless", place / "pictures" / "a.png")
    assert text.startswith(f"note: {place / 'nameless.npz'} does not record the names of its classes")


def test_files_may_stand_on_both_sides_of_a_flag(place):
    first, second = place / "pictures" / "a.png", place / "pictures" / "b.jpg"
    whole = as_json(place, "ann", first, second, "--attacks", "fgsm")["images"]
    assert as_json(place, "ann", "--attacks", "fgsm", first, second)["images"] == whole
    assert as_json(place, "ann", first, "--attacks", "fgsm", second)["images"] == whole


@pytest.mark.parametrize(
    "flags",
    [["--suite", "strong"], ["--images", "x.npz"], ["--test-limit", "3"], ["--data-dir", "x"], ["--max-minutes", "3"]],
)
def test_flags_of_test_images_are_refused(place, capsys, flags):
    assert command("attack", place / "ann.npz", place / "pictures", *flags, *REFERENCE)[0] == 2
    assert capsys.readouterr().err == f"minihire: {flags[0]} does not apply to image files: leave it out\n"
