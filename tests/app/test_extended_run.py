"""`minihire run --resume` adds methods and the black box to a finished run, trains nothing again, and refuses other images."""

import json
import shutil

import pytest
from own_pictures import draw
from PIL import Image
from run_files import command, scores, weights, write_cifar10

from minihire.study import study as study_module
from minihire.training.checkpoint import load, training_images

FLAGS = """
    --data cifar10 --heldout 5 --width 1/32 --hidden 12 --dropout 0 --steps 4 --ann-epochs 4 --ann-batch-size 10
    --ann-learning-rate 0.05 --ann-schedule one-cycle --snn-epochs 1 --batch-size 20 --learning-rate 0.001
    --calibration-images 40 --calibration-steps 10 --iterations 1 --threads 1 --quiet
"""
PHOTOS = """
    --width 1/16 --hidden 16 --steps 2 --ann-epochs 1 --snn-epochs 1 --calibration-steps 5 --iterations 1
    --methods traditional --threads 1 --quiet
"""


@pytest.fixture
def trained(monkeypatch):
    """The labels of all trainings from now on."""
    labels, train = [], study_module.train
    monkeypatch.setattr(study_module, "train", lambda *a, **o: labels.append(o["label"]) or train(*a, **o))
    return labels


def test_a_finished_run_is_given_more_methods_and_then_the_black_box(tmp_path, trained):
    data, out = write_cifar10(tmp_path / "cifar", train=9, test=20), tmp_path / "run"
    results = lambda: json.loads((out / "results.json").read_text(encoding="utf-8"))
    methods = "traditional,hire"
    code, _ = command("run", "--data-dir", data, "--out", out, "--methods", methods, "--no-black-box", *FLAGS.split())
    assert code == 0 and trained == ["ann", "traditional", "hire"]
    first, kept = scores(results()), {p.name: weights(p) for p in (out / "models").glob("*.npz")}

    trained.clear()
    assert command("run", "--resume", "--out", out, "--methods", f"{methods},control", "--threads", 1)[0] == 0
    second = scores(results())
    assert trained == ["control"] and first.items() < second.items()
    assert {key[0] for key in second.keys() - first.keys()} == {"control"} and "control" in results()["activity"]
    assert {p.name: weights(p) for p in (out / "models").glob("*.npz")}.items() > kept.items()

    trained.clear()
    assert command("run", "--resume", "--out", out, "--black-box", "--threads", 1)[0] == 0
    third = scores(results())
    assert trained == ["second ann", "second traditional", "second hire", "second control"]
    assert second.items() < third.items() and {key[1] for key in third.keys() - second.keys()} == {"black_box"}
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["methods"] == ["traditional", "hire", "control"] and config["black_box"] and results()["finished"]


@pytest.fixture(scope="module")
def of_photos(tmp_path_factory):
    """A folder with the pictures `photos` and a finished run on them, `run`."""
    place = tmp_path_factory.mktemp("place")
    draw(place / "photos", 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minihire.app.run.draw_all", lambda results, folder: [])
        assert command("run", "--data-dir", place / "photos", "--out", place / "run", *PHOTOS.split())[0] == 0
    return place


@pytest.fixture
def place(of_photos, tmp_path, monkeypatch):
    """A copy of it. Drawing takes longer than a small run."""
    monkeypatch.setattr("minihire.app.run.draw_all", lambda results, folder: [])
    return shutil.copytree(of_photos, tmp_path / "place")


def resume(place, *flags):
    return command("run", "--resume", "--out", place / "run", "--data-dir", place / "photos", *flags, "--threads", 1)[0]


def turn(path):
    """Change a picture."""
    Image.open(path).rotate(90, expand=True).save(path)


@pytest.mark.parametrize("change", ["add", "turn"])
def test_a_run_is_not_resumed_with_other_images(place, capsys, trained, change):
    shutil.copytree(place / "photos", place / "moved")
    if change == "add":
        shutil.copy(place / "photos" / "circles" / "00.png", place / "photos" / "circles" / "more.png")
    else:
        turn(place / "photos" / "circles" / "00.png")
    before = (place / "run" / "results.json").read_bytes()
    assert resume(place, "--methods", "traditional,hire") == 2 and trained == []
    assert capsys.readouterr().err == (
        f"minihire: this run was started with other images than are in {place / 'photos'} now: "
        "give the folder of its images with --data-dir, or choose another --out\n"
    )
    assert (place / "run" / "results.json").read_bytes() == before
    assert resume(place, "--data-dir", place / "moved", "--methods", "traditional,hire") == 0 and trained == ["hire"]


def test_a_run_of_an_earlier_version_is_resumed_and_then_knows_its_images(place, capsys):
    path = place / "run" / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["checksum"], content["data"]["digest"]
    path.write_text(json.dumps(content), encoding="utf-8")
    turn(place / "photos" / "circles" / "00.png")  # without a digest, this is not noticed
    assert resume(place, "--methods", "traditional,hire") == 0
    first, last = (training_images(load(place / "run" / "models" / f"{name}.npz")) for name in ("ann", "hire"))
    assert len(first) == 12 and first < last and len(last) == 13  # `attack` notices what either training saw
    turn(place / "photos" / "circles" / "00.png")
    assert resume(place) == 2 and "with other images than are in" in capsys.readouterr().err
    path.write_text(json.dumps(content), encoding="utf-8")
    (place / "photos" / "circles" / "00.png").unlink()  # fewer images are noticed
    assert resume(place) == 2 and "with other images than are in" in capsys.readouterr().err


def test_another_data_set_is_refused_by_its_flag(place, capsys):
    assert command("run", "--resume", "--out", place / "run", "--data", "shapes", "--threads", 1)[0] == 2
    assert "this run was started with --data folder, not with --data shapes" in capsys.readouterr().err


def test_one_time_step_needs_no_periods_if_no_method_has_them(place, capsys):
    flags = ("--data-dir", place / "photos", "--out", place / "short", *PHOTOS.split(), "--steps", 1, "--dry-run")
    assert command("run", *flags)[0] == 0
    assert command("run", *flags, "--methods", "traditional,hire")[0] == 2
    assert "2 periods do not fit into 1 time steps" in capsys.readouterr().err
    one = (
        "--config",
        place / "run" / "config.json",
        "--out",
        place / "short",
        "--steps",
        1,
        "--threads",
        1,
        "--quiet",
        "--dry-run",
    )
    assert command("run", *one)[0] == 0
