"""Records what a command would do: its work is replaced by functions that note their arguments."""

import hashlib
import io
from types import SimpleNamespace

import numpy as np

import backends
from minihire.app import export
from minihire.attacks import Robustness
from minihire.data.dataset import Dataset, Splits
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import Progress
from minihire.study.networks import build_model

REFERENCE = backends.get_backend("reference")
IN_FULL = (  # the names in minihire.app that methods of `Recorder` replace
    *("inputs.load_data", "inputs.backends.get_backend", "train.train_one", "convert.convert_one", "run.Run"),
    *("attack.attack_one", "attack.attack_files", "robustness.robustness_of"),
    *("analyze.activity_and_energy", "predict.predict_images", "pack.predictions", "pack.write_atomically"),
)


class Recorded(MinihireError):
    """Ends a command where its real work would begin."""


class Recorder:
    """seen: the arguments of the replaced functions, in the order of the calls."""

    def __init__(self):
        self.seen = []

    def record(self, *what):
        """Note what a function was called with."""
        self.seen.append(what)

    def stop(self, *what):
        """Note it, and end the command."""
        self.record(*what, Progress.quiet, StopSignal.limit.minutes)
        raise Recorded("recorded")

    def replacements(self):
        """{name in minihire.app: what replaces it}."""
        tables = ("activity_table", "operations_table", "energy_table", "neurobench_table")
        return {
            **{name: getattr(self, name.rpartition(".")[2]) for name in IN_FULL},
            "analyze.neurobench_metrics": lambda network, *_: self.stop(of_network(network)),
            "analyze.tables": SimpleNamespace(**dict.fromkeys(tables, lambda _: "")),
            "report.page.read": lambda folder: folder,
            "report.page.write": self.stop,
            "paper.reproduce": lambda study, names, out: self.stop(names, out),
            "paper.listing": lambda study, names: self.stop("list", names),
            "paper.PaperStudy": lambda *arguments: self.record(arguments) or SimpleNamespace(),
            "import_.published.read": lambda path, **options: SimpleNamespace(
                network=lambda _: self.record(options), meta={"about": 0}
            ),
            "import_.checkpoint.save": lambda path, *_, **__: self.stop(path),
            "export.FORMATS": {to: lambda path, saved, to=to: self.stop(path, to) for to in export.FORMATS},
            "demo.run_lesson": self.stop,
            "demo.write_stub": lambda lesson, folder: self.stop("stub", lesson, folder),
            "demo.exercises.check": lambda number, path: self.stop("check", number, path),
            "demo.write_notebooks": lambda chosen, folder: self.stop("notebooks", chosen, folder),
        }

    def load_data(self, config, download=False, given=()):
        sizes = config.image_size, config.train_limit, config.test_limit, config.heldout
        self.record(config.data, config.data_dir, *sizes, download)
        images, labels = np.zeros((8, 32, 32, 3), np.uint8), np.zeros(8, np.int64)
        part = Dataset(config.data, images, labels, tuple("abcdefghij"), (0.5,) * 3, (0.25,) * 3)
        return Splits(part, part, part)

    def get_backend(self, name=None, device="cpu", **options):
        self.record(name, device, options)
        return REFERENCE

    def train_one(self, config, method, splits, backend, out, start, callbacks, seen):
        model = None if start else build_model(config, splits.train).describe()
        self.stop(config.recipe(method), model, of_network(start), config.seed, out, callbacks)

    def convert_one(self, config, ann, splits, backend, out, seen):
        options = (config.steps, config.coding, config.readout, config.neuron, config.time_chunk)
        self.stop(options, config.calibration, config.seed, out)

    def Run(self, config, backend, out, splits, resume, callbacks):
        settings = {name: value for name, value in config.describe().items() if name != "preset"}
        self.stop(settings, out, resume, callbacks)

    def attack_one(self, config, attacks, target, source, splits, backend, scores=None):
        networks = of_network(target), of_network(source)
        seed = of_seed(config.seed, attacks, target, source or target)
        self.record(attacks, seed, *networks, Progress.quiet, StopSignal.limit.minutes)
        return {"clean": np.ones(8, bool)}, SimpleNamespace(clear=lambda: None)

    def attack_files(self, options, config, saved, target, source, attacks, heading):
        networks = of_network(target), of_network(source)
        seed = of_seed(config.seed, attacks, target, source)
        self.stop(attacks, seed, *networks, options.save_images, options.json, Progress.quiet)

    def robustness_of(self, config, suite, budget, target, sources, data, samples, attacks, scores):
        networks = [(name, of_network(source)) for name, source in sources]
        self.record(suite, budget, config.epsilon, config.seed, of_network(target), networks, samples, attacks)
        self.record(Progress.quiet, StopSignal.limit.minutes)
        return Robustness(suite, budget, config.epsilon, np.ones(8, bool), np.ones(8, bool)), None

    def activity_and_energy(self, network, test, seed):
        self.record(of_network(network), of_seed(seed, (), network), Progress.quiet)
        return [], {"first_layer_once": SimpleNamespace(as_dict=dict)}

    def predict_images(self, network, images, names, seed, explain):
        self.record(of_network(network), of_seed(seed, (), network), explain, Progress.quiet)
        return [{"class": "disc", "probability": 1.0, "probabilities": [1.0]}]

    def predictions(self, network, data, seed, label):
        self.record(of_network(network), of_seed(seed, (), network))
        return np.zeros(len(data), np.int64)

    def write_atomically(self, path, write, new=False):
        file = io.BytesIO()
        write(file)
        self.stop(path, hashlib.sha256(file.getvalue()).hexdigest())


def of_seed(seed, attacks, *networks):
    """The seed if it has an effect: if one of the attacks or networks uses random numbers."""
    used = any(attack.random_start for attack in attacks) or any(network.random for network in networks)
    return seed if used else None


def of_network(network):
    """What distinguishes networks in a record."""
    if network is None:
        return None
    weights = sum(array.sum() for array in network.parameters.values())
    return network.steps, network.time_chunk, network.neuron, weights
