"""Comparison of several libraries ("sides"). Each side has its own process, and they take turns of a few steps.

While one side runs, the others wait for input. So thread pools do not compete, peak memory is measured per side, and
other load on the machine affects all sides equally.
"""

import contextlib
import gc
import multiprocessing
import os
import statistics
import time
import traceback
from dataclasses import dataclass

from backends import BackendError
from benchmarks import machine
from benchmarks.peers import side_class
from benchmarks.problem import Problem
from minihire.runtime.errors import MinihireError
from minihire.runtime.machine import peak_memory

MEMORY = (
    "peak memory: the largest resident memory during the steps (VmHWM), minus the resident memory before the weights were "
    "loaded, when libraries were loaded and kernels compiled; it includes weights, optimiser state, activations, gradients, "
    "scratch memory and the batch, but not code"
)
TURN = 0.2  # minimum seconds of a turn
PAUSE = 0.25  # seconds between turns, in which idle worker threads stop spinning
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# Makes glibc keep freed memory for the next step, on every side. Otherwise each 4 KiB page would cost a page fault in every
# step, up to a tenth of a dense step's time. A tuned installation of PyTorch avoids these page faults, too.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36), "MALLOC_TOP_PAD_": str(2**26)}


@contextlib.contextmanager
def environment(values: dict[str, str]):
    """Context manager: set environment variables, for processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Remote:
    """An object in a separate process. `call` runs one of its methods there and waits for the result.

    factory(*arguments) creates the object. threads: size of the thread pools, None for the default.
    """

    def __init__(self, title: str, threads: int | None, factory, *arguments):
        context = multiprocessing.get_context("spawn")
        self.title, (self.pipe, theirs) = title, context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, factory, arguments), daemon=True)
        with environment(ALLOCATOR | (dict.fromkeys(POOLS, str(threads)) if threads else {})):
            self.process.start()
        theirs.close()

    def call(self, method: str, *arguments):
        """Run a method and return its result.

        Raises MinihireError if the method raises it or the process ends, and RuntimeError, with the traceback as text, for
        any other exception.
        """
        self.begin(method, *arguments)
        return self.result()

    def begin(self, method: str, *arguments) -> None:
        """Start a method without waiting for it. `result` waits."""
        with self._alive():
            self.pipe.send((method, arguments))

    def result(self):
        """Wait for the method started by `begin`; return its result or raise its exception."""
        with self._alive():
            error, result = self.pipe.recv()
        if error:
            raise error
        return result

    @contextlib.contextmanager
    def _alive(self):
        try:
            yield
        except (EOFError, ConnectionError) as gone:
            self.process.join(5)
            raise MinihireError(
                f"the process of {self.title} ended with exit code {self.process.exitcode}; check that memory suffices"
            ) from gone

    def close(self) -> None:
        """End the process. It gets 30 seconds, in which an interrupted training can save its state."""
        self.pipe.close()
        self.process.join(30)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()


def _serve(pipe, factory, arguments):
    made = None
    while True:
        try:
            method, given = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        error = result = None
        try:
            made = factory(*arguments) if made is None else made
            result = getattr(made, method)(*given)
        except KeyboardInterrupt:
            return
        except (MinihireError, BackendError) as wrong:
            error = MinihireError(str(wrong))
        except Exception:
            error = RuntimeError(traceback.format_exc())
        with contextlib.suppress(OSError):  # the other process is gone
            pipe.send((error, result))


class Contestant:
    """One side in its process: prepares the network, measures steps and memory."""

    def __init__(self, peer, task: str, problem: Problem, small: Problem, threads: int):
        self.make = lambda given: side_class(peer)(given, task, threads)
        self.problem, self.small = problem, small
        self.measure_activations = task in ("traditional", "hire")

    def prepare(self) -> dict:
        """Compile the kernels with the small network, then build the side. Returns its densities.

        For the tasks "traditional" and "hire" it also returns the activation memory. This is measured in the first step,
        because later steps reuse scratch memory of earlier ones.
        """
        side = self.make(self.small)
        side.step()
        del side
        gc.collect()
        self.before = machine.resident()
        self.side = self.make(self.problem)
        activations = self.side.activation_memory(machine.resident) if self.measure_activations else None
        densities = self.side.densities()
        gc.collect()
        self.peak_was_reset = machine.reset_peak()
        return {"densities": densities, "held_for_backward_bytes": activations}

    def step(self) -> float:
        """Mean seconds per step of one turn. A first step is not counted; in it caches and clock rates recover from the pause."""
        self.side.step()
        start, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - start < TURN:
            self.side.step()
            count += 1
        return (time.perf_counter() - start) / count

    def peak(self) -> dict:
        """Peak memory in bytes, as defined by MEMORY. "exact" is False if the peak could not be reset after preparation."""
        return {"peak_bytes": peak_memory() - self.before, "exact": self.peak_was_reset}


@dataclass(frozen=True)
class Entrant:
    """A side to measure: its name, its implementation (a `Peer`), its task, and the problems to measure and to warm up."""

    name: str
    peer: object
    task: str
    problem: Problem
    small: Problem


def contest(entrants: list[Entrant], threads: int, rounds: int, warm_up: int, say=print) -> list[dict]:
    """Measure all sides in turn. Returns one row per side: seconds (samples, median, minimum), densities, peak memory."""
    sides = []
    try:
        for e in entrants:
            sides.append(Remote(e.peer.title, threads, Contestant, e.peer, e.task, e.problem, e.small, threads))
        say("  preparing: " + ", ".join(e.peer.title for e in entrants))
        for side in sides:
            side.begin("prepare")
        ready = [side.result() for side in sides]
        samples = [[] for _ in sides]
        for number in range(warm_up + rounds):
            for i in range(len(sides)):
                chosen = (i + number) % len(sides)  # each round starts with another side
                time.sleep(PAUSE)
                seconds = sides[chosen].call("step")
                if number >= warm_up:
                    samples[chosen].append(seconds)
            if number >= warm_up:
                say(f"  round {number - warm_up + 1} of {rounds}: " + ", ".join(f"{s[-1]:.3f} s" for s in samples))
        peaks = [side.call("peak") for side in sides]
    finally:
        for side in sides:
            side.close()
    return [
        {
            "side": e.name,
            "title": e.peer.title,
            "spiking": e.peer.spiking,
            "median_s": statistics.median(s),
            "minimum_s": min(s),
            "samples_s": s,
            **r,
            **p,
        }
        for e, s, r, p in zip(entrants, samples, ready, peaks, strict=True)
    ]
