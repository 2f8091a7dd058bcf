"""Tables: aligned, complete, and right to the digit."""

import pytest

from minihire.report import tables


def row(model, access, attack, accuracy=0.612):
    return {
        "model": model,
        "access": access,
        "attack": attack,
        "accuracy": accuracy,
        "low": 0.581,
        "high": 0.642,
        "correct": 612,
        "count": 1000,
    }


def energy(ratio):
    total = {"total_pj": 2_500_000.0, "ratio": ratio}
    return {
        "first_layer_once": {"fp32": total, "int32": total, "layers": []},
        "first_layer_every_step": {"fp32": total, "int32": total, "layers": []},
    }


RESULTS = {
    "accuracy": [row("ann", "clean", "none"), row("hire", "clean", "none", 1.0), row("hire", "white_box", "pgd", 0.0)],
    "activity": {
        "ann": [{"name": "neuron1", "tasa": None}],
        "hire": [{"name": "neuron1", "tasa": 0.12345}, {"name": "conv1", "tasa": None}],
    },
    "energy": {"ann": energy(None), "hire": energy(4.567)},
    "phases": {
        "train ann": {"seconds": 65.2, "peak_memory_bytes": 3 << 30},
        "attack pgd": {"seconds": 5.0, "peak_memory_bytes": 1 << 20},
    },
}


def check_aligned(text):
    """Every line is as wide as the rule below the header, and columns are parted by at least two spaces at the same places."""
    lines = text.split("\n")
    rule = lines[1]
    assert set(rule) <= {"─", " "} and all(len(line) <= len(rule) for line in lines)
    for gap in (i for i in range(len(rule) - 1) if rule[i : i + 2] == "  "):
        assert all(line.ljust(len(rule))[gap : gap + 2] == "  " for line in lines)
    return [[rule_cells.strip() for rule_cells in split(line, rule)] for line in (lines[0], *lines[2:])]


def split(line, rule):
    """The cells of a line at the columns of the rule."""
    start = 0
    for column in rule.split("  "):
        yield line[start : start + len(column)]
        start += len(column) + 2


def test_columns_are_aligned_the_first_to_the_left_the_others_to_the_right():
    text = tables.table(["layer", "a"], [["x", "1"], ["longer name", "12,345"]])
    assert text.split("\n") == [
        "layer             a",
        "───────────  ──────",
        "x                 1",
        "longer name  12,345",
    ]
    assert check_aligned(text) == [["layer", "a"], ["x", "1"], ["longer name", "12,345"]]


def test_a_table_without_rows_is_a_header():
    assert tables.table(["a", "b"], []) == "a  b\n─  ─"


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        tables.table(["a", "b"], [["1", "2", "3"]])


def test_accuracy_table():
    assert check_aligned(tables.accuracy_table(RESULTS)) == [
        ["accuracy, %", "clean", "PGD wb"],
        ["ANN", "61.2 [58.1, 64.2]", "–"],
        ["HIRE-SNN", "100.0 [58.1, 64.2]", "0.0 [58.1, 64.2]"],
    ]


def test_activity_summary_leaves_out_what_does_not_spike():
    assert check_aligned(tables.activity_summary(RESULTS)) == [["TASA", "neuron1"], ["HIRE-SNN", "0.123"]]


def test_energy_table_in_microjoule():
    assert check_aligned(tables.energy_table(RESULTS))[1:] == [
        ["ANN", "2.500", "2.500", "–", "–", "–"],
        ["HIRE-SNN", "2.500", "2.500", "4.6×", "4.6×", "4.6×"],
    ]


def test_phase_table_adds_up():
    assert check_aligned(tables.phase_table(RESULTS)) == [
        ["phase", "time", "peak memory"],
        ["train ann", "1 min 05 s", "3,072 MiB"],
        ["attack pgd", "5 s", "1 MiB"],
        ["total", "1 min 10 s", "3,072 MiB"],
    ]


def test_activity_and_operations_tables():
    layer = {
        "name": "conv1",
        "kind": "MAC",
        "neurons": 12_345,
        "sa": 0.5,
        "tasa": 0.125,
        "received": None,
        "dense": 10**6,
        "operations": 5e5,
        "fp32_pj": 2.3e6,
        "int32_pj": 1e4,
    }
    assert check_aligned(tables.activity_table([layer]))[1] == ["conv1", "12,345", "0.500", "0.1250", "–"]
    assert check_aligned(tables.operations_table({"layers": [layer]}))[1] == [
        "conv1",
        "MAC",
        "1,000,000",
        "–",
        "500,000",
        "2.3000",
        "0.0100",
    ]


@pytest.mark.parametrize(
    "make, title",
    [
        (tables.accuracy_table, "accuracy, %"),
        (tables.activity_summary, "TASA"),
        (tables.energy_table, "energy per image"),
    ],
)
def test_tables_of_an_empty_run_have_no_rows(make, title):
    header, rule = make({"accuracy": [], "activity": {}, "energy": {}}).split("\n")
    assert header.startswith(title) and {*rule} <= {"─", " "}


def test_wide_characters_and_control_characters_keep_the_columns():
    names = ["图 片", "😀", "e\u0301", "a\nb\x1b[2J", "plain"]
    header, rule, *lines = tables.table(["name", "value"], [[name, "1"] for name in names]).split("\n")
    assert header == "name" + " " * 9 + "value" and rule == "─" * 11 + "  " + "─" * 5
    assert lines == [
        name.replace("\n", "\\n").replace("\x1b", "\\x1b") + " " * count + "1"
        for name, count in zip(names, (12, 15, 16, 6, 12), strict=True)
    ]
