"""Requests to stop: Ctrl-C, SIGTERM, SIGHUP or the end of --max-minutes. Long work finishes its batch, saves and stops."""

import contextlib
import math
import signal
import threading
from time import monotonic

import numpy as np

from minihire.runtime.errors import MinihireError
from minihire.runtime.files import Written


class Interrupted(MinihireError):
    """Work was stopped on request, after it was saved. The command line exits with code 130."""


class OutOfTime(Interrupted):
    """Work was stopped because --max-minutes are over. The command line exits with code 3."""


class TimeLimit:
    """A time limit: a number of minutes from now."""

    def __init__(self, minutes: float):
        self.minutes, self.end = minutes, monotonic() + 60 * minutes

    @property
    def over(self) -> bool:
        """Whether the time has passed."""
        return monotonic() >= self.end


@contextlib.contextmanager
def terminated_like_interrupted():
    """While entered, SIGTERM raises KeyboardInterrupt, as Ctrl-C does. A program that handles or ignores it keeps its own way."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def stop_after(minutes: float | None):
    """While entered, every StopSignal of this process is `requested` after this many minutes. None: no limit."""
    StopSignal.limit = TimeLimit(math.inf if minutes is None else minutes)
    try:
        yield
    finally:
        StopSignal.limit = TimeLimit(math.inf)


@contextlib.contextmanager
def resumable_by(how: str | None, files: str = ""):
    """While entered, the message of stopped work says that `how` resumes it. None: nothing does.

    files: the names of the files with interim results, as the message shows them.
    """
    before = StopSignal.again, StopSignal.files
    StopSignal.again, StopSignal.files = how, files
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(_stopped()) from None
    finally:
        StopSignal.again, StopSignal.files = before


def _stopped():
    """The message of work that stopped at a place that has no message of its own."""
    if Written.count == 0 and not Written.earlier:
        return "stopped; nothing was written yet"
    if StopSignal.again is None:
        return "stopped"
    where = f" in {StopSignal.files}" if StopSignal.files else ""
    return f"stopped; finished work was kept{where} ({StopSignal.again} resumes it)"


class StopSignal:
    """While entered, the first Ctrl-C sets `requested`; a second one raises KeyboardInterrupt at once.

    The end of `stop_after` sets `requested` too. Python allows signal handlers in the main thread only, so in other threads
    nothing else does. With several ranks, a request to one of them is a request to all, and all stop after the same batch.
    """

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
    limit = TimeLimit(math.inf)
    again: str | None = None  # what resumes the work; see `resumable_by`
    files = ""

    def __init__(self, backend=None):
        self._backend = backend if backend is not None and backend.services.ranks > 1 else None
        self._asked, self._known = False, np.zeros(2)
        self._before = {}

    @property
    def requested(self) -> bool:
        """Whether to stop at the next place from which work can be resumed."""
        return any(self._reasons)

    @property
    def state(self) -> np.ndarray:
        """Whether this process was asked to stop, and whether its time is over: 0 or 1 each, to be summed over the ranks."""
        return np.array([self._asked, self.limit.over], float)

    def learn(self, states: np.ndarray) -> None:
        """Take over the sum of the `state` of all ranks."""
        self._known = states

    @property
    def _reasons(self):
        return self.state > 0 if self._backend is None else self._known > 0

    def _ask_all(self):
        """Exchange requests with the other ranks."""
        if self._backend is not None:
            self.learn(*self._backend.services.sum_over_ranks([self.state]))

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            hangup = getattr(signal, "SIGHUP", None)
            # nohup makes the process ignore the hangup signal: leave that as it is.
            heard = [n for n in self.SIGNALS if n != hangup or signal.getsignal(n) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._request) for number in heard}
        return self

    def __exit__(self, kind, *_):
        try:
            asked = kind is None and self.asked()
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if asked:  # after the last check: the next work must not start
            raise Interrupted(_stopped())

    def asked(self) -> bool:
        """Whether any rank was asked to stop, apart from a time limit. All ranks must call this at the same place."""
        self._ask_all()
        return bool(self._reasons[0])

    def _request(self, *_):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # OSError: a closed terminal; the hangup is heard, the message is not. RuntimeError: the signal came while the main
        # program was writing to the same stream.
        with contextlib.suppress(OSError, RuntimeError):
            print("\nstopping after this batch (Ctrl-C again: at once)", flush=True)

    def check(self, where: str, time_limit: bool = True) -> None:
        """Raise Interrupted or OutOfTime if any rank is requested to stop. All ranks must call this at the same place.

        time_limit: False for work that starts again from its beginning, because it would never end if the limit is too short.
        """
        self._ask_all()
        if self.requested if time_limit else self._reasons[0]:
            raise self.interruption(f"{where}; {self.again} resumes it" if self.again else where)

    def interruption(self, where: str) -> Interrupted:
        """The exception to raise after a request. It says where work stopped and, if the time is over, after how long."""
        if self._reasons[0]:
            return Interrupted(f"stopped {where}")
        return OutOfTime(f"--max-minutes {self.limit.minutes:g} are over: stopped {where}")
