"""docs/exchange.md: its commands run. tests/interop runs its Python code and compares the results."""

import io
import shlex
import shutil
from contextlib import redirect_stdout

import pytest
from handbook_pages import ROOT, blocks

from minihire.app import cli


def test_the_commands_run(tmp_path, monkeypatch):
    pytest.importorskip("nir")
    pytest.importorskip("onnx")
    (block,) = blocks("exchange.md", "bash")["Exchange with other programs"]
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("minihire ")]
    (tmp_path / "runs").mkdir()
    shutil.copytree(ROOT / "tests" / "golden" / "run", tmp_path / "runs" / "mini")
    monkeypatch.chdir(tmp_path)
    printed = []
    for words in commands:
        extra = ["--test-limit", "20", "--backend", "reference"] if words[0] == "analyze" else []
        with redirect_stdout(io.StringIO()) as out:
            assert cli.main([*words, *extra]) == 0
        printed.append(out.getvalue())
    assert [words[0] for words in commands] == ["export", "import", "export", "analyze"]
    assert {"again.npz", "hire.onnx"} < {path.name for path in tmp_path.iterdir()}
    assert "NeuroBench, per image" in printed[-1] and "membrane updates" in printed[-1]
