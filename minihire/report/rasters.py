"""Spike rasters as inline SVG: the spikes of a few neurons over time, for an image and its attacked version."""

from minihire.report.charts import colour_class, line, svg, text
from minihire.report.markup import Markup, tag

ROW, RATE = 8, 34  # heights in pixels: of a neuron's row, and of the layer's rate curve below the rows
CLASSES = {"b": "both", "c": "gone", "a": "new"}
NARROW = 6  # pixels per time step; in narrower columns a cross looks like a square
MARKS = {"b": "both images", "c": "the clean image only", "a": "the attacked image only"}


def column_width(steps: int) -> float:
    """Width of one time step in pixels."""
    return min(max(200 / steps, 3.2), 14)


def raster(name: str, layer: dict) -> Markup:
    """The raster of one layer, with one row per neuron and one column per time step; below it, the layer's firing rate.

    name: the network, which gives the colour. layer: a dictionary of `minihire.analysis.spike_trains`.
    """
    steps = len(layer["rate_clean"])
    column = column_width(steps)
    left, top = 1, 32
    width = max(112, left + steps * column + 8)
    bottom = top + ROW * max(len(layer["trains"]), 1)
    places = [
        (letter, left + t * column, top + ROW * i)
        for i, train in enumerate(layer["trains"])
        for t, letter in enumerate(train)
        if letter != "."
    ]
    marks = _marks(places, column)
    fired = f"{layer['fired_clean']:,} of {layer['neurons']:,} fire"
    heading = [text(left, 11, layer["name"], class_="title"), text(left, 25, fired)]
    frame = tag("rect", x=float(left), y=float(top), width=steps * column, height=bottom - top, class_="frame")
    below = _rates(layer, left, column, bottom + 6)
    words = (
        f"{layer['name']}: {layer['fired_clean']} of {layer['neurons']} neurons fire for the clean image, "
        f"{layer['fired_attacked']} for the attacked one; {len(layer['trains'])} of them over {steps} steps"
    )
    return svg(width, bottom + RATE + 22, words, heading, frame, marks, below, class_=f"raster {colour_class(name)}")


def _marks(places, column):
    """One SVG path per kind of spike. places: (letter of a train, x, y) for every spike."""
    shapes = {
        kind: "".join(_spike(letter, x, y, column) for letter, x, y in places if letter == kind) for kind in MARKS
    }
    half = " half" if column < NARROW else ""
    return [tag("path", d=d, class_=f"{CLASSES[kind]}{half}") for kind, d in shapes.items() if d]


def _spike(letter, x, y, column):
    """The path of one spike. Square: both images; hollow square: clean only; cross: attacked only.

    In narrow columns: a bar for both images, its lower half for the clean one, its upper half for the attacked one.
    """
    if column < NARROW:
        top, height = {"b": (y + 1, 6), "c": (y + 4, 3), "a": (y + 1, 3)}[letter]
        return _box(x, top, column - 1, height)
    side, middle, centre = min(column - 1, ROW - 2), y + ROW / 2, x + column / 2
    if letter == "a":
        return (
            f"M{_short(centre - side / 2)} {_short(middle - side / 2)}l{side:g} {side:g}m0-{side:g}l-{side:g} {side:g}"
        )
    side -= letter == "c"  # the outline adds half a pixel on each side
    return _box(centre - side / 2, middle - side / 2, side, side)


def _box(x, y, width, height):
    return f"M{_short(x)} {_short(y)}h{width:.3g}v{height:.3g}h-{width:.3g}z"


def _short(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _rates(layer, left, column, top):
    """Curves of the fraction of the layer's neurons that fires at each step: clean solid, attacked dashed."""
    steps = len(layer["rate_clean"])
    peak = max(*layer["rate_clean"], *layer["rate_attacked"], 1e-9)
    drawn = [line(left, top + RATE, left + steps * column, top + RATE, "axis")]
    for rates, style in ((layer["rate_clean"], "rate"), (layer["rate_attacked"], "rate dashed")):
        path = "".join(
            f"{'L' if t else 'M'}{left + t * column:.1f} {top + RATE * (1 - rate / peak):.1f}h{column:.1f}"
            for t, rate in enumerate(rates)
        )
        drawn.append(tag("path", d=path, class_=style))
    return [*drawn, text(left, top + RATE + 13, f"peak {100 * peak:.3g} %")]


def legend(steps: int) -> Markup:
    """The legend of the three kinds of mark."""
    column = 14 if column_width(steps) >= NARROW else NARROW - 1
    entries = [
        tag(
            "li",
            tag(
                "svg",
                _marks([(letter, (14 - column) / 2, 3)], column),
                viewBox="0 0 14 14",
                width=14,
                height=14,
                aria_hidden="true",
            ),
            f" spike for {words}",
        )
        for letter, words in MARKS.items()
    ]
    return tag("ul", entries, class_="legend raster")
