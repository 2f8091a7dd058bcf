"""The state of an evaluation of robustness: the answers of the attacks that have finished, from which the same call resumes."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from backends.services import Services
from minihire.runtime.checksum import checksum, take_checksum
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import Written, read_text, write_atomically
from minihire.runtime.interrupt import Interrupted


class OtherEvaluation(MinihireError):
    """The state of an evaluation of another network, or with other images or settings."""


class State:
    """Answers of the finished attacks of a suite, in FOLDER/suite.json. FOLDER/suite.npz has those of the attack in progress.

    key: what the suite was called with. services: those of the network's backend. Without a folder nothing is kept. Raises
    MinihireError if the file is damaged or belongs to another program, and OtherEvaluation if it belongs to another evaluation.
    """

    def __init__(self, folder: Path | None, key: dict[str, Any], services: Services):
        self.path = None if folder is None else Path(folder) / "suite.json"
        self.key, self.services, self._begin = key, services, perf_counter()
        self.answers: dict[str, np.ndarray] = {}
        if self.path and self.path.exists():
            self._read(self.path)

    @property
    def seconds(self) -> float:
        """The time of this call and of those that it resumes."""
        return perf_counter() - self._begin

    def _read(self, path):
        try:
            content = json.loads(read_text(path))
            if not (isinstance(content, dict) and content.keys() - {"checksum"} == {"key", "answers", "seconds"}):
                raise MinihireError(
                    f"{path} is not the state of a suite: move it, or write the result to another file or folder"
                )
            if not take_checksum(content):
                raise ValueError("its checksum differs")
            same, seconds = content["key"] == self.key, float(content["seconds"])
            found = {label: bytes.fromhex(text) for label, text in content["answers"].items()} if same else {}
            size = (self.key["images"] + 7) // 8
            if not 0 <= seconds < math.inf or any(len(bits) != size for bits in found.values()):
                raise ValueError("a value out of range")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise MinihireError(f"{path} is damaged: delete it, and the suite starts again") from error
        if not same:
            raise OtherEvaluation(
                f"{path} is of another evaluation: delete it, or write the result to another file or folder"
            )
        Written.earlier, self._begin = True, self._begin - seconds
        for label, bits in found.items():
            self.answers[label] = np.unpackbits(np.frombuffer(bits, np.uint8), count=self.key["images"]).astype(bool)

    def once(self, label: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The answers bool [N] of an attack: the stored ones, or compute(), which are then stored."""
        if label not in self.answers:
            try:
                self.answers[label] = compute()
            except Interrupted:
                self._save()  # for the time that was spent
                raise
            self._save()
            if self.path:
                if self.services.rank == 0:
                    self._interim.unlink(missing_ok=True)
                self.services.wait_for_all_ranks()  # no rank looks for the file before rank 0 has deleted it
        return self.answers[label]

    def partial(self, label: str) -> dict[str, Any]:
        """Arguments of `attack_accuracy` with which an attack resumes. It keeps its answers until `once` has stored them.

        A file that an earlier attack of the suite left is replaced.
        """
        if self.path is None:
            return {}
        return {"path": self._interim, "about": json.dumps([self.key, label]), "keep": True, "replace": True}

    @property
    def _interim(self):
        return self.path.with_name("suite.npz")

    def _save(self):
        if self.path:
            answers = {label: np.packbits(right).tobytes().hex() for label, right in self.answers.items()}
            content = {"key": self.key, "answers": answers, "seconds": self.seconds}
            text = json.dumps({**content, "checksum": checksum(content)})
            write_atomically(self.path, lambda file: file.write(text.encode()))


def forget(folder: Path) -> None:
    """Delete the state of `evaluate_robustness` in this folder, and the folder if nothing else is in it."""
    for name in ("suite.json", "suite.npz"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
