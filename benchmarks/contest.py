"""Sides in turn: each in a process of its own, a few steps at a time, while the others sleep on their pipes.

So thread pools do not fight, a side's peak memory is its own, and whatever else the machine does meets all alike.
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

MEMORY = (
    "peak memory: the most that was resident while the side ran its steps (VmHWM), less what was resident before its "
    "weights existed, with its libraries loaded and its kernels warm from a small network; so weights, optimiser "
    "state, activations, gradients, scratch and the batch count, code does not"
)
TURN = 0.2  # seconds at least that a side's steps are measured before the next side's turn
PAUSE = 0.25  # seconds between sides: worker threads that spin for their next task go to sleep
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# On every side glibc keeps freed memory for the next step, in place of a page fault for each 4 KiB that a step touches:
# up to a tenth of a dense step, and what a tuned set-up of PyTorch would not pay either.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36), "MALLOC_TOP_PAD_": str(2**26)}


@contextlib.contextmanager
def environment(values: dict[str, str]):
    """Environment variables for processes that start meanwhile."""
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
    """An object in a process of its own; `call` runs one of its methods there and waits. threads: None for the default."""

    def __init__(self, title: str, threads: int | None, factory, *arguments):
        context = multiprocessing.get_context("spawn")
        self.title, (self.pipe, theirs) = title, context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, factory, arguments), daemon=True)
        with environment(ALLOCATOR | (dict.fromkeys(POOLS, str(threads)) if threads else {})):
            self.process.start()
        theirs.close()

    def call(self, method: str, *arguments):
        """The method's result. Raises what it raised: MinihireError as it is, all else with the traceback in its text."""
        self.begin(method, *arguments)
        return self.result()

    def begin(self, method: str, *arguments) -> None:
        """Start a method; `result` waits for it."""
        with self._alive():
            self.pipe.send((method, arguments))

    def result(self):
        """What the method that was begun returns or raises."""
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
                f"the process of {self.title} ended with exit code {self.process.exitcode}: was there enough memory?"
            ) from gone

    def close(self) -> None:
        """End the process; a training that is being stopped has the time to save itself."""
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
        with contextlib.suppress(OSError):  # nobody waits any more
            pipe.send((error, result))


class Contestant:
    """A side in its process: made ready, timed step by step, weighed."""

    def __init__(self, peer, task: str, problem: Problem, small: Problem, threads: int):
        self.make = lambda given: side_class(peer)(given, task, threads)
        self.problem, self.small = problem, small
        self.weigh_activations = task in ("traditional", "hire")

    def prepare(self) -> dict:
        """Warm the kernels with the small network, then make the side. Returns its densities.

        For minihire's training also what a first forward pass holds, before any scratch is kept from an earlier one.
        """
        side = self.make(self.small)
        side.step()
        del side
        gc.collect()
        self.before = machine.resident()
        self.side = self.make(self.problem)
        held = self.side.held_for_backward(machine.resident) if self.weigh_activations else None
        densities = self.side.densities()
        gc.collect()
        self.forgot = machine.forget_peak()
        return {"densities": densities, "held_for_backward_bytes": held}

    def step(self) -> float:
        """Seconds of a step among others: one is not counted, in which caches and clocks recover from the pause."""
        self.side.step()
        start, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - start < TURN:
            self.side.step()
            count += 1
        return (time.perf_counter() - start) / count

    def peak(self) -> dict:
        """Bytes as in MEMORY; "exact" is False where the peak includes the making of the side."""
        return {"peak_bytes": machine.peak_resident() - self.before, "exact": self.forgot}


@dataclass(frozen=True)
class Entrant:
    """A side of a contest: its name, where it is written (a `Peer`), and its task."""

    name: str
    peer: object
    task: str
    problem: Problem
    small: Problem


def contest(entrants: list[Entrant], threads: int, rounds: int, warm_up: int, say=print) -> list[dict]:
    """Run all in turn; a row for each: seconds (all samples, median, minimum), densities, peak memory."""
    sides = []
    try:
        for e in entrants:
            sides.append(Remote(e.peer.title, threads, Contestant, e.peer, e.task, e.problem, e.small, threads))
        say("  getting ready: " + ", ".join(e.peer.title for e in entrants))
        for side in sides:
            side.begin("prepare")
        ready = [side.result() for side in sides]
        samples = [[] for _ in sides]
        for number in range(warm_up + rounds):
            for i in range(len(sides)):
                chosen = (i + number) % len(sides)  # another one begins each round
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
