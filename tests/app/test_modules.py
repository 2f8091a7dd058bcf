"""--module: a user's file is run once per command, in the order given, and only on request."""

from pathlib import Path

import pytest

from minihire import Network, build, get_backend, initialise, save_checkpoint
from minihire.app import cli
from minihire.app.modules import load_modules
from minihire.models import MODELS, VGG
from minihire.runtime.errors import MinihireError


@pytest.fixture
def models():
    """The table of models, as it was before afterwards."""
    before = dict(MODELS)
    yield MODELS
    MODELS.clear()
    MODELS.update(before)


def test_modules_run_in_order_and_add_models(models, tmp_path, capsys):
    (tmp_path / "first.py").write_text(
        "from minihire.models import MODELS, VGG\nMODELS['tiny'] = VGG((8, 'A'), (16,))\n"
    )
    (tmp_path / "second.py").write_text("from minihire.models import MODELS\nMODELS['same'] = MODELS['tiny']\n")
    modules = [part for name in ("first", "second") for part in ("--module", str(tmp_path / f"{name}.py"))]
    assert cli.main(["info", "same", *modules]) == 0
    assert "conv1" in capsys.readouterr().out and isinstance(models["same"], VGG)
    assert cli.main(["run", "--model", "none", *modules]) == 2
    assert "resnet20 or tiny or same, not 'none'" in capsys.readouterr().err


def test_a_module_may_use_its_own_name_and_dataclasses(tmp_path):
    text = (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int' = 1\nassert A.__module__ == __name__\n"
    )
    (tmp_path / "own.py").write_text(text)
    load_modules([tmp_path / "own.py"])


def test_a_module_that_fails_names_its_line(tmp_path):
    (tmp_path / "broken.py").write_text("import math\n\nmath.sqrt(-1)\n")
    with pytest.raises(MinihireError, match=r"broken.py fails with ValueError: math domain error in line 3$"):
        load_modules([tmp_path / "broken.py"])
    with pytest.raises(MinihireError, match="--module needs a Python file"):
        load_modules([Path("missing.txt")])
    with pytest.raises(MinihireError, match="there is no file missing.py$"):
        load_modules([Path("missing.py")])


def test_a_network_of_a_module_is_exported(models, tmp_path, capsys):
    pytest.importorskip("onnx")
    (tmp_path / "mine.py").write_text("from minihire.models import MODELS, VGG\nMODELS['tiny'] = VGG((4, 'A'), (8,))\n")
    load_modules([tmp_path / "mine.py"])
    model, k = build("tiny", 4, (8, 8, 3)), get_backend("reference")
    save_checkpoint(tmp_path / "x.npz", Network(model, k, initialise(model, k, seed=0)))
    del models["tiny"]
    export = ["export", str(tmp_path / "x.npz"), "--out", str(tmp_path / "x.onnx")]
    assert cli.main(export) == 2
    assert "has the model 'tiny', which minihire does not have: give --module FILE.py" in capsys.readouterr().err
    assert cli.main([*export, "--module", str(tmp_path / "mine.py")]) == 0
    assert (tmp_path / "x.onnx").exists()
