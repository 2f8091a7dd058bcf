"""The page's sections that are tables and charts, each from the content of results.json; None where it holds nothing for one."""

from minihire.experiments import PRESETS, Config
from minihire.progress import duration
from minihire.report import charts, paper
from minihire.report.markup import Markup, join, table, tag
from minihire.report.tables import COLUMNS, interval, number
from minihire.report.words import data_name, model_name, network_name, networks

ATTACKS = {"none": "clean", "fgsm": "FGSM", "pgd": "PGD"}
ACCESS = {"clean": "", "white_box": "white box", "black_box": "black box"}


def network(name: str) -> Markup:
    """A network's marker and title."""
    return tag("span", charts.key(name.removeprefix("second ")), network_name(name), class_="network")


def legend(names) -> Markup:
    """The markers of several networks."""
    return tag("ul", [tag("li", network(name)) for name in names], class_="legend")


def grid(*drawings) -> Markup:
    """Charts side by side, as many as fit."""
    return tag("div", drawings, class_="charts")


def note(*children) -> Markup:
    """A short paragraph in small type."""
    return tag("p", children, class_="note")


def details(summary, *children) -> Markup:
    """Something folded."""
    return tag("details", tag("summary", summary), children)


# ---------------------------------------------------------------- accuracy


def score_columns(rows) -> list[tuple[str, str]]:
    """(access, attack) of each column that the accuracy rows need, the usual ones first."""
    there = dict.fromkeys((row["access"], row["attack"]) for row in rows)
    usual = [column[:2] for column in COLUMNS if column[:2] in there]
    return usual + [column for column in there if column not in usual]


def score_heads(columns) -> list[Markup]:
    """FGSM, white box."""
    heads = [(ATTACKS.get(attack, attack), ACCESS.get(access, access)) for access, attack in columns]
    return [join([tag("span", attack), access and tag("small", access)]) for attack, access in heads]


def score_cell(row: dict | None, name: str) -> Markup:
    """Accuracy, interval and count over a strip from 0 to 100 %."""
    if row is None:
        return tag("td", "–")
    mean, _, between = interval(row).partition(" ")
    words = f"{network_name(name)}: {mean} %, 95 % interval {between}"
    drawn = charts.strip(name, row["accuracy"], row["low"], row["high"], words)
    count = tag("small", f"{row['correct']:,} of {row['count']:,}")
    return tag("td", tag("b", mean), " ", tag("span", between, class_="interval"), drawn, count, class_="score")


def accuracy(results) -> Markup | None:
    """Accuracy with its interval, and below each network the paper's figures where the setting is the paper's."""
    found = {(row["model"], row["access"], row["attack"]): row for row in results["accuracy"]}
    if not found:
        return None
    columns, rows, beside = score_columns(results["accuracy"]), [], False
    for name in networks(dict.fromkeys(key[0] for key in found)):
        rows.append([network(name), *(score_cell(found.get((name, *column)), name) for column in columns)])
        printed = paper.printed(results["config"], name)
        if printed:
            rows.append(_paper_row(printed, name, columns))
            beside = True
    return join(
        [
            table(["accuracy, %", *score_heads(columns)], rows, class_="scores"),
            note(
                "Mean and 95 % Wilson interval, images right of images tested; every strip runs from 0 to 100 %. The interval "
                "is for these images and this training, not for another seed. One surrogate gradient and few steps do not "
                "establish robustness."
            ),
            _paper_note(results, beside),
        ]
    )


def _paper_row(printed, name, columns):
    tables = list(dict.fromkeys(str(row.table) for row in printed.values()))
    where = f" (table{'s' * (len(tables) > 1)} {' and '.join(tables)})"
    head = tag("th", "paper, full-size network, all test images", tag("small", where), scope="row", class_="paper")
    cells = []
    for access, attack in columns:
        row = printed.get("white_box" if access == "clean" else access)
        value = row and getattr(row, "clean" if attack == "none" else attack, None)
        if value is None:
            cells.append(tag("td", "–", class_="paper"))
            continue
        words = f"printed in the paper for {network_name(name)}: {value} %"
        drawn = charts.strip(name, value / 100, None, None, words, hollow=True)
        cells.append(tag("td", tag("span", f"{value:.1f}"), drawn, class_="score paper"))
    return [head, *cells]


def _paper_note(results, beside):
    config = results["config"]
    setting = f"{model_name(config)} on {data_name(results)}"
    if not beside:
        return note(f"The paper prints no figures for {setting}.")
    name = f"{config['model']}-{config['data']}"
    original = Config(**PRESETS[name])
    groups = ("data", "network", "ANN training", "conversion", "SNN training")
    differ = [
        f"{key.replace('_', ' ')} {_plain(config[key], key)}, not {_plain(getattr(original, key), key)}"
        for key, f in Config.__dataclass_fields__.items()
        if f.metadata.get("group") in groups
        and key in config
        and key not in ("data_dir", "methods")
        and config[key] != getattr(original, key)
    ]
    return note(
        f"Hollow markers are the paper’s own figures for {setting} (Kundu, Pedram and Beerel, ICCV 2021), printed there "
        "without intervals: another experiment, not a target for this one. ",
        f"Against the preset {name}, which is the paper’s setting, this run has {'; '.join(differ)}." if differ else "",
    )


def _plain(value, name):
    """A setting's value; of those that need not be given, what not giving them means."""
    if value is None:
        return {"hidden": "full size", "train_limit": "all", "test_limit": "all"}.get(name, "unset")
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------- energy


def microjoules(picojoules: float) -> str:
    """Three digits."""
    value = picojoules / 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def times(ratio: float | None) -> str:
    """4.6×."""
    return "–" if ratio is None else f"{number(ratio, 1)}×"


def energy(results) -> Markup | None:
    """Bars of compute energy per image, FP32 and INT32, and the operations behind them."""
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
            less = "" if name == "ann" else f", {times(once['ratio'])} less"
            words = f"{microjoules(once['total_pj'])} µJ{less}"
            rows.append((name, network_name(name), once["total_pj"], every["total_pj"], words))
        drawings.append(charts.bars(heading, "µJ per image", rows))
    header = ["energy per image", "FP32, µJ", "less than ANN", "INT32, µJ", "less than ANN"]
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
                "Linear scale from 0. Solid: the first layer is computed once, since a directly coded image does not change "
                "over time. Pale: it is computed anew at every step. “Less” is the ANN’s energy over the network’s, "
                "for the solid part. Arithmetic only (equations 7 and 8, table 7: 45 nm CMOS, 0.9 V); memory traffic is not "
                "in it."
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


# ---------------------------------------------------------------- training


def training(results) -> Markup | None:
    """Loss and accuracy over the epochs, ANN and SNNs apart; the last epoch of every training in a table."""
    histories = {name: model["history"] for name, model in results["models"].items() if model["history"]}
    own = networks(histories)
    if not own:
        return None
    drawings = []
    for words, names in (("ANN", [n for n in own if n == "ann"]), ("SNN", [n for n in own if n != "ann"])):
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
            legend(own),
            drawings,
            note("Dashed, hollow: training images, augmented, as they pass. Solid: held-out images."),
            details("The numbers", table(header, rows)),
        ]
    )


def neurons(results) -> Markup | None:
    """Thresholds and leaks of every layer."""
    models = {name: results["models"][name] for name in networks(results["models"])}
    kinds = {
        "Threshold v": ("thresholds", "in units of the membrane", 0.0),
        "Leak λ": ("leaks", "share kept per step; 1 keeps all", None),
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


# ---------------------------------------------------------------- time and memory


def time(results) -> Markup | None:
    """Time and peak memory of every phase."""
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
            tag("td", charts.share(p["seconds"] / (most or 1)), class_="bar"),
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
        "This system cannot reset the peak, so it is the process’s peak so far. " if shared else ""
    )
    return join(
        [table(header, rows, class_="phases"), note(words, f"Computed by: {next(iter(by))}." if len(by) == 1 else "")]
    )


def memory(size: int | None) -> str:
    """687 MiB; a dash where it is unknown."""
    return f"{size / 2**20:,.0f} MiB" if size else "–"
