"""The cache of `minihire paper`: checkpoints and measurements in one folder, in files named by a hash of their keys."""

import contextlib
import json
import time
from pathlib import Path

from backends.interface import Backend
from minihire.data.dataset import Splits
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import say
from minihire.study import notes
from minihire.study.settings import Config
from minihire.study.spec import WITHOUT_EFFECT, NetworkSpec
from minihire.study.stores import Store
from minihire.training.checkpoint import network_digest

FORMAT = 1  # part of every key: raise it when the same settings give other results


class CacheFolder(Store):
    """models/*.npz with *.done (seconds, key, backend, hashes of the weights and of those that it started from), measured/*.json
    (key, value, seconds, backend, hashes of the weights) and images/*.json. Earlier versions did not write the hashes.

    Interrupted work leaves *.spent: the seconds that it took so far.
    """

    def __init__(self, folder: Path, backend: Backend, writes: bool = True):
        self.folder, self.backend, self.writes = Path(folder), backend, writes
        self.used: dict[Path, float] = {}  # seconds that each file which was made or loaded took to make
        self._notes: dict[NetworkSpec, dict] = {}  # about networks, as they were read
        self.makers: dict[Path, str | None] = {}  # backend of each file that was loaded, None where it was not noted

    def digest(self, content) -> str:
        """The hash in a file's name. Products in another precision give other results, so the precision is part of it."""
        precision = self.backend.precision
        return notes.digest([FORMAT, content, *([precision] if precision != "float32" else [])])

    def maker(self) -> str:
        """The backend that is in use: files in the cache may come from another."""
        k = self.backend
        return " ".join([k.name, *([k.precision] if k.precision != "float32" else [])])

    def seconds(self) -> float:
        """Seconds that all files used so far took to make."""
        return sum(self.used.values())

    def refuse_other_images(self, config: Config, settings: dict, splits: Splits) -> None:
        """Raise MinihireError where the cache was filled from other images of the same data set.

        settings: the data settings of the configuration. The images' hash is noted when they are first used.
        """
        settings = {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT}
        path = self.folder / "images" / f"{config.data}-{notes.digest([FORMAT, settings])}.json"
        hashed = notes.digest_of_images(splits)
        if path.exists():
            if notes.read(path, "and the images are noted again", "digest")["digest"] != hashed:
                where = f"those in {config.data_dir}" if config.data_dir else "this version's"
                raise MinihireError(
                    f"{self.folder.parent} holds results of other images of {config.data} than {where}: "
                    "give the folder of the same images, or choose another --out"
                )
        elif self.writes:
            notes.write(path, {"of": settings, "digest": hashed})

    # ---------------------------------------------------------------- networks

    def checkpoint(self, spec):
        config, of = spec.config, spec.describe()
        name = f"{config.model}-{config.data}-{of['method']}-{spec.seed}-{self.digest(of)}.npz"
        return self.folder / "models" / name

    def _done(self, spec):
        return self.checkpoint(spec).with_suffix(".done")

    def has(self, spec):
        return self._done(spec).exists() and self.checkpoint(spec).exists() and not self._outdated(spec)

    def _outdated(self, spec):
        """Whether the network, or the one that it started from, was made from one that is another network by now."""
        note, start = self._note(spec), spec.start
        if start is None:
            return False
        return bool(note) and _is_later(self.weights(start), note.get("start")) or self._outdated(start)

    def _note(self, spec):
        """The note about a finished network; empty if there is none."""
        if spec not in self._notes:
            try:
                self._notes[spec] = notes.read(self._done(spec), "")
            except MinihireError:
                return {}
        return self._notes[spec]

    def weights(self, spec):
        return self._note(spec).get("weights")

    def label(self, spec):
        return f"{spec.method}, seed {spec.seed}"

    def title(self, spec):
        config = spec.config
        rate = "rate-coded " if config.coding == "rate" else ""
        return f"{rate}{config.model} on {config.data}: {self.label(spec)}"

    @contextlib.contextmanager
    def work_context(self, spec):
        StopSignal(self.backend).check(f"before {self.work_on(spec)}; finished work was kept")
        say(f"── {'converting' if spec.method == 'converted' else 'training'} {self.title(spec)}")
        self._done(spec).unlink(missing_ok=True)  # now its checkpoint may be that of an unfinished training
        self._notes.clear()
        with self._timed(self._done(spec)):
            yield

    def discard(self, spec):
        say(f"{self.title(spec)}: the network that it started from is another one now, so it is trained again")
        self.backend.services.wait_for_all_ranks()  # every rank has read the checkpoint
        self.checkpoint(spec).unlink(missing_ok=True)
        return True

    def note_made(self, spec, network, training):
        done = self._done(spec)
        about = {"seconds": self.used[done], "of": spec.describe(), "backend": self.maker()}
        about |= {"weights": network_digest(network), "start": spec.start and self.weights(spec.start)}
        notes.write(done, about)
        self._notes.clear()
        done.with_suffix(".spent").unlink(missing_ok=True)

    def note_loaded(self, spec):
        while spec:  # and the networks that it was made from
            done, path = self._done(spec), self.checkpoint(spec)
            if done not in self.used and self.has(spec):
                note = notes.read(done, f"and {path.name} too, and it is trained again", "seconds")
                self.used[done], self.makers[done] = note["seconds"], note.get("backend")
            spec = spec.start

    @contextlib.contextmanager
    def _timed(self, path):
        """Note the seconds of the work inside, those of interrupted attempts included, as used[path]."""
        spent, earlier = path.with_suffix(".spent"), 0.0
        if spent.exists():
            earlier = notes.read(spent, "and its seconds are counted anew", "seconds")["seconds"]
        start = time.perf_counter()
        taken = lambda: round(earlier + time.perf_counter() - start, 3)
        try:
            yield
        except BaseException:
            if spent.with_suffix(".npz").exists():  # a checkpoint or a part of the answers: this time is not lost
                notes.write(spent, {"seconds": taken()})
            raise
        self.used[path] = taken()

    # ---------------------------------------------------------------- measurements

    def measurement(self, key: dict) -> Path:
        """The file of a measurement."""
        return self.folder / "measured" / f"{self.digest(key)}.json"

    def has_value(self, key, specs):
        path = self.measurement(key)
        if not path.exists():
            return False
        measured = self._read(path).get("weights", [None] * len(specs))
        return not any(map(_is_later, map(self.weights, specs), measured)) and not any(map(self._outdated, specs))

    def _read(self, path):
        return notes.read(path, "and it is measured again", "what", "value", "seconds")

    def measure_once(self, key, compute, specs, title, read):
        for spec in specs:
            self.note_loaded(spec)
        path = self.measurement(key)
        if self.has_value(key, specs):
            content = self._read(path)
            try:
                if content["what"] != json.loads(json.dumps(key)):
                    raise ValueError("it is the measurement of something else")
                value = read(content["value"])
            except (LookupError, TypeError, ValueError) as error:
                raise MinihireError(f"{path} is damaged: delete it, and it is measured again") from error
            self.used[path], self.makers[path] = content["seconds"], content.get("backend")
            return value
        if title:
            StopSignal(self.backend).check(f"before {title}; finished work was kept")
            say(f"── {title}")
        with self._timed(path):
            value = compute()
        about = {"seconds": self.used[path], "backend": self.maker(), "weights": [*map(self.weights, specs)]}
        notes.write(path, {"what": key, "value": value, **about})
        if self.backend.services.rank == 0:
            for suffix in (".spent", ".npz"):
                path.with_suffix(suffix).unlink(missing_ok=True)
        return read(value)

    def attack_file(self, key, spec, attack, source):
        path = self.measurement(key).with_suffix(".npz")
        return {"path": path, "keep": True, "replace": True}  # those of an earlier network are replaced


def _is_later(weights: str | None, noted: str | None) -> bool:
    """Whether a network was made after a note about it. weights: the hash of the network's weights. noted: the hash in the note.

    Earlier versions recorded no hashes (None): a network with a hash is later than a note without one.
    """
    return weights is not None and weights != noted
