"""minihire's own side: the code that its training loop, its attacks and its evaluation call, nothing written twice."""

import math

from backends import get_backend, moments16
from minihire.attacks import Attacker
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.network import Network
from minihire.training import CraftedNoise, NoNoise, Recipe
from minihire.training.loop import Training

NOISE = CraftedNoise(step=0.013, bound=0.013)


class Minihire:
    """One network on one backend. task: "train" or "traditional", "hire" (N = 2), "attack", "forward"."""

    backend = "numba"

    def __init__(self, problem, task: str, threads: int, backend: str | None = None, **place):
        """place: device, precision and record, as `get_backend` takes them."""
        self.problem, self.task = problem, task
        self.k = k = get_backend(backend or self.backend, dtype=problem.dtype, threads=threads, **place)
        names = problem.model.parameters(problem.spiking)
        parameters = {name: k.asarray(problem.parameter(name)) for name in names}
        self.network = Network(
            problem.model, k, parameters, spiking=problem.spiking, steps=problem.steps, neuron=problem.neuron
        )
        images, labels = problem.pixels()
        self.images, self.labels = k.asarray(problem.batch()[0]), k.asarray(labels)
        self.attacker = Attacker(self.network, problem.attack)
        if task in ("train", "traditional", "hire"):
            self.start_training(images, labels)

    def start_training(self, images, labels) -> None:
        """A `Training` whose data are the one batch, with the problem's moments."""
        problem, hire = self.problem, self.task == "hire"
        recipe = Recipe(
            epochs=10**9,
            batch_size=len(labels),
            optimiser=problem.own_optimiser or problem.optimiser,
            learning_rate=problem.rate,
            weight_decay=0.0 if problem.optimiser == "adam" else 5e-4,
            augment=False,
            periods=2 if hire else 1,
            noise=NOISE if hire else NoNoise(),
        )
        self.training = Training(self.network, recipe, self._dataset(images, labels), seed=0)
        self.start_batch(images, labels)  # in the peers' order, and not shuffled anew for each step
        self.optimiser = optimiser = self.training.optimiser
        for name in optimiser.names if problem.optimiser == "adam" else ():
            moments = problem.moments(name)
            if moments is not None:
                for slot, values in zip(("mean", "square"), moments, strict=True):
                    if optimiser.slot_type(name) == moments16.TYPE:
                        values = moments16.narrow(values, moments16.CUTS[slot], problem.optimiser_steps)
                    self.k.write_rows(optimiser.slots[slot][name], 0, values)
                optimiser.steps = problem.optimiser_steps

    def start_batch(self, images, labels) -> None:
        """Go on training with another batch."""
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
            training._train_batch()  # what `Training.run` does for a batch, its bookkeeping included
            training.drain(keep=1 if self.k.asynchronous else 0)
            training.batch += 1
            if training.batch == len(training.batches):  # dropout's next mask is another one
                training.epoch, training.batch = training.epoch + 1, 0

    def densities(self) -> dict[str, float]:
        """Mean share of firing neurons per layer and time step, in evaluation mode (an ANN: the share above zero)."""
        found = {}

        def observe(event, name, array):
            if event == "spikes":
                found[name] = self.k.events(array) / math.prod(array.shape)

        self.network.forward(self.images, observe=observe)
        return found

    def gradients(self) -> dict:
        """Weight gradients by name, and "logits" and "image" [B, H, W, C], as NumPy arrays, without dropout: for tests."""
        found = self.network.gradients(self.images, self.labels, image=True, training=False)
        arrays = {"logits": found.logits, "image": found.image, **found.weights}
        return {name: self.k.to_numpy(array) for name, array in arrays.items()}

    def held_for_backward(self, resident) -> int:
        """Bytes that a forward pass of training keeps for its backward pass: resident() at the first loss, less before.

        Takes a step. To be called first of all: later the backend has scratch arrays of earlier steps to use again.
        """
        at_loss, kernel = [], self.k.cross_entropy

        def watched(*arguments):
            at_loss.append(resident())
            return kernel(*arguments)

        before = resident()
        self.k.cross_entropy = watched
        try:
            self.step()
        finally:
            del self.k.cross_entropy
        return at_loss[0] - before


class MinihireOnTorch(Minihire):
    """The same on the Torch backend."""

    backend = "torch"
