"""Callbacks: called once after each epoch, also of a resumed training, without an effect on the result."""

import numpy as np
import pytest

from backends import get_backend
from minihire.runtime.errors import MinihireError
from minihire.training import Recipe, train
from minihire.training.callbacks import CALLBACKS, KeepEvery, keep_best
from minihire.training.checkpoint import load

RECIPE = Recipe(5, 16, "sgd", 0.01)


@pytest.fixture
def start(network):
    return network(get_backend("numba", threads=1), spiking=False, seed=2)


def weights(network):
    return {name: network.backend.to_numpy(array).copy() for name, array in network.parameters.items()}


def same(ours, theirs):
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_callbacks_are_called_after_every_epoch_and_change_nothing(start, data, make_data, monkeypatch):
    seen, alone = [], start.copy()
    monkeypatch.setattr("minihire.training.callbacks.CALLBACKS", [])
    monkeypatch.setattr("minihire.training.loop.CALLBACKS", [lambda training: seen.append("everywhere")])
    log = lambda training: seen.append((training.label, training.history[-1]["epoch"]))
    heldout = make_data(20, seed=1)
    training = train(start, RECIPE, data, heldout=heldout, label="mine", callbacks=[log])
    assert seen == [part for n in range(1, 6) for part in (("mine", n), "everywhere")]
    monkeypatch.setattr("minihire.training.loop.CALLBACKS", [])
    assert train(alone, RECIPE, data, heldout=heldout).history == training.history
    assert same(weights(alone), weights(start)) and CALLBACKS == []


def test_the_best_and_every_second_network_are_kept(start, data, make_data, tmp_path):
    after = {}
    note = lambda training: after.update({training.epoch: weights(training.network)})
    path, heldout = tmp_path / "ann.npz", make_data(20, seed=1)
    callbacks = [note, keep_best, KeepEvery(2)]
    training = train(start, RECIPE, data, heldout=heldout, path=path, about={"a": 1}, callbacks=callbacks)
    assert {file.name for file in tmp_path.iterdir()} == {
        "ann.npz",
        "ann.best.npz",
        "ann.epoch-2.npz",
        "ann.epoch-4.npz",
    }
    right = [row["heldout_accuracy"] for row in training.history]
    assert len(set(right)) > 1
    kept = {"best": 1 + right.index(max(right)), "epoch-2": 2, "epoch-4": 4}
    for word, epoch in kept.items():
        saved = load(tmp_path / f"ann.{word}.npz")
        assert same(weights(saved.network(start.backend)), after[epoch]), word
        assert saved.meta["history"] == training.history[:epoch] and saved.meta["about"] == {"a": 1}


def test_after_a_full_disk_the_best_network_is_written_by_the_resumed_training(
    start, data, make_data, tmp_path, monkeypatch
):
    path, heldout = tmp_path / "ann.npz", make_data(20, seed=1)
    training = train(start.copy(), RECIPE, data, heldout=heldout, path=path, callbacks=[keep_best])
    right = [row["heldout_accuracy"] for row in training.history]
    expected = weights(load(tmp_path / "ann.best.npz").network(start.backend))
    for file in tmp_path.iterdir():
        file.unlink()

    def full(training):
        if training.epoch == 1 + right.index(max(right)):
            raise MinihireError("no space")
        keep_best(training)

    with pytest.raises(MinihireError, match="no space"):
        train(start.copy(), RECIPE, data, heldout=heldout, path=path, callbacks=[full])
    train(start, RECIPE, data, heldout=heldout, path=path, resume=True, callbacks=[keep_best])
    assert same(weights(load(tmp_path / "ann.best.npz").network(start.backend)), expected)


def test_a_resumed_training_compares_with_the_epochs_before(start, data, make_data, tmp_path):
    path, heldout = tmp_path / "ann.npz", make_data(20, seed=1)
    train(start.copy(), RECIPE, data, heldout=heldout, path=path, callbacks=[keep_best])
    (expected,) = [file.read_bytes() for file in tmp_path.glob("*.best.npz")]
    for file in tmp_path.iterdir():
        file.unlink()

    def stop_after_three(training):
        if training.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(start.copy(), RECIPE, data, heldout=heldout, path=path, callbacks=[keep_best, stop_after_three])
    train(start, RECIPE, data, heldout=heldout, path=path, resume=True, callbacks=[keep_best])
    found = load(tmp_path / "ann.best.npz")
    (tmp_path / "expected.npz").write_bytes(expected)
    assert same(weights(found.network(start.backend)), weights(load(tmp_path / "expected.npz").network(start.backend)))


def test_without_heldout_images_or_a_path_nothing_is_kept(start, data, tmp_path):
    train(start.copy(), RECIPE, data, callbacks=[keep_best, KeepEvery(1)])
    train(start, RECIPE, data, path=tmp_path / "ann.npz", callbacks=[keep_best])
    assert [file.name for file in tmp_path.iterdir()] == ["ann.npz"]


def test_a_number_of_epochs_is_checked():
    with pytest.raises(MinihireError, match="the number of epochs between two checkpoints"):
        KeepEvery(0)


def log(row):
    pass


@pytest.mark.parametrize(
    ("callbacks", "says"),
    [
        ([print, "wandb"], r"^the callback is 'wandb': give a function that takes \(training\)$"),
        ([lambda training, row: None], r"^the callback is <lambda>\(training, row\): let it take \(training\)$"),
        ([lambda: None], r"^the callback is <lambda>\(\): let it take \(training\)$"),
        (log, "^the callbacks are <function log at .*>: give a list, even of one$"),
        (None, "^the callbacks are None: give a list, even of one$"),
    ],
)
def test_wrong_callbacks_are_refused_before_training(start, data, callbacks, says):
    with pytest.raises(MinihireError, match=says):
        train(start, RECIPE, data, callbacks=callbacks)


@pytest.mark.parametrize("callback", [None, lambda training, row: None])
def test_wrong_callbacks_of_all_trainings_are_refused_before_training(start, data, monkeypatch, callback):
    monkeypatch.setattr("minihire.training.loop.CALLBACKS", [callback])
    with pytest.raises(MinihireError, match="^the callback is "):
        train(start, RECIPE, data)
