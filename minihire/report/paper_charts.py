"""SVG charts of the outcomes of `minihire paper`: lines over a setting with intervals, values by layer, and bars."""

from minihire.report import charts
from minihire.report.charts import WIDTH, colour_class, format_tick, line, marker, svg, text, ticks
from minihire.report.markup import Markup, tag
from minihire.study.titles import TITLES

LINE = 13  # pixels between two labels
NAMED = 12  # a chart of at most so many points numbers and names each


def draw(chart: dict) -> Markup:
    """A chart of an outcome, with its legend."""
    if chart["kind"] == "bars":
        rows = [(r["name"], r["label"], r["value"], r["value"], r["words"]) for r in chart["rows"]]
        return tag("figure", charts.bars(chart["title"], chart["unit"], rows))
    if chart["kind"] == "points":
        kinds = {p["name"]: f" {TITLES.get(p['name'], p['name'])}" for p in chart["points"]}
        rows = kinds.items()
        if len(chart["points"]) <= NAMED:
            rows = [(p["name"], f" {number} {p['label']}") for number, p in enumerate(chart["points"], 1)]
        items = [tag("li", charts.legend_marker(name), label) for name, label in rows]
        return tag("figure", points(chart), tag("ul", items, class_="legend"))
    if chart["kind"] == "lines":
        drawing, keys = lines(chart), [(one["name"], one["label"], one["dashed"]) for one in chart["series"]]
    else:
        series = {one["name"]: one["values"] for one in chart["series"]}
        drawing = charts.layers(chart["title"], chart["unit"], series)
        keys = [(one["name"], one["label"], False) for one in chart["series"]]
    if len({name for name, *_ in keys}) < len(keys):
        return tag("figure", drawing)
    items = [
        tag("li", charts.legend_marker(name), f" {label}{', dashed' if dashed else ''}") for name, label, dashed in keys
    ]
    return tag("figure", drawing, tag("ul", items, class_="legend"))


def lines(chart: dict) -> Markup:
    """Lines with intervals over a setting. The values of the setting are evenly spaced, whatever their distance."""
    series = chart["series"]
    places = sorted({point[0] for one in series for point in one["points"]})
    every = [end for one in series for point in one["points"] for end in point[1:]]
    marks = ticks(min(0.0, *every), max(every))
    # Lines of the same colour cannot be told apart by a legend, so they have labels at their ends.
    alike = len({one["name"] for one in series}) < len(series)
    left, right, top, bottom = 40, WIDTH - (52 if alike else 16), 28, 190
    gap = (right - left) / max(len(places) - 1, 1)
    x_of = lambda x: left + gap * places.index(x) if len(places) > 1 else (left + right) / 2
    y_of = lambda y: bottom - (bottom - top) * (y - marks[0]) / (marks[-1] - marks[0])
    grid = [
        (line(left, y_of(m), right, y_of(m), "grid"), text(left - 6, y_of(m) + 4, format_tick(m), "end")) for m in marks
    ]
    shown = places[:: -(-len(places) // 9)]
    below = [
        (line(x_of(x), bottom, x_of(x), bottom + 4, "axis"), text(x_of(x), bottom + 17, format_tick(x), "middle"))
        for x in shown
    ]
    drawn = []
    for one in series:
        style = f"{colour_class(one['name'])}{' dashed' if one['dashed'] else ''}"
        where = " ".join(f"{x_of(x):.2f},{y_of(y):.2f}" for x, y, *_ in one["points"])
        drawn.append(tag("polyline", points=where, class_=f"curve {style}"))
        for x, y, low, high in one["points"]:
            if high > low:
                drawn.append(line(x_of(x), y_of(low), x_of(x), y_of(high), f"whisker {colour_class(one['name'])}"))
            if len(places) <= 12:
                tip = f"{one['label']}, {chart['across']} {format_tick(x)}: {y:.4g}"
                drawn.append(marker(one["name"], x_of(x), y_of(y), tip, hollow=one["dashed"]))
    if alike:
        heights = spread_labels([y_of(one["points"][-1][1]) + 4 for one in series], bottom)
        drawn += [text(right + 8, y, one["label"]) for one, y in zip(series, heights, strict=True)]
    heading = text(0, 13, [chart["title"], tag("tspan", f"  {chart['unit']}", class_="unit")], class_="title")
    words = f"{chart['title']}: {chart['unit']} over {chart['across']} for {', '.join(one['label'] for one in series)}"
    steps = {round(b - a, 9) for a, b in zip(places, places[1:], strict=False)}
    across = chart["across"].replace("ε_s", "εₛ") + (" (evenly spaced)" if len(steps) > 1 else "")
    name = text((left + right) / 2, bottom + 34, across, "middle")
    return svg(WIDTH, 228, words, heading, grid, line(left, bottom, right, bottom, "axis"), below, drawn, name)


def front(points: list[dict]) -> list[dict]:
    """The points that no other point exceeds in one value and reaches in the other, from left to right."""
    below = lambda p, q: q["x"] >= p["x"] and q["y"] >= p["y"] and (q["x"], q["y"]) != (p["x"], p["y"])
    best = [p for p in points if not any(below(p, q) for q in points)]
    return sorted(best, key=lambda p: (p["x"], -p["y"]))


def points(chart: dict) -> Markup:
    """Points in a plane. Those of `front`, or all if they are few, have their numbers beside them; all have a tooltip."""
    found = chart["points"]
    across, up = (ticks(min(values), max(values)) for values in ([p["x"] for p in found], [p["y"] for p in found]))
    left, right, top, bottom = 40, WIDTH - 16, 28, 250
    x_of = lambda x: left + (right - left) * (x - across[0]) / (across[-1] - across[0])
    y_of = lambda y: bottom - (bottom - top) * (y - up[0]) / (up[-1] - up[0])
    grid = [
        (line(left, y_of(m), right, y_of(m), "grid"), text(left - 6, y_of(m) + 4, format_tick(m), "end")) for m in up
    ]
    below = [
        (line(x_of(m), bottom, x_of(m), bottom + 4, "axis"), text(x_of(m), bottom + 17, format_tick(m), "middle"))
        for m in across
    ]
    tip = lambda p: f"{p['label']}: {chart['across']} {p['x']:.1f}, {chart['unit']} {p['y']:.1f}"
    drawn = [marker(p["name"], x_of(p["x"]), y_of(p["y"]), tip(p)) for p in found]
    for p in found if len(found) <= NAMED else front(found):
        x, y, number = x_of(p["x"]), y_of(p["y"]), found.index(p)
        near = any(abs(x_of(q["x"]) - x) < 12 and abs(y_of(q["y"]) - y) < 12 for q in found[:number])
        drawn.append(text(x - 6, y - 5, str(number + 1), "end") if near else text(x + 6, y - 5, str(number + 1)))
    heading = text(0, 13, [chart["title"], tag("tspan", f"  {chart['unit']}", class_="unit")], class_="title")
    words = f"{chart['title']}: {chart['unit']} over {chart['across']} for {', '.join(p['label'] for p in found)}"
    name = text((left + right) / 2, bottom + 34, chart["across"], "middle")
    return svg(WIDTH, 288, words, heading, grid, line(left, bottom, right, bottom, "axis"), below, drawn, name)


def spread_labels(heights: list[float], bottom: float) -> list[float]:
    """Move labels (y in pixels, downwards) apart so that none overlap and none lies below `bottom`. The order is kept."""
    order, moved = sorted(range(len(heights)), key=lambda i: -heights[i]), {}
    for rank, i in enumerate(order):
        moved[i] = min(heights[i], moved[order[rank - 1]] - LINE if rank else bottom)
    return [moved[i] for i in range(len(heights))]
