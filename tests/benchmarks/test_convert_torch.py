"""The benchmark that trains a PyTorch network, converts it and compares accuracies."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.convert_torch import NETWORKS, main
from minihire.runtime.progress import Progress


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress lines."""
    monkeypatch.setattr(Progress, "quiet", True)


def write_cifar(folder):
    """Random images in CIFAR-10's binary layout."""
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        pixels, labels = rng.integers(0, 256, (40, 3072), np.uint8), rng.integers(0, 10, (40, 1), np.uint8)
        np.concatenate([labels, pixels], axis=1).tofile(folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_it_trains_once_and_measures(tmp_path, capsys, network):
    """The ANN is the module, so their accuracies are equal; a second call reads the weights."""
    write_cifar(tmp_path)
    common = ["--data-dir", str(tmp_path), "--network", network, "--train", "150", "--test", "20", "--epochs", "1"]
    files = ["--steps", "2", "4", "--weights", str(tmp_path / "w.pt"), "--json", str(tmp_path / "found.json")]
    main([*common, *files])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["torch"] == found["ann"] and found["snn"].keys() == {"2", "4"}
    assert found["network"] == network and (found["train"], found["test"]) == (150, 20)
    assert "epoch 1" in capsys.readouterr().err
    main([*common, *files])
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert "epoch 1" not in capsys.readouterr().err
