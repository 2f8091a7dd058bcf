"""The paper's printed figures: read as printed, and shown only beside the same model and data set."""

import pytest
from page_reader import by_id, nodes, read_page, table_rows, text_of

from minihire.analysis import COSTS
from minihire.report import page, paper_charts
from minihire.study.paper import printed as paper
from minihire.study.settings import preset
from minihire.study.titles import TITLES


def test_every_row_is_read():
    rows = paper.accuracies()
    assert len(rows) == 32 and {row.table for row in rows} == {1, 2, 3, 5}
    assert all(0 <= value <= 100 for row in rows for value in (row.clean, row.fgsm, row.pgd))
    assert {row.access for row in rows} == {"wb", "bb"} and {row.dataset for row in rows} == {"cifar10", "cifar100"}


@pytest.mark.parametrize(
    ("model", "data", "method", "white", "black"),
    [
        ("vgg5", "cifar10", "ann", (90.2, 13.3, 2.0), (90.2, 24.0, 6.4)),  # table 1
        ("vgg5", "cifar10", "hire", (87.5, 38.0, 9.1), (87.5, 42.1, 14.9)),  # tables 2 and 3
        ("resnet12", "cifar100", "traditional", (61.9, 10.5, 0.6), (61.9, 14.1, 2.0)),
        ("vgg11", "cifar100", "hire", (65.1, 22.0, 7.5), (65.1, 29.1, 16.1)),
    ],
)
def test_rows_as_the_paper_prints_them(model, data, method, white, black):
    found = paper.printed({"data": data, "model": model}, method)
    assert {access: row[-3:] for access, row in found.items()} == {"white_box": white, "black_box": black}


@pytest.mark.parametrize(
    ("changes", "method", "tables"),
    [
        ({}, "control", set()),
        ({}, "converted", set()),
        ({"data": "mnist"}, "ann", set()),
        ({"model": "vgg9"}, "ann", set()),
        ({"freeze": True}, "hire", {5}),
        ({"freeze": True}, "ann", {1}),
        ({"coding": "rate"}, "traditional", {1}),
        ({"coding": "rate"}, "hire", set()),
    ],
)
def test_only_the_same_setting_has_a_row(changes, method, tables):
    config = preset("vgg5-cifar10").describe() | changes
    found = paper.printed(config, method)
    assert {row.table for row in found.values()} == tables
    if changes.get("coding") == "rate" and found:
        assert found["white_box"].clean == 89.3


def test_energies_use_the_costs_of_table_7():
    names = {"multiplication": "multiplication", "addition": "addition", "mac": "MAC", "ac": "AC"}
    for operation, costs in paper.operation_costs().items():
        assert all(costs[kind] == COSTS[kind][names[operation]] for kind in ("fp32", "int32"))


def test_the_page_says_that_they_are_the_papers(tiny, folder_of):
    config = tiny[1]["config"] | {"data": "cifar10"}
    root = read_page(page.single(page.read(folder_of(config=config, data=tiny[1]["data"] | {"name": "cifar10"}))))
    section = by_id(root, "accuracy")
    rows = table_rows(section)
    for method, where, values in (
        ("ann", "table 1, VGG5", ["90.2", "13.3", "2.0", "24.0", "6.4"]),
        ("traditional", "table 1, VGG5", ["87.9", "35.5", "5.3", "38.3", "6.7"]),
        ("hire", "tables 2 and 3, VGG5", ["87.5", "38.0", "9.1", "42.1", "14.9"]),
    ):
        at = next(i for i, row in enumerate(rows) if row[0] == TITLES[method])
        assert rows[at + 1] == [f"paper, full-size network, all test images ({where})", *values]
    assert len([row for row in rows if row[0].startswith("paper")]) == 3
    told = " ".join(text_of(n) for n in nodes(section, "p"))
    for part in (
        "a different experiment and are not a target for this run",
        "Compared with the preset vgg5-cifar10",
        "width 0.03125, not 1",
        "hidden 12, not full size",
        "iterations 2, not 7",
    ):
        assert part in told


def test_a_page_of_other_data_has_none_of_them(made):
    assert "The paper has no values for VGG5 on shapes." in text_of(by_id(made, "accuracy"))
    assert not [row for row in table_rows(made) if row and row[0].startswith("paper")]


POINTS = [
    {"name": "hire", "label": "best in x", "x": 70.0, "y": 10.0},
    {"name": "hire", "label": "behind both", "x": 50.0, "y": 10.0},
    {"name": "adversarial", "label": "best in y", "x": 52.0, "y": 40.0},
    {"name": "hire", "label": "as high as the first, further left", "x": 60.0, "y": 10.0},
]
CHART = {"kind": "points", "title": "T", "unit": "y, %", "across": "x, %", "points": POINTS}


def test_of_many_points_only_those_that_no_other_exceeds_have_numbers(monkeypatch):
    monkeypatch.setattr(paper_charts, "NAMED", 3)
    assert [p["label"] for p in paper_charts.front(POINTS)] == ["best in y", "best in x"]
    shown = str(paper_charts.draw(CHART))
    assert shown.count('class="mark') == 6  # four points, and a marker for each kind in the legend
    assert ">1</text>" in shown and ">3</text>" in shown and ">2</text>" not in shown and ">4</text>" not in shown


def test_few_points_are_numbered_and_named():
    shown = str(paper_charts.draw(CHART))
    assert shown.count('class="mark') == 8  # four points, and a row for each in the legend
    for number, point in enumerate(POINTS, 1):
        assert f">{number}</text>" in shown and f" {number} {point['label']}</li>" in shown
