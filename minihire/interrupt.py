"""Ctrl-C (and SIGTERM) as a request: long work finishes its batch, saves, and says how to go on."""

import signal
import threading

from minihire.errors import MinihireError


class Interrupted(MinihireError):
    """Work stopped on request with everything so far saved; the command line exits with 130."""


class StopSignal:
    """While entered, the first Ctrl-C sets `requested`; a second one raises KeyboardInterrupt at once.

    Outside the main thread, where Python allows no handlers, `requested` stays False.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.requested = False
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in self.SIGNALS}
        return self

    def __exit__(self, kind, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.requested and kind is None:  # asked for after the last look: what follows must not begin
            raise Interrupted("stopped; finished work was kept (run and train go on with --resume)")

    def _request(self, *_):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping after this batch (Ctrl-C again: at once)", flush=True)

    def check(self, where: str) -> None:
        """Raise Interrupted if a stop was asked for."""
        if self.requested:
            raise Interrupted(f"stopped {where}")
