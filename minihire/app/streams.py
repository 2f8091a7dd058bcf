"""Standard output and error that are closed or full: the command finishes its work and reports the fault at its end."""

import contextlib
import os
import sys

from minihire.runtime.terminal import without_foreign_codes


class GuardedOutput:
    """A text stream that does not raise write errors: the first one is noted in `error`, and later text is discarded.

    Control characters that the program does not use are escaped, because names of files may contain them. A closed pipe still
    raises BrokenPipeError, because its reader wants no more; `gone` is then true. Other attributes are those of the stream.
    """

    def __init__(self, stream):
        self.stream, self.error = stream, None if stream is not None else "it is closed"
        self.gone = False

    def _try(self, call, otherwise):
        if self.error:
            return otherwise
        try:
            return call()
        except BrokenPipeError:
            self.gone = True
            _discard(self.stream)
            raise
        except OSError as error:
            self.error = error.strerror or str(error)
            _discard(self.stream)
            return otherwise

    def write(self, text: str) -> int:
        """Write the text; its length."""
        self._try(lambda: self.stream.write(without_foreign_codes(text)), None)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._try(lambda: self.stream.flush(), None)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def __getattr__(self, name):
        return getattr(self.stream, name)


@contextlib.contextmanager
def guarded_streams():
    """While entered, sys.stdout and sys.stderr raise no write errors, except for a closed pipe. Yields the guarded output."""
    _fill_closed_descriptors()
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    output, error = (GuardedOutput(stream) for stream in before)
    sys.stdout, sys.stderr = output, error
    try:
        yield output
        with contextlib.suppress(BrokenPipeError):
            error.flush()
    finally:
        sys.stdout, sys.stderr = before


def reader_is_gone() -> bool:
    """Whether standard output or error is a pipe whose reader has closed it, as `| head` does."""
    return any(getattr(stream, "gone", False) for stream in (sys.stdout, sys.stderr))


def _fill_closed_descriptors():
    """Open /dev/null in the place of closed standard streams, so that no other file takes their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _discard(stream):
    """Point the stream's descriptor to /dev/null, so that the text in its buffer raises nothing when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
