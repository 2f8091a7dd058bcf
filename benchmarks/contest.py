"""Comparison of several libraries ("sides"). Each side has its own process, and they take turns of a few steps.

While one side runs, the others wait for input. So thread pools do not compete, peak memory is measured per side, and
other load on the machine affects all sides equally.
"""

import contextlib
import gc
import itertools
import multiprocessing
import statistics
import time
import traceback
from dataclasses import dataclass

from backends import BackendError
from benchmarks import machine
from benchmarks.conditions import ALLOCATOR, COMPILER, POOLS, environment
from benchmarks.peers import CannotCompile, create
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


class Remote:
    """An object in a separate process. `call` runs one of its methods there and waits for the result.

    factory(*arguments) creates the object. threads: size of the thread pools, None for the default.
    """

    def __init__(self, title: str, threads: int | None, factory, *arguments):
        context = multiprocessing.get_context("spawn")
        self.title, (self.pipe, theirs) = title, context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, factory, arguments), daemon=True)
        with environment(ALLOCATOR | COMPILER | (dict.fromkeys(POOLS, str(threads)) if threads else {})):
            self.process.start()
        theirs.close()

    def call(self, method: str, *arguments):
        """Run a method and return its result.

        Raises MinihireError if the method raises it or the process ends, CannotCompile if torch.compile fails, and
        RuntimeError, with the traceback as text, for any other exception.
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
        except CannotCompile as wrong:
            error = wrong
        except (MinihireError, BackendError) as wrong:
            error = MinihireError(str(wrong))
        except Exception:
            error = RuntimeError(traceback.format_exc())
        with contextlib.suppress(OSError):  # the other process is gone
            pipe.send((error, result))


class Contestant:
    """One side in its process: prepares the network, measures steps and memory."""

    def __init__(self, peer, task: str, problem: Problem, small: Problem, threads: int):
        self.peer, self.task, self.threads = peer, task, threads
        self.problem, self.small = problem, small

    def make(self, problem):
        """The side for a problem."""
        return create(self.peer, problem, self.task, self.threads)

    def prepare(self) -> dict:
        """Compile the kernels with the small network, then build the side. Returns its densities and instruction sets.

        torch.compile and JAX compile for fixed shapes, so they get the network to be measured, which is then built again. For the
        tasks "traditional" and "hire", minihire's side also returns its activation memory. This is measured in the first step,
        because later steps reuse scratch memory of earlier ones. Raises CannotCompile if compiling fails.
        """
        self.compile_kernels()
        instructions = machine.instructions()
        gc.collect()
        self.before = machine.resident()
        self.side = self.make(self.problem)
        measure_activations = self.task in ("traditional", "hire") and hasattr(self.side, "activation_memory")
        activations = self.side.activation_memory(machine.resident) if measure_activations else None
        densities = self.side.densities()
        gc.collect()
        self.peak_was_reset = machine.reset_peak()
        return {"densities": densities, "held_for_backward_bytes": activations, "instructions": instructions}

    def compile_kernels(self) -> None:
        """One step of a side that is then dropped."""
        if not self.peer.compiled:
            self.make(self.small).step()
            return
        try:
            self.make(self.problem).step()
        except Exception as error:  # neither torch.compile nor JAX has a common class for its errors
            reason = (str(error).strip().splitlines() or [""])[0]
            raise CannotCompile(f"compiling it failed: {type(error).__name__}: {reason[:200]}") from error

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
    """Measure all sides in turn. Returns one row per side: seconds (samples, median, minimum), densities, peak memory.

    A peer that torch.compile cannot compile has no row. One sentence says so.
    """
    sides = []
    try:
        for e in entrants:
            sides.append(Remote(e.peer.title, threads, Contestant, e.peer, e.task, e.problem, e.small, threads))
        compiled = sum(e.peer.compiled for e in entrants)
        say(f"  preparing {len(sides)} sides" + (f", {compiled} of them compiled" if compiled else ""))
        for side in sides:
            side.begin("prepare")
        ready = [_result_or_none(side, say) for side in sides]
        entrants, sides = (list(itertools.compress(them, ready)) for them in (entrants, sides))
        ready = [result for result in ready if result]
        samples = [[] for _ in sides]
        for number in range(warm_up + rounds):
            for i in range(len(sides)):
                chosen = (i + number) % len(sides)  # each round starts with another side
                time.sleep(PAUSE)
                seconds = sides[chosen].call("step")
                if number >= warm_up:
                    samples[chosen].append(seconds)
            if number >= warm_up:
                say(f"  round {number - warm_up + 1} of {rounds}: {_round(entrants, samples)}")
        peaks = [side.call("peak") for side in sides]
    finally:
        for side in sides:
            side.pipe.close()  # so that all processes end at the same time
        for side in sides:
            side.close()
    return [
        {
            "side": e.name,
            "title": e.peer.title,
            "task": e.task,
            "spiking": e.peer.spiking,
            "precision": e.peer.precision,
            "compiled": e.peer.compiled,
            "median_s": statistics.median(s),
            "minimum_s": min(s),
            "samples_s": s,
            **r,
            **p,
        }
        for e, s, r, p in zip(entrants, samples, ready, peaks, strict=True)
    ]


def _result_or_none(side, say):
    try:
        return side.result()
    except CannotCompile as error:
        say(f"  {side.title} is left out: {error}")
        side.close()
        return None


def _round(entrants, samples):
    """The times of a round: the first side's, and the range of the others."""
    own, *others = (s[-1] for s in samples)
    text = f"{entrants[0].peer.title} {own:.3f} s"
    return f"{text}, the others {min(others):.3f} to {max(others):.3f} s" if others else text
