"""The training loop. ANN, traditional, Gaussian, adversarial and HIRE training differ only in noise rule and periods.

Each batch runs N periods of ⌊T/N⌋ time steps. In HIRE training, a batch starts with the noise κ of the previous batch, and a
period is:

    logits = net(clip(x + κ, 0, 1), steps = ⌊T/N⌋)
    one backward pass: the gradients of the loss with respect to the weights, thresholds, leaks and x
    optimiser step;  κ ← clip(κ + ε_s·sign(∂L/∂x), −ε_t, ε_t)

This is algorithm 1; the clip to [0, 1], the optimiser and the membranes at the start of a period are choices that it leaves open
(docs/choices.md). The last T − N·⌊T/N⌋ time steps are not used. ∂L/∂x is the gradient at the weights before the step, so the
order of the two updates does not matter. "Free" adversarial training (Shafahi et al. 2019) is this loop with T steps a period.
A noise rule may also craft κ before a period, in gradient passes of its own, as adversarial training does.

Several ranks (processes) train one network together, on batches of ranks × B images. Rank r trains on images r·B … (r+1)·B − 1
of each batch, with the random numbers of these positions and its own κ. Gradients are summed before each optimiser step.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import numpy as np

from backends.interface import Array
from backends.randomness import Draws
from minihire.analysis.accuracy import accuracy
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.data.identity import fingerprint
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import Progress, say
from minihire.runtime.weak import weak_method
from minihire.training.callbacks import CALLBACKS, Callback
from minihire.training.checkpoint import describe_data, load, recordable
from minihire.training.messages import is_worth_telling, memory_advice, new_warnings, not_finite, stopped_at
from minihire.training.noise import Crafter, checked_noise
from minihire.training.optimisers import OPTIMISERS
from minihire.training.recipe import NAMES, Recipe
from minihire.training.resume import require_same_start_on_all_ranks, restore, save

# A checkpoint is written after an epoch if writing the last one took less than QUICK seconds, or if the time since then is more
# than WRITE_RATIO times the time that writing took. So the checkpoints of large networks take less than 2 % of the time.
# `Training._worth_saving` has the exceptions.
QUICK, WRITE_RATIO = 0.1, 50


@dataclass
class Training:
    """A training in progress: the complete state from which a bit-identical resumption is possible."""

    network: Network
    recipe: Recipe
    data: Dataset
    seed: int
    heldout: Dataset | None = None
    path: Path | None = None
    label: str = "training"
    about: dict[str, Any] = field(default_factory=dict)  # stored as "about" in the checkpoint's meta data
    callbacks: Sequence[Callback] = ()  # called after each epoch, before those of CALLBACKS
    seen: Collection[str] = ()  # hashes of images that the network was trained on before
    names: Mapping[str, str] = field(default_factory=lambda: NAMES)  # of settings, in messages
    epoch: int = 0
    batch: int = 0
    # the sums of `Backend.cross_entropy` in this epoch
    sums: dict[str, float] = field(default_factory=lambda: {"loss": 0.0, "correct": 0, "images": 0})
    history: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        checks.instance("the network", self.network, Network)
        checks.instance("the recipe", self.recipe, Recipe)
        network, recipe, k = self.network, self.recipe, self.network.backend
        self.seed = checks.whole("the seed", self.seed, None)
        checks.data(self.data, network.model, "train")
        if not isinstance(self.heldout, Dataset | None) or self.heldout:
            checks.data(self.heldout, network.model, "heldout")
        self.callbacks = checks.several("the callbacks", self.callbacks)
        for callback in (*self.callbacks, *CALLBACKS):
            checks.callable_with("the callback", callback, "training")
        if self.path:
            network.model.describe()  # raises an error for a model that checkpoints cannot contain
        self.period_steps = recipe.steps_of_periods(network.steps)
        if network.spiking and network.neuron.surrogate.kind == "rate" and not recipe.freeze:
            raise MinihireError(
                "the rate gradient trains weights only: give the recipe freeze=True, or the network another surrogate"
            )
        names = [n for n in network.parameters if n.endswith((".weight", ".bias")) or not recipe.freeze]
        settings = {"momentum": recipe.momentum, "decay": recipe.weight_decay} if recipe.optimiser == "sgd" else {}
        self.optimiser = OPTIMISERS[recipe.optimiser](network, names, **settings)
        batch_of_all_ranks = recipe.batch_size * k.services.ranks
        self.batches = Batches(self.data, k, batch_of_all_ranks, self.seed, shuffle=True, augment=recipe.augment)
        first = recipe.batch_size * k.services.rank
        self.share = slice(first, first + recipe.batch_size)  # the images of each batch that this rank trains on
        self.start_fingerprint = fingerprint(network, self.data)
        self.described_data = describe_data(self.data, self.seen)
        # of the start: a rule of the user's may change while it trains
        self.described_recipe = {**recipe.describe(), "batch_size": self.batches.size}
        if self.path:  # raise errors now, not after hours of training
            self.described_recipe = recordable("the recipe", self.described_recipe)
            self.about = recordable("`about`", self.about)
        # fewer than batch_size for a small data set
        images_of_rank = len(range(self.batches.image_count(0))[self.share])
        shape = (images_of_rank, *self.data.shape)
        self.kappa = checked_noise(k, "start", recipe.noise, recipe.noise.start(k, shape), shape)
        # one CUDA graph for each number of time steps, because a graph has a fixed sequence of kernels
        self.run_period = {
            steps: k.services.captured(partial(weak_method(self.train_period), steps)) for steps in self.period_steps
        }
        self.pending: list[tuple[int, Any]] = []  # (batch, loss and counts) of updates not yet read from the device
        self.save_seconds = 0.0  # time that writing the last checkpoint took
        self.saved_at = -math.inf  # when it was written
        self.stop = StopSignal(k)

    def run(self) -> list[dict[str, Any]]:
        """Train to the last epoch; returns the history (per epoch: loss, accuracy, held-out accuracy)."""
        require_same_start_on_all_ranks(self)
        images = len(self.data)
        done = self.epoch * images + min(self.batch * self.batches.size, images)
        with (
            self.stop,
            Progress(
                self.label, self.recipe.epochs * images, done=done, memory=self.network.backend.services.device_memory
            ) as progress,
            np.errstate(over="ignore", invalid="ignore"),
        ):
            while self.epoch < self.recipe.epochs:
                self.train_epoch(progress)
        return self.history

    def train_epoch(self, progress: Progress) -> None:
        """Train on the batches of this epoch that are left; then evaluate, save and report."""
        while self.batch < len(self.batches):
            with memory_advice(self):
                count = self.train_batch()
                # the host prepares the next batch while a device computes this one
                self.drain(keep=len(self.period_steps) if self.network.backend.services.asynchronous else 0)
            self.batch += 1
            progress.add(count, f"epoch {self.epoch + 1}/{self.recipe.epochs}{self._averages_so_far()}")
            finished = self.epoch == self.recipe.epochs - 1 and self.batch == len(self.batches)
            if self.stop.requested and not finished:
                self._save_and_stop()
        self.drain()
        self._check_finite()
        row = self._evaluate_epoch()
        self.history.append(row)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {"loss": 0.0, "correct": 0, "images": 0}
        warnings = new_warnings(self)
        self.warnings += warnings
        self._call_back()
        if self._worth_saving():
            self._save()
        self._report(progress, row, warnings)

    def _evaluate_epoch(self) -> dict[str, Any]:
        """The epoch's entry in the history."""
        loss, accuracy_now = self._averages()
        row = {"epoch": self.epoch + 1, "loss": loss, "accuracy": accuracy_now}
        if self.heldout:
            row["heldout_accuracy"] = float(np.mean(accuracy(self.network, self.heldout, seed=self.seed)))
        return row

    def _call_back(self) -> None:
        """Call the callbacks, on rank 0. This is done before saving: if one fails, the resumed training calls it again."""
        if self.network.backend.services.rank == 0:
            for callback in (*self.callbacks, *CALLBACKS):
                callback(self)
            if self.path:
                self.history[:] = recordable("the history that a callback changed", self.history)

    def _report(self, progress: Progress, row: dict[str, Any], warnings: list[str]) -> None:
        """Print the epoch's line and its warnings."""
        if is_worth_telling(self, progress):
            heldout = f", held-out {row['heldout_accuracy']:.1%}" if self.heldout else ""
            measured = f"loss {row['loss']:.3f}, accuracy {row['accuracy']:.1%}{heldout}"
            progress.tell(f"epoch {row['epoch']:>3}/{self.recipe.epochs}: {measured}")
        for warning in warnings:
            say(f"warning: {warning}")

    def _save_and_stop(self) -> NoReturn:
        """Raise Interrupted after a request to stop."""
        self.drain()
        self._check_finite()
        self._save()
        raise self.stop.interruption(stopped_at(self))

    def train_batch(self) -> int:
        """Train on a batch. Returns the number of images in it, summed over all ranks."""
        with self.network.backend.services.subnormals_as_zeros():
            return self._train_batch()

    def _train_batch(self) -> int:
        recipe, k = self.recipe, self.network.backend
        images, labels = self.batches.load(self.epoch, self.batch, self.share)
        count, state = images.shape[0], None
        kappa = None if self.kappa is None else k.rows(self.kappa, 0, count)
        learning_rate = recipe.schedule.learning_rate(
            recipe.learning_rate, self.epoch, recipe.epochs, self.batch / len(self.batches)
        )
        for index, steps in enumerate(self.period_steps):
            number = (self.epoch * len(self.batches) + self.batch) * recipe.periods + index
            self.optimiser.steps += 1
            if count:
                kappa, state, reduced = self.run_period[steps](
                    images, labels, kappa, state, number, learning_rate, self.optimiser.steps
                )
            else:  # a small last batch has no images for this rank, which still takes part in the sums over the ranks
                reduced = self._update({}, k.zeros((3,)), learning_rate, self.optimiser.steps)
            self.pending.append((self.batch, [k.services.fetch_async(array) for array in reduced]))
        if kappa is not None and recipe.noise.carried:
            k.write_rows(self.kappa, 0, kappa)
        return self.batches.image_count(self.batch)

    def train_period(
        self,
        steps: int,
        images: Array,
        labels: Array,
        kappa: Array,
        state: Any,
        number: Any,
        learning_rate: Any,
        update: Any,
    ) -> tuple[Array, Any, list[Array]]:
        """One period: `steps` time steps and an update. Returns κ, the last membranes, and the sums of `_update`.

        On CUDA with one rank, each shape of `images` has its own graph; the shape also determines `scale`, so each graph has the
        right one. number: of the period since the start of the training, from 0; part of the key of its random numbers.
        update: number of the optimiser's step, from 1; this is `number` + 1.
        """
        recipe, rule, network, k = self.recipe, self.recipe.noise, self.network, self.network.backend
        draws = Draws(self.seed, number, self.share.start)
        options = dict(
            clip_noise=recipe.clip_noise,
            steps=steps,
            draws=draws,
            state=state,
            scale=1 / self.batches.image_count(self.batch),
            keep_state=recipe.carry_membranes,
            check=False,
        )
        craft = Crafter(network, images, labels, rule.surrogate, options)
        kappa = checked_noise(k, "before_period", rule, rule.before_period(k, kappa, draws, craft), images.shape)
        # lines 12 to 17 of algorithm 1: one pass for the gradients of weights, thresholds, leaks and, for κ, of the images
        result = network.gradients(images, labels, image=recipe.crafting == "shared", noise=kappa, **options)
        grad, state = result.image, result.state
        if recipe.crafting == "before":
            grad = craft.gradients(kappa).image
        reduced = self._update(result.weights, result.sums, learning_rate, update)  # lines 19 to 22
        if recipe.crafting == "after":  # the gradient, and the membranes of the next period, with the new weights
            result = craft.gradients(kappa)
            grad, state = result.image, result.state
        kappa = checked_noise(k, "after_period", rule, rule.after_period(k, kappa, grad), images.shape)  # line 18
        return kappa, state if recipe.carry_membranes else None, reduced

    def _update(self, weights: dict[str, Array], sums: Array, learning_rate: Any, update: Any) -> list[Array]:
        """Add up the weight gradients, `sums` and the stop requests over the ranks, and update the weights.

        weights: gradients by name; empty if this rank has no images of a small last batch. sums: those of
        `Backend.cross_entropy`. Returns [sums over all ranks], and the stop requests of all ranks if there are several.
        """
        network, k, names = self.network, self.network.backend, self.optimiser.names
        missing = [name for name in names if weights and name not in weights]
        if missing:
            raise MinihireError(
                f"{missing[-1]} has no gradient: let its layer and those after it record their operations with ctx.tape.record"
            )
        arrays = [weights[name] if weights else k.zeros(network.parameters[name].shape) for name in names]
        requests = [k.asarray(self.stop.state)] if k.services.ranks > 1 else []
        reduced = k.services.sum_over_ranks([*arrays, sums, *requests])
        if not k.services.asynchronous and not math.isfinite(k.to_numpy(reduced[len(names)])[0]):
            # before the update, which would spread the non-finite value to all weights
            raise not_finite(self, self.batch)
        self.optimiser.apply(dict(zip(names, reduced, strict=False)), learning_rate, update)
        return reduced[len(names) :]

    def drain(self, keep: int = 0) -> None:
        """Read loss and counts of all updates except the last `keep`, which a device may still be computing."""
        while len(self.pending) > keep:
            batch, reduced = self.pending.pop(0)
            sums, *requests = (read() for read in reduced)
            if requests:
                self.stop.learn(requests[0])
            if not math.isfinite(sums[0]):
                raise not_finite(self, batch)
            for key, value in zip(self.sums, sums, strict=True):
                self.sums[key] += float(value) if key == "loss" else int(value)

    def _averages_so_far(self) -> str:
        loss, accuracy_now = self._averages()
        return f", loss {loss:.3f}, accuracy {accuracy_now:.1%}" if self.sums["images"] else ""

    def _averages(self) -> tuple[float, float]:
        images = max(self.sums["images"], 1)
        return self.sums["loss"] / images, self.sums["correct"] / images

    def _check_finite(self) -> None:
        if not self.network.backend.services.are_finite([*self.network.parameters.values()]):
            raise not_finite(self, min(self.batch, len(self.batches) - 1))  # at the end of an epoch: its last batch

    def sample(self, epoch: int, batch: int) -> Array:
        """Rank 0's images of a batch. All ranks use the same ones for checks of the network, so that all find the same."""
        return self.batches.load(epoch, batch, slice(self.recipe.batch_size))[0]

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self.path is not None and self.path.exists()

    def _worth_saving(self) -> bool:
        """Whether to save after this epoch: if it is the last one, if saving is quick, or if the last save was long ago."""
        if self.epoch == self.recipe.epochs or self.network.backend.services.ranks > 1:
            return True
        return self.save_seconds < QUICK or perf_counter() - self.saved_at > WRITE_RATIO * self.save_seconds

    def _save(self) -> None:
        if self.path is not None:
            start = perf_counter()
            save(self)
            self.saved_at = perf_counter()
            self.save_seconds = self.saved_at - start


def train(
    network: Network,
    recipe: Recipe,
    data: Dataset,
    *,
    seed: int = 0,
    heldout: Dataset | None = None,
    path: Path | None = None,
    resume: bool = False,
    label: str = "training",
    about: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    seen: Collection[str] = (),
    names: Mapping[str, str] = NAMES,
) -> Training:
    """Train a network in place.

    path: a checkpoint is written here when training is stopped and after each epoch, unless writing would take more than 2 % of
    the time. resume: continue from that checkpoint, bit-identically.
    about: plain data to store as "about" in the checkpoint's meta data. callbacks: functions that are called with the Training
    after each epoch, see callbacks.py. seen: hashes of the images that the network was trained on before, which checkpoints of
    a "folder" record too (`checkpoint.describe_data`). names: what messages call the settings, see `recipe.NAMES`. The returned
    Training has the history (loss and accuracy per epoch) and the warnings.

    >>> from minihire import Network, Recipe, build, get_backend, initialise, load_data, train
    >>> k, images = get_backend("reference"), load_data("shapes", train_limit=32, test_limit=10)
    >>> model = build("vgg5", width=1 / 16, hidden=16)
    >>> ann = Network(model, k, initialise(model, k, seed=0))
    >>> training = train(ann, Recipe(epochs=1, optimiser="sgd", learning_rate=0.01), images.train)
    >>> [row["epoch"] for row in training.history]
    [1]
    """
    training = Training(
        network,
        recipe,
        data,
        seed,
        heldout,
        checks.path("the checkpoint's path", path) if path else None,
        label,
        about or {},
        callbacks,
        seen,
        names=names,
    )
    if resume and training.path and training.has_checkpoint:
        other = f"choose another {names['path']}"
        remedy = f"{other}, or delete the damaged checkpoint and resume, which trains the network again"
        restore(training, load(training.path, remedy=remedy))
    training.run()
    return training
