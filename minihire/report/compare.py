"""The page of several runs: their differences, accuracy, energy and time side by side, then each run in a folded block."""

from minihire.report import charts
from minihire.report.layout import SavedRun, document, guarded
from minihire.report.markup import Markup, join, table, tag
from minihire.report.pieces import network, note
from minihire.report.scores import score_cell, score_columns, score_heads
from minihire.report.sections import microjoules, times
from minihire.report.settings import FIELDS, flag, format_value
from minihire.report.single import folded_runs
from minihire.report.words import networks, title
from minihire.runtime.progress import duration


def comparison(runs: list[SavedRun]) -> str:
    """The HTML page of several runs. Raises MinihireError if a field is unreadable."""
    parts = [("The runs", overview), ("Settings that differ", differences), ("Accuracy", accuracy)]
    parts += [("Energy", energy), ("Time", time)]
    each = folded_runs(runs)  # first, because its error for an unreadable field names the run
    made = [(name, make(runs)) for name, make in parts]
    header = tag(
        "header",
        tag("p", "minihire report", class_="kicker"),
        tag("h1", f"{len(runs)} runs compared"),
        tag(
            "p",
            "Every table below refers to the runs by number. The complete results of each run are at the end.",
            class_="lede",
        ),
    )
    body = [tag("section", tag("h2", name), content) for name, content in made if content]
    body.append(tag("section", tag("h2", "Each run"), each, id="each"))
    return document(f"minihire: {len(runs)} runs compared", header, tag("main", body))


def overview(runs: list[SavedRun]) -> Markup:
    """One row per run: network, data, seed, machine, time and state."""
    rows = [[_link(n, run), *guarded(run, "The runs", _facts)] for n, run in _numbered(runs)]
    header = ["run", "network and data", "test images", "seed", "backend", "device", "version", "time", "state"]
    return table(header, rows, class_="runs")


def _facts(results):
    machine, phases = results["machine"], results["phases"]
    return [
        title(results),
        f"{results['data'].get('test', 0):,}",
        results["config"]["seed"],
        machine["backend"],
        machine["device"],
        results["minihire"],
        duration(sum(phase["seconds"] for phase in phases.values())),
        "finished" if results.get("finished") else "not finished",
    ]


def differences(runs: list[SavedRun]) -> Markup:
    """One row per setting that differs between the runs."""
    configs = [run.results["config"] for run in runs]
    names = dict.fromkeys([*FIELDS, *(name for config in configs for name in config)])
    rows = []
    for name in names:
        values = [_setting(config, name) for config in configs]
        if len(set(values)) > 1:
            rows.append([tag("code", flag(name)), *values])
    return table(["flag", *_heads(runs)], rows, class_="settings") if rows else note("All runs have the same settings.")


def _setting(config, name):
    return format_value(config[name]) if name in config else "not recorded"


def accuracy(runs: list[SavedRun]) -> Markup | None:
    """Accuracy, by network and then by run. All strips have the same scale. None if no run has accuracies."""
    columns = score_columns([row for run in runs for row in run.results["accuracy"]])
    rows = []
    for name, n, run, first in _by_network(runs, lambda results: [row["model"] for row in results["accuracy"]]):
        found = {(row["access"], row["attack"]): row for row in run.results["accuracy"] if row["model"] == name}
        cells = guarded(
            run, "Accuracy", lambda _, name=name, found=found: [score_cell(found.get(c), name) for c in columns]
        )
        rows.append([_head(name, n, run, first), *cells])
    if not rows:
        return None
    text = (
        "Mean and 95 % Wilson interval; every strip runs from 0 to 100 %. An interval covers the choice of test images, not "
        "other trainings. Runs with different seeds or test images also differ because of these."
    )
    return join([table(["accuracy, %", *score_heads(columns)], rows, class_="scores grouped"), note(text)])


def energy(runs: list[SavedRun]) -> Markup | None:
    """Energy per image, by network and then by run, with the first layer computed once. None if no run has energies."""
    order = list(_by_network(runs, lambda results: results["energy"]))
    most = {
        kind: max((_once(run, name)[kind]["total_pj"] for name, _, run, _ in order), default=0) or 1
        for kind in ("fp32", "int32")
    }
    rows = []
    for name, n, run, first in order:
        once, cells = _once(run, name), []
        for kind in ("fp32", "int32"):
            total = once[kind]["total_pj"]
            cells += [
                microjoules(total),
                tag("td", charts.fraction_bar(total / most[kind]), class_=f"bar {charts.colour_class(name)}"),
            ]
            cells.append(times(once[kind]["ratio"]))
        rows.append([_head(name, n, run, first), *cells])
    header = ["per image", "FP32, µJ", "", "ANN ÷ this", "INT32, µJ", "", "ANN ÷ this"]
    text = (
        "Linear scale from 0; the first layer is computed once. “ANN ÷ this” is the energy of the same run’s ANN divided by "
        "the network’s."
    )
    return join([table(header, rows, class_="grouped"), note(text)]) if rows else None


def _once(run, name):
    return guarded(
        run,
        "Energy",
        lambda results: {k: dict(results["energy"][name]["first_layer_once"][k]) for k in ("fp32", "int32")},
    )


def time(runs: list[SavedRun]) -> Markup | None:
    """Time of every phase, one column per run. None if no run has phases."""
    names = dict.fromkeys(phase for run in runs for phase in run.results["phases"])
    seconds = lambda phases, name: duration(phases[name]["seconds"]) if name in phases else "–"
    rows = [
        [name, *(guarded(run, "Time", lambda results, name=name: seconds(results["phases"], name)) for run in runs)]
        for name in names
    ]
    total = lambda results: duration(sum(phase["seconds"] for phase in results["phases"].values()))
    rows.append(["total", *(guarded(run, "Time", total) for run in runs)])
    return table(["phase", *_heads(runs)], rows, class_="phases") if names else None


def _numbered(runs):
    return list(enumerate(runs, 1))


def _heads(runs):
    return [_link(n, run) for n, run in _numbered(runs)]


def _link(n, run):
    return tag("a", f"{n}. {run.folder.resolve().name}", href=f"#run-{n}", title=str(run.folder))


def _head(name, n, run, first):
    return tag(
        "th",
        network(name) if first else None,
        tag("small", f"{n}. {run.folder.resolve().name}"),
        scope="row",
        class_="first" if first else None,
    )


def _by_network(runs, names):
    """Yield (network, number of the run, run, whether this is the network's first row), by network and then by run."""
    of_run = [(n, run, dict.fromkeys(guarded(run, "networks", names))) for n, run in _numbered(runs)]
    for name in networks(dict.fromkeys(name for *_, found in of_run for name in found)):
        first = True
        for n, run, found in of_run:
            if name in found:
                yield name, n, run, first
                first = False
