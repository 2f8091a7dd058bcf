"""--module: a user's file is run once per command, in the order given, and only on request."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minihire import Network, build, get_backend, initialise, save_checkpoint
from minihire.app import cli
from minihire.app.modules import load_modules
from minihire.attacks import ATTACKS
from minihire.models import MODELS, VGG
from minihire.runtime.errors import MinihireError


@pytest.fixture
def models():
    """The table of models, as it was before afterwards."""
    yield from unchanged(MODELS)


@pytest.fixture
def attacks():
    """The table of attacks, as it was before afterwards."""
    yield from unchanged(ATTACKS)


def unchanged(table):
    before = dict(table)
    yield table
    table.clear()
    table.update(before)


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


@pytest.fixture
def attack(attacks, tmp_path):
    """attack(rows, …): the exit code of an attack on ten shapes; rows: lines of a module, in which `pgd` is a function."""
    model, k = build("vgg5", 10, width=1 / 16, hidden=8), get_backend("reference")
    save_checkpoint(tmp_path / "x.npz", Network(model, k, initialise(model, k, seed=0)))

    def command(rows, *flags):
        (tmp_path / "mine.py").write_text(f"from minihire.attacks import ATTACKS, pgd\n{rows}\n")
        files = [flag for flag in flags if flag.endswith(".png")]
        data = ["--backend", "reference", *([] if files else ["--data", "shapes", "--test-limit", "10"])]
        return cli.main(["attack", str(tmp_path / "x.npz"), "--module", str(tmp_path / "mine.py"), *data, *flags])

    return command


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("VGG", "the row 'mine' of MODELS is <class 'minihire.models.VGG'>: give an object with the attribute steps"),
        ("VGG((8, 'A'), (16,), steps=0)", "steps of the row 'mine' of MODELS is 0: give a whole number of at least 1"),
        ("VGG((-8, 'A'), (16,))", "a number of channels in MODELS is -8: give a whole number of at least 1"),
    ],
)
def test_a_wrong_row_of_models_is_one_line(models, tmp_path, capsys, row, said):
    (tmp_path / "mine.py").write_text(f"from minihire.models import MODELS, VGG\nMODELS['mine'] = {row}\n")
    assert cli.main(["info", "mine", "--module", str(tmp_path / "mine.py")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


ZERO = "ATTACKS['pgd-zero'] = lambda epsilon: pgd(epsilon, alpha=0.0, iterations=1, random_start=False)"


def test_two_attacks_that_call_themselves_the_same_have_two_results(attack, tmp_path, capsys):
    flags = ["--attacks", "pgd,pgd-zero", "--epsilon", "0.3", "--alpha", "0.1"]
    assert attack(ZERO, *flags, "--json", str(tmp_path / "x.json")) == 0
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "x.json").read_text())["accuracy"]
    assert list(found) == ["clean", "pgd", "pgd-zero"] and "pgd-zero" in printed
    assert found["pgd-zero"] == found["clean"] != found["pgd"]
    assert attack(ZERO, "--attacks", "pgd-zero", "--save-images", str(tmp_path / "y.npz")) == 0
    assert "pgd-zero, 8 bits" in capsys.readouterr().out
    assert attack(ZERO, "--suite", "parity", "--attacks", "pgd-zero") == 0
    assert "pgd-zero" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["clean", "my/pgd"])
@pytest.mark.parametrize("flags", [[], ["--suite", "parity"]])
def test_a_name_that_results_or_files_cannot_have_is_refused(attack, capsys, name, flags):
    assert attack(f"ATTACKS['{name}'] = pgd", "--attacks", name, *flags) == 2
    assert f"give the attack '{name}' another name in ATTACKS: 'clean' is the result" in capsys.readouterr().err


def test_a_row_that_returns_no_attack_is_refused(attack, capsys):
    assert attack("ATTACKS['mine'] = lambda epsilon: None", "--attacks", "mine") == 2
    said = "the function of the row 'mine' of ATTACKS returns NoneType: let it return an Attack, as in docs/attacks.md"
    assert capsys.readouterr().err == f"minihire: {said}\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ATTACKS['mine'] = 3", "the row 'mine' of ATTACKS is 3: give a function that returns an Attack"),
        ("ATTACKS['mine'] = lambda eps: pgd(eps)", "the function of the row 'mine' of ATTACKS needs 'eps': give it"),
        ("ATTACKS['mine'] = lambda epsilon: pgd(epsilon, epsilon / 0)", "fails with ZeroDivisionError: float division by zero"),
        (
            "class Mine(Attack):\n    def attacker(self, network):\n        return lambda images, labels, draws: images.missing\n"
            "ATTACKS['mine'] = lambda epsilon: Mine('mine', epsilon, 0.0, 1)",
            "fails with AttributeError: 'numpy.ndarray' object has no attribute 'missing' in line 5",
        ),
        (
            "class Mine(Attack):\n    def attacker(self, network):\n        return lambda images, labels: images\n"
            "ATTACKS['mine'] = lambda epsilon: Mine('mine', epsilon, 0.0, 1)",
            "the attacker of 'mine' is <lambda>(images, labels): let it take (images, labels, draws)",
        ),
    ],
)  # fmt: skip
def test_a_fault_of_the_user_s_file_is_one_line(attack, capsys, code, said):
    assert attack(f"from minihire.attacks import Attack\n{code}", "--attacks", "mine") in (1, 2)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("exit()", "SystemExit: None"),
        ("raise BrokenPipeError(32, 'of a connection')", "BrokenPipeError: [Errno 32] of a connection"),
    ],
)
def test_a_user_s_file_cannot_end_the_program_without_a_word(attack, capsys, code, said):
    row = f"def mine(epsilon):\n    {code}\nATTACKS['mine'] = mine"
    assert attack(row, "--attacks", "mine") == 2
    assert capsys.readouterr().err.endswith(f"mine.py fails with {said} in line 3\n")


OWN = """from minihire.attacks import Attack
class Mine(Attack):
    def attacker(self, network):
        return lambda images, labels, draws: {}
ATTACKS['mine'] = lambda epsilon: Mine('mine', epsilon, 0.0, 1)"""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", "the attack 'mine' returned NoneType: let it return images, float32 [1, 32, 32, 3]"),
        ("images[:, 1:]", "the attack 'mine' returned float32 [1, 31, 32, 3]: let it return images, float32"),
        ("images / 0", "the attack 'mine' made pixels that are NaN: if it is your own, correct it; else"),
        ("images.fill(0.5) or images", "warning: mine has ε = 0.03137, but changed an image by 0.5: it has to stay in its ball"),
    ],
)  # fmt: skip
def test_the_result_of_an_own_attack_on_image_files_is_checked(attack, tmp_path, capsys, returned, said):
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    with np.errstate(invalid="ignore"):
        code = attack(OWN.format(returned), "--attacks", "mine", str(tmp_path / "black.png"))
    assert code == (0 if said.startswith("warning") else 2)
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
