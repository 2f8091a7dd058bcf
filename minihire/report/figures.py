"""PNG figures of a run, drawn with matplotlib from the content of results.json. Needs the extra `plots`."""

import warnings
from pathlib import Path

from minihire.report.marks import COLOURS, MARKERS, OTHER_MARKER
from minihire.report.sections import against_ann, microjoules
from minihire.runtime.files import FileError, write_atomically
from minihire.study.images import from_png, magnified
from minihire.study.settings import ANN_METHODS
from minihire.study.titles import ACCESS_TITLES, ATTACK_TITLES, COLUMNS, TITLES

WIDTH = 5.0  # inches; printed at half a page's width, 10-point letters are still about 6 points high
EXAMPLES = 4  # images per row
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
    """matplotlib is not installed, so no figures can be drawn."""


def pyplot():
    """Import matplotlib.pyplot with a file-only backend and our style. Raises NoMatplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise NoMatplotlib(
            "figures were not drawn, because matplotlib is not installed: pip install matplotlib"
        ) from error
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    return plt


def draw_all(results, folder: Path) -> list[Path]:
    """Draw every figure of a run as a PNG file in `folder`, and return the paths.

    Raises NoMatplotlib, and FileError if a file cannot be written or the folder is a link.
    """
    plt = pyplot()
    if folder.is_symlink():
        raise FileError(f"cannot write into {folder}, because it is a link: delete the link")
    drawings = {
        "training": training_curves,
        "examples": attacked_images,
        "accuracy": accuracy_intervals,
        "activity": activity_by_layer,
        "energy": energy_per_image,
    }
    paths = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a class's name; a box takes the place of the letter
        for name, draw in drawings.items():
            figure = draw(plt, results)
            if figure is not None:
                paths.append(folder / f"{name}.png")
                write_atomically(paths[-1], lambda file, figure=figure: figure.savefig(file, format="png", dpi=220))
                plt.close(figure)
    return paths


def training_curves(plt, results):
    """Loss and accuracy over epochs of the ANN and SNNs of the first seed. Training is dashed, held-out solid."""
    histories = {
        name: m["history"] for name, m in results["models"].items() if m["history"] and not name.startswith("second")
    }
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.4), sharex="col")
    for column, members in enumerate(({*ANN_METHODS}, histories.keys() - {*ANN_METHODS})):
        for name in (n for n in histories if n in members):
            rows, few = histories[name], len(histories[name]) < 4
            style = {"color": COLOURS.get(name), "marker": _marker(name), "ms": 5, "markevery": None if few else [-1]}
            training = {"ls": "--", "mfc": "white", **style}
            epochs = [row["epoch"] for row in rows]
            axes[0, column].plot(epochs, [row["loss"] for row in rows], **training)
            axes[1, column].plot(epochs, [100 * row["accuracy"] for row in rows], **training)
            if all("heldout_accuracy" in row for row in rows):
                axes[1, column].plot(epochs, [100 * row["heldout_accuracy"] for row in rows], **style)
        axes[0, column].set_title("ANN" if column == 0 else "SNN, from the ANN")
        axes[1, column].set_xlabel("epoch")
        axes[1, column].xaxis.get_major_locator().set_params(integer=True, nbins=5)
        if all(len(histories[name]) == 1 for name in histories if name in members):
            axes[1, column].set_xticks([1])
    axes[0, 0].set_ylabel("loss (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    lines = [
        plt.Line2D([], [], color="#555555", ls="--", label="training"),
        plt.Line2D([], [], color="#555555", label="held-out"),
    ]
    _legend(plt, figure, histories, lines)
    return figure


def attacked_images(plt, results):
    """Clean images, then two rows per network: attacked images with predictions, and magnified perturbations.

    None if the results contain no examples.
    """
    models = [m for m in dict.fromkeys(e["model"] for e in results["examples"]) if m != "converted"]
    if not models:
        return None
    classes = [name.replace("$", r"\$") for name in results["data"]["classes"]]  # a $ would start a formula
    epsilon = max(results["config"]["epsilon"], 1 / 255)
    columns = min(EXAMPLES, sum(e["model"] == models[0] for e in results["examples"]))
    rows = 2 * len(models) + 1
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 1.22 * rows + 0.6), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, model in enumerate(models):
        for column, example in enumerate([e for e in results["examples"] if e["model"] == model][:columns]):
            top, below = axes[2 * row + 1, column], axes[2 * row + 2, column]
            _show(top, example["attacked_png"])
            _show(below, magnified(example["clean_png"], example["attacked_png"], epsilon))
            right = example["attacked_prediction"] == example["label"]
            star = "" if example["clean_prediction"] == example["label"] else "*"
            label = f"{'✓' if right else '✗'} {classes[example['attacked_prediction']]}{star}"
            top.set_title(label, fontsize=10, color="#00735a" if right else "#c0392b", pad=3)
            if row == 0:
                _show(axes[0, column], example["clean_png"])
                axes[0, column].set_title(classes[example["label"]], fontsize=10, pad=3)
        attack = results["examples"][0]["attack"].upper()
        axes[2 * row + 1, 0].set_ylabel(f"{TITLES.get(model, model)}, {attack}".replace(", ", ",\n"), fontsize=9)
        axes[2 * row + 2, 0].set_ylabel(f"perturbation\n±{epsilon * 255:.3g}/255", fontsize=9)
    axes[0, 0].set_ylabel("clean", fontsize=9)
    figure.supxlabel("✓ right, ✗ wrong, * clean image misclassified too", fontsize=9)
    return figure


def accuracy_intervals(plt, results):
    """Clean and attacked accuracy of every network, with 95 % Wilson intervals."""
    found = {(r["model"], r["access"], r["attack"]): r for r in results["accuracy"]}
    models = list(dict.fromkeys(key[0] for key in found))
    groups = [column for column in COLUMNS if any(key[1:] == column for key in found)]
    names = ["\n".join(filter(None, (ATTACK_TITLES[attack], ACCESS_TITLES[access]))) for access, attack in groups]
    figure, axis = plt.subplots(figsize=(WIDTH, 3.4))
    spacing = 0.72 / max(len(models), 1)
    for i, model in enumerate(models):
        scores = {g: found.get((model, *group)) for g, group in enumerate(groups)}
        scores = {g: score for g, score in scores.items() if score}
        at = [g + (i - (len(models) - 1) / 2) * spacing for g in scores]
        height = [100 * s["accuracy"] for s in scores.values()]
        ends = [(100 * (s["accuracy"] - s["low"]), 100 * (s["high"] - s["accuracy"])) for s in scores.values()]
        axis.errorbar(
            at,
            height,
            yerr=list(zip(*ends, strict=True)),
            fmt=_marker(model),
            ms=5,
            color=COLOURS.get(model),
            elinewidth=1.6,
            capsize=2.5,
            capthick=1.2,
        )
    axis.set(xticks=range(len(groups)), xticklabels=names, ylabel="accuracy (%)", ylim=(-4, 104))
    axis.set_xlim(-0.5, max(len(groups), 1) - 0.5)
    axis.grid(visible=False, axis="x")
    axis.tick_params(axis="x", length=0, labelsize=9)
    for boundary in range(1, len(groups)):
        axis.axvline(boundary - 0.5, color="#dddddd", lw=0.6)
    _legend(plt, figure, models, title="bars: 95 % interval")
    return figure


def activity_by_layer(plt, results):
    """Time-averaged spiking activity (TASA) of every layer, input layer at the top. None if no network spikes."""
    layers = {name: [row for row in rows if row.get("tasa") is not None] for name, rows in results["activity"].items()}
    layers = {name: rows for name, rows in layers.items() if rows}
    if not layers:
        return None
    names = [row["name"] for row in next(iter(layers.values()))]
    figure, axis = plt.subplots(figsize=(WIDTH, 0.3 * len(names) + 1.5))
    for name, rows in layers.items():
        style = {"color": COLOURS.get(name), "marker": _marker(name), "ms": 6, "lw": 1, "mec": "white", "mew": 0.6}
        axis.plot([row["tasa"] for row in rows], range(len(rows)), **style)
    axis.set(yticks=range(len(names)), yticklabels=names, xlabel="TASA (spikes per neuron and time step)")
    axis.set_xlim(left=0)
    axis.set_ylim(len(names) - 0.5, -0.5)
    _legend(plt, figure, layers)
    return figure


def energy_per_image(plt, results):
    """Compute energy per image of every network (equations 7 and 8), FP32 and INT32, first layer once. None if not measured.

    A bar has the energy and how many times less it is than the ANN's.
    """
    found = {name: modes["first_layer_once"] for name, modes in results["energy"].items()}
    if not found:
        return None
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 0.34 * len(found) + 0.9), sharey=True)
    for axis, kind in zip(axes, ("fp32", "int32"), strict=True):
        energies = [by_kind[kind]["total_pj"] / 1e6 for by_kind in found.values()]  # pJ to µJ
        axis.barh(range(len(found)), energies, height=0.6, color=[COLOURS.get(name) for name in found])
        for row, (name, by_kind) in enumerate(found.items()):
            gain = "" if name in ANN_METHODS else against_ann(by_kind[kind]["ratio"])
            words = f" {microjoules(by_kind[kind]['total_pj'])} µJ{gain}"
            axis.text(energies[row], row, words, va="center", fontsize=8)
        axis.set(title=kind.upper(), xlabel="µJ per image", xlim=(0, 1.35 * max(energies)))
        axis.set(yticks=range(len(found)), yticklabels=[TITLES.get(name, name) for name in found])
        # Every bar has its figure beside it: a grid would only cross these labels.
        axis.grid(visible=False)
        axis.tick_params(axis="y", length=0)
    axes[0].set_ylim(len(found) - 0.5, -0.5)
    return figure


def _marker(name):
    return MARKERS.get(name, OTHER_MARKER)


def _legend(plt, figure, names, more=(), title=None):
    """A legend above the axes, three entries per row, where it covers no data."""
    handles = [
        plt.Line2D([], [], color=COLOURS.get(name), marker=_marker(name), ms=6, ls="", label=TITLES.get(name, name))
        for name in names
    ]
    handles += more
    options = {"ncols": min(3, len(handles)), "title": title, "title_fontsize": 9, "handletextpad": 0.3}
    if handles:
        figure.legend(handles=handles, loc="outside upper center", columnspacing=1.2, **options)


def _show(axis, png):
    axis.imshow(from_png(png), cmap="gray", vmin=0, vmax=255)
