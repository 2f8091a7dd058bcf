"""`minihire run`: ANN → conversion → SNN training → attacks → activity and energy, in one folder, resumable anywhere."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from backends.interface import Backend
from minihire import data as datasets
from minihire.analysis import (
    Score,
    measure_activity,
    measure_energy,
    perturbation_distance,
    spike_distance,
    spike_trains,
)
from minihire.analysis.accuracy import BATCH, accuracy
from minihire.attacks import attack_accuracy, perturb
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset, Splits
from minihire.layers import Draws
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import say
from minihire.study.pictures import attacked_examples, noise_pictures
from minihire.study.results import Results
from minihire.study.settings import Config
from minihire.training import checkpoint, convert, train

DISTANCE_IMAGES = 100
BATCH_SIZES = ("batch_size", "ann_batch_size")  # the settings that are each process's own
GROWING = ("methods", "black_box")  # the settings that a resumed run may have more of
DATA_SEED = 0  # the split into training and held-out images is the same for every seed


def load_data(config: Config, download: bool = False) -> Splits:
    """The data set that a configuration names."""
    return datasets.load(
        config.data,
        config.data_dir,
        seed=DATA_SEED,
        heldout=config.heldout,
        train_limit=config.train_limit,
        test_limit=config.test_limit,
        download=download,
        size=config.image_size,
    )


def build_model(config: Config, data: Dataset):
    """The model that a configuration names, for the images of a data set.

    Rate coding knows no normalisation, so the ANN that is to be converted for it learns without one too.
    """
    rate = config.coding == "rate"
    return build(
        config.model,
        len(data.classes),
        data.shape,
        mean=(0.0,) * data.shape[2] if rate else data.mean,
        std=(1.0,) * data.shape[2] if rate else data.std,
        width=config.width,
        hidden=config.hidden,
        dropout=config.dropout,
    )


def new_ann(config: Config, data: Dataset, backend: Backend, seed: int) -> Network:
    """The configuration's ANN with fresh weights.

    For rate coding it sees images that are not normalised, and hardly learns from numbers that are all positive and small:
    its first filters begin with mean zero, and as much larger as the pixels' spread is smaller.
    """
    model = build_model(config, data)
    parameters = initialise(model, backend, seed)
    if config.coding == "rate":
        first = next(iter(parameters))
        filters = backend.to_numpy(parameters[first])
        centred = filters - filters.mean(axis=(0, 1, 2), keepdims=True)
        parameters[first] = backend.asarray(centred / np.mean(data.std))
    return Network(model, backend, parameters)


class Run:
    """One run in its folder: OUT/results.json, OUT/models/*.npz (the second seed's in OUT/models/second/), OUT/figures/*.png."""

    def __init__(self, config: Config, backend: Backend, out: Path, splits: Splits, resume: bool = False):
        self.config, self.backend, self.out, self.splits = config, backend, Path(out), splits
        path = self.out / "results.json"
        if resume and path.exists():
            self.results = Results.load(path)
            refuse_other_settings(self.results, config, backend.ranks)
            self._extend(config)
        else:
            self.results = Results.new(path, config.describe(), backend)
            self.results.save()
        train_set = splits.train
        self.results["data"] = {
            "name": train_set.name,
            "classes": list(train_set.classes),
            "image_shape": list(train_set.shape),
            "train": len(train_set),
            "heldout": len(splits.heldout) if splits.heldout else 0,
            "test": len(splits.test),
        }

    def _extend(self, config):
        """Take over what a resumed run is asked for in addition; what it had found stays."""
        before = self.results["config"]
        if any(before[name] != config.describe()[name] for name in GROWING):
            self.results["config"] = {**before, **{name: config.describe()[name] for name in GROWING}}
            self.results["finished"] = False
            self.results.save()

    def run(self) -> Results:
        """Everything that is not done yet."""
        if self.results["finished"]:
            return self.results
        models = self.train_all(self.config.seed, "")
        black_box = self.train_all(self.config.seed + 1, "second") if self.config.black_box else {}
        self.evaluate(models, black_box)
        self.analyse(models)
        self.results["finished"] = True
        self.results.save()
        return self.results

    # ---------------------------------------------------------------- training

    def train_all(self, seed: int, folder: str) -> dict[str, Network]:
        """The ANN, its conversion and every method's SNN, trained or read from their checkpoints."""
        config = self.config
        ann = new_ann(config, self.splits.train, self.backend, seed)
        networks = {"ann": self._trained("ann", ann, seed, folder)}
        networks["converted"] = self._converted(networks["ann"], seed, folder)
        for method in config.methods:
            start = networks["converted"]
            copies = {
                name: self.backend.asarray(np.array(self.backend.to_numpy(a))) for name, a in start.parameters.items()
            }
            networks[method] = self._trained(method, replace(start, parameters=copies), seed, folder)
        return networks

    def _trained(self, method, network, seed, folder) -> Network:
        path = self.out / "models" / folder / f"{method}.npz"
        label = f"{folder} {method}".strip()
        kept = self._finished(path)
        if kept:
            return kept
        with self._phase(f"train {label}"):
            done = train(
                network,
                self.config.recipe(method),
                self.splits.train,
                seed=seed,
                heldout=self.splits.heldout,
                path=path,
                resume=True,
                label=label,
                about=self.config.describe(),
            )
        self.results["models"][label] = {
            "checkpoint": str(path.relative_to(self.out)),
            "seed": seed,
            "history": done.history,
            "thresholds": _scalars(network, ".threshold"),
            "leaks": _scalars(network, ".leak"),
        }
        noise = None if folder else noise_pictures(done)
        if noise:
            self.results["models"][label]["noise"] = noise
        for sentence in done.warnings:
            self.results.warn(sentence)
        self.results.save()
        return network

    def _converted(self, ann, seed, folder) -> Network:
        config, path = self.config, self.out / "models" / folder / "converted.npz"
        label = f"{folder} converted".strip()
        if path.exists() and label in self.results["models"]:
            return checkpoint.load(path).network(self.backend)
        with self._phase(f"convert {label.replace('converted', 'ann')}"):
            snn = convert(
                ann,
                self.splits.train,
                steps=config.steps,
                calibration=config.calibration,
                seed=seed,
                coding=config.coding,
                readout=config.readout,
                neuron=config.neuron,
                time_chunk=config.time_chunk,
            )
            checkpoint.save(path, snn, extra={"about": config.describe()})
        self.results["models"][label] = {
            "checkpoint": str(path.relative_to(self.out)),
            "seed": seed,
            "history": [],
            "thresholds": _scalars(snn, ".threshold"),
            "leaks": _scalars(snn, ".leak"),
        }
        self.results.save()
        return snn

    def _finished(self, path) -> Network | None:
        """The network of a training that reached its end, if this run has one."""
        label = f"{path.parent.name if path.parent.name == 'second' else ''} {path.stem}".strip()
        if label not in self.results["models"] or not path.exists():
            return None
        return checkpoint.load(path).network(self.backend)

    @contextlib.contextmanager
    def _phase(self, name, detail=""):
        StopSignal(self.backend).check(f"before {name}; finished work was kept")
        say(f"── {name}{detail and ': '}{detail}")
        try:
            with self.results.phase(name):
                yield
        finally:
            self._note_device(name)

    def _note_device(self, name):
        k, phase = self.backend, self.results["phases"][name]
        phase["computed_by"] = f"{k.name} backend, {k.device}, {k.precision if k.dtype == 'float32' else k.dtype}"
        used = k.device_memory()
        if used is not None:
            phase["peak_device_memory_bytes"] = max(used, phase.get("peak_device_memory_bytes", 0))
        self.results.save()

    # ---------------------------------------------------------------- attacks

    def evaluate(self, models: dict[str, Network], black_box: dict[str, Network]) -> None:
        """Clean accuracy, then every attack: white box, and black box from the same method's second seed."""
        test = self.splits.test
        for name, network in models.items():
            if self._missing(name, "clean", "none"):
                with self._phase("clean test images", name):
                    self._record(name, "clean", "none", None, accuracy(network, test, seed=self.config.seed))
        for attack in self.config.attacks:
            for name, network in models.items():
                self._attack(attack, name, network, network, "white_box")
                if name in black_box and name != "converted":
                    self._attack(attack, name, network, black_box[name], "black_box")

    def _attack(self, attack, name, network, source, access):
        """Accuracy under one attack, with images crafted on `source`; what a stopped one had found is kept in a file."""
        if self._missing(name, access, attack.name):
            path = self.out / f"{attack.name}-{name}-{access}.npz"
            with self._phase(f"attack {attack.name}", f"{name}, {access.replace('_', ' ')}"):
                right = attack_accuracy([network], source, self.splits.test, attack, seed=self.config.seed, path=path)
                self._record(name, access, attack.name, name if source is network else f"second {name}", right[0])

    def _missing(self, model, access, attack):
        return not any(
            (r["model"], r["access"], r["attack"]) == (model, access, attack) for r in self.results["accuracy"]
        )

    def _record(self, model, access, attack, source, right):
        score = Score(int(right.sum()), len(right))
        self.results["accuracy"].append(
            {"model": model, "access": access, "attack": attack, "source": source, **score.as_dict()}
        )

    # ---------------------------------------------------------------- analysis

    def analyse(self, models: dict[str, Network]) -> None:
        """Activity, energy and perturbation distances of every network; a few attacked images to look at."""
        config, test = self.config, self.splits.test
        images, labels = Batches(test, self.backend, min(DISTANCE_IMAGES, len(test))).load(0, 0)
        attack = config.attacks[-1]
        self.results["examples"], self.results["spike_trains"] = [], {}
        for name, network in models.items():
            with self._phase("analysis", name), StopSignal(self.backend):
                batches = (batch for batch, _ in Batches(test, self.backend, BATCH))
                activity = measure_activity(network, batches, seed=config.seed)
                self.results["activity"][name] = [layer.as_dict() for layer in activity]
                self.results["energy"][name] = {
                    "first_layer_once": measure_energy(network, activity).as_dict(),
                    "first_layer_every_step": measure_energy(network, activity, first_layer_every_step=True).as_dict(),
                }
                crafted = perturb(network, images, labels, attack, Draws(config.seed))
                clean, attacked = self.backend.to_numpy(images), self.backend.to_numpy(crafted)
                distance = {
                    "attack": attack.name,
                    "images": len(clean),
                    "pixels": float(perturbation_distance(clean, attacked).mean()),
                }
                if network.spiking:
                    layers = spike_distance(network, images, crafted, seed=config.seed)
                    distance["spikes"] = {layer: float(values.mean()) for layer, values in layers.items()}
                    pair = (self.backend.rows(batch, 0, 1) for batch in (images, crafted))
                    self.results["spike_trains"][name] = spike_trains(network, *pair, seed=config.seed)
                self.results["distance"][name] = distance
                self.results["examples"] += attacked_examples(name, network, images, crafted, test.labels, attack.name)


def refuse_other_settings(results: Results, config: Config, ranks: int) -> None:
    """Raise MinihireError if a run in progress was started with other settings.

    Where the data lie may change, and the number of processes, as long as they have as many images in a batch together.
    Methods may be added, and the black box.
    """
    before = results["machine"].get("ranks", 1)
    theirs, mine = _over_all(results["config"], before), _over_all(config.describe(), ranks)
    for name in mine:
        more = name == "methods" and set(theirs[name]) <= set(mine[name]) or name == "black_box" and mine[name]
        if name != "data_dir" and theirs.get(name) != mine[name] and not more:
            together = " over all processes" if max(before, ranks) > 1 and name in BATCH_SIZES else ""
            raise MinihireError(
                f"this run was started with {name} = {theirs.get(name)}{together}, not {mine[name]}: "
                f"resume with the same settings, or choose another --out"
            )


def _over_all(settings, ranks):
    """The settings with the batch sizes of all processes together."""
    return {name: value * ranks if name in BATCH_SIZES else value for name, value in settings.items()}


def _scalars(network, ending):
    k = network.backend
    return {
        name.removesuffix(ending): float(k.to_numpy(a)[0])
        for name, a in network.parameters.items()
        if name.endswith(ending)
    }
