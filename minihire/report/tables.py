"""Plain-text tables from the content of results.json."""

import csv
import io
import unicodedata
from collections.abc import Sequence

from minihire.runtime.progress import duration
from minihire.runtime.terminal import escaped
from minihire.study.titles import COLUMNS, TITLES, column_title

CURVE_COLUMNS = ("network", "seed", "epoch", "loss", "accuracy", "heldout_accuracy")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text. The first column is left-aligned, the others are right-aligned. Control characters are escaped."""
    cells = [list(header), *[[escaped(str(cell)) for cell in row] for row in rows]]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        padding = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        line = [row[0] + padding[0], *(space + cell for space, cell in zip(padding[1:], row[1:], strict=True))]
        lines.append("  ".join(line).rstrip())
    return "\n".join([lines[0], "  ".join("─" * w for w in widths), *lines[1:]])


def _width(text):
    """The width of a text on a terminal: Chinese characters and most emoji take two columns, combining accents none."""
    columns = (0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return sum(columns)


def accuracy_table(results) -> str:
    """Accuracy in percent with its 95 % Wilson interval, one row per network."""
    found = {(r["model"], r["access"], r["attack"]): r for r in results["accuracy"]}
    columns = [column for column in COLUMNS if any(key[1:] == column for key in found)]
    rows = []
    for model in dict.fromkeys(key[0] for key in found):
        cells = [found.get((model, access, attack)) for access, attack in columns]
        rows.append([TITLES.get(model, model), *["–" if c is None else interval(c) for c in cells]])
    return table(["accuracy, %", *[column_title(*column) for column in columns]], rows)


def interval(score: dict) -> str:
    """An accuracy and its interval in percent, for example "61.2 [58.1, 64.2]"."""
    return f"{100 * score['accuracy']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def activity_table(rows: list[dict]) -> str:
    """Spiking activity (definition 1) and received events ζ of every layer of one network."""
    return table(
        ["layer", "neurons", "SA", "TASA", "ζ received"],
        [
            [
                r["name"],
                f"{r['neurons']:,}",
                *(number(r[key], digits) for key, digits in (("sa", 3), ("tasa", 4), ("received", 3))),
            ]
            for r in rows
        ],
    )


def activity_summary(results) -> str:
    """TASA of every neuron layer, one row per spiking network."""
    found = {
        model: {r["name"]: r["tasa"] for r in rows if r["tasa"] is not None}
        for model, rows in results["activity"].items()
    }
    found = {model: layers for model, layers in found.items() if layers}
    names = list(dict.fromkeys(name for layers in found.values() for name in layers))
    return table(
        ["TASA", *names],
        [[TITLES.get(m, m), *(number(layers.get(n), 3) for n in names)] for m, layers in found.items()],
    )


def energy_table(results) -> str:
    """Compute energy per image (equations 7 and 8, table 7), and the ANN's energy divided by it."""
    rows = []
    for model, both in results["energy"].items():
        once = both["first_layer_once"]
        cells = [f"{once[f]['total_pj'] / 1e6:.3f}" for f in ("fp32", "int32")]
        cells += ["–" if once[f]["ratio"] is None else f"{once[f]['ratio']:.1f}×" for f in ("fp32", "int32")]
        every = both["first_layer_every_step"]["fp32"]["ratio"]
        rows.append([TITLES.get(model, model), *cells, "–" if every is None else f"{every:.1f}×"])
    header = ["energy per image", "FP32 µJ", "INT32 µJ", "FP32 gain", "INT32 gain", "FP32 gain, first layer every step"]
    return table(header, rows)


def operations_table(energy: dict) -> str:
    """Operations and energy per image by layer (table 6), with the first layer computed once."""
    rows = [
        [
            r["name"],
            r["kind"],
            f"{r['dense']:,}",
            number(r["received"], 3),
            f"{r['operations']:,.0f}",
            f"{r['fp32_pj'] / 1e6:.4f}",
            f"{r['int32_pj'] / 1e6:.4f}",
        ]
        for r in energy["layers"]
    ]
    return table(["layer", "kind", "dense operations", "ζ", "operations", "FP32 µJ", "INT32 µJ"], rows)


def neurobench_table(metrics: dict) -> str:
    """NeuroBench's metrics of one network: operations per image by layer, and one line with the others."""
    whole = {"name": "total", **metrics}
    columns = ("effective_macs", "effective_acs", "dense")
    rows = [[r["name"], *(f"{r[column]:,.0f}" for column in columns)] for r in (*metrics["layers"], whole)]
    updates = "not known" if metrics["membrane_updates"] is None else f"{metrics['membrane_updates']:,.0f}"
    fp32 = metrics["fp32"]
    gain = lambda ratio: "–" if ratio is None else f"{ratio:.2f}×"
    return "\n".join(
        (
            table(["NeuroBench, per image", "effective MACs", "effective ACs", "dense"], rows),
            f"footprint {metrics['footprint_bytes']:,} bytes, connection sparsity {metrics['connection_sparsity']:.4f}, "
            f"activation sparsity {metrics['activation_sparsity']:.4f}, membrane updates {updates}",
            f"FP32 energy of these operations (table 7): {fp32['total_pj'] / 1e6:.3f} µJ, gain {gain(fp32['ratio'])}",
            f"FP32 energy of the paper's operations, as MACs where NeuroBench counts MACs: {fp32['paper_pj'] / 1e6:.3f} µJ, "
            f"gain {gain(fp32['paper_ratio'])}",
        )
    )


def phase_table(results) -> str:
    """Time and peak memory of every phase."""
    rows = [
        [name, duration(p["seconds"]), f"{p['peak_memory_bytes'] / 2**20:,.0f} MiB"]
        for name, p in results["phases"].items()
    ]
    rows.append(
        [
            "total",
            duration(sum(p["seconds"] for p in results["phases"].values())),
            f"{max(p['peak_memory_bytes'] for p in results['phases'].values()) / 2**20:,.0f} MiB",
        ]
    )
    return table(["phase", "time", "peak memory"], rows)


def number(value, digits: int) -> str:
    """A number with so many decimal digits, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def curves_csv(results) -> str:
    """The history of every training as CSV: network, seed, epoch, loss, accuracy and held-out accuracy, a row per epoch."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(CURVE_COLUMNS)
    for name, model in results["models"].items():
        for row in model["history"]:
            rows.writerow([name, model["seed"], *(row.get(column, "") for column in CURVE_COLUMNS[2:])])
    return file.getvalue()
