"""What long work shows: a bar on a terminal, plain lines in a pipe, nothing when quiet."""

import sys
from collections.abc import Callable
from time import perf_counter

from tqdm import tqdm

from backends import launched
from minihire.runtime.terminal import BOLD, YELLOW, styled


class Progress:
    """Counts the units of one piece of work: a bar on a terminal; in a pipe a line, where none was told for a minute.

    memory() is the device memory used at most so far, in bytes, or None where the device is the CPU.
    """

    quiet = launched()[0] > 0  # of torchrun's processes the first one speaks; set by the command line, too
    EVERY = 60  # seconds without a line in a pipe

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
        self.rate, self.counted, self.told = 0.0, 0, perf_counter()  # as of the last line

    def add(self, count: int, note: str = "") -> None:
        """`count` units are done; the note joins the bar, or the line."""
        self.count += count
        self.bar.update(count)
        if note:
            self.bar.set_postfix_str(note, refresh=False)
        if not self.terminal and perf_counter() - self.told >= self.EVERY:
            self.tell(f"{note and f'{note}, '}{self.done + self.count:,}/{self.total:,} {self.unit}")

    def tell(self, text: str) -> None:
        """Print a line that stays: the label, the text, the pace since the last line, the time left and the device memory."""
        now = perf_counter()
        if self.count > self.counted:  # the first stretch compiles; later ones tell what is to come
            self.rate = (self.count - self.counted) / max(now - self.told, 1e-9)
        self.counted, self.told = self.count, now
        used = self.memory()
        memory = "" if used is None else f", device memory {used / 2**20:,.0f} MiB"
        pace = f"{self.rate:,.{0 if self.rate >= 10 else 1}f} {self.unit}/s, {duration(self.left)} left"
        say(f"{self.label:<18} {text}, {pace}{memory}")

    @property
    def left(self) -> float:
        """Seconds that the rest will take at the rate of the stretch before the last line."""
        return (self.total - self.done - self.count) / max(self.rate, 1e-9)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()


def say(line: str = "") -> None:
    """Print a line without breaking a bar."""
    if not Progress.quiet:
        if line.lstrip().startswith(("──", "warning:")):
            line = styled(line, YELLOW if line.startswith("warning:") else BOLD, sys.stdout)
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def duration(seconds: float) -> str:
    """7 s, 2 min 05 s, 1 h 02 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
