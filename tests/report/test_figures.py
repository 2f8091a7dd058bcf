"""Figures drawn from a made-up results.json: there, in colour, and left out where there is nothing to draw or to draw with."""
import sys

import numpy as np
import pytest
from PIL import Image

from minihire.report import figures
from minihire.report.images import as_png, from_png

MODELS = ["ann", "converted", "traditional", "hire"]


def png(seed):
    return as_png(np.random.default_rng(seed).random((8, 8, 3)))


@pytest.fixture
def results():
    """As little as a run of two epochs leaves behind."""
    history = [{"epoch": e, "loss": 2.0 / e, "accuracy": 0.3 * e, "heldout_accuracy": 0.25 * e} for e in (1, 2)]
    rates = [{"name": f"neuron{i}", "tasa": 0.1 * i} for i in (1, 2, 3)]
    accuracy = [{"model": m, "access": access, "attack": attack, "accuracy": 0.5, "low": 0.4, "high": 0.6} for m in MODELS
                for access, attack in (("clean", "none"), ("white_box", "fgsm"), ("white_box", "pgd"), ("black_box", "pgd"))]
    examples = [{"model": m, "attack": "pgd", "label": 1, "clean_prediction": i, "attacked_prediction": 1, "clean_png": png(i), "attacked_png": png(i + 9)}
                for m in MODELS for i in range(3)]
    return {"models": {m: {"history": [] if m == "converted" else history} for m in (*MODELS, "second ann")}, "accuracy": accuracy,
            "activity": {"ann": [{"name": "neuron1", "tasa": None}], "hire": rates}, "examples": examples,
            "data": {"classes": ["a", "b", "c"]}, "config": {"epsilon": 8 / 255}}


def test_every_figure_is_drawn_and_is_not_blank(results, tmp_path):
    pytest.importorskip("matplotlib")
    paths = figures.draw_all(results, tmp_path / "figures")
    assert [path.name for path in paths] == ["training.png", "examples.png", "accuracy.png", "activity.png"]
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20 and 0.001 < (pixels < 250).any(axis=2).mean() < 0.9


def test_networks_have_their_colours(results, tmp_path):
    pytest.importorskip("matplotlib")
    figures.draw_all(results, tmp_path)
    colours = np.unique(np.asarray(Image.open(tmp_path / "accuracy.png").convert("RGB")).reshape(-1, 3), axis=0).tolist()
    assert all([int(figures.COLOURS[m][i : i + 2], 16) for i in (1, 3, 5)] in colours for m in MODELS)


def test_figures_of_an_ann_alone(results, tmp_path):
    pytest.importorskip("matplotlib")
    results |= {"activity": {}, "examples": [], "models": {"ann": results["models"]["ann"]}, "accuracy": results["accuracy"][:3]}
    assert [path.stem for path in figures.draw_all(results, tmp_path)] == ["training", "accuracy"]


def test_no_figure_stays_open(results, tmp_path):
    pytest.importorskip("matplotlib")
    plt = figures.pyplot()
    plt.close("all")
    figures.draw_all(results, tmp_path)
    assert plt.get_fignums() == []


def test_grey_images_and_one_epoch(results, tmp_path):
    pytest.importorskip("matplotlib")
    for example in results["examples"]:
        example["clean_png"] = example["attacked_png"] = as_png(np.zeros((8, 8, 1)))
    for model in results["models"].values():
        model["history"] = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}]
    assert len(figures.draw_all(results, tmp_path)) == 4


def test_without_matplotlib_it_says_what_is_missing(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(figures.NoMatplotlib, match=r"figures were left out: they need matplotlib, pip install 'minihire\[plots\]'"):
        figures.draw_all(results, tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_survive_their_png(channels):
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    assert np.array_equal(from_png(as_png(levels / np.float32(255))).reshape(levels.shape), levels)
