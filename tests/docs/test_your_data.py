"""docs/your-data.md: runs its commands and its code, in the order of the page, on 3 × 30 pictures of different sizes."""

import csv
import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from handbook_pages import DOCS, blocks, rows, run
from own_pictures import CLASSES, draw
from PIL import Image
from run_files import command

from minihire.runtime.progress import Progress

PAGE = "your-data.md"


SHORT = Path("short.json")


def shortened(path):
    """A copy of a config.json, with few epochs."""
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    SHORT.write_text(json.dumps({**config, "ann_epochs": 2, "snn_epochs": 1}), encoding="utf-8")
    return str(SHORT)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, {command: output}, output of the Python code) of the whole page."""
    folder, printed = tmp_path_factory.mktemp("page"), {}
    draw(folder / "photos", 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Progress, "quiet", False)
        for line in "".join(block for found in blocks(PAGE, "bash").values() for block in found).splitlines():
            program, *arguments = shlex.split(line)
            assert program == "minihire"
            if "--config" in arguments:  # of this run, no test reads the accuracy
                arguments = [
                    shortened(argument) if argument.endswith("config.json") else argument for argument in arguments
                ]
            threads = [] if arguments[0] == "report" else ["--threads", 1]  # for a machine that runs other tests too
            code, printed[line] = command(*arguments, *threads)
            assert code == 0, f"{line}: {printed[line]}"
        assert blocks(PAGE).keys() == {"In Python"}
        out = io.StringIO()
        for (code,) in blocks(PAGE).values():
            run(code, "page_example", patch, print=lambda *words: print(*words, file=out))
    return folder, printed, out.getvalue()


@pytest.mark.slow
def test_one_command_without_a_setting_trains_networks_that_learned_something(ran):
    folder, printed, _ = ran
    text = printed["minihire run --data-dir photos"]
    said = blocks(PAGE, "")["Train"][0]
    assert text.startswith(said) and "warning" not in text
    results = json.loads((folder / "runs" / "folder" / "results.json").read_text(encoding="utf-8"))
    assert results["finished"] and results["data"]["classes"] == list(CLASSES)
    assert (results["data"]["train"], results["data"]["heldout"], results["data"]["test"]) == (72, 0, 18)
    clean = {row["model"]: row["accuracy"] for row in results["accuracy"] if row["attack"] == "none"}
    assert clean.keys() == {"ann", "converted", "traditional", "hire"}
    assert min(clean[name] for name in ("ann", "traditional", "hire")) > 0.7  # measured: 0.94 to 1 with three seeds


@pytest.mark.slow
def test_predictions_name_the_classes_of_the_folders(ran):
    folder, printed, python = ran
    (line,) = (line for line in printed if line.endswith("photos/crosses/07.png"))
    assert printed[line].splitlines()[-1].split()[:2] == ["photos/crosses/07.png", "crosses"]
    assert python.split()[0] == "crosses"
    lines = list(csv.DictReader((folder / "predictions.csv").open(encoding="utf-8")))
    assert len(lines) == 90 and sum(row["class"] == row["image"].split("/")[1] for row in lines) >= 80
    found = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    assert [row["image"] for row in found["images"]] == [row["image"] for row in lines]
    assert all(row["energy"]["fp32"]["total_pj"] > 0 for row in found["images"])


@pytest.mark.slow
def test_the_attacked_images_are_in_the_arrays_that_the_page_names(ran):
    folder = ran[0]
    with np.load(folder / "pgd.npz") as file:
        assert [f"`{name}`" for name in file] == [cells[0] for cells in rows(PAGE)[2:]]
        assert file["labels"].tolist() == sorted(file["labels"]) and file["labels"].max() == len(CLASSES) - 1
        assert file["images"].shape == (18, 32, 32, 3) and file["images"].dtype == np.float32
        assert np.array_equal(file["rounded"], np.round(255 * file["images"]))


@pytest.mark.slow
def test_an_image_is_attacked_and_written(ran):
    folder, printed, _ = ran
    (line,) = (line for line in printed if line.endswith("--save-images attacked"))
    assert [row.split()[:3] for row in printed[line].splitlines()[-3:-1]] == [
        ["photos/crosses/07.png", attack, "crosses"] for attack in ("fgsm", "pgd")
    ]
    assert sorted(path.name for path in (folder / "attacked").iterdir()) == ["07.fgsm.png", "07.pgd.png"]
    with Image.open(folder / "attacked" / "07.pgd.png") as picture:
        assert picture.size == (32, 32)


@pytest.mark.slow
def test_a_run_is_repeated_with_one_changed_setting_and_compared(ran):
    folder = ran[0]
    whole, one, other = (
        json.loads((folder / path).read_text(encoding="utf-8"))
        for path in ("runs/folder/config.json", SHORT, "runs/not-flipped/config.json")
    )
    assert [name for name in one if one[name] != other[name]] == ["augment"]
    assert [name for name in whole if whole[name] != one[name]] == ["ann_epochs", "snn_epochs"]
    assert "not-flipped" in (folder / "compare.html").read_text(encoding="utf-8")
    assert ">Classes</" in (folder / "runs" / "folder" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_flags_replace_the_choices(ran):
    folder = ran[0]
    config = json.loads((folder / "quick" / "results.json").read_text(encoding="utf-8"))["config"]
    chosen = [config[name] for name in ("ann_epochs", "snn_epochs", "augment", "ann_batch_size", "batch_size")]
    assert chosen == [30, 10, False, 16, 16]


def test_the_page_is_short():
    assert len((DOCS / PAGE).read_text(encoding="utf-8").splitlines()) < 120
