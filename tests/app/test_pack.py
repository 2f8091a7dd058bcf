"""`minihire pack`: a network with 16-bit weights, its model card, licence and checksums in one archive."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
from run_files import command

from backends import get_backend
from minihire.analysis import Score
from minihire.report.model_card import card
from minihire.training import checkpoint

SMALL = """--width 0.03125 --hidden 8 --ann-epochs 1 --snn-epochs 1 --train-limit 32 --test-limit 32 --no-black-box
--calibration-images 16 --calibration-steps 4"""
REFERENCE = ["--backend", "reference"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished run, and a licence."""
    folder = tmp_path_factory.mktemp("place")
    assert command("run", "--methods", "hire", *SMALL.split(), *REFERENCE, "--out", folder / "run")[0] == 0
    (folder / "LICENSE").write_text("Free for all – § 1.\n", "utf-8")
    return folder


def pack(place, *arguments, source="run/models/hire.npz"):
    return command("pack", place / source, "--license", place / "LICENSE", *REFERENCE, *arguments)


def test_the_archive_holds_a_checkpoint_that_predicts_a_card_a_licence_and_true_checksums(place, tmp_path, capsys):
    code, text = pack(place, "--out", tmp_path / "a.zip")
    assert code == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["hire.npz", "MODEL_CARD.md", "LICENSE", "SHA256SUMS"]
        archive.extractall(tmp_path)
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert hashlib.sha256((tmp_path / "a.zip").read_bytes()).hexdigest() in text
    assert (tmp_path / "LICENSE").read_text("utf-8") == "Free for all – § 1.\n"
    given, packed = checkpoint.load(place / "run/models/hire.npz"), checkpoint.load(tmp_path / "hire.npz")
    assert packed.arrays.keys() == {name for name in given.arrays if name.startswith("parameter/")}
    for name, array in packed.arrays.items():
        assert array.dtype == (np.float16 if array.size > 1 else np.float32)
        assert np.array_equal(array, given.arrays[name].astype(array.dtype))
    assert packed.meta["about"]["data_dir"] is None and "training" not in packed.meta
    assert command("analyze", tmp_path / "hire.npz", "--test-limit", "8", *REFERENCE)[0] == 0
    capsys.readouterr()
    for arguments in (["predict", tmp_path / "a.zip", tmp_path], ["info", tmp_path / "a.zip"]):
        assert command(*arguments)[0] == 2
        assert capsys.readouterr().err.endswith(": unpack it, and give the .npz file in it\n")


def test_the_card_has_the_figures_of_the_run_and_of_the_rounded_weights(place, tmp_path):
    code, text = pack(place, "--out", tmp_path / "a.zip")
    results = json.loads((place / "run/results.json").read_text())
    rows = {(row["model"], row["attack"]): f"{100 * row['accuracy']:.1f} [" for row in results["accuracy"]}
    assert code == 0
    for attack, title in (("none", "clean"), ("fgsm", "FGSM wb"), ("pgd", "PGD wb")):
        assert f"| before rounding | 32 | {title} | {rows['hire', attack]}" in text
    assert "| this file | 32 | clean | " in text and "converted into the spiking network" in text
    assert "with HIRE's crafted noise (ε_s = 0.013, ε_t = 0.013) in N = 2 periods" in text
    assert "a spiking network of T = 4 time steps" in text and "ε = 8/255; PGD with 7 steps" in text


NAMES = ("<b>x</b>", "a|b", "two\nlines", "\x1b[31mred", "`tick`", "``two", "*", "", "plain name", "{x}")
SPANS = r"`<b>x</b>`, `a|b`, `two\nlines`, `\x1b[31mred`, `` `tick` ``, ``` ``two ```, `*`, `  `, `plain name`, `{x}`"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"optimiser": "adam*<i>|`\n# heading"}, r", adam\*\<i\>\|\`\\n# heading and a learning rate of "),
        ({"noise": {"rule": "My{0}_Noise"}}, r"It was trained My{0}\_Noise in N = 2 periods"),
        ({"learning_rate": "high"}, "\nThe checkpoint does not record how it was trained.\n"),
        ({"noise": None}, "\nThe checkpoint does not record how it was trained.\n"),
    ],
)
def test_names_in_a_checkpoint_are_escaped_in_the_card(place, change, says):
    saved = checkpoint.load(place / "run/models/hire.npz")
    meta = {**saved.meta, "minihire": "<1>"}
    meta["training"]["recipe"] |= change
    scores = [Score(1, 2).as_dict()] * 2
    about = {"meta": meta, "data": "shapes", "scores": scores, "changed": 0, "results": None, "name": None}
    text = card("my\n`net`.npz", saved.network(get_backend("reference")), NAMES, **about)
    assert says in text and f" into 10 classes: {SPANS}.\n" in text and r"With minihire \<1\> or later" in text
    assert r"``my\n`net`.npz`` is a spiking" in text and r"minihire predict 'my\n`net`.npz' photo.jpg" in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# VGG5 for shapes"]


def test_a_network_that_another_run_trained_gets_no_figures_of_this_one(place, tmp_path):
    source = place / "run/models/copy.npz"
    given = checkpoint.load(place / "run/models/hire.npz")
    arrays = {**given.arrays, "meta": np.frombuffer(json.dumps(given.meta).encode(), np.uint8)}
    name = next(name for name, array in arrays.items() if name.endswith(".weight"))
    arrays[name] = arrays[name] * np.float32(1.5)
    np.savez(source, **arrays)
    code, text = pack(place, "--out", tmp_path / "a.zip", source="run/models/copy.npz")
    assert code == 0 and "PGD" not in text and "Its accuracy under attack was not measured." in text


def test_results_that_are_not_ours_are_left_out_with_a_warning(place, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "hire.npz").write_bytes((place / "run/models/hire.npz").read_bytes())
    (tmp_path / "results.json").write_text('{"mine": 1}')
    code, text = pack(place, "--out", tmp_path / "a.zip", source=tmp_path / "models" / "hire.npz")
    assert code == 0 and "warning: the model card has no results of the run" in text


def test_a_run_that_does_not_record_the_settings_of_its_attacks_is_packed(place, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "hire.npz").write_bytes((place / "run/models/hire.npz").read_bytes())
    content = json.loads((place / "run/results.json").read_text())
    del content["checksum"], content["config"]["alpha"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    code, text = pack(place, "--out", tmp_path / "a.zip", source=tmp_path / "models" / "hire.npz")
    assert code == 0 and "Attacks: the run does not record their settings. In the table" in text and "PGD wb" in text


def test_a_checkpoint_with_text_that_utf8_cannot_express_is_packed(place, tmp_path):
    given = checkpoint.load(place / "run/models/hire.npz")
    meta = np.frombuffer(json.dumps({**given.meta, "minihire": "\udcff"}).encode(), np.uint8)
    np.savez(tmp_path / "x.npz", **given.arrays, meta=meta)
    assert pack(place, source=tmp_path / "x.npz")[0] == 0
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert r"With minihire \udcff or later" in archive.read("MODEL_CARD.md").decode()


def test_equal_networks_have_equal_archives(place, tmp_path):
    for name in ("a.zip", "b.zip"):
        assert pack(place, "--out", tmp_path / name)[0] == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_file_that_appeared_while_the_network_was_packed_is_kept(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minihire.app.outputs.require_absent", lambda path: path)  # it looked before the file was there
    (tmp_path / "a.zip").write_text("mine")
    assert pack(place, "--out", tmp_path / "a.zip")[0] == 2
    assert (
        f"a.zip exists by now, so the output was written to {tmp_path / 'a-2.zip'}: rename" in capsys.readouterr().err
    )
    assert (tmp_path / "a.zip").read_text() == "mine" and zipfile.is_zipfile(tmp_path / "a-2.zip")


def test_what_cannot_be_packed_is_refused_in_a_sentence(place, tmp_path, capsys):
    def refused(says, *arguments, **options):
        assert pack(place, *arguments, **options)[0] == 2
        assert says in capsys.readouterr().err

    refused("must end in .zip", "--out", tmp_path / "a.tar")
    (tmp_path / "old.zip").write_text("mine")
    refused("exists: choose another --out", "--out", tmp_path / "old.zip")
    assert (tmp_path / "old.zip").read_text() == "mine"
    refused("there is no checkpoint", "--out", tmp_path / "a.zip", source="none.npz")
    refused("/ is a folder", source="/")
    for name in ("a\udcff.npz", "a\nb.npz"):
        (tmp_path / name).write_bytes((place / "run/models/hire.npz").read_bytes())
        refused("has bytes that are not UTF-8, or control characters: rename it", source=tmp_path / name)
    refused("cannot read --license", "--out", tmp_path / "a.zip", "--license", tmp_path / "none")
    given = checkpoint.load(place / "run/models/hire.npz")
    for name, change in (
        ("large", lambda arrays, meta: arrays.update({first(arrays): arrays[first(arrays)] + np.float32(1e5)})),
        ("unfinished", lambda arrays, meta: meta["training"]["position"].update(finished=False)),
    ):
        arrays, meta = dict(given.arrays), json.loads(json.dumps(given.meta))
        change(arrays, meta)
        np.savez(place / f"{name}.npz", **arrays, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
    refused("too large for 16 bits", "--out", tmp_path / "a.zip", source="large.npz")
    refused("is not finished: resume it first", "--out", tmp_path / "a.zip", source="unfinished.npz")
    assert not (tmp_path / "a.zip").exists()


def first(arrays):
    return next(name for name in arrays if name.endswith(".weight"))
