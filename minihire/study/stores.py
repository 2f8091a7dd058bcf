"""Stores of checkpoints and answers of a study: the files of a single command, or the folder of a run.

cache_folder.py has the third store, the cache of `minihire paper`.
"""

import contextlib
from pathlib import Path

from backends.interface import Backend
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import say
from minihire.study.pictures import noise_pictures
from minihire.study.results import Results
from minihire.study.settings import METHODS, Config
from minihire.study.spec import NetworkSpec
from minihire.training.checkpoint import Checkpoint, network_digest, weights_digest
from minihire.training.cost import cost_per_batch
from minihire.training.loop import Training


class Store:
    """Interface of the stores. By default a store has no finished networks and keeps no measurements."""

    only_new = False  # whether the checkpoint of a conversion never replaces a file

    def checkpoint(self, spec: NetworkSpec) -> Path:
        """The file of a network's checkpoint."""
        raise NotImplementedError

    def has(self, spec: NetworkSpec) -> bool:
        """Whether the network's training (or conversion) is finished and its checkpoint is there."""
        return False

    def label(self, spec: NetworkSpec) -> str:
        """The name of a training in progress lines and warnings."""
        return spec.method

    def title(self, spec: NetworkSpec) -> str:
        """The name of a network in messages."""
        return self.label(spec)

    def work_on(self, spec: NetworkSpec) -> str:
        """The work that makes the network, in words: "train hire", "convert ann"."""
        if spec.method == "converted":
            return f"convert {self.label(spec.start)}"
        return f"train {self.label(spec)}"

    def work_context(self, spec: NetworkSpec):
        """A context manager around the conversion or training of a network."""
        return contextlib.nullcontext()

    def note_made(self, spec: NetworkSpec, network: Network, training: Training | None) -> None:
        """Record that a network was just trained or converted. training: None for a conversion."""

    def note_loaded(self, spec: NetworkSpec) -> None:
        """Record that a network is loaded from the store instead of being made."""

    def weights(self, spec: NetworkSpec) -> str | None:
        """The hash of a network's weights that `note_made` recorded; None if there is none. Earlier versions recorded none."""
        return None

    def refuse_other_weights(self, spec: NetworkSpec, saved: Checkpoint) -> None:
        """Raise MinihireError if a checkpoint does not hold the network that was recorded by `note_made`."""
        if self.weights(spec) not in (None, weights_digest(saved.arrays)):
            raise MinihireError(
                f"{saved.path} is not the network that was trained here: put its own file back, or delete it, and it is "
                "trained again"
            )

    def discard(self, spec: NetworkSpec) -> bool:
        """Delete a checkpoint whose training started from another network. False: this store leaves that to the user."""
        return False

    def has_value(self, key: dict, specs) -> bool:
        """Whether the measurement of these networks with this key is in the store."""
        return False

    def measure_once(self, key: dict, compute, specs, title: str, read):
        """Return read(value) of the stored measurement. If there is none, compute() it and store it."""
        return read(compute())

    def attack_file(self, key, spec, attack, source) -> dict:
        """Keyword arguments for `attack_accuracy` that say where it stores its answers, so that it can resume."""
        return {}


class Files(Store):
    """The files of a single command: the checkpoint of `train` or `convert`, and the answers of `attack`.

    out: the checkpoint to write. scores: the JSON file that `attack` will write the scores to. The answers of each attack are
    stored in another file, in the same folder. `clear` deletes the files with answers.
    """

    only_new = True

    def __init__(self, out: Path | None = None, scores: Path | None = None):
        self.out, self.scores = out, scores
        self.training: Training | None = None
        self._written: list[Path] = []

    def checkpoint(self, spec):
        return Path(self.out)

    def note_made(self, spec, network, training):
        self.training = training

    def attack_file(self, key, spec, attack, source):
        if self.scores is None:
            return {}
        path = self.scores.with_name(f"{self.scores.stem}.{attack.name}.npz")
        self._written.append(path)
        return {"path": path, "keep": True}

    def clear(self) -> None:
        """Delete the files with the answers of the attacks. Call it when the JSON file with their scores is written."""
        for path in self._written:
            path.unlink(missing_ok=True)


class RunFolder(Store):
    """The folder of `minihire run`.

    Results are in OUT/results.json, networks of the first seed in OUT/models/METHOD.npz, and networks of the second seed in
    OUT/models/second/METHOD.npz.
    """

    def __init__(self, out: Path, config: Config, backend: Backend, results: Results):
        self.out, self.config, self.backend, self.results = out, config, backend, results

    def checkpoint(self, spec):
        return self.out / "models" / ("second" if self._second(spec) else "") / f"{spec.method}.npz"

    def has(self, spec):
        recorded = self._recorded(spec)
        finished = bool(recorded) and not recorded.get("in_progress")
        return finished and self.checkpoint(spec).exists() and not self._outdated(spec)

    def _outdated(self, spec):
        """Whether the network was made from an ANN or a converted SNN that is another one by now."""
        made_from = self._recorded(spec).get("start")  # older versions did not record it
        return made_from is not None and made_from != self.weights(spec.start)

    def weights(self, spec):
        return self._recorded(spec).get("weights")

    def _recorded(self, spec):
        return self.results["models"].get(self.label(spec), {})

    def label(self, spec):
        return f"second {spec.method}" if self._second(spec) else spec.method

    def _second(self, spec):
        return spec.seed != self.config.seed

    def work_context(self, spec):
        # It is made again: until `note_made`, its checkpoint may be that of an unfinished training.
        if self._recorded(spec):
            self._recorded(spec)["in_progress"] = True
            self.results.save()
        return self.phase(self.work_on(spec))

    @contextlib.contextmanager
    def phase(self, name: str, detail: str = ""):
        """Announce a phase of the run; its time, its memory and the device go into results.json."""
        StopSignal(self.backend).check(f"before {name}; finished work was kept")
        say(f"── {name}: {detail}" if detail else f"── {name}")
        self.backend.services.reset_device_memory()
        try:
            with self.results.phase(name):
                yield
        finally:
            self._note_device(name)

    def _note_device(self, name):
        k, phase = self.backend, self.results["phases"][name]
        phase["computed_by"] = f"{k.name} backend, {k.device}, {k.precision if k.dtype == 'float32' else k.dtype}"
        used = k.services.device_memory()
        if used is not None:
            phase["peak_device_memory_bytes"] = max(used, phase.get("peak_device_memory_bytes", 0))
        self.results.save()

    def note_made(self, spec, network, training):
        digest = network_digest(network)
        if self._recorded(spec) and self.weights(spec) != digest:
            self._forget(spec)
        start = self.weights(spec.start) if spec.start else None
        self.results["models"][self.label(spec)] = {
            "checkpoint": self.checkpoint(spec).relative_to(self.out).as_posix(),
            "seed": spec.seed,
            "weights": digest,
            **({"start": start} if start else {}),
            "history": training.history if training else [],
            "thresholds": _scalars(network, ".threshold"),
            "leaks": _scalars(network, ".leak"),
        }
        if training:
            cost = cost_per_batch(training.recipe, network.steps)
            self.results["models"][self.label(spec)]["cost"] = {**cost._asdict(), "epochs": training.recipe.epochs}
        noise = noise_pictures(training) if training and not self._second(spec) else None
        if noise:
            self.results["models"][self.label(spec)]["noise"] = noise
        for sentence in training.warnings if training else ():
            self.results.warn(sentence)
        self.results.save()

    def _forget(self, spec):
        """Remove all measurements of a network that another one replaces, so that the other one is measured."""
        label, results = self.label(spec), self.results
        results["accuracy"] = [r for r in results["accuracy"] if label not in (r["model"], r.get("source"))]
        results["examples"] = [e for e in results["examples"] if e["model"] != label]
        results["warnings"] = [w for w in results["warnings"] if not w.startswith((f"{label}:", f"{label},"))]
        for part in ("activity", "energy", "distance", "spike_trains"):
            results.content.get(part, {}).pop(label, None)
        for other in (spec._replace(method=method) for method in ("converted", *METHODS)):
            if other.start == spec and self._recorded(other):  # older versions did not record its start
                self._recorded(other).setdefault("start", self.weights(spec) or "")

    def attack_file(self, key, spec, attack, source):
        access = "white_box" if source == spec else "black_box"
        path = self.out / f"{attack.name}-{spec.method}-{access}.npz"
        return {"path": path, "keep": True, "replace": True}  # those of an earlier network are replaced

    def clear(self, spec, attack, source) -> None:
        """Delete the file with the answers of an attack. Call it when its row of "accuracy" is written."""
        if self.backend.services.rank == 0:
            self.attack_file(None, spec, attack, source)["path"].unlink(missing_ok=True)


def _scalars(network, ending):
    """{layer: value} of the thresholds or leaks of a network."""
    k = network.backend
    return {
        name.removesuffix(ending): float(k.to_numpy(a)[0])
        for name, a in network.parameters.items()
        if name.endswith(ending)
    }
