"""Which epochs of a training are printed; tests/training/test_loop.py and test_health.py have the warnings."""

from types import SimpleNamespace

import pytest

from minihire.training import messages


@pytest.mark.parametrize(
    ("epoch", "epochs", "seconds", "told"),
    [(1, 30, 0.1, True), (1, 31, 0.99, False), (1, 31, 1.0, True), (31, 31, 0.1, True)],
)
def test_a_training_of_many_epochs_prints_a_line_per_second_and_its_last_one(monkeypatch, epoch, epochs, seconds, told):
    monkeypatch.setattr(messages, "perf_counter", lambda: 5 + seconds)
    training = SimpleNamespace(recipe=SimpleNamespace(epochs=epochs), epoch=epoch)
    assert messages.is_worth_telling(training, SimpleNamespace(told=5)) == told
