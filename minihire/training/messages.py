"""Messages of a training: which epochs are printed, the warnings, and the sentences of errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from backends import BackendError
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import Progress
from minihire.training.health import describe_failure, failed_training, silent_layers
from minihire.training.noise import Adversarial

if TYPE_CHECKING:
    from minihire.training.loop import Training

MANY_EPOCHS, TELL_EVERY = 30, 1.0  # see `is_worth_telling`


def is_worth_telling(training: Training, progress: Progress) -> bool:
    """Whether to print a line after this epoch: not one for each of many epochs that take less than TELL_EVERY seconds."""
    few = training.recipe.epochs <= MANY_EPOCHS or training.epoch == training.recipe.epochs
    return few or perf_counter() - progress.told >= TELL_EVERY


def new_warnings(training: Training) -> list[str]:
    """Look for signs of a failing training after an epoch. Return those that no earlier epoch showed."""
    label, epoch, network = training.label, training.epoch, training.network
    silent = silent_layers(network, training.sample(0, 0), training.seed)
    new = [w for w in silent if not any(known.endswith(w) for known in training.warnings)]
    found = [f"{label}, epoch {epoch}: {warning}" for warning in new]
    if epoch == training.recipe.epochs:
        heldout = training.heldout.labels if training.heldout else np.empty(0, np.int64)
        rate, attacked = training.recipe.learning_rate, isinstance(training.recipe.noise, Adversarial)
        failure = failed_training(
            training.history, training.data.labels, heldout, network, rate, attacked, training.names
        )
        found += [f"{label}: {failure}"] if failure else []
    return found


def stopped_at(training: Training) -> str:
    """Where a training stopped on request, and how to resume it."""
    saved = (
        f"saved in {training.path}; {training.stop.again or 'resume=True'} resumes it"
        if training.path
        else "nothing was saved: no checkpoint path was given"
    )
    return f"{training.label} in epoch {training.epoch + 1} after batch {training.batch}; {saved}"


@contextlib.contextmanager
def memory_advice(training: Training) -> Iterator[None]:
    """If memory runs out, raise MinihireError with a batch size to try. The interrupted batch is not saved."""
    try:
        yield
    except (BackendError, MemoryError) as error:
        if isinstance(error, BackendError) and "memory" not in str(error).lower():
            raise
        names, size = training.names, min(training.recipe.batch_size, len(training.data))
        advice = f"try {names['batch_size']} {size // 2}" if size > 1 else f"choose a smaller {names['layer_sizes']}"
        advice += f" with another {names['path']}" if training.path else ""  # the checkpoint has the old settings
        cause = f" ({error})" if str(error) else ""
        how = training.stop.again or "resume=True"
        kept = f"; with more memory, {how} resumes {training.path}" if training.has_checkpoint else ""
        raise MinihireError(
            f"{training.label} ran out of memory with {size} images in a batch{cause}: {advice}{kept}"
        ) from error


def not_finite(training: Training, batch: int) -> MinihireError:
    """The error for a value that is not finite. batch: the batch of this epoch in which it was found."""
    where = describe_failure(training.network, training.sample(training.epoch, batch), training.seed)
    kept = f"; the last good checkpoint is {training.path}" if training.has_checkpoint else ""
    rule = type(training.recipe.noise)
    if not rule.__module__.startswith("minihire."):  # only a user's own rule may return NaN
        kept = f", or look for NaN in the noise of {rule.__name__}{kept}"
    return MinihireError(
        f"{training.label} met a value that is not finite in epoch {training.epoch + 1}, batch {batch + 1}: {where}; "
        f"lower the learning rate{kept}"
    )
