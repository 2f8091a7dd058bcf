"""A folder of one's own images on the command line: which preset it gets, what a few images lead to, the step by step way."""

import json
from types import SimpleNamespace

import pytest
from own_pictures import CLASSES, draw
from run_files import command, write_cifar10

from minihire.app import folders, run
from minihire.app.inputs import preset_of
from minihire.report import settings
from minihire.runtime.errors import MinihireError
from minihire.study.results import Results
from minihire.training import checkpoint

TINY = ["--width", 1 / 16, "--hidden", 16, "--ann-epochs", 1, "--iterations", 1]
QUIET = ["--threads", 1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("place") / "photos", 5)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "draw_all", lambda results, folder: [])
    return tmp_path


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_file_of_settings_is_adapted_to_the_number_of_images(photos, here, capsys):
    (here / "mine.json").write_text(json.dumps({"preset": "folder", "data_dir": str(photos), "snn_epochs": 7}))
    flags = (["--config", "mine.json"], ["--data-dir", photos, "--snn-epochs", 7])
    said = [command("run", *QUIET, *given, "--dry-run")[1].splitlines()[-12:] for given in flags]
    assert "SNN 7 epochs" in "".join(said[0]) and [s for s in said[0] if "settings for" in s] == [
        s for s in said[1] if "settings for" in s
    ]


def test_a_folder_without_the_name_of_a_data_set_is_one_s_own_images(tmp_path):
    own = {"data_dir": str(tmp_path)}
    nothing, options = SimpleNamespace(), SimpleNamespace(data_dir=tmp_path)
    assert preset_of(nothing, {}) == "mini" and preset_of(options, own) == "folder"
    assert preset_of(options, {**own, "data": "folder"}) == "folder"
    assert preset_of(options, {**own, "data": "cifar10"}) == "mini"
    assert preset_of(SimpleNamespace(preset="cifar10-small"), own) == "cifar10-small"
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    with pytest.raises(MinihireError, match="contains CIFAR-10: give --data cifar10 too"):
        preset_of(options, own)


def test_a_run_on_few_images_warns_of_chance_and_its_networks_know_their_classes(photos, here):
    code, text = command("run", "--data-dir", photos, *TINY, "--snn-epochs", 1, "--methods", "hire", *QUIET)
    assert code == 0
    assert text.startswith("images resized to 32x32 pixels: 15 of 15 (--image-size N,")
    assert "settings for 12 training images: ANN 1 epochs, batches of 8, learning rate 0.01; SNN 1 epochs" in text
    assert "12 training, 0 held-out and 3 test images of folder, 3 classes; into runs/folder/" in text
    results = read(here / "runs" / "folder" / "results.json")
    for name in ("ann", "hire"):
        assert any(sentence.startswith(f"{name}: it") and "chance" in sentence for sentence in results["warnings"])
    path = here / "runs" / "folder" / "models" / "hire.npz"
    data = checkpoint.load(path).meta["data"]
    assert (data["name"], data["classes"], len(data["images"])) == ("folder", list(CLASSES), 12)
    code, text = command("predict", path, photos / "stripes", "--json", "-", *QUIET)
    found = json.loads(text)
    assert code == 0 and found["classes"] == list(CLASSES) and len(found["images"]) == 5
    code, text = command("run", "--data-dir", photos, "--resume", *QUIET)  # with the settings of the start
    assert code == 0 and read(here / "runs" / "folder" / "results.json") == results


def test_the_command_on_the_page_of_a_run_gives_the_same_settings(photos, here):
    assert command("run", "--data-dir", photos, *TINY, "--snn-epochs", 1, "--methods", "hire", *QUIET)[0] == 0
    config = Results.load(here / "runs" / "folder" / "results.json")["config"]
    told = settings.command({"config": config, "machine": {}})
    assert told.startswith("minihire run --preset folder ")
    for part in ("--ann-epochs 1", "--ann-batch-size 8", "--ann-learning-rate 0.01", "--batch-size 8"):
        assert part in told


def test_step_by_step(photos, here):
    assert command("train", "ann", "--data-dir", photos, *TINY[:4], "--ann-epochs", 1, "--out", "a.npz", *QUIET)[0] == 0
    config = checkpoint.load(here / "a.npz").meta["about"]
    assert (config["preset"], config["image_size"], config["batch_size"], config["snn_epochs"]) == (
        "folder",
        32,
        8,
        150,
    )
    assert command("convert", "a.npz", "--out", "s.npz", *QUIET)[0] == 0
    code, text = command("train", "hire", "--from", "s.npz", "--snn-epochs", 1, "--out", "h.npz", *QUIET)
    assert code == 0 and "settings for" not in text
    assert checkpoint.load(here / "h.npz").meta["training"]["recipe"]["batch_size"] == 8
    assert command("analyze", "h.npz", *QUIET)[0] == 0


@pytest.mark.parametrize("out", [".", "run", "circles/run", None])
def test_a_run_is_not_written_among_the_classes(tmp_path, monkeypatch, capsys, out):
    folder = draw(tmp_path / "photos", 2)
    monkeypatch.chdir(folder)
    code, _ = command("run", "--data-dir", ".", *(["--out", out] if out else []), *TINY, *QUIET)
    said = capsys.readouterr().err
    assert (
        code == 2 and "is inside --data-dir, where it would be read as a class: give another folder with --out" in said
    )
    assert sorted(path.name for path in folder.iterdir()) == sorted(CLASSES)


def test_a_run_may_lie_beside_the_folders_train_and_test(tmp_path):
    for part in ("train", "test"):
        draw(tmp_path / part, 2)
    folders.refuse_among_classes(tmp_path / "runs" / "folder", tmp_path, False)
    with pytest.raises(MinihireError, match="move it elsewhere"):
        folders.refuse_among_classes(tmp_path / "train" / "run", tmp_path, True)
