"""Outcomes of `minihire paper` as plain text, Markdown and an HTML page, all made only from paper.json."""

from collections import Counter

from minihire.report import markup, tables
from minihire.report.layout import document
from minihire.report.markup import join, prose, tag
from minihire.report.paper_charts import draw
from minihire.runtime.progress import duration
from minihire.study.paper.outcome import AGREES, DIFFERS, NOT_COMPARABLE, NOTICEABLE, UNDECIDED

VERDICTS = [AGREES, DIFFERS, UNDECIDED, NOT_COMPARABLE]
CLAIMS = ["claim", "paper", "ours", "verdict"]


def as_text(outcome: dict) -> str:
    """One outcome as text for a terminal."""
    parts = [f"── {outcome['title']}"]
    parts += [tables.table([t["caption"], *t["header"][1:]], t["rows"]) for t in outcome["tables"]]
    if outcome["claims"]:
        parts.append(tables.table(CLAIMS, _claims(outcome)))
    parts += [f"note: {note}" for note in (*outcome["notes"], *_reasons(outcome))]
    return "\n\n".join(parts)


def as_markdown(content: dict) -> str:
    """All outcomes as a Markdown document."""
    counts = [[o["title"], *c] for o, c in zip(content["outcomes"], _counts(content), strict=True)]
    lines = [f"# {_title(content)}", "", _how(content), "", *_rows(["", *VERDICTS], counts), ""]
    for outcome in content["outcomes"]:
        lines += [f"## {outcome['title']}", "", outcome["text"], ""]
        for table in outcome["tables"]:
            lines += [f"{table['caption']}", "", *_rows(table["header"], table["rows"]), ""]
        if outcome["claims"]:
            lines += [*_rows(CLAIMS, _claims(outcome)), ""]
        lines += [f"{note}\n" for note in (*outcome["notes"], *_reasons(outcome))]
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def as_page(content: dict) -> str:
    """All outcomes as one HTML page."""
    rows = [
        [tag("a", prose(o["title"]), href=f"#{o['name']}"), *counts]
        for o, counts in zip(content["outcomes"], _counts(content), strict=True)
    ]
    contents = markup.table(["", *VERDICTS], rows, caption="The paper's claims, by verdict", class_="contents")
    head = tag("header", tag("h1", _title(content)), tag("p", prose(_how(content))), contents)
    return document(
        _title(content), tag("main", head, [_section(outcome) for outcome in content["outcomes"]]), source="paper.json"
    )


def _section(outcome):
    parts = [tag("h2", prose(outcome["title"]), id=outcome["name"])]
    if outcome["text"]:
        parts.append(tag("p", prose(outcome["text"])))
    if outcome["charts"]:
        parts.append(tag("div", [draw(chart) for chart in outcome["charts"]], class_="charts"))
    for table in outcome["tables"]:
        rows = [[_in_lines(cell) for cell in row] for row in table["rows"]]
        header = [prose(cell) for cell in table["header"]]
        parts.append(markup.table(header, rows, caption=prose(table["caption"]), class_="outcome"))
    if outcome["claims"]:
        rows = [[*map(_in_lines, claim), tag("b", verdict)] for *claim, verdict in _claims(outcome)]
        parts.append(markup.table(CLAIMS, rows, caption="The paper's claims", class_="claims"))
    parts += [tag("p", prose(note)) for note in (*outcome["notes"], *_reasons(outcome))]
    return tag("section", parts)


def _in_lines(cell):
    """A table cell. A single comparison has its p-value on a separate line, so that three columns fit side by side."""
    gain, comma, p = cell.partition(", p = ")
    if not comma or ", p = " in p:
        return prose(cell)
    return join([gain, tag("span", ", ", hidden=True), tag("small", f"p = {p}")])


def _counts(content):
    """The number of claims per outcome and verdict, as text; a dash for none."""
    found = [Counter(c["verdict"] for c in o["claims"]) for o in content["outcomes"]]
    return [[str(count[v] or "–") for v in VERDICTS] for count in found]


def _claims(outcome):
    return [[c["claim"], c["paper"], c["ours"], c["verdict"]] for c in outcome["claims"]]


def _reasons(outcome):
    reasons = dict.fromkeys(c["reason"] for c in outcome["claims"] if c["reason"])
    return [f"Not comparable: {reason}." for reason in reasons]


def _title(content):
    return f"The paper's tables and figures at scale “{content['scale']}”"


def _how(content):
    seeds = content["seeds"]
    return (
        f"{content['command']}: {seeds} seed{'s' * (seeds > 1)}, {content['machine']}. Training and measuring took "
        f"{duration(content['seconds'])}; cached results count with the time that they took at first. "
        "A claim “A is better than B” agrees or differs if all seeds give the same answer and McNemar's test over all seeds, "
        "which counts each image once, has p < 0.05. "
        f"“No noticeable gain” agrees if the whole 95 % interval of the gain is below {NOTICEABLE:g} point, and differs if none "
        "of it is. All other cases are undecided. Other claims state their own criterion. At scale mini nothing is comparable."
    )


def _rows(header, rows):
    escape = lambda cell: str(cell).replace("|", "\\|")
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(map(escape, line))} |" for line in lines]
