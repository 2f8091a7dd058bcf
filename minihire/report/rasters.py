"""Spike rasters as inline SVG: what a few neurons of a layer do over time, for an image and for its attacked version."""

from minihire.report.charts import colour_class, line, svg, text
from minihire.report.markup import Markup, tag

ROW, RATE = 8, 34  # pixels: a neuron's row, and the curve of the whole layer below
MARKS = {"b": "both images", "c": "the clean image only", "a": "the attacked image only"}


def raster(name: str, layer: dict) -> Markup:
    """A layer's trains (see analysis/raster.py), a row a neuron and a column a time step; below, the layer's share that fires."""
    steps = len(layer["rate_clean"])
    column = min(max(200 / steps, 2.6), 14)
    left, top = 1, 32
    width = max(112, left + steps * column + 8)
    bottom = top + ROW * max(len(layer["trains"]), 1)
    marks = [
        _spike(letter, left + t * column, top + ROW * i, column)
        for i, train in enumerate(layer["trains"])
        for t, letter in enumerate(train)
        if letter != "."
    ]
    fired = f"{layer['fired_clean']:,} of {layer['neurons']:,} fire"
    heading = [text(left, 11, layer["name"], class_="title"), text(left, 25, fired)]
    frame = tag("rect", x=float(left), y=float(top), width=steps * column, height=bottom - top, class_="frame")
    below = _rates(layer, left, column, bottom + 6)
    words = (
        f"{layer['name']}: {layer['fired_clean']} of {layer['neurons']} neurons fire for the clean image, "
        f"{layer['fired_attacked']} for the attacked one; {len(layer['trains'])} of them over {steps} steps"
    )
    return svg(width, bottom + RATE + 22, words, heading, frame, marks, below, class_=f"raster {colour_class(name)}")


def _spike(letter, x, y, column):
    """Full: both images. Hollow: the clean one only. A cross: the attacked one only."""
    side, middle = min(column - 1, ROW - 2), y + ROW / 2
    centre = x + column / 2
    if letter == "a":
        r = side / 2
        d = f"M{centre - r:.1f} {middle - r:.1f}l{2 * r:.1f} {2 * r:.1f}m0 {-2 * r:.1f}l{-2 * r:.1f} {2 * r:.1f}"
        return tag("path", d=d, class_="new")
    inset = 0 if letter == "b" else 0.5
    side -= 2 * inset
    return tag(
        "rect",
        x=centre - side / 2,
        y=middle - side / 2,
        width=side,
        height=side,
        class_="both" if letter == "b" else "gone",
    )


def _rates(layer, left, column, top):
    """The share of all the layer's neurons that fires at each step: clean solid, attacked dashed."""
    steps = len(layer["rate_clean"])
    most = max(*layer["rate_clean"], *layer["rate_attacked"], 1e-9)
    drawn = [line(left, top + RATE, left + steps * column, top + RATE, "axis")]
    for rates, style in ((layer["rate_clean"], "rate"), (layer["rate_attacked"], "rate dashed")):
        path = "".join(
            f"{'L' if t else 'M'}{left + t * column:.1f} {top + RATE * (1 - rate / most):.1f}h{column:.1f}"
            for t, rate in enumerate(rates)
        )
        drawn.append(tag("path", d=path, class_=style))
    return [*drawn, text(left, top + RATE + 13, f"peak {100 * most:.3g} %")]


def legend() -> Markup:
    """What the three kinds of mark mean."""
    entries = [
        tag(
            "li",
            tag("svg", _spike(letter, 0, 3, 14), viewBox="0 0 14 14", width=14, height=14, aria_hidden="true"),
            f" spike for {words}",
        )
        for letter, words in MARKS.items()
    ]
    return tag("ul", entries, class_="legend raster")
