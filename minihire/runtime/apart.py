"""A call in a process of its own, for measurements that depend on everything that a process did before."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import Progress


def call_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return function(*arguments), called in a new process. It is as quiet as this one, and it raises the same exceptions.

    Ctrl-C reaches all processes of a terminal. The new one ignores it and is ended by this one. Raises MinihireError if the new
    process ends without a result.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, Progress.quiet, function, arguments))
    with _ignored_by_new_processes(signal.SIGINT):
        process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        result = receiver.recv()
    except EOFError:
        process.join()
        raise MinihireError(
            f"the process that measures ended with code {process.exitcode} and no result, probably because memory ran out: "
            "free some memory and try again"
        ) from None
    finally:
        process.terminate()
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _send_result(sender: Connection, quiet: bool, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    Progress.quiet = quiet
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    sender.send(result)


@contextlib.contextmanager
def _ignored_by_new_processes(number: int) -> Iterator[None]:
    """While entered, this process ignores a signal. Processes that it starts inherit this for as long as they run."""
    ours = threading.current_thread() is threading.main_thread()  # Python changes handlers only there
    before = signal.signal(number, signal.SIG_IGN) if ours else None
    try:
        yield
    finally:
        if ours:
            signal.signal(number, before)
