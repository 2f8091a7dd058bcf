"""python -m minihire, and the command `minihire`.

Importing the program takes a moment. Ctrl-C meanwhile ends the process at once, because there is nothing to save; hence
this file imports as little as possible before `main` takes over the signal.
"""

import os
import signal
import sys


def main() -> int:
    """Run the command line. Returns its exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    hidden = _hidden_package()
    if hidden:
        _say(hidden)
        return 2
    from minihire.app import cli

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    try:
        return cli.main()
    except KeyboardInterrupt:  # in the moment before or after cli.main handles it
        _say("stopped")
        return 130


def _leave(*_):
    _say("stopped; nothing was written yet")
    os._exit(130)


def _say(sentence):
    try:
        os.write(2, f"minihire: {sentence}\n".encode())
    except OSError:  # standard error may be closed: the exit code says enough
        return


def _hidden_package():
    """A sentence if Python would import another `backends` than the one beside this package, else None."""
    from importlib.util import find_spec
    from pathlib import Path

    ours = Path(__file__).resolve().parents[1] / "backends"
    spec = find_spec("backends")
    found = [] if spec is None else spec.submodule_search_locations or [spec.origin]
    places = [Path(place).resolve() for place in found]
    if ours in places or not ours.is_dir():
        return None
    where = places[0] if places else "nothing"
    return f"{where} hides the package `backends` of minihire: start from another folder, or rename it"


if __name__ == "__main__":
    sys.exit(main())
