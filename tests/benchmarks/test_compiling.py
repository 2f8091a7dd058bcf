"""benchmarks.compiling: a cold run is one with an empty cache of its own, a warm one finds what that left."""

import json
import sys

import pytest

from benchmarks import compiling
from minihire.runtime.errors import MinihireError

LEAVES_A_FILE = """
import os, pathlib, time
kept = pathlib.Path(os.environ["MINIHIRE_CACHE_DIR"], "kept")
time.sleep(0 if kept.exists() else 0.5)
kept.touch()
"""


@pytest.mark.slow
def test_the_difference_is_what_an_empty_cache_costs(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(compiling, "PROGRAM", (sys.executable, "-c", LEAVES_A_FILE))
    compiling.main(["--rounds", "2", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["cold_s"]) == len(found["warm_s"]) == 2
    assert min(found["cold_s"]) >= 0.5 > found["compiling_s"] - 0.4
    assert f"{found['compiling_s']:.1f} s" in capsys.readouterr().out


def test_a_run_that_fails_is_one_sentence(monkeypatch):
    monkeypatch.setattr(compiling, "PROGRAM", (sys.executable, "-c", "raise SystemExit('no such thing')"))
    with pytest.raises(MinihireError, match="no such thing"):
        compiling.main(["--rounds", "1"])


def test_no_rounds_is_one_sentence():
    with pytest.raises(MinihireError, match="--rounds"):
        compiling.main(["--rounds", "0"])
