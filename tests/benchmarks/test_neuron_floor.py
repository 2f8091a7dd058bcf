"""benchmarks.lif: what it counts, and that it runs where torch is."""

import json

import pytest

from benchmarks.lif import LAYERS, floor, main
from minihire.runtime.errors import MinihireError


def test_the_floor_counts_each_array_once():
    """Two steps of ten neurons: a current that changes, and one that does not."""
    assert floor(2, 10, static=False) == (80 + 80 + 20 + 40, 80 + 80 + 80 + 40)
    assert floor(2, 10, static=True) == (40 + 20 + 40, 40 + 80 + 40 + 40)


@pytest.mark.slow
def test_it_measures_every_layer(tmp_path, capsys):
    pytest.importorskip("torch")
    main(["--batch", "1", "--steps", "2", "--rounds", "1", "--json", str(tmp_path / "found.json")])
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["layer"] for row in rows] == list(LAYERS)
    assert all(min(row["seconds"] + row["share_of_floor"]) > 0 for row in rows)
    assert "of bound" in capsys.readouterr().out


def test_a_wrong_flag_is_one_sentence():
    with pytest.raises(MinihireError, match="--rounds"):
        main(["--rounds", "many"])
