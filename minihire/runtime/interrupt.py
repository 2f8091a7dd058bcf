"""Ctrl-C (and SIGTERM) and the end of --max-minutes as a request: long work finishes its batch, saves, says how to go on."""

import contextlib
import math
import signal
import threading
from time import monotonic

import numpy as np

from minihire.runtime.errors import MinihireError


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


@contextlib.contextmanager
def go_on_with(what: str | None):
    """While entered, work that stops says that this goes on with it, in place of --resume; None: nothing does."""
    before, StopSignal.again = StopSignal.again, what
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(_kept()) from None
    finally:
        StopSignal.again = before


def _kept():
    if StopSignal.again is None:
        return "stopped"
    goes_on = "(run and train go on with --resume)"
    return f"stopped; finished work was kept {goes_on if StopSignal.again == '--resume' else f'({StopSignal.again} goes on)'}"


class StopSignal:
    """While entered, the first Ctrl-C makes it `requested`; a second one raises KeyboardInterrupt at once.

    The end of `stop_after` makes it `requested`, too. Outside the main thread, where Python allows no handlers, only that does.
    With the backend of several ranks what any of them was asked counts, as soon as all know: those that stop, stop together.
    """

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
    limit = TimeLimit(math.inf)
    again: str | None = "--resume"  # what goes on with the work

    def __init__(self, backend=None):
        self._backend = backend if backend is not None and backend.ranks > 1 else None
        self._asked, self._known = False, np.zeros(2)
        self._before = {}

    @property
    def requested(self) -> bool:
        """Whether to stop at the next place that can be gone on from."""
        return any(self._reasons)

    @property
    def state(self) -> np.ndarray:
        """Whether this process was asked to stop, and whether its time is over: 0 or 1, to be summed over the ranks."""
        return np.array([self._asked, self.limit.over], float)

    def learn(self, states: np.ndarray) -> None:
        """The sum of all ranks' `state`."""
        self._known = states

    @property
    def _reasons(self):
        return self.state > 0 if self._backend is None else self._known > 0

    def _ask_all(self):
        """Wait for the other ranks, and learn what they were asked."""
        if self._backend is not None:
            self.learn(*self._backend.sum_over_ranks([self.state]))

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            heard = [
                n for n in self.SIGNALS if n != getattr(signal, "SIGHUP", None) or signal.getsignal(n) != signal.SIG_IGN
            ]
            self._before = {number: signal.signal(number, self._request) for number in heard}  # nohup ignores SIGHUP
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._ask_all()
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if self._reasons[0] and kind is None:  # asked for after the last look: what follows must not begin
            raise Interrupted(_kept())

    def _request(self, *_):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("\nstopping after this batch (Ctrl-C again: at once)", flush=True)

    def check(self, where: str) -> None:
        """Raise Interrupted (or OutOfTime) if a stop is requested, of any rank: all of them come here."""
        self._ask_all()
        if self.requested:
            told = self._reasons[0] or self.again is None
            raise self.interruption(where if told else f"{where}; {self.again} goes on")

    def interruption(self, where: str) -> Interrupted:
        """What to raise after a request: says where work stopped and, at the end of the time, after how long."""
        if self._reasons[0]:
            return Interrupted(f"stopped {where}")
        return OutOfTime(f"--max-minutes {self.limit.minutes:g} are over: stopped {where}")
