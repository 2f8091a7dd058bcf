"""A scale so small that every experiment runs in seconds, and one run of all of them."""

import pytest

from backends import get_backend
from minihire.experiments import preset
from minihire.paper import command
from minihire.paper.lab import Lab
from minihire.paper.scales import Scale

TINY = Scale(
    "tiny",
    (
        preset(
            "mini",
            **dict(train_limit=40, test_limit=30, heldout=0, width=0.125, hidden=32, steps=2, periods=2),
            **dict(
                ann_epochs=2, ann_batch_size=8, snn_epochs=1, batch_size=8, calibration_images=8, calibration_steps=4
            ),
        ),
    ),
    rate=dict(coding="rate", steps=3, time_chunk=2, snn_epochs=1, calibration_images=32, calibration_steps=30),
    noise_steps=(0.01, 0.02),
    time_steps=(2, 3),
    bounds=(4 / 255, 32 / 255),
    iterations=(1, 2, 4),
    sweep_images=12,
    batches=2,
)


@pytest.fixture(scope="session")
def backend():
    return get_backend()


@pytest.fixture
def lab(backend, tmp_path):
    """A fresh laboratory at the tiny scale."""
    return Lab(TINY, backend, tmp_path)


@pytest.fixture(scope="session")
def made(backend, tmp_path_factory):
    """(folder, content of paper.json) of all experiments with two seeds."""
    folder = tmp_path_factory.mktemp("paper")
    return folder, command.reproduce(Lab(TINY, backend, folder, seeds=2), list(command.EXPERIMENTS), folder)
