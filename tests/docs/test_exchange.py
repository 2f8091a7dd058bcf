"""docs/exchange.md: its commands run. tests/interop runs its Python code and compares the results."""

import io
import shlex
import shutil
from contextlib import redirect_stdout

import pytest
from handbook_pages import ROOT, blocks

from minihire import Calibration, convert, get_backend, load_data
from minihire.app import cli
from minihire.runtime.errors import MinihireError


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


@pytest.fixture
def own(monkeypatch):
    """own(module): the ANN of a small torch module, and its SNN of 32 time steps."""
    from minihire.interop import from_torch
    from minihire.runtime.progress import Progress

    monkeypatch.setattr(Progress, "quiet", True)
    images = load_data("shapes", train_limit=16, test_limit=16).train

    def make(module):
        for weights in module.parameters():
            weights.data.abs_()  # so that every neuron receives a positive current
        ann = from_torch(module, images, backend=get_backend("reference"))
        return ann, convert(ann, images, steps=32, calibration=Calibration(images=4, steps=4))

    return make


@pytest.mark.filterwarnings("ignore::minihire.interop.description.ExchangeWarning")
def test_what_can_be_written_of_a_network_from_torch(own):
    """The column of the table of formats: series and sums, 32 and 10 time steps."""
    nn = pytest.importorskip("torch").nn
    pytest.importorskip("nir")
    pytest.importorskip("onnx")
    from minihire.interop import to_nir, to_onnx

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(3, 2, 3, 8), nn.Conv2d(2, 2, 1), nn.Linear(32, 10)

        def forward(self, x):
            x = self.first(x).relu()
            return self.last((x + self.second(x)).relu().flatten(1))

    series = nn.Sequential(
        nn.Conv2d(3, 2, 3, 8), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 10)
    )
    for module, branched in ((series, False), (Sum(), True)):
        ann, snn = own(module)
        assert to_onnx(ann) and to_onnx(snn.copy(steps=10))
        with pytest.raises(MinihireError, match="32 time steps"):
            to_onnx(snn)
        if branched:
            with pytest.raises(MinihireError, match="residual"):
                to_nir(snn)
        else:
            assert len(to_nir(snn).nodes) > 5
