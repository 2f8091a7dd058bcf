"""What long work shows: a bar on a terminal, plain lines in a pipe, nothing when quiet."""

import sys
import time

from tqdm import tqdm


class Progress:
    """Counts the units of one piece of work. `note` joins the bar; `say` prints a line that stays."""

    quiet = False  # set by the command line for the whole process

    def __init__(self, label: str, total: int, unit: str = "images", done: int = 0):
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            dynamic_ncols=True,
            leave=False,
            disable=self.quiet or not sys.stderr.isatty(),
        )
        self.count, self.total, self.start = 0, total - done, time.perf_counter()

    def add(self, count: int, note: str = "") -> None:
        """`count` units are done."""
        self.count += count
        self.bar.update(count)
        if note:
            self.bar.set_postfix_str(note, refresh=False)

    @property
    def rate(self) -> float:
        """Units per second so far."""
        return self.count / max(time.perf_counter() - self.start, 1e-9)

    @property
    def left(self) -> float:
        """Seconds that the rest will take at this rate."""
        return (self.total - self.count) / max(self.rate, 1e-9)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()


def say(line: str = "") -> None:
    """Print a line without breaking a bar."""
    if not Progress.quiet:
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
