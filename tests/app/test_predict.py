"""`minihire predict`: classes, probabilities, spikes and energy of image files, as a table, JSON and CSV."""

import csv
import errno
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image
from run_files import command

from backends import get_backend
from minihire.analysis import measure_activity, measure_energy
from minihire.app.predict import predict_images
from minihire.data import cifar
from minihire.data.dataset import Dataset
from minihire.data.folder import read_image, resize
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.files import FileError
from minihire.training import checkpoint

K = get_backend("reference")
NAMES = ("circle", "cross, thin", "Straße")
REFERENCE = ["--backend", "reference"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Networks with names of classes, and pictures of different sizes, two of them in a folder of the folder."""
    folder, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    data = Dataset("folder", np.zeros((0, 16, 12, 3), np.uint8), np.zeros(0, np.int64), NAMES, (0.5,) * 3, (0.2,) * 3)
    for name, channels, options in (
        ("ann", 3, {}),
        ("snn", 3, {"spiking": True, "steps": 4}),
        ("rate", 3, {"spiking": True, "steps": 4, "coding": "rate"}),
        ("grey", 1, {}),
        ("five", 5, {}),
    ):
        model = build("vgg5", 3, (16, 12, channels), width=1 / 16, hidden=8)
        parameters = initialise(model, K, 1, options.get("spiking", False))
        parameters |= {p: K.asarray([0.2]) for p in parameters if p.endswith("threshold")}  # so that all layers spike
        network = Network(model, K, parameters, **options)
        checkpoint.save(folder / f"{name}.npz", network, extra={"data": checkpoint.describe_data(data)})
    model = build("vgg5", 10, width=1 / 16, hidden=8)
    for name, extra in (("cifar", {"about": {"data": "cifar10"}}), ("nameless", {})):
        checkpoint.save(folder / f"{name}.npz", Network(model, K, initialise(model, K, 1)), extra=extra)
    (folder / "pictures" / "below").mkdir(parents=True)
    for name, shape in (("a.png", (16, 12)), ("b.jpg", (40, 30)), ("below/c.png", (7, 90)), ("below/d.png", (16, 12))):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / "pictures" / name)
    return folder


def predict(place, name, *arguments):
    code, text = command("predict", place / f"{name}.npz", *arguments, *REFERENCE)
    assert code == 0, text
    return text


def as_json(place, name, *arguments):
    return json.loads(predict(place, name, *arguments, "--json", "-"))


def test_the_answers_are_those_of_the_network_on_the_resized_images(place):
    found = as_json(place, "snn", place / "pictures")
    files = [place / "pictures" / name for name in ("a.png", "b.jpg", "below/c.png", "below/d.png")]
    assert found["classes"] == list(NAMES) and [row["image"] for row in found["images"]] == list(map(str, files))
    images = np.stack([resize(read_image(path), 16, 12) for path in files])
    expected = checkpoint.load(place / "snn.npz").network(K).predict(images)
    assert np.array_equal([row["probabilities"] for row in found["images"]], expected.probabilities)
    assert [row["class"] for row in found["images"]] == [NAMES[c] for c in expected.classes]
    assert [row["probability"] for row in found["images"]] == expected.probabilities.max(axis=1).tolist()


def test_reading_and_predicting_show_their_progress(place, progress_shown):
    predict(place, "snn", place / "pictures", "--explain")
    assert progress_shown == dict.fromkeys(("reading images", "predictions", "spikes and energy"), (4, 4))


def test_the_table_has_each_image_its_class_and_the_next_ones(place):
    text = predict(place, "snn", place / "pictures" / "a.png", place / "pictures" / "below")
    assert text.startswith("images resized to 12x16 pixels, the size that the network needs: 1 of 3\n")
    lines = text.splitlines()[1:]
    assert lines[0].split() == ["image", "class", "probability", "next"] and len(lines) == 5
    (row,) = as_json(place, "snn", place / "pictures" / "a.png")["images"]
    assert lines[2].startswith(str(place / "pictures" / "a.png")) and row["class"] in lines[2]
    assert f"{100 * row['probability']:.1f} %" in lines[2] and all(name in lines[2] for name in NAMES)
    assert "resized" not in predict(place, "snn", place / "pictures" / "a.png")


def test_spikes_and_energy_of_each_image_are_those_of_the_analysis(place):
    found = as_json(place, "snn", place / "pictures", "--explain")["images"]
    network = checkpoint.load(place / "snn.npz").network(K)
    for row in found:
        image = resize(read_image(row["image"]), 16, 12)[None].astype(np.float32) * np.float32(1 / 255)
        activity = measure_activity(network, [K.asarray(image)])
        assert row["activity"] == [layer.as_dict() for layer in activity]
        assert row["energy"] == measure_energy(network, activity).as_dict()
    assert len({row["activity"][1]["spikes"] for row in found}) == 4
    lines = predict(place, "snn", place / "pictures" / "a.png", "--explain").splitlines()
    first = [f"{layer['spikes']:,}" for layer in found[0]["activity"] if layer["kind"] == "Neuron"]
    assert lines[-3].split("  ")[0] == "spikes and energy" and lines[-1].split()[1:6] == first


def test_an_ann_has_energy_and_no_spikes(place):
    found = as_json(place, "ann", place / "pictures" / "a.png", "--explain")["images"][0]
    assert (
        all(layer["spikes"] is None for layer in found["activity"]) and abs(found["energy"]["fp32"]["ratio"] - 1) < 1e-9
    )
    text = predict(place, "ann", place / "pictures" / "a.png", "--explain")
    assert "neuron1" not in text and text.splitlines()[-1].split()[1] == "–"


def test_a_checkpoint_whose_training_is_not_finished_is_named(place):
    network, picture = checkpoint.load(place / "snn.npz").network(K), place / "pictures" / "a.png"
    for name, finished in (("whole", True), ("half", False)):
        checkpoint.save(
            place / f"{name}.npz", network, extra={"training": {"position": {"epoch": 3, "finished": finished}}}
        )
    note = f"note: the training of {place / 'half.npz'} is not finished; resumed, it may change the answers\n"
    assert predict(place, "half", picture).startswith(note)
    assert command("info", place / "half.npz")[1].startswith(note)
    assert "not finished" not in predict(place, "whole", picture) + predict(place, "snn", picture)


def test_the_random_spikes_of_an_image_do_not_depend_on_other_images(place):
    both = as_json(place, "rate", place / "pictures", "--explain")["images"]
    alone = as_json(place, "rate", place / "pictures" / "below" / "d.png", "--explain")["images"]
    other = as_json(place, "rate", place / "pictures" / "below" / "d.png", "--explain", "--seed", "1")["images"]
    assert both[-1] == alone[0] != other[0]


def test_other_time_steps(place):
    four, three = (as_json(place, "snn", place / "pictures", "--steps", n)["images"] for n in (4, 3))
    assert four != three and as_json(place, "snn", place / "pictures")["images"] == four


def test_csv_has_a_column_for_each_class_and_is_written_again(place, tmp_path):
    file, rows = tmp_path / "x.csv", {}
    for flags in ([], ["--explain"], []):
        predict(place, "snn", place / "pictures", "--csv", file, *flags)
        header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
        spikes = [f"spikes of neuron{i}" for i in range(1, 6)]
        measured = [*spikes, "fp32_pj", "int32_pj"] if flags else []
        assert header == ["image", "class", "probability", *NAMES, *measured, "error"]
    found = as_json(place, "snn", place / "pictures")["images"]
    assert [row[:2] for row in rows] == [[row["image"], row["class"]] for row in found]
    assert [list(map(float, row[3:-1])) for row in rows] == [row["probabilities"] for row in found]


def test_no_text_of_the_csv_file_is_a_formula(place, tmp_path, monkeypatch):
    network, names = checkpoint.load(place / "ann.npz").network(K), ["@class", "-class", "plain"]
    checkpoint.save(tmp_path / "ann.npz", network, extra={"data": {"name": "folder", "classes": names}})
    monkeypatch.chdir(tmp_path)
    for name in ("=cmd.png", "+1.png", "photo.png"):
        Image.new("RGB", (12, 16)).save(name)
    predict(tmp_path, "ann", "=cmd.png", "+1.png", "photo.png", "--csv", "x.csv")
    header, *rows = csv.reader((tmp_path / "x.csv").read_text().splitlines())
    assert header[3:6] == ["'@class", "'-class", "plain"]
    assert [row[0] for row in rows] == ["'=cmd.png", "'+1.png", "photo.png"]
    assert all(0 <= float(cell) <= 1 for row in rows for cell in row[2:6])


def test_a_large_json_file_is_written_again(place, tmp_path):
    predict(place, "ann", place / "pictures" / "a.png", "--json", tmp_path / "x.json")
    small = (tmp_path / "x.json").read_bytes()
    with (tmp_path / "x.json").open("r+b") as file:
        file.truncate(65 << 20)
    predict(place, "ann", place / "pictures" / "a.png", "--json", tmp_path / "x.json")
    assert (tmp_path / "x.json").read_bytes() == small


def test_no_column_of_the_csv_file_has_the_name_of_another(place, tmp_path):
    model = build("vgg5", 6, (16, 12, 3), width=1 / 16, hidden=8)
    network = Network(model, K, initialise(model, K, 1, True), spiking=True, steps=4)
    names = ["error", "image", "class error", "fp32_pj", "spikes of neuron1", "cross"]
    checkpoint.save(tmp_path / "snn.npz", network, extra={"data": {"name": "folder", "classes": names}})
    renamed = ["class class error", "class image", "class error"]
    for flags, last in (([], names[3:]), (["--explain"], ["class fp32_pj", "class spikes of neuron1", "cross"])):
        predict(tmp_path, "snn", place / "pictures", "--csv", tmp_path / "x.csv", *flags)
        header, *rows = csv.reader((tmp_path / "x.csv").read_text().splitlines())
        assert header[3:9] == [*renamed, *last] and len({*header}) == len(header) and header[-1] == "error"
        found = as_json(tmp_path, "snn", place / "pictures")["images"]
        assert [list(map(float, row[3:9])) for row in rows] == [row["probabilities"] for row in found]


def test_the_answers_are_not_lost_if_the_csv_file_cannot_be_written(place, tmp_path, monkeypatch, capsys):
    def unwritable(*_):
        raise FileError("cannot write x.csv: No space left on device; choose another place or free some space")

    monkeypatch.setattr("minihire.app.outputs.write_atomically", unwritable)
    code, text = command("predict", place / "ann.npz", place / "pictures", "--csv", tmp_path / "x.csv", *REFERENCE)
    assert code == 2 and "b.jpg" in text and capsys.readouterr().err.startswith("minihire: cannot write x.csv")


def test_a_csv_file_that_appeared_meanwhile_is_kept(place, tmp_path, monkeypatch, capsys):
    def late(*arguments):
        (tmp_path / "x.csv").write_text("mine")
        return predict_images(*arguments)

    monkeypatch.setattr("minihire.app.predict.predict_images", late)
    code, text = command("predict", place / "ann.npz", place / "pictures", "--csv", tmp_path / "x.csv", *REFERENCE)
    assert code == 2 and "b.jpg" in text and (tmp_path / "x.csv").read_text() == "mine"
    assert "x.csv exists, and `minihire predict --csv` did not write it" in capsys.readouterr().err


def test_files_that_cannot_be_written_are_named_before_the_prediction(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minihire.app.predict.predict_images", None)
    (tmp_path / "file").write_text("a file")
    for flag in ("--csv", "--json"):
        path = tmp_path / "file" / "x"
        assert command("predict", place / "ann.npz", place / "pictures", flag, path, *REFERENCE) == (2, "")
        assert capsys.readouterr().err.startswith(f"minihire: cannot write {path}: ")


def test_grey_networks_get_grey_images(place):
    (row,) = as_json(place, "grey", place / "pictures" / "a.png")["images"]
    grey = np.asarray(Image.open(place / "pictures" / "a.png").convert("L"))[..., None]
    network = checkpoint.load(place / "grey.npz").network(K)
    expected = network.predict(grey[None]).probabilities[0]
    np.testing.assert_allclose(row["probabilities"], expected, atol=0.01)


def test_networks_of_other_channels_are_refused(place, capsys):
    assert command("predict", place / "five.npz", place / "pictures", *REFERENCE)[0] == 2
    assert "this network needs 5 channels, image files have 1 or 3" in capsys.readouterr().err


def test_without_names_the_data_set_has_them_or_they_are_numbers(place):
    assert as_json(place, "cifar", place / "pictures")["classes"] == list(cifar.CLASSES["cifar10"])
    assert as_json(place, "nameless", place / "pictures")["classes"] == list("0123456789")
    note = f"note: {place / 'nameless.npz'} does not record the names of its classes, so they are numbers from 0"
    flag = "; to name them, give its data set with --data: cifar10, mnist, shapes\n"
    assert predict(place, "nameless", place / "pictures").startswith(note + flag)
    assert "note" not in predict(place, "cifar", place / "pictures") + predict(place, "ann", place / "pictures")


def test_a_data_set_names_the_classes_of_a_checkpoint_that_does_not(place):
    named = as_json(place, "nameless", place / "pictures", "--data", "cifar10")
    numbers = as_json(place, "nameless", place / "pictures")
    assert named["classes"] == list(cifar.CLASSES["cifar10"])
    for row, other in zip(named["images"], numbers["images"], strict=True):
        assert row["class"] == named["classes"][int(other["class"])]
        assert row["probabilities"] == other["probabilities"]
    assert "note" not in predict(place, "nameless", place / "pictures", "--data", "cifar10")
    assert as_json(place, "cifar", place / "pictures", "--data", "cifar10")["classes"] == named["classes"]
    assert as_json(place, "ann", place / "pictures", "--data", "folder")["classes"] == list(NAMES)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("nameless", "cifar100", "nameless.npz has 10 classes, but cifar100 has 100: leave --data out"),
        ("nameless", "folder", "--data folder has no class names of its own: leave it out for numbers"),
        ("nameless", "imagenet", "--data must be shapes or cifar10 or"),
        ("ann", "cifar10", "ann.npz was trained on folder, not on cifar10: leave --data out"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(place, capsys, name, data, sentence):
    assert command("predict", place / f"{name}.npz", place / "pictures", "--data", data, *REFERENCE)[0] == 2
    assert sentence in capsys.readouterr().err


@pytest.fixture
def spoilt(place, tmp_path):
    """A folder of two good pictures between three that cannot be read."""
    picture = (place / "pictures" / "a.png").read_bytes()
    for name in ("b", "d"):
        (tmp_path / f"{name}.png").write_bytes(picture)
    (tmp_path / "a.png").write_bytes(picture[:200])
    (tmp_path / "c.png").write_text("no picture")
    (tmp_path / "e.png").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_images_that_cannot_be_read_do_not_stop_the_others(place, spoilt, capsys):
    arguments = [
        "predict",
        place / "snn.npz",
        spoilt,
        "--csv",
        spoilt / "x.csv",
        "--json",
        spoilt / "x.json",
        "--explain",
    ]
    code, text = command(*arguments, *REFERENCE)
    assert code == 2
    rows = json.loads((spoilt / "x.json").read_text())["images"]
    assert [row["image"] for row in rows] == [str(spoilt / f"{name}.png") for name in "abcde"]
    assert ["error" in row for row in rows] == [True, False, True, False, True]
    expected = as_json(place, "snn", place / "pictures" / "a.png", "--explain")["images"][0]
    for row in rows[1], rows[3]:
        assert {**row, "image": ""} == {**expected, "image": ""} and row["image"] in text
    *errors, last = capsys.readouterr().err.splitlines()
    assert errors == [f"minihire: {row['error']}" for row in rows if "error" in row]
    assert all(
        f"cannot read the image {spoilt / name}" in text
        for name, text in zip(("a.png", "c.png", "e.png"), errors, strict=True)
    )
    assert last == "minihire: 3 of 5 files or folders cannot be read; the results of the others are complete"
    header, *lines = csv.reader((spoilt / "x.csv").read_text(encoding="utf-8").splitlines())
    assert all(len(line) == len(header) for line in lines)
    for row, line in zip(rows, lines, strict=True):
        assert (line[0], line[1], line[-1]) == (row["image"], row.get("class", ""), row.get("error", ""))


def test_one_image_that_cannot_be_read_is_the_error(place, spoilt, capsys):
    bad, good = spoilt / "c.png", spoilt / "b.png"
    for files in ([bad, good], [bad]):
        code, text = command("predict", place / "snn.npz", *files, *REFERENCE)
        assert code == 2 and text.count("%") == 3 * (len(files) - 1)
        assert capsys.readouterr().err.splitlines() == [
            f"minihire: cannot read the image {bad}: it is not an image in one of the formats PNG, JPEG, BMP, GIF, WEBP, PPM, "
            "TIFF; replace or remove it"
        ]
    assert command("predict", place / "snn.npz", bad, spoilt / "a.png", *REFERENCE) == (2, "")
    assert capsys.readouterr().err.endswith("minihire: 2 of 2 files or folders cannot be read\n")


@pytest.fixture
def locked(monkeypatch):
    """locked(path): the system lets nobody list this folder. (An administrator could list it whatever its permissions are.)"""

    def lock(path):
        def scandir(folder, before=os.scandir):
            if os.path.realpath(folder) == str(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            return before(folder)

        monkeypatch.setattr("os.scandir", scandir)

    return lock


def test_a_folder_that_cannot_be_read_is_named_and_does_not_stop_the_others(place, tmp_path, capsys, locked):
    locked(place / "pictures" / "below")
    files = ["--csv", tmp_path / "x.csv", "--json", tmp_path / "x.json"]
    code, text = command("predict", place / "ann.npz", place / "pictures", *files, *REFERENCE)
    sentence = f"cannot read the folder {place / 'pictures' / 'below'}: Permission denied; check its permissions"
    assert (code, capsys.readouterr().err) == (2, f"minihire: {sentence}\n") and "a.png" in text
    rows = json.loads((tmp_path / "x.json").read_text())["images"]
    assert [row.get("class") is None for row in rows] == [False, False, True]
    assert rows[-1] == {"image": str(place / "pictures" / "below"), "error": sentence}
    assert sentence in (tmp_path / "x.csv").read_text().splitlines()[-1]
    for folder in (place / "pictures" / "below", place / "pictures" / "below" / ".." / "below"):
        assert command("predict", place / "ann.npz", folder, *REFERENCE) == (2, "")
        assert f"cannot read the folder {folder}: Permission denied" in capsys.readouterr().err


def test_an_image_in_a_folder_that_cannot_be_entered_is_named(place, monkeypatch, capsys):
    def stat(path, *, before=os.stat, **options):
        if "below" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return before(path, **options)

    monkeypatch.setattr("os.stat", stat)
    picture = place / "pictures" / "below" / "c.png"
    assert command("predict", place / "ann.npz", picture, *REFERENCE) == (2, "")
    error = f"minihire: cannot read the image {picture}: Permission denied; replace or remove it\n"
    assert capsys.readouterr().err == error


def test_a_tie_names_each_class_once(place, tmp_path):
    saved = checkpoint.load(place / "ann.npz")
    arrays = {name: np.zeros_like(array) for name, array in saved.arrays.items()}
    network = saved._replace(arrays=arrays).network(K)
    checkpoint.save(tmp_path / "zero.npz", network, extra={"data": saved.meta["data"]})
    line = predict(tmp_path, "zero", place / "pictures" / "a.png").splitlines()[-1]
    assert line.endswith("circle       33.3 %  cross, thin 33.3 %, Straße 33.3 %")


def test_control_characters_in_a_file_s_name_are_escaped(place, tmp_path):
    Image.new("RGB", (12, 16)).save(tmp_path / "a\x1b[2J.png")
    assert "a\\x1b[2J.png" in predict(place, "ann", tmp_path)


def test_json_on_standard_output_is_valid_for_any_name(place, tmp_path):
    file = tmp_path / "a\x7f\x85\u2028ß\x1b.png"
    Image.new("RGB", (12, 16)).save(file)
    assert as_json(place, "ann", file)["images"][0]["image"] == str(file)


@pytest.mark.filterwarnings("error")
def test_logits_that_are_not_finite_are_one_sentence(place, tmp_path, capsys):
    saved = checkpoint.load(place / "ann.npz")
    arrays = {name: array * np.float32(1e30) for name, array in saved.arrays.items() if "weight" in name}
    checkpoint.save(
        tmp_path / "large.npz", saved._replace(arrays=arrays).network(K), extra={"data": saved.meta["data"]}
    )
    for arguments in (["predict"], ["predict", "--json", "-"], ["attack"]):
        name, *flags = arguments
        code, text = command(name, tmp_path / "large.npz", place / "pictures" / "a.png", *flags, *REFERENCE)
        assert code == 2 and "nan" not in text.lower()
        assert capsys.readouterr().err.startswith(
            "minihire: the network's logits are not finite, because its weights are too"
        )


def test_control_characters_in_the_name_of_a_class_are_escaped(place, tmp_path):
    network = checkpoint.load(place / "ann.npz").network(K)
    checkpoint.save(tmp_path / "ann.npz", network, extra={"data": {"name": "folder", "classes": ["a\nb"] * 3}})
    text = predict(tmp_path, "ann", place / "pictures" / "a.png")
    assert "a\\nb" in text and "a\nb" not in text
    code, text = command("info", tmp_path / "ann.npz")
    assert code == 0 and "(a\\nb, a\\nb, a\\nb)" in text


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_a_file_s_name_that_is_not_utf8(place, tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (12, 16)).save(file)
    flags = ["--json", tmp_path / "x.json", "--csv", tmp_path / "x.csv"]
    predict(place, "ann", file, *flags)
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))["images"][0]["image"] == str(file)
    assert f"{tmp_path}/caf\\udce9.png," in (tmp_path / "x.csv").read_text("utf-8")
    assert as_json(place, "ann", file)["images"][0]["image"] == str(file)
