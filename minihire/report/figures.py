"""Figures in one house style, drawn from the content of results.json. Needs matplotlib (extra `plots`)."""

from pathlib import Path

import numpy as np

from minihire.report.images import from_png
from minihire.report.tables import TITLES

# Okabe and Ito's palette, told apart by all common kinds of colour vision; a network keeps its colour in every figure.
COLOURS = {
    "ann": "#000000",
    "converted": "#999999",
    "traditional": "#0072B2",
    "control": "#56B4E9",
    "gaussian": "#E69F00",
    "hire": "#D55E00",
}
STYLE = {
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


class NoMatplotlib(ImportError):
    """matplotlib is not installed: figures are left out."""


def pyplot():
    """matplotlib.pyplot without a screen, in the house style. Raises NoMatplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise NoMatplotlib(
            "figures were left out: they need matplotlib (pip install matplotlib, or minihire[plots])"
        ) from error
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    return plt


def draw_all(results, folder: Path) -> list[Path]:
    """Every figure of a run as PNG files in a folder; returns their paths. Raises NoMatplotlib."""
    plt = pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {
        "training": training_curves,
        "examples": attacked_images,
        "accuracy": accuracy_bars,
        "activity": activity_bars,
    }
    paths = []
    for name, draw in drawings.items():
        figure = draw(plt, results)
        if figure is not None:
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1])
            plt.close(figure)
    return paths


def training_curves(plt, results):
    """Loss and accuracy (training dashed, held-out solid) over epochs, ANN and SNNs of the first seed."""
    histories = {
        name: m["history"] for name, m in results["models"].items() if m["history"] and not name.startswith("second")
    }
    figure, axes = plt.subplots(2, 2, figsize=(8, 5), sharex="col", gridspec_kw={"width_ratios": [1, 1]})
    for column, members in enumerate(({"ann"}, histories.keys() - {"ann"})):
        for name in (n for n in histories if n in members):
            epochs = [row["epoch"] for row in histories[name]]
            style = {"color": COLOURS.get(name), "marker": "o" if len(epochs) < 3 else None}
            axes[0, column].plot(
                epochs, [row["loss"] for row in histories[name]], label=TITLES.get(name, name), **style
            )
            axes[1, column].plot(epochs, [100 * row["accuracy"] for row in histories[name]], ls="--", **style)
            if all("heldout_accuracy" in row for row in histories[name]):
                axes[1, column].plot(epochs, [100 * row["heldout_accuracy"] for row in histories[name]], **style)
        axes[0, column].set_title("ANN" if column == 0 else "SNN, from the converted ANN")
        axes[1, column].set_xlabel("epoch")
        axes[1, column].xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel("training loss (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    axes[0, 1].legend()
    axes[1, 0].plot([], [], "k--", label="training images, augmented")
    axes[1, 0].plot([], [], "k-", label="held-out images")
    axes[1, 0].legend()
    return figure


def attacked_images(plt, results):
    """Clean and attacked images side by side with predictions, and the perturbation magnified; a pair of rows a network."""
    models = [m for m in dict.fromkeys(e["model"] for e in results["examples"]) if m != "converted"]
    if not models:
        return None
    classes, epsilon = results["data"]["classes"], max(results["config"]["epsilon"], 1 / 255)
    columns = sum(e["model"] == models[0] for e in results["examples"])
    figure, axes = plt.subplots(
        2 * len(models) + 1, columns, figsize=(1.25 * columns + 0.8, 2.75 * len(models) + 1.7), squeeze=False
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, model in enumerate(models):
        for column, example in enumerate(e for e in results["examples"] if e["model"] == model):
            clean, attacked = (from_png(example[key]) for key in ("clean_png", "attacked_png"))
            top, below = axes[2 * row + 1, column], axes[2 * row + 2, column]
            top.imshow(attacked, cmap="gray", vmin=0, vmax=255)
            shift = (attacked.astype(float) - clean) / 255 / epsilon
            below.imshow(np.clip(0.5 + shift / 2, 0, 1), cmap="gray", vmin=0, vmax=1)
            right = example["attacked_prediction"] == example["label"]
            star = "" if example["clean_prediction"] == example["label"] else "*"
            top.set_title(
                classes[example["attacked_prediction"]] + star, fontsize=9, color="#00735a" if right else "#c0392b"
            )
            if row == 0:
                axes[0, column].imshow(clean, cmap="gray", vmin=0, vmax=255)
                axes[0, column].set_title(classes[example["label"]], fontsize=9)
        attack = results["examples"][0]["attack"].upper()
        axes[2 * row + 1, 0].set_ylabel(f"{TITLES.get(model, model)}\n{attack}", fontsize=8)
        axes[2 * row + 2, 0].set_ylabel(f"perturbation\n±{epsilon * 255:.3g}/255", fontsize=8)
    axes[0, 0].set_ylabel("clean", fontsize=8)
    figure.suptitle(
        "Above each attacked image: the prediction (green right, red wrong; * wrong on the clean image too)", fontsize=8
    )
    return figure


def accuracy_bars(plt, results):
    """Clean and attacked accuracy of every network with 95 % Wilson intervals."""
    found = {(r["model"], r["access"], r["attack"]): r for r in results["accuracy"]}
    models = list(dict.fromkeys(key[0] for key in found))
    groups = [
        g
        for g in (
            ("clean", "none", "clean"),
            ("white_box", "fgsm", "FGSM\nwhite box"),
            ("white_box", "pgd", "PGD\nwhite box"),
            ("black_box", "fgsm", "FGSM\nblack box"),
            ("black_box", "pgd", "PGD\nblack box"),
        )
        if any(k[1:] == g[:2] for k in found)
    ]
    figure, axis = plt.subplots(figsize=(1.6 * len(groups) + 1.5, 3.4))
    width = 0.8 / max(len(models), 1)
    for i, model in enumerate(models):
        scores = [found.get((model, *group[:2])) for group in groups]
        at = [g + (i - (len(models) - 1) / 2) * width for g, s in enumerate(scores) if s]
        scores = [s for s in scores if s]
        height = [100 * s["accuracy"] for s in scores]
        error = [
            [100 * (s["accuracy"] - s["low"]) for s in scores],
            [100 * (s["high"] - s["accuracy"]) for s in scores],
        ]
        axis.bar(
            at,
            height,
            width,
            yerr=error,
            color=COLOURS.get(model),
            label=TITLES.get(model, model),
            error_kw={"lw": 1, "ecolor": "#555555", "capsize": 2},
        )
    axis.set(xticks=range(len(groups)), xticklabels=[g[2] for g in groups], ylabel="accuracy (%)", ylim=(0, 100))
    axis.legend(
        ncols=2 if len(models) > 3 and len(groups) < 4 else min(len(models), 6),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )
    return figure


def activity_bars(plt, results):
    """Time-averaged spiking activity (TASA) of every layer."""
    layers = {name: [row for row in rows if row.get("tasa") is not None] for name, rows in results["activity"].items()}
    layers = {name: rows for name, rows in layers.items() if rows}
    if not layers:
        return None
    names = [row["name"] for row in next(iter(layers.values()))]
    figure, axis = plt.subplots(figsize=(max(5, 0.55 * len(names) * max(len(layers), 2) * 0.6 + 1.5), 3.2))
    width = 0.8 / len(layers)
    for i, (name, rows) in enumerate(layers.items()):
        at = np.arange(len(rows)) + (i - (len(layers) - 1) / 2) * width
        axis.bar(at, [row["tasa"] for row in rows], width, color=COLOURS.get(name), label=TITLES.get(name, name))
    axis.set(xticks=range(len(names)), xticklabels=names, ylabel="TASA (spikes per neuron and step)")
    axis.tick_params(axis="x", rotation=30 if len(names) > 6 else 0)
    axis.legend(ncols=len(layers), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure
