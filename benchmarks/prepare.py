"""Preparation of a `Problem`: images, weights (random, from a checkpoint, or trained here), densities, Adam's moments.

Adam's moments matter, because denormal numbers are slow on some processors. A checkpoint contains the moments of its
training, which are used unchanged. Otherwise minihire's optimiser makes `moment_steps` steps on separate batches, with the
very low learning rate of the problem. After so few steps, the moments of silent neurons' weights are still zero. In a long
training they are not: they had a gradient once, and decayed since. So these entries are set to the values that a gradient of
typical size leaves after 1,000 updates in float32: about g²·10⁻³·0.37 for the square, and a few times 2⁻¹⁴⁹ for the mean,
a denormal number that does not decay further. So there are at least as many denormal numbers as in a training. All sides
get the same arrays, and the fraction of denormal numbers is printed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backends import get_backend, moments16
from benchmarks.own import Minihire
from benchmarks.problem import Problem
from benchmarks.trained import trained_network
from minihire import data
from minihire.data.dataset import Dataset
from minihire.layers import THRESHOLD_FLOOR
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.training import checkpoint

AGE = 1000  # updates since a silent weight last had a gradient
DECAYS = np.float32(0.9), np.float32(0.999)  # Adam's betas


@dataclass(frozen=True)
class Request:
    """The network and batch to measure, from a command's flags.

    density: fraction of neurons of every layer that should fire per step. None leaves the thresholds unchanged.
    """

    model: str = "vgg5"
    width: float = 1.0
    hidden: int | None = None
    batch: int = 32
    steps: int | None = None
    spiking: bool = True
    density: float | None = 0.1
    checkpoint: Path | None = None
    data_dir: Path | None = None
    cache: Path | None = None
    ann_steps: int = 300
    snn_steps: int = 1000
    trained_on_all: bool = False
    moment_steps: int = 20
    optimiser: str = "adam"
    train: bool = True  # whether moments are needed
    threads: int | None = None


class Preparation:
    """Creates the problem. It runs in a separate process, so that its memory does not count for any side."""

    def __init__(self, request: Request, folder: Path):
        self.request, self.folder = request, Path(folder)
        self.k = get_backend("numba", threads=request.threads)

    def make(self) -> tuple[Problem, Problem, dict]:
        """Return the problem, a small problem for compiling kernels, and a description of both as plain data."""
        request = self.request
        network, saved, source = self._network()
        images = self._images(network.model)
        pixels, labels = images.images[: request.batch], images.labels[: request.batch]
        if len(labels) < request.batch:
            raise MinihireError(
                f"there are only {len(labels)} images for a batch of {request.batch}: give a smaller --batch"
            )
        if network.spiking and request.density is not None:
            force_density(network, self.k.asarray(pixels / np.float32(255)), request.density)
        problem = Problem(self.folder, network.model, network.spiking, network.steps, network.neuron, request.optimiser)
        problem.write("parameter", {name: self.k.to_numpy(a) for name, a in network.parameters.items()})
        problem.write("batch", {"images": pixels, "labels": labels})
        about = {
            "model": network.model.describe(),
            "batch": len(labels),
            "steps": network.steps,
            "density": request.density,
            "spiking": network.spiking,
            "optimiser": request.optimiser,
            "weights": source,
            "images": images.name,
            "moments": None,
            "denormal_share": None,
        }
        if request.train and request.optimiser == "adam" and request.moment_steps:
            problem, about["moments"] = self._with_moments(problem, saved, images)
            about["denormal_share"] = denormal_share(problem)
        return problem, self._small(problem), about

    def _small(self, problem):
        """A problem with the same convolutions, random weights, few hidden neurons, and two images."""
        described = problem.model.describe()
        model = build(**{**described, "hidden": min(64, described["hidden"] or 64)})
        small = replace(problem, folder=problem.folder / "small", model=model, optimiser_steps=0)
        weights = {name: self.k.to_numpy(a) for name, a in initialise(model, self.k, 0, small.spiking).items()}
        scalars = {name: problem.parameter(name) for name in weights if not name.endswith(".weight")}
        small.write("parameter", weights | scalars)
        images, labels = problem.pixels()
        small.write("batch", {"images": images[:2], "labels": labels[:2]})
        return small

    def _network(self):
        request, saved = self.request, None
        if request.checkpoint:
            saved = checkpoint.load(request.checkpoint)
        elif request.data_dir and request.spiking:
            saved = checkpoint.load(trained_network(request, self.k))
        if saved:
            network = saved.network(self.k)
            if network.spiking != request.spiking:
                kinds = ("an ANN", "a spiking network")
                raise MinihireError(
                    f"{saved.path} is {kinds[network.spiking]}, but this benchmark needs {kinds[request.spiking]}"
                )
            if network.coding != "direct" or network.readout != "membrane" or network.neuron.reset != "immediate":
                raise MinihireError(
                    f"{saved.path} has a coding, readout or reset that the other libraries do not support: give a network with "
                    "direct coding, membrane readout and immediate reset"
                )
            steps = request.steps if request.steps and network.spiking else network.steps
            return replace(network, steps=steps, time_chunk=None), saved, f"{saved.path}"
        model = build(request.model, width=request.width, hidden=request.hidden)
        weights = initialise(model, self.k, 0, request.spiking)
        steps = request.steps or model.steps if request.spiking else 1
        return Network(model, self.k, weights, spiking=request.spiking, steps=steps), None, "random"

    def _images(self, model) -> Dataset:
        count = self.request.batch * (1 + self.request.moment_steps)
        if self.request.data_dir:
            train = data.load("cifar10", self.request.data_dir, seed=0).train
            if train.shape != model.image_shape or len(train.classes) != model.classes:
                raise MinihireError(
                    f"{model.name} expects images {model.image_shape} and {model.classes} classes, not those of CIFAR-10"
                )
            return train.limit(min(count, len(train)))
        rng, classes = np.random.default_rng(0), tuple(str(i) for i in range(model.classes))
        images = rng.integers(0, 256, (count, *model.image_shape), np.uint8)
        return Dataset("random", images, rng.integers(0, model.classes, count), classes, model.mean, model.std)

    def _with_moments(self, problem, saved, images):
        names = problem.model.parameters(problem.spiking)
        slots = {slot: {n: f"optimiser/{slot}/{n}" for n in names} for slot in ("mean", "square")}
        if saved and all(key in saved.arrays for keys in slots.values() for key in keys.values()):
            for slot, keys in slots.items():
                problem.write(slot, {name: _as_numbers(saved.arrays[key], slot) for name, key in keys.items()})
            steps = int(saved.meta["training"]["position"]["optimiser_steps"])
            return replace(problem, optimiser_steps=steps), f"from the checkpoint, after {steps} steps"
        size, steps = self.request.batch, self.request.moment_steps
        side = Minihire(problem, "train", self.request.threads)
        for step in range(1, steps + 1):
            batch = np.arange(step * size, (step + 1) * size) % len(images)
            side.start_batch(images.images[batch], images.labels[batch])
            side.step()
        found = {slot: {n: self.k.to_numpy(a) for n, a in side.optimiser.slots[slot].items()} for slot in slots}
        for name in names:
            mean, square = aged(found["mean"][name], found["square"][name])
            problem.write("mean", {name: mean})
            problem.write("square", {name: square})
        return replace(problem, optimiser_steps=AGE), f"after {steps} steps, silent weights aged by {AGE} steps"


def _as_numbers(moments, slot):
    """Moments as float32; 16-bit moments of a checkpoint are converted."""
    return moments16.widen(moments, moments16.CUTS[slot]) if moments.dtype == moments16.TYPE else moments


def force_density(network, images, density: float) -> None:
    """Set the threshold of each layer, in order, so that a fraction `density` of its neurons fires per step on `images`.

    Raises MinihireError if a layer cannot reach the density.
    """
    k = network.backend
    names = [name.removesuffix(".threshold") for name in network.parameters if name.endswith(".threshold")]
    for name in names:
        current = _current(network, name, images)
        leak = network.parameters[f"{name}.leak"]

        def fraction(threshold, current=current, leak=leak):
            spikes, *_ = k.lif_forward(current, None, leak, k.asarray([threshold]), network.steps)
            return k.events(spikes) / np.prod(spikes.shape)

        low, high = THRESHOLD_FLOOR, float(np.abs(k.to_numpy(current)).max()) * network.steps + THRESHOLD_FLOOR
        if fraction(low) < density:
            raise MinihireError(
                f"{name} cannot reach a density of {density}: its largest is {fraction(low):.3f}; give a lower --density"
            )
        for _ in range(25):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if fraction(middle) > density else (low, middle)
        network.parameters[f"{name}.threshold"] = k.asarray([high])


class _Found(Exception):
    """Stops a forward pass at the layer whose current was requested."""


def _current(network, layer, images):
    def observe(event, name, array):
        if (event, name) == ("current", layer):
            raise _Found(array)

    try:
        network.forward(images, observe=observe)
    except _Found as found:
        return found.args[0]
    raise MinihireError(f"there is no neuron layer {layer}")


def aged(mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Set moments that are zero to the values that a gradient of typical size leaves after AGE updates.

    The typical size is the root mean square of the other entries.
    """
    silent = square == 0
    if not silent.any() or silent.all():
        return mean, square
    typical = np.sqrt(square[~silent].mean(dtype=np.float64))
    m, s = np.float32((1 - DECAYS[0]) * typical), np.float32((1 - DECAYS[1]) * typical**2)
    for _ in range(AGE):
        m, s = m * DECAYS[0], s * DECAYS[1]
    return np.where(silent, m, mean), np.where(silent, s, square)


def denormal_share(problem) -> float:
    """The fraction of Adam's moments, over all parameters, that are denormal in float32."""
    smallest, found, total = np.finfo(np.float32).tiny, 0, 0
    for name in problem.model.parameters(problem.spiking):
        for values in problem.moments(name):
            size = np.abs(values)
            found += int(np.count_nonzero((size > 0) & (size < smallest)))
            total += values.size
    return found / total
