"""demos/microhire.py: gradients, conversion, HIRE training and attacks equal the engine's; the file prints its table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.randomness import Draw, permutation
from minihire import Calibration, CraftedNoise, Network, NoNoise, Recipe, convert, fgsm, pgd, train
from minihire.data.dataset import Dataset
from minihire.layers import Flatten, Linear, Neuron, Readout
from minihire.models import assemble
from minihire.runtime.progress import Progress
from minihire.runtime.random_streams import Stream
from minihire.training.optimisers import Schedule

FILE = Path(__file__).parents[2] / "demos" / "microhire.py"
STEPS, SEED = 4, 5


@pytest.fixture(scope="module")
def micro():
    """The file as a module."""
    sys.path.insert(0, str(FILE.parent))
    import microhire

    sys.path.remove(str(FILE.parent))
    return microhire


@pytest.fixture(scope="module")
def data(micro):
    """160 images with 8 bits per pixel as a data set of the engine; and as rows of pixels in [0, 1], with labels."""
    x, y = micro.shapes(160, np.random.default_rng(0))
    pixels = np.round(255 * x).astype(np.uint8)
    dataset = Dataset("shapes", pixels.reshape(-1, 16, 16, 1), y, micro.CLASSES, (0.5,), (0.25,))
    return dataset, pixels * (1 / 255), y


@pytest.fixture(scope="module")
def network(micro, exact):
    """network(net): the same network in the engine, in float64."""
    _, first, second, classes = micro.SIZES
    layers = (
        *(Flatten(), Linear("linear1", first), Neuron("neuron1"), Linear("linear2", second), Neuron("neuron2")),
        Readout("readout", classes),
    )
    model = assemble("micro", layers, (16, 16, 1), classes, mean=[0.5], std=[0.25])

    def build(net):
        parameters = {f"{name}.weight": W for name, W in zip(("linear1", "linear2", "readout"), net, strict=False)}
        for name, arrays in zip(("threshold", "leak"), net[3:], strict=False):
            parameters |= {f"neuron{i + 1}.{name}": arrays[i : i + 1] for i in range(2)}
        return Network(model, exact, parameters, spiking=len(net) == 5, steps=STEPS)

    return build


def as_list(parameters):
    """The parameters or gradients of the engine's network, as microhire's list of arrays."""
    weights = [parameters[f"{name}.weight"] for name in ("linear1", "linear2", "readout")]
    neurons = [
        np.concatenate([parameters[f"neuron{i}.{name}"] for i in (1, 2)])
        for name in ("threshold", "leak")
        if "neuron1.leak" in parameters
    ]
    return weights + neurons


@pytest.fixture(params=["ann", "snn"])
def net(micro, request):
    """Random weights; as an SNN, with leaks below 1 and thresholds at which most layers fire."""
    weights = micro.new_ann(np.random.default_rng(1))
    return weights if request.param == "ann" else [*weights, np.array([0.7, 0.4]), np.array([0.8, 0.9])]


def equal(got, expected):
    """Equal shapes, and a relative error in the norm below 1e-10."""
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.shape == theirs.shape and np.linalg.norm(theirs) > 0
        assert np.linalg.norm(ours - theirs) <= 1e-10 * np.linalg.norm(theirs)


def test_the_gradients_are_the_engine_s(micro, net, network, data):
    """With respect to all weights, thresholds, leaks and pixels."""
    _, x, y = data
    found = network(net).gradients(x.reshape(-1, 16, 16, 1), y, image=True)
    grads, grad_x = micro.gradients(net, x, y, STEPS if len(net) == 5 else 1)
    equal([*grads, grad_x], [*as_list(found.weights), found.image.reshape(-1, 256)])


def test_the_attacks_are_the_engine_s(micro, net, network, data):
    _, x, y = data
    steps, images = STEPS if len(net) == 5 else 1, x.reshape(-1, 16, 16, 1)
    for ours, theirs in ((micro.fgsm, fgsm()), (micro.pgd, pgd(random_start=False))):
        attacked = ours(net, x, y, steps)
        np.testing.assert_allclose(attacked, theirs.attacker(network(net))(images, y).reshape(-1, 256), atol=1e-12)
        assert np.abs(attacked - x).max() == pytest.approx(8 / 255)


def test_the_conversion_is_the_engine_s(micro, network, data):
    dataset, x, _ = data
    ann = micro.new_ann(np.random.default_rng(1))
    snn = convert(network(ann), dataset, steps=STEPS, calibration=Calibration(len(x), 20))
    for ours, theirs in zip(micro.convert(ann, x), as_list(snn.parameters), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)  # the engine keeps the largest currents in float32


class EngineOrder:
    """In place of a random generator: the engine's order of the images in each epoch."""

    def __init__(self):
        self.epoch = -1

    def permutation(self, count):
        self.epoch += 1
        return permutation(Draw(SEED, Stream.SHUFFLE, self.epoch), count)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_training_is_the_engine_s(micro, net, network, data, noise):
    """Ten updates: those of an ANN, of traditional training and of HIRE's two periods end at the same weights."""
    dataset, x, y = data
    periods = 2 if noise and len(net) == 5 else 1
    rule = CraftedNoise(noise, noise) if noise else NoNoise()
    recipe = Recipe(
        2,
        micro.BATCH,
        learning_rate=1e-3,
        schedule=Schedule(factor=1.0),
        augment=False,
        periods=periods,
        noise=rule,
    )
    theirs, settings = network(net), dict(epochs=2, learning_rate=1e-3, T=STEPS if len(net) == 5 else 1, N=periods)
    Progress.quiet, before = True, Progress.quiet
    train(theirs, recipe, dataset, seed=SEED)
    Progress.quiet = before
    ours = micro.train(net, x, y, EngineOrder(), **settings, step=noise, bound=noise)
    equal(
        [a - b for a, b in zip(ours, net, strict=True)],
        [a - b for a, b in zip(as_list(theirs.parameters), net, strict=True)],
    )


@pytest.mark.slow
def test_the_file_prints_its_table(tmp_path):
    """From any folder and with nothing but NumPy; HIRE withstands both attacks better than traditional and control."""
    (tmp_path / "scipy.py").write_text("raise ImportError('not here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("OPENBLAS_NUM_THREADS", None)  # the file chooses one thread itself
    command = [sys.executable, "-W", "error", FILE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w+) +([\d.]+) +([\d.]+) +([\d.]+)$", done.stdout, re.MULTILINE)
    table = {name: [float(value) for value in values] for name, *values in rows}
    assert list(table) == ["ANN", "converted", "traditional", "control", "HIRE"]
    for clean, one_step, many_steps in table.values():
        assert clean > 90 and clean > one_step > many_steps
    for other in ("traditional", "control"):
        assert table["HIRE"][1] > table[other][1] and table["HIRE"][2] > table[other][2]


def test_the_file_needs_only_numpy_and_is_short():
    text = FILE.read_text(encoding="utf-8")
    modules = re.findall(r"^ *(?:from|import) .*$", text, re.MULTILINE)
    assert modules == ["import os", "import time", "import numpy as np"]
    assert text.index('setdefault("OPENBLAS_NUM_THREADS", "1")') < text.index("import numpy")  # read as NumPy starts
    assert sum(map(bool, text.splitlines())) <= 150
