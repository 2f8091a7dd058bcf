"""Outcomes' charts as SVG, in the report's style: lines over a setting with intervals, values by layer, bars."""

from minihire.report import charts
from minihire.report.charts import WIDTH, colour_class, line, marker, plain, svg, text, ticks
from minihire.report.markup import Markup, tag

LINE = 13  # from one label to the next


def draw(chart: dict) -> Markup:
    """A chart of an outcome, with its key."""
    if chart["kind"] == "bars":
        rows = [(r["name"], r["label"], r["value"], r["value"], r["words"]) for r in chart["rows"]]
        return tag("figure", charts.bars(chart["title"], chart["unit"], rows))
    if chart["kind"] == "lines":
        drawing, keys = lines(chart), [(one["name"], one["label"], one["dashed"]) for one in chart["series"]]
    else:
        series = {one["name"]: one["values"] for one in chart["series"]}
        drawing = charts.layers(chart["title"], chart["unit"], series)
        keys = [(one["name"], one["label"], False) for one in chart["series"]]
    if len({name for name, *_ in keys}) < len(keys):
        return tag("figure", drawing)
    items = [tag("li", charts.key(name), f" {label}{', dashed' if dashed else ''}") for name, label, dashed in keys]
    return tag("figure", drawing, tag("ul", items, class_="legend"))


def lines(chart: dict) -> Markup:
    """Lines with intervals over a setting, as far apart as its values are measured: a place for each, evenly."""
    series = chart["series"]
    places = sorted({point[0] for one in series for point in one["points"]})
    every = [end for one in series for point in one["points"] for end in point[1:]]
    marks = ticks(min(0.0, *every), max(every))
    alike = len({one["name"] for one in series}) < len(series)  # then labels stand at the lines' ends
    left, right, top, bottom = 40, WIDTH - (52 if alike else 16), 28, 190
    gap = (right - left) / max(len(places) - 1, 1)
    across = lambda x: left + gap * places.index(x) if len(places) > 1 else (left + right) / 2
    up = lambda y: bottom - (bottom - top) * (y - marks[0]) / (marks[-1] - marks[0])
    grid = [(line(left, up(m), right, up(m), "grid"), text(left - 6, up(m) + 4, plain(m), "end")) for m in marks]
    shown = places[:: -(-len(places) // 9)]
    below = [
        (line(across(x), bottom, across(x), bottom + 4, "axis"), text(across(x), bottom + 17, plain(x), "middle"))
        for x in shown
    ]
    drawn = []
    for one in series:
        style = f"{colour_class(one['name'])}{' dashed' if one['dashed'] else ''}"
        where = " ".join(f"{across(x):.2f},{up(y):.2f}" for x, y, *_ in one["points"])
        drawn.append(tag("polyline", points=where, class_=f"curve {style}"))
        for x, y, low, high in one["points"]:
            if high > low:
                drawn.append(line(across(x), up(low), across(x), up(high), f"whisker {colour_class(one['name'])}"))
            if len(places) <= 12:
                tip = f"{one['label']}, {chart['across']} {plain(x)}: {y:.4g}"
                drawn.append(marker(one["name"], across(x), up(y), tip, hollow=one["dashed"]))
    if alike:
        heights = apart([up(one["points"][-1][1]) + 4 for one in series], bottom)
        drawn += [text(right + 8, y, one["label"]) for one, y in zip(series, heights, strict=True)]
    heading = text(0, 13, [chart["title"], tag("tspan", f"  {chart['unit']}", class_="unit")], class_="title")
    words = f"{chart['title']}: {chart['unit']} over {chart['across']} for {', '.join(one['label'] for one in series)}"
    name = text((left + right) / 2, bottom + 34, chart["across"].replace("ε_s", "εₛ"), "middle")
    return svg(WIDTH, 228, words, heading, grid, line(left, bottom, right, bottom, "axis"), below, drawn, name)


def apart(heights: list[float], bottom: float) -> list[float]:
    """Places of labels, near where they belong, in the same order, none over another and none below `bottom`."""
    order, found = sorted(range(len(heights)), key=lambda i: -heights[i]), {}
    for place, i in enumerate(order):
        found[i] = min(heights[i], bottom if not place else found[order[place - 1]] - LINE)
    return [found[i] for i in range(len(heights))]
