"""Charts as inline SVG. They have a fixed width in pixels, so that text stays legible, and use the page's CSS colours.

Every network has its own colour (CSS class `s-NAME`, from marks.COLOURS) and its own marker shape, so that a reader who
cannot distinguish the colours can use the shapes.
"""

import math

from minihire.report.marks import COLOURS, OTHER_SHAPE, SHAPES
from minihire.report.markup import Markup, tag

WIDTH = 390  # pixels; two charts fit side by side on a page, and one almost fits the width of a phone


def colour_class(name: str) -> str:
    """The CSS class that gives a network's colour."""
    return f"s-{name}" if name in COLOURS else "s-other"


def svg(width: float, height: float, label: str, *children, class_=None) -> Markup:
    """An SVG drawing of width × height pixels. label: a description for screen readers."""
    return tag(
        "svg",
        children,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        aria_label=label,
        class_=class_,
    )


def marker(name: str, x: float, y: float, tip: str | None = None, *, hollow: bool = False, size: float = 1.0) -> Markup:
    """A network's marker, centred at (x, y). tip: the tooltip."""
    return tag(
        "path",
        tip and tag("title", tip),
        d=SHAPES.get(name, OTHER_SHAPE),
        transform=f"translate({x:.2f} {y:.2f})" + (f" scale({size:g})" if size != 1 else ""),
        class_=f"mark {colour_class(name)}{' hollow' if hollow else ''}",
    )


def legend_marker(name: str) -> Markup:
    """A network's marker as a separate small drawing, for legends and running text."""
    return tag("svg", marker(name, 7, 7), viewBox="0 0 14 14", width=14, height=14, aria_hidden="true", class_="key")


def text(x, y, content, anchor="start", class_=None) -> Markup:
    """Text in a chart."""
    return tag("text", content, x=float(x), y=float(y), text_anchor=anchor, class_=class_)


def line(x1, y1, x2, y2, class_) -> Markup:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round, evenly spaced numbers that cover [low, high], with about `about` intervals."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def format_tick(value: float) -> str:
    """A tick's number with at most 10 digits, which hides binary rounding errors."""
    return f"{value:.10g}"


def strip(name: str, value: float, low: float | None, high: float | None, label: str, hollow=False) -> Markup:
    """One accuracy with its interval, all in 0 … 1, on a scale from 0 to 100 % that is the same for all strips."""
    left, right, y = 5, 121, 8
    at = lambda share: left + (right - left) * share
    style = f"whisker {colour_class(name)}"
    ends = [] if low is None else [line(at(end), y - 4, at(end), y + 4, style) for end in (low, high)]
    whisker = [] if low is None else [line(at(low), y, at(high), y, style), *ends]
    scale = [line(left, y, right, y, "rail"), *(line(at(t), y - 3, at(t), y + 3, "rail") for t in (0, 0.5, 1))]
    middle = marker(name, at(value), y, label, hollow=hollow, size=1 if hollow else 0.75)
    return svg(126, 16, label, scale, whisker, middle, class_="strip")


def curves(title: str, unit: str, series, across: str = "epoch") -> Markup:
    """Lines over epochs, with a marker at the end of each; a line with few points has a marker at every point.

    series: list of (network, dashed, [(x, y), …]). across: the label of the x axis.
    """
    points = [point for *_, line_ in series for point in line_]
    marks = ticks(min(y for _, y in points), max(y for _, y in points))
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    left, right, top, bottom = 40, WIDTH - 12, 28, 190
    x_of = lambda x: left + (right - left) * ((x - first) / (last - first) if last > first else 0.5)
    y_of = lambda y: bottom - (bottom - top) * (y - marks[0]) / (marks[-1] - marks[0])
    grid = [
        (line(left, y_of(m), right, y_of(m), "grid"), text(left - 6, y_of(m) + 4, format_tick(m), "end")) for m in marks
    ]
    below = [
        (
            line(x_of(x), bottom, x_of(x), bottom + 4, "axis"),
            text(x_of(x), bottom + 17, format_tick(x), "middle"),
        )
        for x in (ticks(first, last) if last > first else [first])
        if first <= x <= last and float(x).is_integer()
    ]
    drawn = []
    for name, dashed, path in series:
        where = " ".join(f"{x_of(x):.2f},{y_of(y):.2f}" for x, y in path)
        style = f"curve {colour_class(name)}{' dashed' if dashed else ''}"
        drawn.append(tag("polyline", points=where, class_=style))
        shown = path if len(path) < 4 else path[-1:]
        drawn += [
            marker(name, x_of(x), y_of(y), f"{across} {format_tick(x)}: {y:.4g}", hollow=dashed) for x, y in shown
        ]
    heading = text(0, 13, [title, tag("tspan", f"  {unit}", class_="unit")], class_="title")
    words = f"{title} over {len({x for x, _ in points})} {across}s, from {min(y for _, y in points):.3g} to "
    words += f"{max(y for _, y in points):.3g} {unit}"
    name = text((left + right) / 2, bottom + 32, across, "middle")
    return svg(WIDTH, 226, words, heading, grid, line(left, bottom, right, bottom, "axis"), below, drawn, name)


def layers(title: str, unit: str, series: dict[str, dict[str, float]], floor: float | None = 0.0) -> Markup:
    """A chart with one row per layer, from input to output, and one marker per network.

    series: {network: {layer: value}}. floor: a value that the scale includes, or None.
    """
    names = list(dict.fromkeys(layer for values in series.values() for layer in values))
    every = [value for values in series.values() for value in values.values()]
    marks = ticks(min(every) if floor is None else min(floor, *every), max(every))
    left = 12 + 6.9 * min(max(map(len, names)), 18)
    right, top, row = WIDTH - 14, 26, 24
    bottom = top + row * len(names)
    at = lambda value: left + (right - left) * (value - marks[0]) / (marks[-1] - marks[0])
    y = {layer: top + row * (i + 0.5) for i, layer in enumerate(names)}
    grid = [
        (line(at(m), top, at(m), bottom, "grid"), text(at(m), bottom + 15, format_tick(m), "middle")) for m in marks
    ]
    rows = [(line(left, y[n], right, y[n], "rail"), text(left - 8, y[n] + 4, _short(n), "end")) for n in names]
    drawn = []
    for name, values in series.items():
        where = " ".join(f"{at(v):.2f},{y[layer]:.2f}" for layer, v in values.items())
        drawn.append(tag("polyline", points=where, class_=f"thread {colour_class(name)}"))
    for name, values in series.items():
        drawn += [marker(name, at(v), y[layer], f"{name}, {layer}: {v:.4g}") for layer, v in values.items()]
    heading = [text(0, 13, title, class_="title"), text(left, bottom + 30, unit)]
    words = f"{title} by layer, {len(names)} layers from {_short(names[0])} to {_short(names[-1])}, "
    words += f"from {min(every):.3g} to {max(every):.3g} {unit}"
    return svg(WIDTH, bottom + 36, words, heading, grid, rows, drawn)


def _short(name):
    return name if len(name) <= 18 else f"…{name[-17:]}"


def bars(title: str, unit: str, rows) -> Markup:
    """Horizontal bars on a linear scale from 0.

    rows: list of (network, its title, length of the solid bar, length including the pale part, text at the end).
    """
    longest = max((max(value, pale) for _, _, value, pale, _ in rows), default=0) or 1
    left, right, row, top = 1, WIDTH - 1, 40, 26
    wide = lambda value: (right - left) * value / longest
    drawn = []
    for i, (name, label, value, pale, words) in enumerate(rows):
        y = top + row * i
        drawn += [
            text(left, y + 10, label, class_="name"),
            text(right, y + 10, words, "end"),
            tag(
                "rect", x=float(left), y=float(y + 15), width=wide(pale), height=11, class_=f"pale {colour_class(name)}"
            ),
            tag(
                "rect", x=float(left), y=float(y + 15), width=wide(value), height=11, class_=f"bar {colour_class(name)}"
            ),
        ]
    heading = text(0, 13, [title, tag("tspan", f"  {unit}", class_="unit")], class_="title")
    label = f"{title}, {unit}: " + "; ".join(f"{label} {words}" for _, label, _, _, words in rows)
    return svg(WIDTH, top + row * len(rows), label, heading, drawn)


def fraction_bar(value: float) -> Markup:
    """A small bar for a table cell. value: the filled fraction, in 0 … 1."""
    fill = tag("rect", width=100 * min(max(value, 0.0), 1.0), height=8, class_="fill")
    return tag("svg", fill, viewBox="0 0 100 8", width=100, height=8, aria_hidden="true", class_="share")
