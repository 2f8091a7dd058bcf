"""Figures drawn from a made-up results.json: there, in colour, and left out where there is nothing to draw or to draw with."""

import sys

import numpy as np
import pytest
from PIL import Image

from minihire.report import figures, marks
from minihire.runtime.files import FileError
from minihire.study.images import as_png, from_png

MODELS = ["ann", "converted", "traditional", "hire"]


def png(seed):
    return as_png(np.random.default_rng(seed).random((8, 8, 3)))


def make_results():
    """As little as a run of two epochs leaves behind."""
    history = [{"epoch": e, "loss": 2.0 / e, "accuracy": 0.3 * e, "heldout_accuracy": 0.25 * e} for e in (1, 2)]
    rates = [{"name": f"neuron{i}", "tasa": 0.1 * i} for i in (1, 2, 3)]
    accuracy = [
        {"model": m, "access": access, "attack": attack, "accuracy": 0.5, "low": 0.4, "high": 0.6}
        for m in MODELS
        for access, attack in (("clean", "none"), ("white_box", "fgsm"), ("white_box", "pgd"), ("black_box", "pgd"))
    ]
    examples = [
        {
            "model": m,
            "attack": "pgd",
            "label": 1,
            "clean_prediction": i,
            "attacked_prediction": 1,
            "clean_png": png(i),
            "attacked_png": png(i + 9),
        }
        for m in MODELS
        for i in range(3)
    ]
    energy = {
        m: {"first_layer_once": {kind: {"total_pj": 5e6, "ratio": 4.2} for kind in ("fp32", "int32")}} for m in MODELS
    }
    return {
        "models": {m: {"history": [] if m == "converted" else history} for m in (*MODELS, "second ann")},
        "accuracy": accuracy,
        "activity": {"ann": [{"name": "neuron1", "tasa": None}], "hire": rates},
        "energy": energy,
        "examples": examples,
        "data": {"classes": ["a", "b", "c"]},
        "config": {"epsilon": 8 / 255},
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """{name: pixels as numbers 0xRRGGBB} of every figure."""
    pytest.importorskip("matplotlib")
    plt = figures.pyplot()
    plt.close("all")
    paths = figures.draw_all(make_results(), tmp_path_factory.mktemp("run") / "figures")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths) and plt.get_fignums() == []
    return {path.stem: np.asarray(Image.open(path).convert("RGB")).astype(int) @ (1 << 16, 1 << 8, 1) for path in paths}


@pytest.mark.slow
def test_every_figure_is_drawn(drawn):
    assert list(drawn) == ["training", "examples", "accuracy", "activity", "energy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["training", "examples", "accuracy", "activity", "energy"])
def test_no_figure_is_blank(drawn, name):
    pixels = drawn[name]
    assert min(pixels.shape) > 200 and len(np.unique(pixels)) > 20
    assert 0.001 < (pixels != 0xFFFFFF).mean() < 0.9


@pytest.mark.slow
def test_networks_have_their_colours(drawn):
    assert {int(marks.COLOURS[m][1:], 16) for m in MODELS} <= set(np.unique(drawn["accuracy"]).tolist())


@pytest.mark.slow
def test_grey_images_one_epoch_and_nothing_to_show(tmp_path):
    pytest.importorskip("matplotlib")
    results = make_results() | {"activity": {}, "energy": {}, "accuracy": make_results()["accuracy"][:3]}
    for example in results["examples"]:
        example["clean_png"] = example["attacked_png"] = as_png(np.zeros((8, 8, 1)))
    for model in results["models"].values():
        model["history"] = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}]
    assert [path.stem for path in figures.draw_all(results, tmp_path)] == ["training", "examples", "accuracy"]
    results["examples"] = []
    assert figures.attacked_images(figures.pyplot(), results) is None


def test_figures_are_not_written_through_links(tmp_path):
    pytest.importorskip("matplotlib")
    results, folder, other = (
        make_results() | {"examples": [], "activity": {}, "energy": {}},
        tmp_path / "figures",
        tmp_path / "x",
    )
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="cannot write into .*figures, because it is a link"):
        figures.draw_all(results, folder)
    folder.unlink()
    folder.mkdir()
    other.write_text("mine")
    (folder / "training.png").symlink_to(other)
    with pytest.raises(FileError, match=r"cannot write .*training\.png, because it is not a regular file"):
        figures.draw_all(results, folder)
    assert other.read_text() == "mine" and not any((tmp_path / "elsewhere").iterdir())


def test_without_matplotlib_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(figures.NoMatplotlib, match="figures were not drawn, because matplotlib is not installed"):
        figures.draw_all(make_results(), tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_survive_their_png(channels):
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    assert np.array_equal(from_png(as_png(levels / np.float32(255))).reshape(levels.shape), levels)


@pytest.mark.filterwarnings("error")
def test_names_of_classes_whose_letters_the_font_lacks_are_drawn_without_a_warning(tmp_path):
    pytest.importorskip("matplotlib")
    results = make_results() | {"activity": {}, "energy": {}, "accuracy": []}
    results["data"]["classes"] = ["猫", "犬", "鸟"]
    assert tmp_path / "examples.png" in figures.draw_all(results, tmp_path)


def test_dollars_in_names_of_classes_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    results = make_results()
    results["data"]["classes"] = ["$a", "b$ $x_", "$\\frac$"]
    assert tmp_path / "examples.png" in figures.draw_all(results, tmp_path)
