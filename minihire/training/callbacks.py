"""Callbacks: functions that are called with the `Training` after each epoch.

    def log(training):
        row = training.history[-1]                 # epoch, loss, accuracy, and heldout_accuracy with held-out images
        print(training.label, row["epoch"], row["loss"])

    train(network, recipe, images, callbacks=[log])

CALLBACKS has functions for every training of the process: a file that is given with --module appends to it. A callback must not
change the network. With several processes, only the first one calls it. After a crash, an epoch may be trained, and the
callbacks called, a second time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minihire.runtime import checks
from minihire.training import checkpoint

if TYPE_CHECKING:
    from minihire.training.loop import Training

Callback = Callable[["Training"], None]
CALLBACKS: list[Callback] = []


def keep_best(training: "Training") -> None:
    """Write NAME.best.npz if the held-out accuracy of this epoch is higher than that of all epochs before.

    Without held-out images, nothing is written.
    """
    *before, now = [row.get("heldout_accuracy", -1.0) for row in training.history]
    if now > max(before, default=-1.0):
        _write(training, "best")


@dataclass(frozen=True)
class KeepEvery:
    """Write NAME.epoch-N.npz after every so many epochs N. Raises MinihireError unless `epochs` is a positive whole number."""

    epochs: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", checks.whole("the number of epochs between two checkpoints", self.epochs))

    def __call__(self, training: "Training") -> None:
        """Write the checkpoint if it is due."""
        if training.epoch % self.epochs == 0:
            _write(training, f"epoch-{training.epoch}")


def _write(training, word):
    """Write the network, without the optimiser, beside the checkpoint of the training."""
    if training.path is None:
        return
    extra = {"about": training.about, "data": training.described_data, "history": training.history}
    path = Path(training.path)
    checkpoint.save(path.with_name(f"{path.stem}.{word}.npz"), training.network, extra=extra)
