"""python -m minihire, and the command `minihire`."""

import contextlib
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> int:
    """Run the command line. Returns its exit code.

    The program's modules take a moment to import. Ctrl-C ends the process at once meanwhile, for there is nothing to save.
    """
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    hidden = _hidden_package()
    if hidden:
        _say(hidden)
        return 2
    from minihire.app import cli

    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    try:
        return cli.main()
    except KeyboardInterrupt:  # in the moment before or after cli.main handles it
        _say("stopped")
        return 130


def _leave(*_):
    _say("stopped")
    os._exit(130)


def _say(sentence):
    with contextlib.suppress(OSError):  # standard error may be closed: the exit code says enough
        os.write(2, f"minihire: {sentence}\n".encode())


def _hidden_package():
    """A sentence if Python would import another `backends` than the one beside this package, else None."""
    ours = Path(__file__).resolve().parents[1] / "backends"
    spec = find_spec("backends")
    places = (
        [] if spec is None else [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin]]
    )
    if ours in places or not ours.is_dir():
        return None
    where = places[0] if places else "nothing"
    return f"{where} hides the package `backends` of minihire: start from another folder, or rename it"


if __name__ == "__main__":
    sys.exit(main())
