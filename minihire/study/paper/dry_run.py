"""A dry run of experiments: which networks and measurements they need, which of them exist, and how long the rest takes."""

import contextlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minihire.study.paper.paper_study import PaperStudy
from minihire.study.spec import NetworkSpec


class NotMeasured(Exception):
    """A measurement does not exist, and the experiment cannot continue without its value."""


@dataclass
class Needs:
    """The networks and the number of measurements that an experiment needs, and which of them are missing.

    networks, existing: by the checkpoint's path, so that settings without effect on a network do not count. missing_kinds: the
    kind of each missing measurement, see `_measurement_kind`.
    """

    networks: dict[Path, NetworkSpec] = field(default_factory=dict)
    existing: set[Path] = field(default_factory=set)
    measurements: int = 0
    missing_measurements: int = 0
    missing_kinds: list[tuple] = field(default_factory=list)

    @property
    def missing_networks(self) -> list[NetworkSpec]:
        """The networks that are to be trained."""
        return [spec for path, spec in self.networks.items() if path not in self.existing]

    @property
    def missing(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.missing_networks or self.missing_measurements)


class Plan:
    """Needs of experiments, given a study's cache, and an estimate of the time that is left."""

    def __init__(self, study: PaperStudy):
        self.study = study

    def needs(self, make) -> Needs:
        """The networks and measurements that make(study) needs. make: an experiment."""
        found = Needs()
        with contextlib.suppress(NotMeasured):
            make(DryRun(self.study, found))
        return found

    def seconds(self, needs: Needs) -> float | None:
        """The estimated time of the missing work: the mean of similar work in the cache; None where there is none."""
        took: dict[tuple, list[float]] = {}
        folder = self.study.store.folder
        for path in (*folder.glob("models/*.done"), *folder.glob("measured/*.json")):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # skip damaged files
                note = json.loads(path.read_text(encoding="utf-8"))
                kind = _training_kind(note["of"]) if path.suffix == ".done" else _measurement_kind(note["what"])
                took.setdefault(kind, []).append(float(note["seconds"]))
        wanted = [_training_kind(spec.describe()) for spec in needs.missing_networks] + needs.missing_kinds
        if any(kind not in took for kind in wanted):
            return None
        return sum(float(np.mean(took[kind])) for kind in wanted)


class DryRun(PaperStudy):
    """A study that trains and measures nothing: it notes what it is asked for. Missing answers are invented."""

    def __init__(self, study: PaperStudy, needs: Needs):
        super().__init__(study.scale, study.backend, study.out, len(study.seeds), writes=False)
        self._splits, self.needs, self._seen = study._splits, needs, set()

    def measure_once(self, key, compute, *specs, title="", read=lambda value: value):
        for spec in specs:
            self._note(spec)
        exists, name = self.store.has_value(key, specs), json.dumps(key, sort_keys=True)
        if name not in self._seen:
            self._seen.add(name)
            self.needs.measurements += 1
            if not exists:
                self.needs.missing_measurements += 1
                self.needs.missing_kinds.append(_measurement_kind(key))
        if exists:
            return self.store.measure_once(key, compute, specs, title, read)
        if "answers" in key:  # every second answer right
            return read({"count": key["images"], "bits": "aa" * math.ceil(key["images"] / 8)})
        raise NotMeasured

    def each(self, measure, parts):
        found = []
        for part in parts:
            with contextlib.suppress(NotMeasured):
                found.append(measure(self, part))
        if len(found) < len(parts):
            raise NotMeasured
        return found

    def _note(self, spec):
        """Note a network and those that it is made from."""
        while spec:
            path = self.store.checkpoint(spec)
            self.needs.networks[path] = spec
            if self.store.has(spec):
                self.needs.existing.add(path)
            spec = spec.start


def _training_kind(described):
    """Networks with equal kinds take about equally long to train: the method, its attack, and the size. described: a key."""
    attack = tuple(described.get(name) for name in ("adversarial_iterations", "adversarial_epochs"))
    return described["method"], attack, _size(described)


def _measurement_kind(key):
    """The same for measurements: the first entry's name, the attack's number of iterations, and the first network's size."""
    return next(iter(sorted(key))), key.get("attack", {}).get("iterations"), _size(key)


def _size(plain):
    """The settings that decide how long a network takes, found at any depth of a key; None where there are none."""
    if isinstance(plain, dict) and "model" in plain:
        return tuple(plain.get(name) for name in ("model", "data", "width", "train_limit", "test_limit", "coding"))
    inside = plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else ()
    return next(filter(None, map(_size, inside)), None)
