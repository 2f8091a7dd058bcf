"""--module FILE.py: run a user's file, so that its models, layers and attacks can be used by the commands."""

import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from minihire.runtime.errors import MinihireError


def load_modules(paths: Iterable[Path]) -> None:
    """Run each file as a Python module, in order. A file registers what it adds, as in `MODELS["mine"] = …`.

    Raises MinihireError as `load_module` does.
    """
    for path in paths:
        load_module(path, "--module")


def load_module(path: Path, flag: str) -> ModuleType:
    """Run a file as a Python module, with all rights of the user, and return the module.

    flag: the flag whose value is the path, for messages. Raises MinihireError if the file is missing, is not Python, or fails.
    """
    if path.suffix != ".py":
        raise MinihireError(f"{flag} needs a Python file, FILE.py, not {path}")
    if not path.is_file():
        raise MinihireError(f"{flag}: there is no file {path}")
    name = f"minihire_module_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (MinihireError, KeyboardInterrupt):
        raise
    except BaseException as error:
        del sys.modules[name]
        raise MinihireError(f"{flag} {path} fails with {failure(error, path)}") from error
    return module


def explain(error: BaseException, paths: Iterable[Path]) -> str | None:
    """A line about an error in one of these files, which a command called; None if the error did not come through one."""
    for path in paths:
        if str(path.absolute()) in {frame.filename for frame in traceback.extract_tb(error.__traceback__)}:
            return f"--module {path} fails with {failure(error, path)}"
    return None


def failure(error: BaseException, path: Path) -> str:
    """Describe an error in one line: its kind, its message and the line of the file in which it occurred."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path.absolute()):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{reason} in line {line}" if line else reason
