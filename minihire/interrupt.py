"""Ctrl-C (and SIGTERM) and the end of --max-minutes as a request: long work finishes its batch, saves, says how to go on."""

import contextlib
import math
import signal
import threading
from time import monotonic

from minihire.errors import MinihireError


class Interrupted(MinihireError):
    """Work stopped on request with everything so far saved; the command line exits with 130."""


class OutOfTime(Interrupted):
    """The same because the time that was given is over; the command line exits with 3."""


class TimeLimit:
    """So many minutes from now."""

    def __init__(self, minutes: float):
        self.minutes, self.end = minutes, monotonic() + 60 * minutes

    @property
    def over(self) -> bool:
        """Whether they have passed."""
        return monotonic() >= self.end


@contextlib.contextmanager
def stop_after(minutes: float | None):
    """While entered, every StopSignal of this process is `requested` once so many minutes have passed; None: no limit."""
    StopSignal.limit = TimeLimit(math.inf if minutes is None else minutes)
    try:
        yield
    finally:
        StopSignal.limit = TimeLimit(math.inf)


class StopSignal:
    """While entered, the first Ctrl-C makes it `requested`; a second one raises KeyboardInterrupt at once.

    The end of `stop_after` makes it `requested`, too. Outside the main thread, where Python allows no handlers, only that does.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    limit = TimeLimit(math.inf)

    def __init__(self):
        self._asked = False
        self._before = {}

    @property
    def requested(self) -> bool:
        """Whether to stop at the next place that can be gone on from."""
        return self._asked or self.limit.over

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        return self

    def __exit__(self, kind, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._asked and kind is None:  # asked for after the last look: what follows must not begin
            raise Interrupted("stopped; finished work was kept (run and train go on with --resume)")

    def _request(self, *_):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("\nstopping after this batch (Ctrl-C again: at once)", flush=True)

    def check(self, where: str) -> None:
        """Raise Interrupted (or OutOfTime) if a stop is requested."""
        if self.requested:
            raise self.interruption(where if self._asked else f"{where}; --resume goes on")

    def interruption(self, where: str) -> Interrupted:
        """What to raise after a request: says where work stopped and, at the end of the time, after how long."""
        if self._asked:
            return Interrupted(f"stopped {where}")
        return OutOfTime(f"--max-minutes {self.limit.minutes:g} are over: stopped {where}")
