"""results.json: all results of a run, from which tables, figures and pages are made. Schema: docs/results-schema.md.

`load_suite` reads a result of `minihire attack --suite`.
"""

import contextlib
import json
import math
import os
import platform
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from minihire import __version__
from minihire.runtime.checksum import checksum, take_checksum
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import read_text, utf8, write_atomically
from minihire.runtime.machine import peak_memory, processor, reset_peak_memory

SCHEMA = 1
KEYS = dict.fromkeys(("config", "machine", "data", "phases", "models", "activity", "energy", "distance"), dict)
KEYS |= dict.fromkeys(("accuracy", "examples", "warnings"), list) | {"finished": bool}
# The fields of each network, phase and accuracy that every version wrote, and their types.
TEXT, NUMBER = (str,), (int, float)
FIELDS = {
    "models": {"checkpoint": TEXT, "seed": (int,), "history": (list,), "thresholds": (dict,), "leaks": (dict,)},
    "phases": {"seconds": NUMBER, "peak_memory_bytes": NUMBER},
    "accuracy": dict.fromkeys(("model", "access", "attack"), TEXT)
    | dict.fromkeys(("correct", "count"), (int,))
    | dict.fromkeys(("accuracy", "low", "high"), NUMBER),
}


class Results:
    """The content of OUT/results.json. The whole file is written again after every finished piece of work."""

    def __init__(self, path: Path, content: dict[str, Any]):
        self.path, self.content = Path(path), content

    @classmethod
    def new(cls, path: Path, config: dict, backend) -> "Results":
        """Empty results for this configuration."""
        machine = {
            "backend": backend.name,
            "device": backend.device,
            "dtype": backend.dtype,
            "precision": backend.precision,
            "threads": backend.threads,
            "ranks": backend.services.ranks,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "processor": processor(),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        content = {
            "schema": SCHEMA,
            "minihire": __version__,
            "finished": False,
            "config": config,
            "machine": machine,
            "data": {},
            "phases": {},
            "models": {},
            "accuracy": [],
            "activity": {},
            "energy": {},
            "distance": {},
            "examples": [],
            "spike_trains": {},
            "warnings": [],
        }
        return cls(path, content)

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read a results file. Raises MinihireError if it is missing, damaged or of a newer schema."""
        path = Path(path)
        try:
            content = json.loads(read_text(path), parse_float=_finite, parse_constant=_finite)
            newer = content["schema"] > SCHEMA
            whole = newer or all(type(content[key]) is kind for key, kind in KEYS.items()) and _has_fields(content)
        except OSError as error:
            raise MinihireError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MinihireError(f"{path} is not a results file of minihire, or it is damaged") from error
        if not whole:
            raise MinihireError(f"{path} is not a results file of minihire, or it is damaged")
        if newer:
            raise MinihireError(
                f"{path} has schema {content['schema']}, this version reads up to {SCHEMA}: update minihire"
            )
        if not take_checksum(content):
            raise MinihireError(
                f"{path} is damaged, or was edited: its checksum differs; "
                'restore it, or remove its entry "checksum" to use it as it is'
            )
        return cls(path, content)

    def save(self) -> None:
        """Write the file, whole or not at all, with a checksum."""
        content = {**self.content, "checksum": checksum(self.content)}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path, lambda file: file.write(utf8(text)))

    def __getitem__(self, key):
        return self.content[key]

    def __setitem__(self, key, value):
        self.content[key] = value

    def warn(self, sentence: str) -> None:
        """Add a warning, unless it is there already."""
        if sentence not in self["warnings"]:
            self["warnings"].append(sentence)

    @contextlib.contextmanager
    def phase(self, name: str):
        """A context manager that measures time and peak memory of a phase, then saves. A resumed phase adds to its time."""
        exact = reset_peak_memory()
        start = time.perf_counter()
        try:
            yield
        finally:
            entry = self["phases"].setdefault(
                name, {"seconds": 0.0, "peak_memory_bytes": 0, "peak_of_phase_alone": exact}
            )
            entry["seconds"] = round(entry["seconds"] + time.perf_counter() - start, 3)
            entry["peak_memory_bytes"] = max(entry["peak_memory_bytes"], peak_memory())
            self.save()


def load_suite(path: Path) -> dict[str, Any]:
    """The content of a file that `minihire attack --suite … --json FILE` wrote.

    Raises MinihireError if the file is missing or damaged, or if it has other content.
    """
    try:
        content = json.loads(read_text(path), parse_float=_finite, parse_constant=_finite)
        ours = content["command"] == "attack" and type(content["robustness"]) is type(content["config"]) is dict
        ours = take_checksum(content) and ours
    except OSError as error:
        raise MinihireError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise MinihireError(
            f"{path} is not a result of `minihire attack --suite`, or it is damaged: give a file that this command wrote with "
            "--json, or the folder of a run"
        )
    return content


def _has_fields(content: dict) -> bool:
    """Whether every network, phase and accuracy has its FIELDS. Raises KeyError or TypeError if one is missing."""
    return all(
        type(entry[name]) in kinds
        for part, fields in FIELDS.items()
        for entry in (content[part].values() if isinstance(content[part], dict) else content[part])
        for name, kinds in fields.items()
    )


def _finite(text: str) -> float:
    """Parse a finite number; `save` writes no others. Raises ValueError for NaN and infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value
