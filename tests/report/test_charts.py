"""Charts: round ticks, coordinates that follow the values, one marker and one colour a network."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_reader import nodes, read_page, text_of

from minihire.report import charts, rasters
from minihire.report.marks import COLOURS, MARKERS, SHAPES
from minihire.report.markup import Markup, join, prose, table, tag
from minihire.study.titles import TITLES

VALUES = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)


def positions(drawing, name):
    """(x, y) of a network's markers."""
    marks = [n for n in nodes(drawing, "path") if f"mark s-{name}" in n.attributes["class"]]
    return [tuple(map(float, re.findall(r"-?[\d.]+", n.attributes["transform"])[:2])) for n in marks]


@given(VALUES, VALUES)
def test_ticks_are_round_rise_and_hold_the_values(a, b):
    low, high = min(a, b), max(a, b)
    marks = charts.ticks(low, high)
    step = marks[1] - marks[0]
    tiny = 1e-6 * step
    assert marks[0] <= low + tiny and high - tiny <= marks[-1] and 2 <= len(marks) <= 7
    assert f"{step:.3e}"[0] in "125" and all(
        y - x == pytest.approx(step) for x, y in zip(marks, marks[1:], strict=False)
    )


def test_every_network_has_its_own_colour_and_marker():
    assert SHAPES.keys() == COLOURS.keys() == MARKERS.keys() == TITLES.keys()
    for table_ in (SHAPES, COLOURS, MARKERS):
        assert len(set(table_.values())) == len(table_)
    assert charts.colour_class("hire") == "s-hire" and charts.colour_class('x" onload="') == "s-other"


def test_a_chart_of_layers_has_a_row_a_layer_and_a_scale():
    series = {"hire": {"n1": 0.0, "n2": 0.5, "n3": 1.0}, "converted": {"n1": 1.0, "n3": 0.25}}
    drawing = read_page(charts.layers("Rate", "spikes", series))
    (x1, y1), (x2, y2), (x3, y3) = positions(drawing, "hire")
    assert y1 < y2 < y3 and x2 - x1 == pytest.approx(x3 - x2, abs=0.02)
    (a, b), (c, d) = positions(drawing, "converted")
    assert (a, b) == (x3, y1) and d == y3 and c == pytest.approx(x1 + (x3 - x1) / 4, abs=0.02)
    assert [t for t in ("n1", "n2", "n3", "spikes") if t not in text_of(drawing)] == []


def test_curves_are_drawn_at_their_values():
    drawing = read_page(charts.curves("loss", "nats", [("ann", False, [(1, 0.0), (2, 5.0), (3, 10.0)])]))
    (x1, y1), (x2, y2), (x3, y3) = positions(drawing, "ann")
    assert x2 - x1 == pytest.approx(x3 - x2) and y1 - y2 == pytest.approx(y2 - y3) and y1 > y3
    line = next(nodes(drawing, "polyline")).attributes["points"].split()
    assert [tuple(map(float, p.split(","))) for p in line] == positions(drawing, "ann")


@pytest.mark.parametrize("path", [[(1, 0.5)], [(1, 0.5), (2, 0.5)], [(1, -1.0)]])
def test_a_curve_of_one_point_or_one_value_can_be_drawn(path):
    drawing = read_page(charts.curves("loss", "nats", [("ann", False, path)]))
    assert len(positions(drawing, "ann")) == len(path)


def test_bars_are_linear_from_zero_with_a_pale_part():
    rows = [("ann", "ANN", 4.0, 4.0, "4"), ("hire", "HIRE-SNN", 1.0, 3.0, "1")]
    drawing = read_page(charts.bars("Energy", "pJ", rows))
    width = {n.attributes["class"]: float(n.attributes["width"]) for n in nodes(drawing, "rect")}
    assert width["pale s-hire"] == pytest.approx(0.75 * width["bar s-ann"], abs=0.02)
    assert width["bar s-hire"] == pytest.approx(0.25 * width["bar s-ann"], abs=0.02)
    assert read_page(charts.bars("Energy", "pJ", [("ann", "ANN", 0.0, 0.0, "0")]))  # no event at all


def test_charts_fit_a_phone_and_hide_what_is_too_long():
    name = "block1.a.very.long.name.of.a.layer"
    drawing = charts.layers("v", "", {"hire": {name: 1.0}})
    assert charts.WIDTH <= 400 and f"…{name[-17:]}" in drawing and f'width="{charts.WIDTH}"' in drawing


def layer(**changes):
    usual = {
        "name": "neuron1",
        "neurons": 100,
        "fired_clean": 7,
        "fired_attacked": 9,
        "rate_clean": [0.0, 0.1],
        "rate_attacked": [0.2, 0.1],
        "shown": [3, 8],
        "trains": ["b.", "ca"],
    }
    return {**usual, **changes}


def marks(drawing):
    """{class: [(x, y) of each mark's start, …]} of a raster."""
    kinds = {
        n.attributes["class"]: n.attributes["d"] for n in nodes(drawing, "path") if "rate" not in n.attributes["class"]
    }
    return {k: [tuple(map(float, start)) for start in re.findall(r"M([\d.]+) ([\d.]+)", d)] for k, d in kinds.items()}


def test_a_raster_has_a_mark_for_every_spike_in_its_place():
    drawing = read_page(rasters.raster("hire", layer()))
    assert "7 of 100 fire" in text_of(drawing) and "peak 20 %" in text_of(drawing)
    found = marks(drawing)
    ((x1, y1),), ((x2, y2),), ((x3, y3),) = found["both"], found["gone"], found["new"]
    assert x1 == pytest.approx(x2, abs=1) and x3 - x1 == pytest.approx(rasters.column_width(2))
    assert y2 - y1 == pytest.approx(rasters.ROW, abs=1) and y3 - y1 == pytest.approx(rasters.ROW)


def test_marks_of_narrow_columns_lie_in_two_halves():
    long = layer(rate_clean=[0.1] * 60, rate_attacked=[0.1] * 60, trains=["bca" * 20], shown=[0])
    found = marks(read_page(rasters.raster("hire", long)))
    assert {kind: len(places) for kind, places in found.items()} == {"both half": 20, "gone half": 20, "new half": 20}
    assert found["new half"][0][1] == found["both half"][0][1] == found["gone half"][0][1] - 3


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_rasters_of_few_and_many_steps_and_of_silent_layers(steps):
    silent = layer(rate_clean=[0.0] * steps, rate_attacked=[0.0] * steps, trains=[], shown=[], fired_clean=0)
    drawing = read_page(rasters.raster("hire", silent))
    assert float(next(nodes(drawing, "svg")).attributes["width"]) < 340 and "0 of 100 fire" in text_of(drawing)


def test_markup_escapes_everything_else():
    evil = "<b>\"&'"
    assert tag("p", evil, [evil, None, 3], title=evil, hidden=True, open=False) == (
        '<p title="&lt;b&gt;&quot;&amp;&#x27;" hidden>&lt;b&gt;&quot;&amp;&#x27;&lt;b&gt;&quot;&amp;&#x27;3</p>'
    )
    assert join([Markup("<br>"), "<br>"], " ") == "<br> &lt;br&gt;"
    assert prose("ε_s < 1") == "ε<sub>s</sub> &lt; 1"
    assert tag("td", {"a": "<"}) == "<td>{&#x27;a&#x27;: &#x27;&lt;&#x27;}</td>"


def test_text_that_looks_like_a_cell_is_still_text():
    root = read_page(table(["<th>"], [["<td>x</td>", "<td>"]]))
    assert [text_of(n) for n in nodes(root, "th", "td")] == ["<th>", "<td>x</td>", "<td>"]
