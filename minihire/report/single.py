"""The page of one run: its title and summary, then its sections in order."""

import shlex

from minihire.report import gallery, scores, sections, settings, words
from minihire.report.layout import Run, document, guarded
from minihire.report.markup import Markup, join, prose, tag
from minihire.report.pieces import typed

SECTIONS = (
    ("accuracy", "Accuracy", scores.accuracy),
    ("images", "Attacked images", gallery.examples),
    ("noise", "The noise κ", gallery.noise),
    ("spikes", "Spikes", gallery.spikes),
    ("energy", "Energy", sections.energy),
    ("training", "Training", sections.training),
    ("neurons", "Thresholds and leaks", sections.neurons),
    ("time", "Time and memory", sections.time),
    ("settings", "Settings", settings.settings),
    ("again", "Run it again", settings.again),
    ("machine", "The machine", settings.machine),
)


def single(run: Run) -> str:
    """The page of one run."""
    parts = shown_sections(run)
    title = guarded(run, "title", words.title)
    header = tag(
        "header",
        tag("p", "minihire run ", tag("b", run.folder.resolve().name), class_="kicker"),
        tag("h1", title),
        tag("p", prose(guarded(run, "summary", words.summary)), class_="lede"),
        notices(run),
        tag("nav", [tag("a", name, href=f"#{anchor}") for anchor, name, _ in parts], aria_label="Sections"),
    )
    body = [
        tag("section", tag("h2", name, id=f"{anchor}-title"), content, id=anchor, aria_labelledby=f"{anchor}-title")
        for anchor, name, content in parts
    ]
    return document(f"{title}: {run.folder.resolve().name}", header, tag("main", body))


def shown_sections(run: Run) -> list[tuple[str, str, Markup]]:
    """(anchor, title, content) of every section that the run has something for."""
    made = ((anchor, title, guarded(run, title, make)) for anchor, title, make in SECTIONS)
    return [part for part in made if part[2]]


def notices(run: Run) -> Markup | None:
    """That a run is not finished, and its warnings."""
    results = run.results
    lines = []
    if not results.get("finished"):
        last = f" Its last phase was “{list(results['phases'])[-1]}”." if results["phases"] else ""
        command = f"minihire run --resume --out {shlex.quote(str(run.folder))}"
        told = f"{last} The page shows what it has so far. To go on: "
        lines.append([tag("b", "Not finished."), told, typed(command)])
    lines += [[tag("b", "Warning:"), f" {sentence}"] for sentence in results["warnings"]]
    return tag("aside", [tag("p", line) for line in lines], class_="notices") if lines else None


def several(runs: list[Run]) -> Markup:
    """Every run's own page, folded."""
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
