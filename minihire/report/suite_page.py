"""The page of one or several results of `minihire attack --suite`: accuracies, curves, attacks and red flags."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from minihire.report import charts
from minihire.report.layout import SavedSuite, document, guarded
from minihire.report.marks import COLOURS
from minihire.report.markup import Markup, join, table, tag
from minihire.report.paper_charts import draw
from minihire.report.pieces import details, grid, note
from minihire.report.scores import score_cell
from minihire.report.words import network_name
from minihire.runtime.progress import duration
from minihire.study.titles import DATA_TITLES

HEADER = ("attack", "attacked", "withstand", "gradients", "queries")
COUNTS = ("attacked", "withstood", "gradients", "queries")  # of an attack, as in the results file
DOWN = "down"  # a red flag that is not up
MANY = 12  # attacks; a longer table is folded
FIGURES = (  # title, key of the curve, label of the x axis, x of a row
    ("Accuracy by number of steps", "steps", "steps of Auto-PGD", lambda row: int(row["steps"])),
    ("Accuracy by ε", "epsilon", "ε in levels of 255", lambda row: round(255 * row["epsilon"], 6)),
)

COMPARED = {  # what has to be the same in all results of a page
    "the suite": lambda robustness: (robustness["suite"], robustness["budget"]),
    "ε": lambda robustness: robustness["epsilon"],
    "the number of images": lambda robustness: robustness["clean"]["count"],
}


class Shown(NamedTuple):
    """A result, with the title of its network, and the name of the colour and marker that stand for it on this page."""

    saved: SavedSuite
    title: str
    mark: str

    def read(self, part: str, make):
        """Return make(entry "robustness" of the file). Raises MinihireError as `guarded` does. part: the section of the page."""
        return guarded(self.saved, part, lambda results: make(results["robustness"]))


def verdict(robustness: dict) -> str:
    """What the red flags say about a result, for example "robustness not established: gradients vanish".

    robustness: the entry of a results file, `Robustness.as_dict()`.
    """
    if robustness["suite"] == "parity":
        return "robustness not established: these are only the attacks of the paper"
    if not robustness["flags"]:
        return "robustness not established: the red flags were not evaluated"
    up = [flag["name"] for flag in robustness["flags"] if flag["up"]]
    return f"robustness not established: {'; '.join(up)}" if up else "no red flag is up"


def suite_page(suites: list[SavedSuite]) -> str:
    """The HTML page. Raises MinihireError if a field is unreadable."""
    shown = _named(suites)
    parts = [("accuracy", "Accuracy", accuracy), ("curves", "Curves", curves)]
    parts += [("flags", "Red flags", flags), ("attacks", "Attacks", attacks)]
    made = [(anchor, name, make(shown)) for anchor, name, make in parts]
    made = [part for part in made if part[2]]
    title = f"Robustness of {shown[0].title if len(shown) == 1 else f'{len(shown)} networks'}"
    lines = [one.read("Red flags", lambda robustness: f"{verdict(robustness)}.") for one in shown]
    if len(shown) == 1:
        lines = [lines[0][0].upper() + lines[0][1:]]
    else:
        lines = [[_name(one), ": ", line] for one, line in zip(shown, lines, strict=True)]
    header = tag(
        "header",
        tag("p", "minihire attack --suite", class_="kicker"),
        tag("h1", title),
        [tag("p", line, class_="lede") for line in lines],
        tag("nav", [tag("a", name, href=f"#{anchor}") for anchor, name, _ in made], aria_label="Sections"),
    )
    body = [
        tag("section", tag("h2", name, id=f"{anchor}-title"), content, id=anchor, aria_labelledby=f"{anchor}-title")
        for anchor, name, content in made
    ]
    source = ", ".join(suite.file.name for suite in suites)
    return document(f"minihire: {title}", header, tag("main", body), source=source)


def _named(suites):
    """The results with titles and marks. Titles differ; marks differ until they run out."""
    stems = [guarded(suite, "checkpoint", lambda results: Path(results["checkpoint"])) for suite in suites]
    titles = [network_name(f"{'second ' * (path.parent.name == 'second')}{path.stem}") for path in stems]
    numbers = [titles[: place + 1].count(title) for place, title in enumerate(titles)]
    titles = [f"{title} ({n})" if titles.count(title) > 1 else title for title, n in zip(titles, numbers, strict=True)]
    return [Shown(*each) for each in zip(suites, titles, _marks([path.stem for path in stems]), strict=True)]


def _marks(names):
    """The names of the networks' marks. A known network has its own; others, and a second one of a name, get free ones."""
    marks, free = [], ["other", *(name for name in reversed(COLOURS) if name not in names)]
    for number, name in enumerate(names):
        known = name in COLOURS and name not in names[:number]
        marks.append(name if known else free.pop(0) if free else "other")
    return marks


def _name(one):
    return tag("span", charts.legend_marker(one.mark), one.title, class_="network")


def accuracy(shown: list[Shown]) -> Markup:
    """One row per network: suite, ε, clean accuracy and worst case."""
    rows = [one.read("Accuracy", partial(_accuracy_row, one)) for one in shown]
    text = (
        "Mean, 95 % Wilson interval, and number of images; every strip runs from 0 to 100 %. In the worst case an image counts "
        "only if the network classifies it correctly under every attack of the suite. If a red flag is up, the true accuracy "
        "may be lower."
    )
    parts = [table(["accuracy, %", "suite", "clean", "worst case"], rows, class_="scores"), note(text)]
    differing = [what for what, value in COMPARED.items() if len({one.read("Accuracy", value) for one in shown}) > 1]
    if differing:
        words = f"Do not compare these networks: they differ in {', '.join(differing)}."
        parts.insert(0, tag("p", tag("b", words, class_="wrong")))
    return join(parts)


def _accuracy_row(one, robustness):
    head = tag("th", _name(one), tag("small", one.saved.results["checkpoint"]), scope="row")
    data = str(one.saved.results["config"]["data"])
    suite = f"strong, budget {robustness['budget']}" if robustness["suite"] == "strong" else robustness["suite"]
    about = f"{DATA_TITLES.get(data, data)}, ε = {255 * robustness['epsilon']:.4g}/255"
    scores = [score_cell(robustness[key], one.mark, one.title) for key in ("clean", "robust")]
    return [head, join([suite, tag("small", about)]), *scores]


def curves(shown: list[Shown]) -> Markup | None:
    """Accuracy against steps, and against ε, one line per network. None if no result has curves."""
    having = [one for one in shown if one.read("Curves", lambda robustness: bool(robustness.get("curves")))]
    if not having:
        return None
    drawn = []
    for title, key, across, x_of in FIGURES:
        series = [one.read("Curves", partial(_line, one, key, x_of)) for one in having]
        drawn.append(draw({"kind": "lines", "title": title, "unit": "%", "across": across, "series": series}))
    about: dict[str, list[str]] = {}
    for one in having:
        about.setdefault(one.read("Curves", _about_curves), []).append(one.title)
    text = (
        "Auto-PGD on the first images of the data; bars: 95 % Wilson interval. The values on the horizontal axes are evenly "
        "spaced, whatever their distance. "
    )
    if len(about) == 1:
        return join([grid(*drawn), note(text, *about)])
    return join([grid(*drawn), note(text, [f"{', '.join(titles)}: {words} " for words, titles in about.items()])])


def _line(one, key, x_of, robustness):
    rows = robustness["curves"][key]
    points = [[x_of(row), *(100 * float(row[name]) for name in ("accuracy", "low", "high"))] for row in rows]
    if not points:
        raise ValueError("a curve without points")
    return {"name": one.mark, "label": one.title, "dashed": False, "points": points}


def _about_curves(robustness):
    count, member = robustness["curves"]["steps"][0]["count"], robustness["curves"]["member"]
    through = "the network's own gradient" if member == "own" else f"surrogate {member}"
    return f"{count:,} images, {through}, ε = {255 * robustness['epsilon']:.4g}/255 in the left figure."


def flags(shown: list[Shown]) -> Markup | None:
    """The red flags of every network. None if no result has any."""
    parts = []
    for one in shown:
        rows = one.read("Red flags", _flag_rows)
        if rows:
            up = sum(mark != DOWN for _, mark, _ in rows)
            listing = table(["red flag", "state", "measured"], rows, class_="settings")
            parts += _folded(one, shown, None, f"{len(rows)} red flags, {up or 'none'} up", listing)
    text = (
        "A red flag is a sign that the attacks were too weak, so that the accuracy left does not show a robust network."
    )
    return join([*parts, note(text)]) if parts else None


def _flag_rows(robustness):
    up = tag("b", "up", class_="wrong")
    return [[flag["name"], up if flag["up"] else DOWN, flag["text"]] for flag in robustness["flags"]]


def attacks(shown: list[Shown]) -> Markup:
    """The attacks of every network in their order, and their cost."""
    parts = []
    for one in shown:
        total, rows, fooling = one.read("Attacks", _attacks)
        listing = table(HEADER, rows)
        if len(shown) == 1 and len(rows) > MANY:
            above = tag("p", "These attacks fooled the network on at least one image:")
            listing = [above, table(HEADER, fooling), details(f"All {len(rows)} attacks", listing)]
        parts += _folded(one, shown, tag("p", total), f"{len(rows)} attacks", listing)
    text = (
        "Each attack runs only on the images that withstood all attacks before it. The numbers of gradients and queries are sums "
        "over the images that it attacked. A query is a forward pass."
    )
    return join([*parts, note(text)])


def _attacks(robustness):
    """The sentence about the cost, the rows of all attacks, and the rows of those that fooled the network."""
    transfer, stages = robustness["transfer"], robustness["stages"]
    total = (
        f"{robustness['gradients']:,} gradient evaluations, {robustness['queries']:,} queries, "
        f"{duration(robustness['seconds'])}; transfer {transfer if isinstance(transfer, str) else 'from ' + ', '.join(transfer)}."
    )
    cells = lambda stage: [stage["name"], *(f"{stage[column]:,}" for column in COUNTS)]
    return total, [*map(cells, stages)], [cells(stage) for stage in stages if stage["attacked"] > stage["withstood"]]


def _folded(one, shown, above, summary, listing):
    """A network's part of a section: folded, with its name above, if the page has several networks."""
    return [above, listing] if len(shown) == 1 else [tag("h3", _name(one)), above, details(summary, listing)]
