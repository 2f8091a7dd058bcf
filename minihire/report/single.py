"""The page of one run: title, summary and sections."""

import shlex

from minihire.report import classes, gallery, scores, sections, settings, words
from minihire.report.layout import SavedRun, document, guarded
from minihire.report.markup import Markup, join, prose, tag
from minihire.report.pieces import command_text

SECTIONS = (
    ("accuracy", "Accuracy", scores.accuracy),
    ("classes", "Classes", classes.classes),
    ("images", "Attacked images", gallery.examples),
    ("noise", "The noise κ", gallery.noise),
    ("spikes", "Spikes", gallery.spikes),
    ("energy", "Energy", sections.energy),
    ("training", "Training", sections.training),
    ("cost", "Cost of training", sections.cost),
    ("neurons", "Thresholds and leaks", sections.neurons),
    ("time", "Time and memory", sections.time),
    ("settings", "Settings", settings.settings),
    ("again", "Run it again", settings.again),
    ("machine", "The machine", settings.machine),
)


def single(run: SavedRun) -> str:
    """The HTML page of one run. Raises MinihireError if a field of its results is unreadable."""
    parts = shown_sections(run)
    title = guarded(run, "title", words.title)
    header = tag(
        "header",
        tag("p", "minihire run ", tag("b", run.folder.resolve().name), class_="kicker"),
        tag("h1", title),
        tag("p", prose(guarded(run, "result", words.result)), class_="lede"),
        tag("p", prose(guarded(run, "summary", words.summary))),
        notices(run),
        tag("nav", [tag("a", name, href=f"#{anchor}") for anchor, name, _ in parts], aria_label="Sections"),
    )
    body = [
        tag("section", tag("h2", name, id=f"{anchor}-title"), content, id=anchor, aria_labelledby=f"{anchor}-title")
        for anchor, name, content in parts
    ]
    return document(f"{title}: {run.folder.resolve().name}", header, tag("main", body))


def shown_sections(run: SavedRun) -> list[tuple[str, str, Markup]]:
    """(anchor, title, content) of every section for which the run has values."""
    made = ((anchor, title, guarded(run, title, make)) for anchor, title, make in SECTIONS)
    return [part for part in made if part[2]]


def notices(run: SavedRun) -> Markup | None:
    """A notice if the run is not finished, and its warnings. None if there is neither."""
    results = run.results
    lines = []
    if not results.get("finished"):
        last = f" Its last phase was “{list(results['phases'])[-1]}”." if results["phases"] else ""
        command = f"minihire run --resume --out {shlex.quote(str(run.folder))}"
        text = f"{last} This page shows the results so far. To resume: "
        lines.append([tag("b", "Not finished."), text, command_text(command)])
    lines += [[tag("b", "Warning:"), f" {sentence}"] for sentence in results["warnings"]]
    return tag("aside", [tag("p", line) for line in lines], class_="notices") if lines else None


def folded_runs(runs: list[SavedRun]) -> Markup:
    """The sections of every run, each run in a folded block."""
    return join(
        tag(
            "details",
            tag("summary", f"{number}. {run.folder}"),
            notices(run),
            tag("p", prose(guarded(run, "summary", words.summary))),
            [tag("section", tag("h3", name), content) for _, name, content in shown_sections(run)],
            class_="run",
            id=f"run-{number}",
        )
        for number, run in enumerate(runs, 1)
    )
