"""minihire's side of a benchmark. It calls the same code as `minihire train`, `attack` and evaluation."""

import math

from backends import get_backend, moments16
from minihire.attacks import Attacker
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.network import Network
from minihire.training import NoNoise, Recipe
from minihire.training.loop import Training


class Minihire:
    """One network on the Numba backend. task: "train" or "traditional", "hire" (N = 2), "attack", "forward"."""

    backend = "numba"

    def __init__(self, problem, task: str, threads: int, backend: str | None = None, **place):
        """place: the arguments device, precision and record of `get_backend`."""
        self.problem, self.task = problem, task
        self.k = k = get_backend(backend or self.backend, dtype=problem.dtype, threads=threads, **place)
        names = problem.model.parameters(problem.spiking)
        parameters = {name: problem.parameter(name) for name in names}
        self.network = Network(
            problem.model, k, parameters, spiking=problem.spiking, steps=problem.steps, neuron=problem.neuron
        )
        images, labels = problem.pixels()
        self.images, self.labels = k.asarray(problem.batch()[0]), k.asarray(labels)
        self.attacker = Attacker(self.network, problem.attack)
        if task in ("train", "traditional", "hire"):
            self.start_training(images, labels)

    def start_training(self, images, labels) -> None:
        """Create a `Training` on the batch, with the problem's moments."""
        problem, hire = self.problem, self.task == "hire"
        recipe = Recipe(
            epochs=10**9,
            batch_size=len(labels),
            optimiser=problem.own_optimiser or problem.optimiser,
            learning_rate=problem.learning_rate,
            weight_decay=0.0 if problem.optimiser == "adam" else 5e-4,
            augment=False,
            periods=problem.periods if hire else 1,
            noise=problem.noise if hire else NoNoise(),
        )
        self.training = Training(self.network, recipe, self._dataset(images, labels), seed=0)
        self.start_batch(images, labels)  # not shuffled, so the order is the same on all sides
        self.optimiser = optimiser = self.training.optimiser
        for name in optimiser.names if problem.optimiser == "adam" else ():
            moments = problem.moments(name)
            if moments is not None:
                for slot, values in zip(("mean", "square"), moments, strict=True):
                    if optimiser.slot_type(name) == moments16.TYPE:
                        values = moments16.narrow(values, moments16.CUTS[slot], problem.optimiser_steps)
                    self.k.write_rows(optimiser.slots[slot][name], 0, values)
                optimiser.steps = problem.optimiser_steps

    def unrecorded(self) -> bool:
        """Whether the task runs its kernels one by one on a device, although it was to record a CUDA graph."""
        if self.task == "forward" or not self.k.services.records:
            return False
        captured = [self.attacker._iteration] if self.task == "attack" else self.training.run_period.values()
        return any(recording.replay is None for each in captured for recording in each.recordings.values())

    def start_batch(self, images, labels) -> None:
        """Continue the training with another batch."""
        self.training.batches = Batches(self._dataset(images, labels), self.k, len(labels))

    def _dataset(self, images, labels):
        model = self.problem.model
        classes = tuple(str(i) for i in range(model.classes))
        return Dataset("benchmark", images, labels, classes, model.mean, model.std)

    def step(self) -> None:
        """One step of the task."""
        if self.task == "attack":
            self.attacker(self.images, self.labels)
        elif self.task == "forward":
            self.network.forward(self.images)
        else:
            training = self.training
            training.train_batch()  # the work of `Training.run` for one batch, including its bookkeeping
            training.drain(keep=len(training.period_steps) if self.k.services.asynchronous else 0)
            training.batch += 1
            if training.batch == len(training.batches):  # so that the next dropout mask differs
                training.epoch, training.batch = training.epoch + 1, 0

    def densities(self) -> dict[str, float]:
        """Mean fraction of neurons that fire per time step, by layer, in evaluation mode. For an ANN: fraction above zero."""
        found = {}

        def observe(event, name, array):
            if event == "spikes":
                found[name] = self.k.events(array) / math.prod(array.shape)

        self.network.forward(self.images, observe=observe)
        return found

    def gradients(self) -> dict:
        """NumPy arrays for tests: weight gradients by name, "logits" [B, classes], "image" [B, H, W, C]; without dropout."""
        found = self.network.gradients(self.images, self.labels, image=True, training=False)
        arrays = {"logits": found.logits, "image": found.image, **found.weights}
        return {name: self.k.to_numpy(array) for name, array in arrays.items()}

    def activation_memory(self, resident) -> int:
        """Bytes that a training step stores for its backward pass: resident() at the loss minus resident() before the step.

        Call this before any other step, because later steps reuse scratch memory of earlier ones. It makes one step.
        """
        at_loss, kernel = [], self.k.cross_entropy

        def recording(*arguments):
            at_loss.append(resident())
            return kernel(*arguments)

        before = resident()
        self.k.cross_entropy = recording
        try:
            self.step()
        finally:
            del self.k.cross_entropy
        return at_loss[0] - before


class MinihireOnTorch(Minihire):
    """minihire on the Torch backend."""

    backend = "torch"
