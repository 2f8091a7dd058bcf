"""Networks and measurements, each made once: a cache in one folder, keyed by what was asked for."""

import json
import math
import time
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from backends.interface import Backend
from backends.randomness import Draw, Stream
from minihire.analysis.accuracy import BATCH, accuracy, predict
from minihire.attacks import Attack, attack_accuracy
from minihire.data.batches import Batches
from minihire.data.dataset import Splits
from minihire.layers import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import say
from minihire.study.paper import notes
from minihire.study.paper.scales import Scale
from minihire.study.paper.subject import ELSEWHERE, Subject
from minihire.study.run import load_data, new_ann
from minihire.study.settings import Config
from minihire.training import checkpoint, convert, train

FORMAT = 1  # of the cache: a number that changes what is measured or trained under the same settings makes it grow


class Lab:
    """Trains and measures what is asked for, or finds it in OUT/cache. seeds: the first K whole numbers.

    Everything that is finished is kept; what is broken off goes on from its last checkpoint.
    """

    writes = True  # whether it may leave anything in the cache

    def __init__(self, scale: Scale, backend: Backend, out: Path, seeds: int = 1, download: bool = False):
        self.scale, self.backend, self.folder = scale, backend, Path(out) / "cache"
        self.seeds, self.download = range(seeds), download
        self.network = lru_cache(4)(self._network)
        self._splits: dict[tuple, Splits] = {}
        self.used: dict[Path, float] = {}  # seconds of what was made or found
        self._made_seconds = 0.0  # what this lab itself took, so that nothing is counted within another
        self.makers: dict[Path, str | None] = {}  # backend of what was found, None where it was not noted

    def splits(self, config: Config, download: bool | None = None) -> Splits:
        """The images of a configuration, read once. Raises MinihireError where the cache was made from others."""
        key = {f.name: getattr(config, f.name) for f in fields(Config) if f.metadata.get("group") == "data"}
        if (known := tuple(key.values())) not in self._splits:
            found = load_data(config, self.download if download is None else download)
            self._refuse_other_images(config, {n: v for n, v in key.items() if n not in ELSEWHERE}, found)
            self._splits[known] = found
        return self._splits[known]

    def _refuse_other_images(self, config, key, splits):
        """The key names the data set, not what lies in its files: the cache notes that, too."""
        path, found = (
            self.folder / "images" / f"{config.data}-{notes.digest([FORMAT, key])}.json",
            notes.digest_of_images(splits),
        )
        if path.exists():
            if notes.read(path, "and the images are noted again", "digest")["digest"] != found:
                where = f"those in {config.data_dir}" if config.data_dir else "this version's"
                raise MinihireError(
                    f"{self.folder.parent} holds results of other images of {config.data} than {where}: "
                    "give the folder of the same images, or choose another --out"
                )
        elif self.writes:
            notes.write(path, {"of": key, "digest": found})

    # ---------------------------------------------------------------- networks

    def path(self, subject: Subject) -> Path:
        """Where a network's checkpoint lies."""
        config = subject.config
        name = f"{config.model}-{config.data}-{subject.method}-{subject.seed}-{self._digest(subject.describe())}.npz"
        return self.folder / "models" / name

    def has(self, subject: Subject) -> bool:
        """Whether the network is there, trained to its end."""
        path = self.path(subject)
        return path.with_suffix(".done").exists() and path.exists()

    def _network(self, subject: Subject) -> Network:
        path, done = self.path(subject), self.path(subject).with_suffix(".done")
        self._count(subject)
        if self.has(subject):
            try:
                network = checkpoint.load(path).network(self.backend)
            except checkpoint.CheckpointError as error:
                raise MinihireError(f"{path} is damaged: delete it, and it is trained again") from error
            return replace(network, time_chunk=subject.config.time_chunk) if network.spiking else network
        network, self.used[done] = self._timed(lambda: self._made(subject, path), path.with_suffix(".spent"))
        notes.write(done, {"seconds": self.used[done], "of": subject.describe(), "backend": self.maker()})
        path.with_suffix(".spent").unlink(missing_ok=True)
        return network

    def _made(self, subject, path):
        config, method, seed = subject
        data = self.splits(config)
        if method == "converted":
            ann = self.network(Subject(config, "ann", seed))
            say(f"── converting {self.title(subject)}")
            options = dict(coding=config.coding, readout=config.readout, neuron=config.neuron)
            network = convert(
                ann,
                data.train,
                steps=config.steps,
                calibration=config.calibration,
                seed=seed,
                time_chunk=config.time_chunk,
                **options,
            )
            checkpoint.save(path, network, extra={"about": config.describe()})
            return network
        if method == "ann":
            network = new_ann(config, data.train, self.backend, seed)
        else:
            start, k = self.network(Subject(config, "converted", seed)), self.backend
            copies = {name: k.asarray(np.array(k.to_numpy(a))) for name, a in start.parameters.items()}
            network = replace(start, parameters=copies)
        StopSignal(self.backend).check("before a training; finished work was kept")
        say(f"── training {self.title(subject)}")
        recipe, about = config.recipe(method), config.describe()
        train(
            network, recipe, data.train, seed=seed, path=path, resume=True, label=f"{method}, seed {seed}", about=about
        )
        return network

    def _digest(self, content):
        """What a file goes by; products of another precision are other results."""
        precision = self.backend.precision
        return notes.digest([FORMAT, content, *([precision] if precision != "float32" else [])])

    def title(self, subject: Subject) -> str:
        """A network in words."""
        config = subject.config
        rate = "rate-coded " if config.coding == "rate" else ""
        return f"{rate}{config.model} on {config.data}: {subject.method}, seed {subject.seed}"

    # ---------------------------------------------------------------- measurements

    def measurement(self, what: dict) -> Path:
        """Where a measurement lies."""
        return self.folder / "measured" / f"{self._digest(what)}.json"

    def seconds(self) -> float:
        """What everything in the cache that this lab has used took to make."""
        return sum(self.used.values())

    def _count(self, subject):
        """What a network, and those that it was made from, took to make."""
        for method in {"ann", subject.method, *(() if subject.method == "ann" else ("converted",))}:
            one = subject._replace(method=method)
            done = self.path(one).with_suffix(".done")
            if done not in self.used and self.has(one):
                note = notes.read(done, f"and {self.path(one).name} too, and it is trained again", "seconds")
                self.used[done], self.makers[done] = note["seconds"], note.get("backend")

    def _timed(self, make, spent: Path | None = None):
        """make(), and its seconds less those of the networks that it had to train first.

        spent: a file for the seconds of what is broken off, to be counted when it has gone on to its end.
        """
        earlier = (
            notes.read(spent, "and its seconds are counted anew", "seconds")["seconds"]
            if spent and spent.exists()
            else 0.0
        )
        start, before = time.perf_counter(), self._made_seconds
        taken = lambda: round(earlier + time.perf_counter() - start - (self._made_seconds - before), 3)
        try:
            made = make()
        except BaseException:
            if spent and spent.with_suffix(".npz").exists():  # its checkpoint: a part of the work is kept
                notes.write(spent, {"seconds": taken()})
            raise
        seconds = taken()
        self._made_seconds = before + time.perf_counter() - start
        return made, seconds

    def maker(self) -> str:
        """The backend that makes something, in words: what is found in the cache may be another's."""
        k = self.backend
        return " ".join([k.name, *([k.precision] if k.precision != "float32" else [])])

    def once(self, what: dict, compute, *subjects: Subject) -> Any:
        """compute(), plain data, or what it returned when the same was asked for before.

        what: plain data, the key; subjects: the networks that it is about.
        """
        for subject in subjects:
            self._count(subject)
        path = self.measurement(what)
        if path.exists():
            content = notes.read(path, "and it is measured again", "what", "value", "seconds")
            if content["what"] != json.loads(json.dumps(what)):
                raise MinihireError(f"{path} is damaged: delete it, and it is measured again")
            self.used[path], self.makers[path] = content["seconds"], content.get("backend")
            return content["value"]
        value, self.used[path] = self._timed(compute, path.with_suffix(".spent"))
        notes.write(path, {"what": what, "value": value, "seconds": self.used[path], "backend": self.maker()})
        path.with_suffix(".spent").unlink(missing_ok=True)
        return value

    def answers(
        self,
        subject: Subject,
        attack: Attack | None = None,
        source: Subject | None = None,
        images: int | None = None,
        *,
        steps: int | None = None,
        part: str = "test",
    ):
        """Which of the first `images` test images (default: all) the network gets right, clean or attacked: bool [N].

        source: the network that the images are crafted on; default the attacked one itself. steps: time steps that both are run
        with, default those of their settings. part: "test", or "heldout" for the training images set aside.
        """
        data = getattr(self.splits(subject.config), part)
        data = data.limit(min(images or len(data), len(data)))
        source, steps = source or subject, steps or subject.config.steps
        what = {"answers": subject.describe(), "images": len(data), "steps": steps}
        if part != "test":
            what["part"] = part
        if attack:
            what |= {"attack": plain(attack), "source": source.describe()}

        def compute():
            network = self._run_with(subject, steps)
            if attack is None:
                right = accuracy(network, data, seed=subject.seed)
            else:
                StopSignal(self.backend).check("before an attack; finished work was kept")
                say(f"── {attack.name} on {self.title(subject)}" + ("" if source == subject else ", black box"))
                crafted_on = self._run_with(source, steps)
                path = self.measurement(what).with_suffix(".npz")
                right = attack_accuracy([network], crafted_on, data, attack, seed=subject.seed, path=path)[0]
            return {"count": len(right), "bits": np.packbits(right).tobytes().hex()}

        return _unpacked(self.once(what, compute, subject, source))

    def _run_with(self, subject, steps):
        network = self.network(subject)
        return replace(network, steps=steps) if network.spiking and network.steps != steps else network

    def answers_to_noise(self, subject: Subject, epsilon: float, images: int, draws: int = 10):
        """Which of the first test images the network gets right under every one of `draws` uniform perturbations: bool [N]."""
        test = self.splits(subject.config).test
        test = test.limit(min(images, len(test)))
        what = {"noise": epsilon, "draws": draws, "answers": subject.describe(), "images": len(test)}

        def compute():
            k, network, right = self.backend, self.network(subject), np.ones(len(test), bool)
            for number, (batch, labels) in enumerate(Batches(test, k, BATCH)):
                for step in range(draws):
                    first = number * BATCH * math.prod(test.shape)
                    noise = k.uniform(Draw(subject.seed, Stream.NOISE, step), batch.shape, first)
                    shift = (-epsilon,) * test.shape[2]
                    noise = k.scale_shift(noise, (2 * epsilon,) * test.shape[2], shift)
                    found = predict(
                        network, k.clip(k.add(batch, noise), 0.0, 1.0), Draws(subject.seed, 0, number * BATCH)
                    )
                    right[number * BATCH : number * BATCH + len(found)] &= found == k.to_numpy(labels)
            return {"count": len(right), "bits": np.packbits(right).tobytes().hex()}

        return _unpacked(self.once(what, compute, subject))

    def each(self, measure, parts) -> list:
        """measure(lab, part) of each part. What has several measurements asks for them here, so that a plan knows them all."""
        return [measure(self, part) for part in parts]

    def each_of(self, measure, groups: dict) -> dict:
        """`each` of several lists of parts, by the same keys."""
        found = iter(self.each(measure, [part for parts in groups.values() for part in parts]))
        return {key: [next(found) for _ in parts] for key, parts in groups.items()}

    def other(self, subject: Subject) -> Subject:
        """The same training with the next seed: where black-box images come from."""
        count = len(self.seeds)
        return subject._replace(seed=(subject.seed + 1) % count if count > 1 else subject.seed + 1)


def _unpacked(found):
    bits = np.frombuffer(bytes.fromhex(found["bits"]), np.uint8)
    return np.unpackbits(bits, count=found["count"]).astype(bool)


def plain(attack: Attack) -> dict:
    """An attack as plain data, for a key."""
    return {**asdict(attack), "surrogate": attack.surrogate and list(attack.surrogate)}
