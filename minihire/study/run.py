"""`minihire run`: ANN, conversion, SNN training, attacks, activity and energy, in one folder that can be resumed at any point."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from backends.interface import Backend
from backends.randomness import Draws
from minihire.analysis import Score, perturbation_distance, spike_distance, spike_trains
from minihire.analysis.accuracy import confusion_matrix
from minihire.attacks import Attack, perturb
from minihire.data.batches import Batches
from minihire.data.dataset import Splits
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.interrupt import StopSignal
from minihire.study import notes
from minihire.study.networks import activity_and_energy
from minihire.study.pictures import attacked_examples
from minihire.study.results import Results
from minihire.study.settings import Config, as_flag
from minihire.study.spec import NetworkSpec
from minihire.study.stores import RunFolder
from minihire.study.study import Study
from minihire.training.callbacks import Callback
from minihire.training.health import no_better_than_chance

DISTANCE_IMAGES = 100
BATCH_SIZES = ("batch_size", "ann_batch_size")  # per process: a resumed run may have another number of processes
# An attacked network, and the one that images are crafted on; others are loaded again when they are needed.
NETWORKS_IN_MEMORY = 2
EXTENDABLE = ("methods", "black_box")  # settings of which a resumed run may ask for more


class Run:
    """Train and evaluate the networks of one seed, for black-box attacks also those of a second seed; record all results."""

    def __init__(
        self,
        config: Config,
        backend: Backend,
        out: Path,
        splits: Splits,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
    ):
        self.config, self.backend, self.splits = config, backend, splits
        path, data = Path(out) / "results.json", describe_images(splits)
        if resume and path.exists():
            self.results = Results.load(path)
            refuse_other_settings(self.results, config, backend.services.ranks)
            refuse_other_images(self.results, data, config)
            self._extend(data)
        else:
            self.results = Results.new(path, config.describe(), backend)
            self.results["data"] = data
            self.results.save()
        settings = json.dumps(config.describe(), indent=1)
        write_atomically(path.with_name("config.json"), lambda file: file.write(settings.encode()))
        self.folder = RunFolder(Path(out), config, backend, self.results)
        self.study = Study(backend, self.folder, splits, in_memory=NETWORKS_IN_MEMORY, callbacks=callbacks)

    def _extend(self, data):
        """Record the methods and the black box that a resumed run adds, and the digest that earlier versions did not record."""
        before, now = self.results["config"], self.config.describe()
        if any(before.get(name) != now[name] for name in EXTENDABLE):
            self.results["config"] = {**before, **{name: now[name] for name in EXTENDABLE}}
            self.results["finished"] = False
            self.results.save()
        if not self.results["finished"]:
            self.results["data"] = data

    def run(self) -> Results:
        """Do everything that is not done yet."""
        if not self.results["finished"]:
            specs = self.specs(self.config.seed)
            others = self.specs(self.config.seed + 1) if self.config.black_box else []
            for spec in (*specs, *others):
                self.study.network(spec)
            self._evaluate(specs, others)
            self.results["examples"], self.results["spike_trains"] = [], {}
            for spec in specs:
                self._analyse(spec.method, self.study.network(spec))
            self.results["finished"] = True
            self.results.save()
        return self.results

    def specs(self, seed: int) -> list[NetworkSpec]:
        """The networks of a seed, in the order in which they are made."""
        return [NetworkSpec(self.config, method, seed) for method in ("ann", "converted", *self.config.methods)]

    def _evaluate(self, specs, others):
        """Clean accuracy, then every attack: white box, and black box from the same method's second seed."""
        for spec in specs:
            self._accuracy(spec, None, None, "clean")
        for attack in self.config.attacks:
            for spec in specs:
                self._accuracy(spec, attack, spec, "white_box")
                other = spec._replace(seed=self.config.seed + 1)
                if other in others and spec.method != "converted":
                    self._accuracy(spec, attack, other, "black_box")

    def _accuracy(self, spec, attack: Attack | None, source, access):
        """A row of "accuracy" in results.json, unless it is there."""
        row = {"model": spec.method, "access": access, "attack": attack.name if attack else "none"}
        if not any(row.items() <= known.items() for known in self.results["accuracy"]):
            self._measure_accuracy(row, spec, attack, source)
        if attack:
            self.folder.clear(spec, attack, source)

    def _measure_accuracy(self, row, spec, attack, source):
        phase = f"attack {attack.name}" if attack else "clean test images"
        with self.folder.phase(phase, f"{spec.method}, {row['access'].replace('_', ' ')}" if attack else spec.method):
            test, predicted = self.splits.test, self.study.predictions(spec, attack, source)
            confusion = confusion_matrix(test.labels, predicted, len(test.classes))
            score = Score(int(confusion.trace()), len(test)).as_dict()
            row |= {"source": source and self.folder.label(source), **score, "confusion": confusion.tolist()}
            self.results["accuracy"].append(row)
            if attack is None and spec.method != "converted":  # a converted SNN is only the start of a training
                self._warn_of_chance(spec.method, score["correct"])

    def _warn_of_chance(self, method: str, correct: int):
        """Add a warning if the clean accuracy cannot be told from chance, unless the training gave a warning already."""
        found = no_better_than_chance(correct, self.splits.test.labels)
        if found and not any(known.startswith(f"{method}: it") for known in self.results["warnings"]):
            self.results.warn(f"{method}: {found}")

    def _analyse(self, name: str, network: Network):
        """Activity, energy and perturbation distances of a network, its spike trains, and a few attacked images."""
        results, test, k, seed = self.results, self.splits.test, self.backend, self.config.seed
        images, labels = Batches(test, k, min(DISTANCE_IMAGES, len(test))).load(0, 0)
        attack = self.config.attacks[-1]
        with self.folder.phase("analysis", name), StopSignal(k) as stop:
            check = partial(stop.check, "during the analysis", time_limit=False)
            activity, energy = activity_and_energy(network, test, seed, stop)
            results["activity"][name] = [layer.as_dict() for layer in activity]
            results["energy"][name] = {kind: value.as_dict() for kind, value in energy.items()}
            crafted = perturb(network, images, labels, attack, Draws(seed))
            check()
            clean, attacked = k.to_numpy(images), k.to_numpy(crafted)
            distance = {
                "attack": attack.name,
                "images": len(clean),
                "pixels": float(perturbation_distance(clean, attacked).mean()),
            }
            if network.spiking:
                layers = spike_distance(network, images, crafted, seed=seed)
                check()
                distance["spikes"] = {layer: float(values.mean()) for layer, values in layers.items()}
                pair = (k.rows(batch, 0, 1) for batch in (images, crafted))
                results["spike_trains"][name] = spike_trains(network, *pair, seed=seed)
            results["distance"][name] = distance
            results["examples"] += attacked_examples(name, network, test, attack, seed, clean, attacked)


def finished_networks(out: Path, config: Config, backend: Backend) -> set[tuple[str, int]]:
    """(method, seed) of the networks that a resumed run in the folder `out` does not make again."""
    folder = RunFolder(out, config, backend, Results.load(out / "results.json"))
    methods, seeds = ("ann", "converted", *config.methods), (config.seed, config.seed + 1)
    specs = [NetworkSpec(config, method, seed) for seed in seeds for method in methods]
    return {(spec.method, spec.seed) for spec in specs if folder.has(spec)}


def describe_images(splits: Splits) -> dict:
    """The entry "data" of results.json. digest: a hash of all images and labels, by which a resumed run knows them again."""
    return {
        "name": splits.train.name,
        "classes": list(splits.train.classes),
        "image_shape": list(splits.train.shape),
        "train": len(splits.train),
        "heldout": len(splits.heldout) if splits.heldout else 0,
        "test": len(splits.test),
        "digest": notes.digest_of_images(splits),
    }


def refuse_other_images(results: Results, data: dict, config: Config) -> None:
    """Raise MinihireError if a run in progress was started with other images. data: what `describe_images` returns.

    The images may lie in another folder. A run of an earlier version recorded no digest: its classes and numbers are compared.
    """
    recorded = results["data"]
    if any(recorded.get(name, value) != value for name, value in data.items()):
        now = f"are in {config.data_dir} now: give the folder of its images with --data-dir"
        if config.data == "shapes":
            now = "this version draws: resume with the version that started it"
        raise MinihireError(f"this run was started with other images than {now}, or choose another --out")


def refuse_other_settings(results: Results, config: Config, ranks: int) -> None:
    """Raise MinihireError if a run in progress was started with other settings.

    A resumed run may use another data folder, add methods, and add the black box. It may also use another number of processes,
    if the size of a batch, summed over all processes, stays the same.
    """
    ranks_before = results["machine"].get("ranks", 1)
    # A run of an earlier version had the defaults of the settings that this version has added.
    recorded = {**Config().describe(), **results["config"]}
    before, now = _over_all(recorded, ranks_before), _over_all(config.describe(), ranks)
    for name in now:
        more_methods = name == "methods" and set(before.get(name) or ()) <= set(now[name])
        more = more_methods or (name == "black_box" and now[name])
        if name != "data_dir" and before.get(name) != now[name] and not more:
            together = " over all processes" if max(ranks_before, ranks) > 1 and name in BATCH_SIZES else ""
            raise MinihireError(
                f"this run was started with {as_flag(name, before.get(name))}{together}, not with {as_flag(name, now[name])}: "
                f"resume with the same settings, or choose another --out"
            )


def _over_all(settings, ranks):
    """The settings with the batch sizes of all processes together."""
    return {name: value * ranks if name in BATCH_SIZES else value for name, value in settings.items()}
