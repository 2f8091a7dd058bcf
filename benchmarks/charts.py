"""Figures of benchmark results, drawn with matplotlib from the JSON file of a benchmark."""

import textwrap
from pathlib import Path

from benchmarks.report import MEBIBYTE
from minihire.report import figures
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically

# Colour and marker of each side. The palette is that of Okabe and Ito, as in minihire.report.figures.
STYLES = {
    "minihire": {"color": "#D55E00", "marker": "o"},
    "torch": {"color": "#0072B2", "marker": "s"},
    "spikingjelly": {"color": "#009E73", "marker": "^"},
    "snntorch": {"color": "#CC79A7", "marker": "D"},
    "ann": {"color": "#000000", "marker": "v"},
}
LABELS = {
    "batch": "batch (images)",
    "steps": "time steps T",
    "width": "width of all layers",
    "density": "firing density (%)",
}
GREY = "#666666"


def pyplot():
    """matplotlib.pyplot in the style of the report. Raises MinihireError if matplotlib is not installed."""
    try:
        return figures.pyplot()
    except figures.NoMatplotlib as error:
        raise MinihireError("--figure needs matplotlib: pip install matplotlib") from error


def write_scaling(content: dict, path: Path) -> None:
    """Draw the results of benchmarks.scaling into a PNG file."""
    plt = pyplot()
    figure = scaling(plt, content)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
    plt.close(figure)


def scaling(plt, content: dict):
    """A figure with one column per factor: step time in ms above (median, minimum to maximum), peak memory in MiB below."""
    settings = content["settings"]
    base, factors = settings["base"], list(settings["values"])
    curves = [along(content["points"], factor, base) for factor in factors]
    inches = max(4.2, 0.9 + 1.6 * len(factors))
    figure, axes = plt.subplots(
        2,
        len(factors),
        figsize=(inches, 4.6),
        sharex="col",
        sharey="row",
        squeeze=False,
        width_ratios=[2 + len(points) for points in curves],
        height_ratios=(5, 4),
    )
    for column, factor, points in zip(axes.T, factors, curves, strict=True):
        draw_times(column[0], factor, points)
        draw_memory(column[1], factor, points)
        annotate(column[0], factor, points, base)
        finish(column, factor, points, base)
        column[1].set_xlabel("width of convolutions" if factor == "width" and settings["hidden"] else LABELS[factor])
    axes[0, 0].set_ylabel("training step (ms)")
    axes[1, 0].set_ylabel("peak memory (MiB)")
    keys, titles = axes[0, 0].get_legend_handles_labels()
    figure.legend(keys, titles, loc="outside upper center", ncols=min(len(keys), int(inches / 1.7)))
    figure.supxlabel(
        "\n".join(textwrap.fill(line, int(15 * inches)) for line in caption(content)), fontsize=8, color=GREY
    )
    return figure


def along(points: list[dict], factor: str, base: dict) -> list[dict]:
    """The points that equal the base point except for `factor`, sorted by it."""
    others = [name for name in base if name != factor]
    return sorted((p for p in points if all(p[name] == base[name] for name in others)), key=lambda point: point[factor])


def draw_times(axis, factor: str, points: list[dict]) -> None:
    """Plot the median time of each side, with bars from the smallest to the largest sample."""
    for i, first in enumerate(points[0]["sides"]):
        rows = [point["sides"][i] for point in points]
        medians = [1000 * row["median_s"] for row in rows]
        bars = [
            [1000 * (row["median_s"] - min(row["samples_s"])) for row in rows],
            [1000 * (max(row["samples_s"]) - row["median_s"]) for row in rows],
        ]
        axis.errorbar(
            [point[factor] for point in points],
            medians,
            yerr=bars,
            label=first["title"],
            ms=4,
            lw=1.4,
            elinewidth=1,
            capsize=2,
            **STYLES[first["side"]],
        )


def draw_memory(axis, factor: str, points: list[dict]) -> None:
    """Plot the peak memory of each side in MiB."""
    for i, first in enumerate(points[0]["sides"]):
        peaks = [point["sides"][i]["peak_bytes"] / MEBIBYTE for point in points]
        axis.plot([point[factor] for point in points], peaks, ms=4, lw=1.4, **STYLES[first["side"]])


def annotate(axis, factor: str, points: list[dict], base: dict) -> None:
    """Print the ratio first peer / minihire of the medians, at both ends of the curve and at the base point."""
    for point in points:
        rows = point["sides"]
        if len(rows) == 1 or point[factor] not in (points[0][factor], points[-1][factor], base[factor]):
            continue
        top = 1000 * max(sample for row in rows for sample in row["samples_s"])
        ratio = rows[1]["median_s"] / rows[0]["median_s"]
        axis.annotate(
            f"{ratio:.{1 if ratio >= 1 else 2}f}×",
            (point[factor], top),
            (4, 5),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=GREY,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
            zorder=1.5,  # above the grid, below the curves
        )


def finish(column, factor: str, points: list[dict], base: dict) -> None:
    """Set logarithmic axes with a tick at each measured value, and draw a dotted line at the base point."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    values = [point[factor] for point in points]
    spread = (values[-1] / values[0]) ** 0.28 if len(values) > 1 else 2
    scale = 100 if factor == "density" else 1
    for axis in column:
        axis.set(xscale="log", yscale="log", xlim=(values[0] / spread, values[-1] * spread**0.45))
        axis.axvline(base[factor], color=GREY, lw=0.8, ls=":", zorder=0)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axis.minorticks_off()
        axis.grid(axis="x", visible=False)
        axis.margins(y=0.14)
    column[1].set_xticks(values, [f"{scale * value:g}" for value in values], fontsize=9)


def caption(content: dict) -> list[str]:
    """Two lines of caption: the base point, and the meaning of bars and ratios."""
    settings = content["settings"]
    base = settings["base"]
    titles = [row["title"] for row in content["points"][0]["sides"]]
    ratio = f"; ×: time of {titles[1]} / {titles[0]}" if len(titles) > 1 else ""
    return [
        f"{settings['model']}; dotted: batch {base['batch']}, T = {base['steps']}, width {base['width']:g}, "
        f"density {100 * base['density']:g} %",
        f"bars: fastest to slowest round of {settings['rounds']}{ratio}",
    ]
