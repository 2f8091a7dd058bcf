"""The study: every network is trained once, every attack run once; afterwards both are loaded from the study's store.

    spec = NetworkSpec(config, "hire", seed=0)
    study.network(spec)            trains the ANN, converts it and trains HIRE; or loads what is stored
    study.answers(spec, pgd())     attacks the network, or loads the answers

`minihire run`, `paper`, `train`, `convert` and `attack` all use a study. They differ in its store (stores.py, cache_folder.py):
the files for checkpoints and answers, and the notes about them.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from backends.interface import Backend
from minihire.analysis.accuracy import predictions
from minihire.attacks import Attack, attacked_predictions
from minihire.data.dataset import Splits
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.study.networks import converted_snn, new_ann
from minihire.study.settings import Config, training_flags
from minihire.study.spec import NetworkSpec
from minihire.study.stores import Store
from minihire.training import checkpoint, train
from minihire.training.callbacks import Callback
from minihire.training.resume import OtherStart


class Study:
    """Networks and answers by specification.

    splits: the images, the same for all specifications. given: networks that were loaded elsewhere. in_memory: how many
    other networks are in memory at most, None for no limit; those used longest ago are loaded again when they are needed. While
    a network is trained, it is the only one. callbacks: called after each epoch of every training. seen: hashes of the images
    that the given networks were trained on.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store,
        splits: Splits | None = None,
        given: dict[NetworkSpec, Network] | None = None,
        in_memory: int | None = None,
        callbacks: Sequence[Callback] = (),
        seen: Collection[str] = (),
    ):
        self.backend, self.store, self.callbacks = backend, store, callbacks
        self._images, self._given = splits, given or {}
        self._seen = dict.fromkeys(self._given, seen)  # by specification, hashes of images of earlier trainings
        self._in_memory, self._networks = in_memory, {}  # by specification, the one used longest ago first

    def splits(self, config: Config) -> Splits:
        """The images of a configuration."""
        return self._images

    def network(self, spec: NetworkSpec) -> Network:
        """The network of a specification: given, loaded, or made. A network that it starts from is found in the same way."""
        if spec in self._given:
            return self._given[spec]
        network = self._networks.pop(spec, None)
        if network is None:
            network = self._load(spec) if self.store.has(spec) else self._make(spec)
            self._release_networks(room=1)
        self._networks[spec] = network
        return network

    def _release_networks(self, room: int | None = None) -> None:
        """Release the networks used longest ago, so that `room` more fit into memory; None: release all.

        Only networks that the store can load again are released.
        """
        if self._in_memory is not None:
            kept = 0 if room is None else max(self._in_memory - room, 0)
            loadable = [spec for spec in self._networks if self.store.has(spec)]
            for spec in loadable[: max(len(self._networks) - kept, 0)]:
                del self._networks[spec]

    def _make(self, spec: NetworkSpec) -> Network:
        start = self.network(spec.start) if spec.start else None
        seen = self._seen[spec] = self._seen.get(spec.start, ())  # a network made here has seen no other images
        config, data, path = spec.config, self.splits(spec.config), self.store.checkpoint(spec)
        with self.store.work_context(spec):
            if spec.method == "converted":
                network, training = converted_snn(start, config, data.train, spec.seed), None
                extra = {"about": config.describe(), "data": checkpoint.describe_data(data.train, seen)}
                checkpoint.save(path, network, extra=extra, new=self.store.only_new)
            else:
                self._release_networks()  # the optimiser needs the memory
                network = start.copy() if start else new_ann(config, data.train, self.backend, spec.seed)
                del start
                training = self._train(spec, network, data, seen)
        self.store.note_made(spec, network, training)
        return network

    def _train(self, spec, network, data, seen):
        """Train a network, or resume its training from its checkpoint."""
        resumed = partial(
            train,
            network,
            spec.config.recipe(spec.method),
            data.train,
            seed=spec.seed,
            heldout=data.heldout,
            path=self.store.checkpoint(spec),
            resume=True,
            label=self.store.label(spec),
            about=spec.config.describe(),
            callbacks=self.callbacks,
            seen=seen,
            names=training_flags(spec.method),
        )
        try:
            return resumed()
        except OtherStart:
            if not self.store.discard(spec):
                raise
        return resumed()  # outside of `except`, where the memory of the first attempt is released

    def _load(self, spec):
        self._release_networks(room=1)
        path = self.store.checkpoint(spec)
        self.store.note_loaded(spec)
        try:
            saved = checkpoint.load(path, training=False)
            self.store.refuse_other_weights(spec, saved)
            network = saved.network(self.backend)
            self._seen[spec] = checkpoint.training_images(saved)
        except checkpoint.CheckpointError as error:
            raise MinihireError(
                f"{path} cannot be used ({error}): if it is damaged, delete it, and it is trained again"
            ) from error
        if network.spiking:
            network.time_chunk = spec.config.time_chunk
        return network

    def answers(
        self,
        spec: NetworkSpec,
        attack: Attack | None = None,
        source: NetworkSpec | None = None,
        images: int | None = None,
        *,
        steps: int | None = None,
        part: str = "test",
        samples: int = 1,
    ) -> np.ndarray:
        """For each of the first `images` images (default: all), whether the network's answer is right: bool [N].

        attack: None for clean images. source: the network that adversarial images are crafted on, by default the attacked
        one (white box). steps: time steps of both networks, by default their own. part: "test" or "heldout" images.
        samples: number of draws for each clean image, see `analysis.accuracy.mean_logits`. An attack has its own `samples`.
        """
        data = getattr(self.splits(spec.config), part)
        data = data.limit(min(images or len(data), len(data)))
        source = source or spec
        key = {"answers": spec.describe(), "images": len(data), "steps": steps or spec.config.steps}
        if part != "test":
            key["part"] = part
        if samples != 1:
            key["samples"] = samples
        if attack:
            key |= {"attack": describe_attack(attack), "source": source.describe()}

        def compute():
            return pack_answers(self._predictions(spec, attack, source, data, key, steps, samples) == data.labels)

        box = "" if source == spec else ", black box"
        title = f"{attack.name} on {self.store.title(spec)}{box}" if attack else ""
        measured = [spec] if source == spec else [spec, source]
        read = partial(unpack_answers, count=len(data))
        return self.measure_once(key, compute, *measured, title=title, read=read)

    def predictions(
        self, spec: NetworkSpec, attack: Attack | None = None, source: NetworkSpec | None = None
    ) -> np.ndarray:
        """The class that the network predicts for each test image, int64 [N]; never loaded from the store. See `answers`."""
        return self._predictions(spec, attack, source or spec, self.splits(spec.config).test)

    def _predictions(self, spec, attack, source, data, key=None, steps=None, samples=1):
        network = self._with_steps(spec, steps)
        if attack is None:
            return predictions(network, data, seed=spec.seed, samples=samples, label="clean images")
        crafted_on = self._with_steps(source, steps)
        file = self.store.attack_file(key, spec, attack, source)
        return attacked_predictions([network], crafted_on, data, attack, seed=spec.seed, **file)[0]

    def measure_once(self, key: dict, compute, *specs: NetworkSpec, title: str = "", read=lambda value: value) -> Any:
        """Return read(value) of the stored value for this key. If there is none, compute() it and store it.

        key and value: plain data. specs: the networks that are measured. title: announced when the computation starts. read:
        raises LookupError, TypeError or ValueError for a value that is damaged.
        """
        if not self.store.has_value(key, specs):
            # train the networks now, so that the time of training is not counted as time of measuring
            for spec in specs:
                self.network(spec)
        return self.store.measure_once(key, compute, specs, title, read)

    def _with_steps(self, spec, steps):
        network = self.network(spec)
        return network.view(steps=steps) if steps and network.spiking and network.steps != steps else network


def pack_answers(right: np.ndarray) -> dict:
    """Answers bool [N] as plain data."""
    return {"count": len(right), "bits": np.packbits(right).tobytes().hex()}


def unpack_answers(answers: dict, count: int) -> np.ndarray:
    """Answers bool [N] from plain data. Raises LookupError, TypeError or ValueError if they are not N = count answers."""
    bits = np.frombuffer(bytes.fromhex(answers["bits"]), np.uint8)
    if answers["count"] != count or len(bits) != (count + 7) // 8:
        raise ValueError(f"{answers['count']} answers in {len(bits)} bytes, not {count}")
    return np.unpackbits(bits, count=count).astype(bool)


def describe_attack(attack: Attack) -> dict:
    """An attack as plain data, for a key. If `restarts` or `samples` is 1, it is left out, because old keys have neither."""
    found = {**asdict(attack), "surrogate": attack.surrogate and list(attack.surrogate)}
    return {name: value for name, value in found.items() if not (name in ("restarts", "samples") and value == 1)}
