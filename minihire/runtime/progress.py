"""Progress of long work: a bar on a terminal, lines of text in a pipe, nothing with --quiet."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter, process_time
from typing import TypeVar

from tqdm import tqdm

from backends import torchrun_rank
from minihire.runtime.terminal import BOLD, YELLOW, styled

T = TypeVar("T")


class Progress:
    """Progress of one piece of work. Shows a bar on a terminal, or prints a line per minute in a pipe.

    The first batch compiles kernels, so speed and time left are measured from its end. Pauses do not count: more than
    PAUSE seconds without a batch, in which the process hardly computed, because it was stopped or the machine was asleep.
    memory(): peak device memory in bytes, or None on the CPU.
    """

    quiet = torchrun_rank()[0] > 0  # only the first of torchrun's processes prints; the command line also sets this
    EVERY = 60  # seconds without a line in a pipe
    # Seconds over which speed is measured: long enough to contain checkpoints, and evaluations between epochs.
    WINDOW = 600
    PAUSE = 60  # seconds without a batch that may be a pause
    BUSY = 0.02  # they are one if the process computed for less than this share of them

    def __init__(
        self,
        label: str,
        total: int,
        unit: str = "images",
        done: int = 0,
        memory: Callable[[], int | None] = lambda: None,
    ):
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            dynamic_ncols=True,
            leave=False,
            disable=self.quiet or not self.terminal,
        )
        self.label, self.unit, self.memory = label, unit, memory
        self.count, self.done, self.total = 0, done, total
        self.told = perf_counter()  # when the last line was printed
        self.rate: float | None = None  # units per second in the last WINDOW seconds; None before the second batch
        self.marks: list[tuple[float, int]] = []  # time and count at the end of the first batch and at each line
        self.paused = 0.0  # seconds in all; they are subtracted from the times in `marks`
        self.active = perf_counter(), process_time()  # when the last batch ended; the processor's time of this process

    def add(self, count: int, note: str = "") -> None:
        """Report that `count` more units are done. note: text to show with them."""
        self.count += count
        self._note_pause()
        if not self.marks:
            self.marks = [(self._time(), self.count)]
            self._restart_bar(count)
        else:
            self.bar.update(count)
        if note:
            self.bar.set_postfix_str(note, refresh=False)
        if not self.terminal and perf_counter() - self.told >= self.EVERY:
            self.tell(f"{note and f'{note}, '}{self.done + self.count:,}/{self.total:,} {self.unit}")

    def _note_pause(self):
        """Add the time since the last batch to `paused` if the process was stopped in it."""
        (then, computed_before), self.active = self.active, (perf_counter(), process_time())
        seconds, computed = self.active[0] - then, self.active[1] - computed_before
        if seconds > self.PAUSE and computed < self.BUSY * seconds:
            self.paused += seconds - computed

    def _time(self):
        """Seconds, without pauses."""
        return perf_counter() - self.paused

    def _restart_bar(self, count):
        """Count the first batch without its time."""
        if not self.bar.disable:
            self.bar.n += count
            self.bar.initial = self.bar.last_print_n = self.bar.n
            self.bar.start_t = self.bar.last_print_t = self.bar._time()
            self.bar.refresh()

    def tell(self, text: str) -> None:
        """Print a permanent line: label, text, speed in the last WINDOW seconds, time left and device memory."""
        now = self._time()
        if self.marks and self.count > self.marks[-1][1]:
            self.marks.append((now, self.count))
            while len(self.marks) > 2 and self.marks[1][0] < now - self.WINDOW:
                del self.marks[0]
            then, before = self.marks[0]
            self.rate = (self.count - before) / max(now - then, 1e-9)
        self.told = perf_counter()
        used = self.memory()
        memory = "" if used is None else f", device memory {used / 2**20:,.0f} MiB"
        pace = ""
        if self.rate is not None:
            pace = f", {self.rate:,.{0 if self.rate >= 10 else 1}f} {self.unit}/s, {duration(self.left)} left"
        say(f"{self.label:<18} {text}{pace}{memory}")

    @property
    def left(self) -> float:
        """Estimated seconds left, at the speed of the last line. Infinite before a speed is known."""
        remaining = self.total - self.done - self.count
        return remaining / max(self.rate, 1e-9) if self.rate is not None else math.inf if remaining else 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()


def counted(
    items: Iterable[T], label: str, total: int, unit: str = "images", count: Callable[[T], int] = lambda item: 1
) -> Iterator[T]:
    """Yield the items, and show the progress of the work on them.

    total: the units of all items. count(item): those of an item; the last ones may have fewer.
    """
    with Progress(label, total, unit) as progress:
        for item in items:
            yield item
            progress.add(min(count(item), total - progress.count))


def say(line: str = "") -> None:
    """Print a line above the bar, unless the output is quiet."""
    if not Progress.quiet:
        if line.lstrip().startswith(("──", "warning:")):
            line = styled(line, YELLOW if line.startswith("warning:") else BOLD, sys.stdout)
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def duration(seconds: float) -> str:
    """A time in seconds as text, for example "7 s", "2 min 05 s" or "1 h 02 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
