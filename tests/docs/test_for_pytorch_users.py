"""docs/for-pytorch-users.md: runs the code of the page from top to bottom."""

import inspect
import re

import numpy as np
import pytest
from handbook_pages import DOCS, blocks, run

from minihire.runtime.progress import Progress

PAGE = "for-pytorch-users.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names that the page's code defines, and its output."""
    pytest.importorskip("torch", reason="half of the page's code is PyTorch's")
    code = "\n".join(block for found in blocks(PAGE).values() for block in found)
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "quiet", True)
        patch.chdir(tmp_path_factory.mktemp("page"))
        names = run(code, "page_example", patch, print=lambda *words: printed.append(words))
    return names, printed


@pytest.mark.slow
def test_the_page_runs_and_prints_what_its_comments_say(ran):
    names, printed = ran
    (loss, size), (_, weights, _, image), shapes = printed
    assert (loss, weights) == ("loss", ["conv1.weight", "conv2.weight"])
    assert 0 < size < 10 and tuple(image) == (32, 32, 32, 3)
    assert [tuple(shape)[:2] for shape in shapes] == [(1, 32), (1, 32), (4, 32)]
    assert names["weight"].shape == (3, 3, 3, 8) and names["spikes"].mean() > 0.1


@pytest.mark.slow
def test_the_step_moved_every_parameter_and_the_gradients_are_not_zero(ran):
    names, _ = ran
    k, snn, ann = names["k"], names["snn"], names["ann"]
    assert all((k.to_numpy(snn.parameters[n]) != k.to_numpy(a)).any() for n, a in ann.parameters.items())
    assert np.abs(k.to_numpy(names["theirs"])).max() > 0
    assert np.abs(names["grad_current"]).max() > 0 and names["grad_leak"][0] != 0 and names["grad_threshold"][0] != 0
    assert set(names["result"].state) == {f"neuron{i}" for i in range(1, 6)}


@pytest.mark.slow
def test_the_converted_network_spikes_about_as_often_as_the_module_says(ran):
    names, _ = ran
    assert 0 < names["gain"] < 10
    error = np.abs(names["rates"] - names["expected"]).mean()
    assert names["own_snn"].spiking and error < 0.15 * np.abs(names["expected"]).mean()


@pytest.mark.slow
def test_own_data_is_a_data_set_and_the_short_network_was_trained_and_attacked(ran):
    names, _ = ran
    assert len(names["own_data"]) == 64 and names["own_data"].images.dtype == np.uint8
    k, short = names["k"], names["short"]
    fresh = names["convert"](names["own_ann"], names["images"].train, steps=8)
    assert any((k.to_numpy(short.parameters[n]) != k.to_numpy(a)).any() for n, a in fresh.parameters.items())
    assert names["right"].shape == (50,) and names["right"].dtype == bool


def test_a_module_for_grey_images_of_another_size_becomes_an_snn(monkeypatch):
    torch = pytest.importorskip("torch")
    from minihire import Calibration, convert, get_backend
    from minihire.data import Dataset
    from minihire.interop import from_torch

    monkeypatch.setattr(Progress, "quiet", True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 20, 1), np.uint8)
    data = Dataset("grey", pixels, np.arange(8) % 2, ("no", "yes"), (0.0,), (1.0,))
    layers = [torch.nn.Conv2d(1, 2, 3, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(70, 2)]
    module = torch.nn.Sequential(*layers)
    for weights in module.parameters():
        weights.data.abs_()  # so that every neuron receives a positive current
    ann = from_torch(module, data, backend=get_backend("reference"))
    snn = convert(ann, data, steps=4, calibration=Calibration(images=4, steps=4))
    assert snn.model.image_shape == (28, 20, 1) and snn.predict(pixels).classes.shape == (8,)


def test_names_in_the_text_exist():
    """Every name of minihire in the first table."""
    from backends.interface import Backend
    from backends.randomness import Draw
    from minihire import Network, train
    from minihire.data.batches import Batches
    from minihire.training.optimisers import Optimiser, Schedule

    owners = {"k": Backend, "network": Network, "Optimiser": Optimiser, "Schedule": Schedule, "Batches": Batches}
    rows = [
        line.split("|")[2] for line in (DOCS / PAGE).read_text(encoding="utf-8").splitlines() if line.count("|") == 4
    ]
    found = {pair for row in rows for pair in re.findall(r"`(\w+)\.(\w+)", row)}
    assert len(found) >= 6
    for owner, name in found:
        assert name in dir(owners[owner]) or name in owners[owner].__dataclass_fields__, (owner, name)
    step = re.search(r"`Optimiser\.step\((.*?)\)`", "".join(rows))[1].split(", ")
    assert step == list(inspect.signature(Optimiser.step).parameters)[1:]
    assert "`Draw(seed, stream, step, layer)`" in "".join(rows) and Draw._fields == ("seed", "stream", "step", "layer")
    assert (
        "`train(network, Recipe(…), data)`" in "".join(rows) and [*inspect.signature(train).parameters][0] == "network"
    )


def test_no_line_of_code_is_too_wide_to_read():
    lines = [line for found in blocks(PAGE).values() for block in found for line in block.splitlines()]
    assert max(map(len, lines)) <= 125 and not [line for line in lines if re.search(r"\s$", line)]
