"""A cell: every side made ready and weighed, then all measured in turn."""

import contextlib
import dataclasses
import functools
import gc
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from backends import BackendError
from backends.torch_any import graphs
from benchmarks.gpu.cells import Cell, Settings, sides
from benchmarks.own import MinihireOnTorch
from benchmarks.peers import PEERS, side_class
from benchmarks.prepare import force_density
from benchmarks.problem import Problem
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError

DENSITY = 0.1  # of random weights: dense kernels take as long for every density, but not as much power for zeros
WARM_UP = 4  # steps: two that compile, one that records, one that replays
TURN = 0.06  # seconds of a side's turn
DIFFERENT = 8  # batches of minihire's data, so that an epoch's shuffling is not a batch's


@dataclasses.dataclass(frozen=True)
class InMemory(Problem):
    """A problem whose arrays are not in files."""

    arrays: dict = dataclasses.field(default_factory=dict)

    def write(self, group, arrays):
        self.arrays.update({(group, name): array for name, array in arrays.items()})

    def moments(self, name):
        return None

    def _read(self, group, name):
        return self.arrays[group, name]


class OnDevice(MinihireOnTorch):
    """minihire, with several batches of data."""

    def start_training(self, images, labels):
        super().start_training(images, labels)
        self.start_batch_of(np.tile(images, (DIFFERENT, 1, 1, 1)), np.tile(labels, DIFFERENT), len(labels))

    def start_batch_of(self, images, labels, size):
        """Go on with these images in batches of this size."""
        batches = self.training.batches
        batches.dataset = self._dataset(images, labels)
        batches.store, batches.order, batches.shuffle = self.k.asarray(images), (-1, None), True
        assert batches.size == size


@functools.lru_cache(maxsize=1)
def weights(model: str, settings: Settings) -> tuple:
    """(model, NumPy arrays by name): random weights, thresholds that make DENSITY of the neurons fire."""
    shape = dict(width=1 / 16, hidden=16, image_shape=(16, 16, 3)) if settings.quick else {}
    made, k = build(model, **shape), settings.backend(record=False)
    network = Network(made, k, initialise(made, k, 0, spiking=True), spiking=True, steps=made.steps)
    images = np.random.default_rng(1).random((4, *made.image_shape), np.float32)
    force_density(network, k.asarray(images), DENSITY)
    return made, {name: k.to_numpy(array).copy() for name, array in network.parameters.items()}


def problem(cell: Cell, settings: Settings) -> InMemory:
    """The cell's network and batch."""
    model, arrays = weights(cell.model, settings)
    rng, made = np.random.default_rng(0), InMemory(Path(), model, True, model.steps)
    made.write("parameter", arrays)
    pixels = rng.integers(0, 256, (cell.batch, *model.image_shape), np.uint8)
    made.write("batch", {"images": pixels, "labels": rng.integers(0, model.classes, cell.batch)})
    return made


class Side:
    """One side on the device: its step, what it holds, what it needed at most. Raises where it cannot be made ready."""

    def __init__(self, given: Problem, cell: Cell, settings: Settings, peer, task: str, how: str):
        self.cuda, self.device, place = settings.device != "cpu", settings.device, dict(device=settings.device)
        own, self.free = peer is None, peer is not None or how == "free"
        before = self.allocated(reset=True)
        with self.settings(cell.precision):
            if own:
                side = OnDevice(given, task, None, precision=cell.precision, record=how != "eager", **place)
                self.switch()  # a backend has its own
            else:
                if peer == "ann":
                    given = dataclasses.replace(given, spiking=False, steps=1, optimiser="sgd")
                side = side_class(PEERS[peer])(given, task, torch.get_num_threads(), precision=cell.precision, **place)
                if how == "compiled":
                    side.loss = torch.compile(side.loss)
            self.step = self.recorded(side.step) if how == "recorded" and not own else side.step
            for _ in range(WARM_UP):
                self.step()
            self.wait()
        self.held = self.peak = None
        if self.cuda:
            self.held = torch.cuda.memory_allocated(self.device) - before
            self.peak = torch.cuda.max_memory_allocated(self.device) - before

    def recorded(self, step):
        """A peer's step as a CUDA graph, after some on a stream of their own, as torch wants it."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        replay, self.result = graphs.record(step, self.device)
        return replay

    def allocated(self, reset: bool = False):
        """Bytes allocated now, after giving back what nobody holds."""
        gc.collect()
        if not self.cuda:
            return 0
        torch.cuda.empty_cache()
        if reset:
            torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    @contextlib.contextmanager
    def settings(self, precision: str):
        """torch's switches for this side: peers may use any algorithm of cuDNN, minihire those that are deterministic."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.switch()
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False

    def switch(self):
        """Which of cuDNN's algorithms may be chosen: all, by trying them, or deterministic ones."""
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = not self.free, self.free

    def wait(self):
        """Until the device has done what it was given."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, precision: str, count: int) -> float:
        """Of a step among `count`."""
        with self.settings(precision):
            self.step()
            self.wait()
            start = time.perf_counter()
            for _ in range(count):
                self.step()
            self.wait()
            return (time.perf_counter() - start) / count


def measured(cell: Cell, settings: Settings) -> dict[str, dict]:
    """By side: seconds (median, minimum, samples), images per second and memory, or a note why there are none."""
    given, ready, found = problem(cell, settings), {}, {}
    for name, (peer, task, how) in sides(cell, settings).items():
        try:
            ready[name] = Side(given, cell, settings, peer, task, how)
            found[name] = {"how": how, "held_bytes": ready[name].held, "peak_bytes": ready[name].peak}
        except Exception as error:  # a side that cannot be had here is no reason to lose the others
            found[name] = {"how": how, "note": note(error)}
    counts, samples = {}, {name: [] for name in ready}
    for number in range(settings.rounds + 1):
        for place in range(len(ready)):
            name = list(ready)[(place + number) % len(ready)]
            try:
                taken = ready[name].seconds(cell.precision, counts.get(name, 1))
            except (RuntimeError, BackendError, MinihireError) as error:
                found[name] |= {"note": note(error)}
                continue
            if number:
                samples[name].append(taken)
            else:  # how many steps a turn has
                counts[name] = 1 if settings.quick else max(1, min(200, round(TURN / taken)))
    for name, taken in samples.items():
        if taken:
            median = statistics.median(taken)
            found[name] |= {"median_s": median, "minimum_s": min(taken), "samples_s": taken}
            found[name] |= {"images_per_s": cell.batch / median}
    return found


def note(error: Exception) -> str:
    """Why a side has no figures, in a line."""
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, torch.OutOfMemoryError) or "too little memory" in lines[0]:
        return "too little memory"
    return f"{type(error).__name__}: {lines[0]}"[:200]
