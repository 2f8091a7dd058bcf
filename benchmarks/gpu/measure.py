"""Measurement of one cell: prepare every side, measure its memory, then time all sides in turn."""

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

DENSITY = 0.1  # of firing neurons; it does not change the work of dense kernels, but zeros need less power
WARM_UP = 4  # steps: two compile, one records the CUDA graph, one replays it
TURN = 0.06  # seconds of a turn
BATCHES = 8  # in minihire's data, so that not every batch pays for the shuffling of an epoch


@dataclasses.dataclass(frozen=True)
class InMemory(Problem):
    """A problem whose arrays are in memory instead of files."""

    arrays: dict = dataclasses.field(default_factory=dict)

    def write(self, group, arrays):
        self.arrays.update({(group, name): array for name, array in arrays.items()})

    def moments(self, name):
        return None

    def _read(self, group, name):
        return self.arrays[group, name]


class OnDevice(MinihireOnTorch):
    """minihire's side, with BATCHES batches of data."""

    def start_training(self, images, labels):
        super().start_training(images, labels)
        self.start_batch_of(np.tile(images, (BATCHES, 1, 1, 1)), np.tile(labels, BATCHES), len(labels))

    def start_batch_of(self, images, labels, size):
        """Continue the training with other images, in batches of `size`."""
        batches = self.training.batches
        batches.dataset = self._dataset(images, labels)
        batches.store, batches.order, batches.shuffle = self.k.asarray(images), (-1, None), True
        assert batches.size == size


@functools.lru_cache(maxsize=1)
def weights(model: str, settings: Settings) -> tuple:
    """Return (model, NumPy arrays by name): random weights, and thresholds for a firing density of DENSITY."""
    shape = dict(width=1 / 16, hidden=16, image_shape=(16, 16, 3)) if settings.quick else {}
    made, k = build(model, **shape), settings.backend(record=False)
    network = Network(made, k, initialise(made, k, 0, spiking=True), spiking=True, steps=made.steps)
    images = np.random.default_rng(1).random((4, *made.image_shape), np.float32)
    force_density(network, k.asarray(images), DENSITY)
    return made, {name: k.to_numpy(array).copy() for name, array in network.parameters.items()}


def problem(cell: Cell, settings: Settings) -> InMemory:
    """The network and batch of a cell."""
    model, arrays = weights(cell.model, settings)
    rng, made = np.random.default_rng(0), InMemory(Path(), model, True, model.steps)
    made.write("parameter", arrays)
    pixels = rng.integers(0, 256, (cell.batch, *model.image_shape), np.uint8)
    made.write("batch", {"images": pixels, "labels": rng.integers(0, model.classes, cell.batch)})
    return made


class Side:
    """One side on the device: its step, the memory it holds between steps, and its peak, in bytes.

    The constructor raises the library's error if the side cannot be prepared.
    """

    def __init__(self, given: Problem, cell: Cell, settings: Settings, peer, task: str, how: str):
        self.cuda, self.device, place = settings.device != "cpu", settings.device, dict(device=settings.device)
        own, self.any_algorithm = peer is None, peer is not None or how == "free"
        before = self.allocated(reset=True)
        with self.settings(cell.precision):
            if own:
                side = OnDevice(given, task, None, precision=cell.precision, record=how != "eager", **place)
                self.set_algorithms()  # because creating a backend changes them
            else:
                if peer == "ann":
                    given = dataclasses.replace(given, spiking=False, steps=1, optimiser="sgd")
                options = dict(precision=cell.precision, compiled=how == "compiled", **place)
                side = side_class(PEERS[peer])(given, task, torch.get_num_threads(), **options)
            self.step = self.recorded(side.step) if how == "recorded" and not own else side.step
            for _ in range(WARM_UP):
                self.step()
            self.wait()
            if own and side.unrecorded():
                raise BackendError("no CUDA graph could be recorded")
        self.held = self.peak = None
        if self.cuda:
            self.held = torch.cuda.memory_allocated(self.device) - before
            self.peak = torch.cuda.max_memory_allocated(self.device) - before

    def recorded(self, step):
        """Record a peer's step as a CUDA graph. Torch requires warm-up steps on a separate stream first."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        replay, self.result = graphs.record(step, self.device)
        return replay

    def allocated(self, reset: bool = False):
        """Allocated bytes, after unused memory was released. reset: also reset the peak."""
        gc.collect()
        if not self.cuda:
            return 0
        torch.cuda.empty_cache()
        if reset:
            torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    @contextlib.contextmanager
    def settings(self, precision: str):
        """Context manager: set torch's precision and cuDNN algorithms for this side.

        Peers may use any cuDNN algorithm; minihire uses deterministic ones.
        """
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.set_algorithms()
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False

    def set_algorithms(self):
        """Let cuDNN choose the fastest of all algorithms, or only deterministic ones."""
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = (
            not self.any_algorithm,
            self.any_algorithm,
        )

    def wait(self):
        """Wait until the device has finished all work."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, precision: str, count: int) -> float:
        """Mean seconds per step, over `count` steps."""
        with self.settings(precision):
            self.step()
            self.wait()
            start = time.perf_counter()
            for _ in range(count):
                self.step()
            self.wait()
            return (time.perf_counter() - start) / count


def measured(cell: Cell, settings: Settings) -> dict[str, dict]:
    """Measure a cell. Returns by side: seconds (median, minimum, samples), images per second and memory, or a note.

    A note says why a side has no results.
    """
    given, ready, found = problem(cell, settings), {}, {}
    for name, (peer, task, how) in sides(cell, settings).items():
        try:
            ready[name] = Side(given, cell, settings, peer, task, how)
            found[name] = {"how": how, "held_bytes": ready[name].held, "peak_bytes": ready[name].peak}
        except Exception as error:  # one failing side must not stop the others
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
            else:  # the first round sets the number of steps per turn
                counts[name] = 1 if settings.quick else max(1, min(200, round(TURN / taken)))
    for name, taken in samples.items():
        if taken:
            median = statistics.median(taken)
            found[name] |= {"median_s": median, "minimum_s": min(taken), "samples_s": taken}
            found[name] |= {"images_per_s": cell.batch / median}
    return found


def note(error: Exception) -> str:
    """The reason why a side has no results, in one line."""
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, torch.OutOfMemoryError) or "too little memory" in lines[0]:
        return "too little memory"
    return f"{type(error).__name__}: {lines[0]}"[:200]
