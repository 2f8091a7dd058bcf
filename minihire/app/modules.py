"""--module FILE.py: run a user's file, so that its models, layers and attacks can be used by the commands."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from minihire.runtime.errors import MinihireError


def load_modules(paths: Iterable[Path]) -> None:
    """Run each file as a Python module, in order. A file registers what it adds, as in `MODELS["mine"] = …`.

    The files run with all rights of the user. Raises MinihireError if a file is missing, is not Python, or fails.
    """
    for path in paths:
        if path.suffix != ".py":
            raise MinihireError(f"--module needs a Python file, FILE.py, not {path}")
        if not path.is_file():
            raise MinihireError(f"--module: there is no file {path}")
        name = f"minihire_module_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except (MinihireError, KeyboardInterrupt):
            raise
        except BaseException as error:
            del sys.modules[name]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise MinihireError(f"--module {path} fails with {reason}{_line(error, path)}") from error


def _line(error, path):
    """Text with the line of the file in which the error occurred."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" in line {line}" if line else ""
