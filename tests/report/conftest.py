"""A run as small as can be, with everything that a page shows."""

import json

import pytest
from page_reader import read_page

from backends import get_backend
from minihire.report import page
from minihire.runtime.progress import Progress
from minihire.study.networks import load_data
from minihire.study.run import Run
from minihire.study.settings import Config


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """(folder, content of results.json) of a finished run on shapes with noise, a black box and both seeds."""
    out = tmp_path_factory.mktemp("tiny") / "run"
    config = Config(
        train_limit=48,
        test_limit=20,
        heldout=10,
        width=1 / 32,
        hidden=12,
        dropout=0.0,
        steps=4,
        ann_epochs=2,
        ann_batch_size=16,
        ann_learning_rate=0.05,
        calibration_images=16,
        calibration_steps=10,
        snn_epochs=1,
        batch_size=16,
        learning_rate=1e-3,
        iterations=2,
        methods=("traditional", "gaussian", "hire"),
    )
    quiet, Progress.quiet = Progress.quiet, True
    try:
        results = Run(config, get_backend("numba", threads=1), out, load_data(config)).run()
    finally:
        Progress.quiet = quiet
    assert results["finished"]
    return out, json.loads((out / "results.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder_of(tiny, tmp_path):
    """folder_of(name, **changes): a run's folder with that run's results.json, some of its keys replaced."""

    def make(name="run", **changes):
        folder = tmp_path / name
        folder.mkdir()
        content = {**json.loads(json.dumps(tiny[1])), **changes}
        content.pop("checksum", None)  # the file is edited
        (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def made(tiny):
    """The finished run's page, read."""
    return read_page(page.single(page.read(tiny[0])))
