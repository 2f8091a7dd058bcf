"""Sections with charts and tables: energy, training, thresholds and leaks, time. A section without values is None."""

from minihire.report import charts
from minihire.report.markup import Markup, join, table, tag
from minihire.report.pieces import details, grid, legend, network, note
from minihire.report.tables import number
from minihire.report.words import network_name, networks
from minihire.runtime.progress import duration
from minihire.study.settings import ANN_METHODS


def microjoules(picojoules: float) -> str:
    """Convert pJ to µJ, as text with three digits. Values below 0.001 µJ are printed to the picojoule."""
    value = picojoules / 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}" if value >= 1e-3 else f"{value:.6f}"


def times(ratio: float | None) -> str:
    """A ratio as text, for example "4.6×"; a dash for None."""
    return "–" if ratio is None else f"{number(ratio, 1)}×"


def against_ann(ratio: float | None) -> str:
    """The ANN's energy divided by a network's, as the end of a sentence: ", 4.6× less", or "" for None."""
    if not ratio:
        return ""
    if 0.95 < ratio < 1.05:
        return ", as much as the ANN"
    return f", {times(ratio)} less" if ratio >= 1 else f", {times(1 / ratio)} more"


def energy(results) -> Markup | None:
    """Bars of compute energy per image, FP32 and INT32, and tables of energies and operations."""
    names = networks(results["energy"])
    if not names:
        return None
    drawings = []
    for kind, heading in (("fp32", "Floating point, 32 bits"), ("int32", "Integers, 32 bits")):
        rows = []
        for name in names:
            once, every = (
                results["energy"][name][mode][kind] for mode in ("first_layer_once", "first_layer_every_step")
            )
            words = f"{microjoules(once['total_pj'])} µJ{'' if name in ANN_METHODS else against_ann(once['ratio'])}"
            rows.append((name, network_name(name), once["total_pj"], every["total_pj"], words))
        drawings.append(charts.bars(heading, "µJ per image", rows))
    header = ["energy per image", "FP32, µJ", "ANN ÷ this", "INT32, µJ", "ANN ÷ this"]
    modes = {"first_layer_once": "first layer once", "first_layer_every_step": "first layer every step"}
    rows = [
        [
            join([network(name), tag("small", words)]),
            *(
                cell
                for kind in ("fp32", "int32")
                for cell in (
                    microjoules(results["energy"][name][mode][kind]["total_pj"]),
                    times(results["energy"][name][mode][kind]["ratio"]),
                )
            ),
        ]
        for name in names
        for mode, words in modes.items()
    ]
    return join(
        [
            grid(*drawings),
            note(
                "Linear scale from 0. Solid: the first layer is computed once, because a directly coded image does not change "
                "over time. Pale: it is computed at every step. “Less” compares the solid parts. “ANN ÷ this” in "
                "the table is the ANN’s energy divided by the network’s. Arithmetic only (equations 7 and 8, table 7: 45 nm "
                "CMOS, 0.9 V), without memory traffic."
            ),
            details("The numbers", table(header, rows)),
            details("Operations, layer by layer", [_operations(results, name) for name in names]),
        ]
    )


def _operations(results, name):
    header = ["layer", "kind", "dense operations", "ζ received", "operations", "FP32, µJ", "INT32, µJ"]
    rows = [
        [
            layer["name"],
            layer["kind"],
            f"{layer['dense']:,}",
            number(layer["received"], 3),
            f"{layer['operations']:,.0f}",
            microjoules(layer["fp32_pj"]),
            microjoules(layer["int32_pj"]),
        ]
        for layer in results["energy"][name]["first_layer_once"]["layers"]
    ]
    return table(header, rows, caption=network(name))


def training(results) -> Markup | None:
    """Loss and accuracy over epochs, in separate charts for ANN and SNNs, and a table of every training's last epoch."""
    histories = {name: model["history"] for name, model in results["models"].items() if model["history"]}
    shown = networks(histories)
    if not shown:
        return None
    drawings = []
    for words, names in (
        ("ANN", [n for n in shown if n in ANN_METHODS]),
        ("SNN", [n for n in shown if n not in ANN_METHODS]),
    ):
        if names:
            path = lambda name, key: [(row["epoch"], row[key]) for row in histories[name] if key in row]
            loss = [(name, True, path(name, "loss")) for name in names]
            right = [(name, True, path(name, "accuracy")) for name in names]
            right += [(name, False, path(name, "heldout_accuracy")) for name in names]
            right = [(name, dashed, [(x, 100 * y) for x, y in points]) for name, dashed, points in right if points]
            drawings.append(
                grid(charts.curves(f"{words}: loss", "nats", loss), charts.curves(f"{words}: accuracy", "%", right))
            )
    rows = [
        [
            network(name),
            results["models"][name]["seed"],
            len(history),
            f"{history[-1]['loss']:.3f}",
            f"{100 * history[-1]['accuracy']:.1f}",
            f"{100 * history[-1]['heldout_accuracy']:.1f}" if "heldout_accuracy" in history[-1] else "–",
        ]
        for name, history in histories.items()
    ]
    header = ["last epoch", "seed", "epochs", "loss, nats", "training, %", "held-out, %"]
    return join(
        [
            legend(shown),
            drawings,
            note("Dashed, hollow: augmented training images, measured during the epoch. Solid: held-out images."),
            details("The numbers", table(header, rows)),
        ]
    )


def cost(results) -> Markup | None:
    """A table of the cost of every training. Versions up to 0.1.0 did not record it."""
    models = {name: results["models"][name] for name in networks(results["models"])}
    found = {name: model["cost"] for name, model in models.items() if "cost" in model}
    if not found:
        return None
    rows = [
        [network(name), of["passes"], of["time_steps"], of["epochs"], f"{of['time_steps'] * of['epochs']:,}"]
        for name, of in found.items()
    ]
    header = [
        "training",
        "gradient passes per batch",
        "time steps per batch",
        "epochs",
        "time steps per batch × epochs",
    ]
    text = (
        "A gradient pass is one forward and one backward pass. Time steps per batch are those of all its passes: T for "
        "traditional training, N·⌊T/N⌋ for HIRE, T·(K + 1) for adversarial training with PGD-K. The last column multiplies them "
        "by the epochs: trainings with the same number there were trained at equal cost."
    )
    return join([table(header, rows), note(text)])


def neurons(results) -> Markup | None:
    """Charts of the threshold and leak of every layer."""
    models = {name: results["models"][name] for name in networks(results["models"])}
    kinds = {
        "Threshold v": ("thresholds", "in units of the membrane", 0.0),
        "Leak λ": ("leaks", "membrane fraction kept per step", None),
    }
    found = {
        title: ({name: model[kind] for name, model in models.items() if model[kind]}, unit, floor)
        for title, (kind, unit, floor) in kinds.items()
    }
    found = {title: given for title, given in found.items() if given[0]}
    if not found:
        return None
    drawings = [charts.layers(title, unit, series, floor) for title, (series, unit, floor) in found.items()]
    return join([legend(next(iter(found.values()))[0]), grid(*drawings)])


def time(results) -> Markup | None:
    """A table of the time and peak memory of every phase."""
    phases = results["phases"]
    if not phases:
        return None
    total, most = sum(p["seconds"] for p in phases.values()), max(p["seconds"] for p in phases.values())
    device = any("peak_device_memory_bytes" in p for p in phases.values())
    by = dict.fromkeys(p["computed_by"] for p in phases.values() if "computed_by" in p)
    header = ["phase", "time", "", "peak memory", *["device memory"] * device, *["computed by"] * (len(by) > 1)]
    rows = [
        [
            name,
            duration(p["seconds"]),
            tag("td", charts.fraction_bar(p["seconds"] / (most or 1)), class_="bar"),
            memory(p["peak_memory_bytes"]),
            *[memory(p.get("peak_device_memory_bytes"))] * device,
            *[p.get("computed_by", "–")] * (len(by) > 1),
        ]
        for name, p in phases.items()
    ]
    peak = max(p["peak_memory_bytes"] for p in phases.values())
    rows.append(["total", duration(total), "", memory(peak), *[""] * device, *[""] * (len(by) > 1)])
    shared = any(not p.get("peak_of_phase_alone", True) for p in phases.values())
    words = "Resident memory of the process. " + (
        "This system cannot reset the peak, so each value is the peak since the process started. " if shared else ""
    )
    return join(
        [table(header, rows, class_="phases"), note(words, f"Computed by: {next(iter(by))}." if len(by) == 1 else "")]
    )


def memory(size: int | None) -> str:
    """A size in bytes as text, for example "687 MiB"; a dash if it is unknown."""
    return f"{size / 2**20:,.0f} MiB" if size else "–"
