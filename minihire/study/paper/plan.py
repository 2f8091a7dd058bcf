"""What an experiment would need: it is run on a lab that makes nothing, and only writes down what is asked of it."""

import contextlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minihire.study.paper.lab import Lab
from minihire.study.paper.subject import Subject


class NotMeasured(Exception):
    """A measurement that is not there, and whose value the experiment cannot do without."""


@dataclass
class Needs:
    """Networks, and how many measurements, of which some are missing."""

    networks: dict[Path, Subject] = field(
        default_factory=dict
    )  # by where it lies: settings that it ignores do not count
    there: set[Path] = field(default_factory=set)
    measurements: int = 0
    missing_measurements: int = 0
    kinds: list[tuple] = field(default_factory=list)  # of the missing measurements

    @property
    def missing_networks(self) -> list[Subject]:
        """Those to be trained."""
        return [subject for path, subject in self.networks.items() if path not in self.there]

    @property
    def missing(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.missing_networks or self.missing_measurements)


class Plan:
    """Needs of experiments on a lab's cache. Seconds are guessed from what like things took that lie there."""

    def __init__(self, lab: Lab):
        self.lab = lab

    def needs(self, make) -> Needs:
        """What make(lab) would ask for."""
        found = Needs()
        clerk = Clerk(self.lab, found)
        with contextlib.suppress(NotMeasured):
            make(clerk)
        return found

    def seconds(self, needs: Needs) -> float | None:
        """About how long the missing part takes; None where nothing like it was ever done here."""
        took: dict[tuple, list[float]] = {}
        for path in (*self.lab.folder.glob("models/*.done"), *self.lab.folder.glob("measured/*.json")):
            with contextlib.suppress(
                OSError, ValueError, LookupError, TypeError, AttributeError
            ):  # damaged: no help here
                note = json.loads(path.read_text(encoding="utf-8"))
                kind = _training(note["of"]) if path.suffix == ".done" else _kind(note["what"])
                took.setdefault(kind, []).append(float(note["seconds"]))
        wanted = [_training(subject.describe()) for subject in needs.missing_networks] + needs.kinds
        if any(kind not in took for kind in wanted):
            return None
        return sum(float(np.mean(took[kind])) for kind in wanted)


class Clerk(Lab):
    """A lab that makes nothing."""

    writes = False

    def __init__(self, lab: Lab, needs: Needs):
        super().__init__(lab.scale, lab.backend, lab.folder.parent, len(lab.seeds))
        self._splits, self.needs, self.seen = lab._splits, needs, set()

    def once(self, what, compute, *subjects):
        for subject in subjects:
            self._note(subject)
        key = json.dumps(what, sort_keys=True)
        path = self.measurement(what)
        if key not in self.seen:
            self.seen.add(key)
            self.needs.measurements += 1
            if not path.exists():
                self.needs.missing_measurements += 1
                self.needs.kinds.append(_kind(what))
        if path.exists():
            return super().once(what, compute, *subjects)
        if "answers" in what:  # every other one right
            return {"count": what["images"], "bits": "aa" * math.ceil(what["images"] / 8)}
        raise NotMeasured

    def each(self, measure, parts):
        found = []
        for part in parts:
            with contextlib.suppress(NotMeasured):
                found.append(measure(self, part))
        if len(found) < len(parts):
            raise NotMeasured
        return found

    def _note(self, subject):
        for one in (subject, *(subject._replace(method=m) for m in ("ann", "converted") if m != subject.method)):
            if one.method == "converted" and subject.method == "ann":
                continue
            self.needs.networks[self.path(one)] = one
            if self.has(one):
                self.needs.there.add(self.path(one))


def _training(of):
    """What the cost of a network goes by, from its description."""
    return of["method"], _size(of)


def _kind(what):
    """What the cost of a measurement goes by: its kind, the attack's number of iterations, and its first network."""
    return next(iter(sorted(what))), what.get("attack", {}).get("iterations"), _size(what)


def _size(plain):
    """The settings that make a network, or the first one in a measurement's key, quick or slow: "mini" is not "small"."""
    if isinstance(plain, dict) and "model" in plain:
        return tuple(plain.get(name) for name in ("model", "data", "width", "train_limit", "test_limit", "coding"))
    inside = plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else ()
    return next(filter(None, map(_size, inside)), None)
