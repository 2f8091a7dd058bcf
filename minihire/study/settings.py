"""The settings of an experiment with their ranges, and the presets: the paper's settings and smaller ones."""

import math
import types
import typing
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from backends.errors import choose
from backends.surrogates import triangle
from minihire.attacks import Attack, fgsm, pgd
from minihire.encoding import CODINGS
from minihire.engine.lif import NeuronOptions
from minihire.models import MODELS, Model
from minihire.network import MAX_STEPS
from minihire.runtime.errors import MinihireError
from minihire.study.surrogates import parse_surrogate
from minihire.training import Adversarial, Calibration, CraftedNoise, GaussianNoise, NoNoise, Recipe, training_attack
from minihire.training.optimisers import Schedule

METHODS = ("traditional", "control", "gaussian", "hire", "hire-4x", "adversarial", "adversarial-ann")
ANN_METHODS = ("ann", "adversarial-ann")  # trainings of an ANN, from fresh weights
STRONGER = 4  # times HIRE's ε_s and ε_t, in "hire-4x"
BOUNDS = ("epsilon", "adversarial_epsilon")  # settings that are shown in 1/255
PIXELS = (*BOUNDS, "alpha", "adversarial_alpha", "noise_step", "noise_bound")  # settings in pixels of [0, 1]
DATA = ("shapes", "cifar10", "cifar100", "mnist", "folder")


def _setting(group: str, default: Any, text: str, low=None, high=None, above=None, choices=None):
    return field(
        default=default,
        metadata={"group": group, "help": text, "low": low, "high": high, "above": above, "choices": choices},
    )


@dataclass(frozen=True)
class Config:
    """The settings of one experiment. Raises MinihireError, with flag, value and range, for a setting out of range."""

    preset: str = "mini"
    data: str = _setting("data", "shapes", "data set", choices=DATA)
    data_dir: str | None = _setting("data", None, "folder of the data set's files (not for shapes)")
    image_size: int | None = _setting("data", None, "resize the images of --data folder to N×N pixels", low=8, high=512)
    train_limit: int | None = _setting("data", None, "use this many training images", low=1)
    test_limit: int | None = _setting("data", None, "use this many test images", low=1)
    heldout: int | None = _setting("data", None, "training images set aside for choosing settings", low=0)
    augment: bool = _setting("data", True, "random flip and crop of training images")

    model: str = _setting("network", "vgg5", "network", choices=MODELS)
    width: float = _setting("network", 1.0, "factor on all channel counts", above=0, high=8)
    hidden: int | None = _setting(
        "network", None, "size of the hidden linear layers (default: the model's own)", low=1, high=10**6
    )
    dropout: float = _setting("network", 0.2, "dropout rate", low=0, high=0.95)
    steps: int = _setting("network", 6, "time steps T of the SNN", low=1, high=MAX_STEPS)
    coding: str = _setting("network", "direct", "input coding of the SNN", choices=CODINGS)
    readout: str = _setting(
        "network", "membrane", "logits: membrane potential or number of spikes", choices=("membrane", "spikes")
    )
    reset: str = _setting("network", "immediate", "the neuron's reset", choices=("immediate", "delayed"))
    reset_grad: bool = _setting("network", False, "let the reset carry the gradient too")
    gamma: float = _setting("network", 0.3, "height γ of the surrogate gradient (equation 5)", above=0, high=10)
    time_chunk: int | None = _setting("network", None, "time steps held in memory at once", low=1)

    ann_epochs: int = _setting("ANN training", 240, "epochs", low=1)
    ann_batch_size: int = _setting("ANN training", 128, "batch size", low=1)
    ann_learning_rate: float = _setting(
        "ANN training", 0.01, "learning rate of SGD with momentum 0.9", above=0, high=10
    )
    ann_schedule: str = _setting(
        "ANN training", "step", "×0.1 after 150, 180, 210 of 240 epochs, or one cycle", choices=("step", "one-cycle")
    )
    weight_decay: float = _setting("ANN training", 5e-4, "weight decay", low=0, high=1)

    scaling_factor: float = _setting("conversion", 0.3, "factor on the balanced thresholds", above=0, high=10)
    calibration_images: int = _setting("conversion", 512, "calibration images", low=1)
    calibration_steps: int = _setting("conversion", 100, "calibration time steps T_cal", low=1)

    methods: tuple[str, ...] = _setting(
        "SNN training",
        ("traditional", "hire"),
        f"trainings to run: {', '.join(METHODS)}",
        choices=METHODS,
    )
    snn_epochs: int = _setting("SNN training", 30, "epochs", low=1)
    batch_size: int = _setting("SNN training", 32, "batch size", low=1)
    learning_rate: float = _setting("SNN training", 1e-4, "learning rate", above=0, high=10)
    optimiser: str = _setting(
        "SNN training",
        "adam",
        "optimiser; adam16 keeps moments in 16 bits",
        choices=("adam", "adam16", "amsgrad", "sgd"),
    )
    snn_schedule: str = _setting(
        "SNN training", "step", "×0.2 after 60, 80, 90 %% of the epochs, or one cycle", choices=("step", "one-cycle")
    )
    periods: int = _setting("SNN training", 2, "periods N of HIRE, the control and Gaussian training; at most T", low=1)
    noise_step: float = _setting("SNN training", 0.013, "noise step ε_s, in pixels of [0, 1]", low=0, high=1)
    noise_bound: float | None = _setting("SNN training", None, "noise bound ε_t (default: ε_s)", low=0, high=1)
    carry_noise: bool = _setting("SNN training", True, "keep κ from batch to batch; otherwise start each from zero")
    freeze: bool = _setting("SNN training", False, "keep thresholds and leaks as converted (table 5)")
    carry_membranes: bool = _setting("SNN training", False, "start a period from the previous period's membranes")
    clip_noise: bool = _setting("SNN training", True, "clip the noisy image to [0, 1]")
    craft_after_update: bool = _setting("SNN training", False, "craft κ with the updated weights (caption of figure 6)")
    noise_iterations: int = _setting(
        "SNN training",
        1,
        "steps of κ in a period; each but the last takes a gradient pass of its own",
        low=1,
        high=1000,
    )
    craft_surrogate: str | None = _setting(
        "SNN training", None, "surrogate KIND[:NUMBER] for crafting κ, in passes of its own (default: the network's)"
    )
    time_division: str | None = _setting(
        "SNN training", None, "time steps of each period, as in 4+2 for N = 2 (default: ⌊T/N⌋ each)"
    )

    adversarial_epsilon: float = _setting(
        "adversarial training", 8 / 255, "bound ε of the training's attack, in pixels of [0, 1]", low=0, high=1
    )
    adversarial_iterations: int = _setting(
        "adversarial training",
        7,
        "iterations K of its PGD; 1 is FGSM-RS; costs K more gradient passes",
        low=1,
        high=1000,
    )
    adversarial_alpha: float | None = _setting(
        "adversarial training", None, "its step α (default: 2.5·ε/K, or 1.25·ε for K = 1)", low=0, high=1
    )
    adversarial_epochs: int | None = _setting(
        "adversarial training", None, "epochs of adversarial SNN training (default: those of --snn-epochs)", low=1
    )

    epsilon: float = _setting("attacks", 8 / 255, "bound ε, in pixels of [0, 1]", low=0, high=1)
    alpha: float = _setting("attacks", 0.01, "step α of PGD", low=0, high=1)
    iterations: int = _setting("attacks", 7, "iterations K of PGD", low=1, high=100_000)
    random_start: bool = _setting("attacks", True, "start PGD at random in the ε ball")
    black_box: bool = _setting("attacks", True, "also attack from networks of a second seed")

    seed: int = _setting("run", 0, "seed of everything random", low=0, high=2**63 - 2)

    def __post_init__(self):
        for f in fields(self):
            if f.metadata:
                self._check(f, getattr(self, f.name))
        if self.periods > self.steps:
            raise MinihireError(
                f"--periods N must be at most --steps T: {self.periods} periods do not fit into {self.steps} time steps"
            )
        parse_surrogate(self.craft_surrogate, "--craft-surrogate")
        self._divided()

    def _divided(self) -> tuple[int, ...] | None:
        """The time steps of each period, from --time-division. Raises MinihireError where they are not N numbers."""
        if self.time_division is None:
            return None
        parts = self.time_division.split("+")
        if not all(part.isascii() and part.isdigit() and 0 < int(part) <= MAX_STEPS for part in parts):
            raise MinihireError(
                f"--time-division must be numbers of time steps joined by +, as in 4+2, not {self.time_division!r}"
            )
        if len(parts) != self.periods:
            raise MinihireError(
                f"--time-division {self.time_division} has {len(parts)} periods, but --periods is {self.periods}: "
                f"give --periods {len(parts)} with it"
            )
        return tuple(map(int, parts))

    @staticmethod
    def _check(f, value):
        low, high, above, choices = (f.metadata[key] for key in ("low", "high", "above", "choices"))
        flag = f"--{f.name.replace('_', '-')}"
        kind = TYPES[f.name]
        if value is None and f.default is None:
            return
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
            words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a tuple"}
            raise MinihireError(f"{flag} must be {words[kind]}, not {value!r}")
        if kind is str and "\0" in value:
            raise MinihireError(f"{flag} must be text without a zero byte, not {value!r}")
        if choices:
            for choice in value if isinstance(value, tuple) else (value,):
                if choice not in choices:
                    raise MinihireError(f"{flag} must be {' or '.join(choices)}, not {choice!r}")
            if isinstance(value, tuple) and len(set(value)) < len(value):
                raise MinihireError(f"{flag} names a method twice: {', '.join(value)}")
            if value == ():
                raise MinihireError(f"{flag} needs at least one of {', '.join(choices)}")
            return
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        fits = (
            numeric
            and abs(value) < math.inf
            and (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
        )
        if numeric and not fits:
            span = f"above {above}" if above is not None else f"{low} or more"
            span = span if high is None else f"{span}, at most {high}" if above is not None else f"in {low} … {high}"
            raise MinihireError(f"{flag} must be {span}, not {value}")

    def describe(self) -> dict:
        """As plain data, for results.json and checkpoints."""
        return {**asdict(self), "methods": list(self.methods)}

    @property
    def neuron(self) -> NeuronOptions:
        """The neuron's options."""
        return NeuronOptions(self.reset, triangle(self.gamma), self.reset_grad)

    @property
    def calibration(self) -> Calibration:
        """The conversion's settings."""
        return Calibration(self.calibration_images, self.calibration_steps, scaling=self.scaling_factor)

    @property
    def attacks(self) -> list[Attack]:
        """FGSM and PGD."""
        return [fgsm(self.epsilon), pgd(self.epsilon, self.alpha, self.iterations, self.random_start)]

    def with_more_noise(self) -> "Config":
        """The settings with STRONGER times ε_s and ε_t, each at most 1: HIRE with them is the method "hire-4x"."""
        bound = self.noise_bound if self.noise_bound is None else min(STRONGER * self.noise_bound, 1.0)
        return replace(self, noise_step=min(STRONGER * self.noise_step, 1.0), noise_bound=bound)

    def recipe(self, method: str) -> Recipe:
        """How "ann" or one of METHODS is trained."""
        if method == "hire-4x":
            return self.with_more_noise().recipe("hire")
        attack = training_attack(self.adversarial_epsilon, self.adversarial_iterations, self.adversarial_alpha)
        if method in ANN_METHODS:
            schedule = Schedule(self.ann_schedule, (150 / 240, 180 / 240, 210 / 240), 0.1)
            return Recipe(
                self.ann_epochs,
                self.ann_batch_size,
                "sgd",
                self.ann_learning_rate,
                schedule,
                self.weight_decay,
                augment=self.augment,
                noise=NoNoise() if method == "ann" else Adversarial(attack),
            )
        bound = self.noise_step if self.noise_bound is None else self.noise_bound
        crafting = dict(
            carried=self.carry_noise,
            iterations=self.noise_iterations,
            surrogate=parse_surrogate(self.craft_surrogate),
        )
        noise = {
            "gaussian": GaussianNoise(self.noise_step),
            "hire": CraftedNoise(self.noise_step, bound, **crafting),
            "adversarial": Adversarial(attack),
        }.get(method, NoNoise())
        whole = method in ("traditional", "adversarial")  # one period of all time steps
        return Recipe(
            (self.adversarial_epochs if method == "adversarial" else None) or self.snn_epochs,
            self.batch_size,
            self.optimiser,
            self.learning_rate,
            Schedule(self.snn_schedule),
            augment=self.augment,
            periods=1 if whole else self.periods,
            noise=noise,
            carry_membranes=self.carry_membranes,
            clip_noise=self.clip_noise,
            craft_after_update=self.craft_after_update,
            freeze=self.freeze,
            period_steps=None if whole else self._divided(),
        )


def _field_type(hint: Any) -> type:
    """The type of a field: int for `int | None`, tuple for `tuple[str, ...]`."""
    if isinstance(hint, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    return typing.get_origin(hint) or hint


TYPES = {name: _field_type(hint) for name, hint in typing.get_type_hints(Config).items()}  # of the settings, by name

PRESETS = {
    "mini": dict(
        data="shapes",
        train_limit=4000,
        test_limit=500,
        width=0.125,
        hidden=128,
        steps=4,
        ann_epochs=12,
        ann_batch_size=64,
        ann_learning_rate=0.05,
        ann_schedule="one-cycle",
        snn_epochs=4,
        learning_rate=1e-3,
        calibration_images=128,
        calibration_steps=20,
    ),
    "folder": dict(  # own_images.py adapts batch sizes, epochs and the ANN's learning rate to the number of images
        data="folder",
        image_size=32,
        width=0.25,
        hidden=128,
        steps=4,
        ann_schedule="one-cycle",
        learning_rate=1e-3,
        calibration_images=128,
        calibration_steps=20,
        black_box=False,
    ),
    "cifar10-small": dict(
        data="cifar10",
        train_limit=10_000,
        test_limit=1000,
        heldout=1000,
        width=0.25,
        hidden=256,
        ann_epochs=60,
        ann_learning_rate=0.05,
        ann_schedule="one-cycle",
        snn_epochs=20,
        learning_rate=1e-3,
        calibration_steps=30,
    ),
    "vgg5-cifar10": dict(data="cifar10", heldout=0, model="vgg5", steps=6, noise_step=0.013),
    "vgg11-cifar100": dict(data="cifar100", heldout=0, model="vgg11", steps=8, noise_step=0.025),
    "resnet12-cifar10": dict(data="cifar10", heldout=0, model="resnet12", steps=10, noise_step=0.008),
    "resnet12-cifar100": dict(data="cifar100", heldout=0, model="resnet12", steps=10, noise_step=0.015),
}
# The paper's settings with shorter schedules, for a few nights on two cores: "NAME-2core" for each NAME.
TWO_CORES = dict(
    ann_batch_size=64,
    ann_schedule="one-cycle",
    snn_schedule="one-cycle",
    learning_rate=2e-4,
    methods=("traditional", "control", "gaussian", "hire"),
    black_box=False,
)
TWO_CORE_SCHEDULES = {
    "vgg5-cifar10": dict(ann_epochs=48, ann_batch_size=128, ann_learning_rate=0.1, snn_epochs=6),
    "resnet12-cifar10": dict(ann_epochs=30, ann_learning_rate=0.05, snn_epochs=5),
    "vgg11-cifar100": dict(ann_epochs=30, ann_learning_rate=0.02, snn_epochs=5),
}
PRESETS |= {f"{name}-2core": PRESETS[name] | TWO_CORES | schedule for name, schedule in TWO_CORE_SCHEDULES.items()}


def preset(name: str, **changes) -> Config:
    """A preset with some settings changed. Raises MinihireError for an unknown name or a value out of range."""
    if name not in PRESETS:
        raise MinihireError(f"there is no preset {name!r}: {choose(name, PRESETS)}")
    return replace(Config(preset=name, **PRESETS[name]), **changes)


def training_flags(method: str) -> dict[str, str]:
    """The flags of the settings that messages of a training name: see `training.recipe.NAMES`."""
    kind, epochs = ("ann-", "ann-epochs") if method in ANN_METHODS else ("", "snn-epochs")
    return {
        "epochs": "--adversarial-epochs" if method == "adversarial" else f"--{epochs}",
        "batch_size": f"--{kind}batch-size",
        "learning_rate": f"--{kind}learning-rate",
        "epsilon": "--adversarial-epsilon",
        "layer_sizes": "--width or --hidden",
        "data": "--data-dir",
        "path": "--out",
    }


def as_flag(name: str, value: Any) -> str:
    """A setting as a user writes it on the command line: "--epsilon 8/255", "--no-augment", "no --hidden" for None."""
    flag = name.replace("_", "-")
    if value is None or isinstance(value, bool):
        return {None: f"no --{flag}", True: f"--{flag}", False: f"--no-{flag}"}[value]
    if isinstance(value, list | tuple):
        return f"--{flag} {','.join(map(str, value))}"
    levels = 255 * value if name in PIXELS and isinstance(value, float) else 0.5
    return f"--{flag} {round(levels)}/255" if abs(levels - round(levels)) < 1e-9 < levels else f"--{flag} {value}"


def paper_settings(model: Model, data: str, steps: int) -> dict:
    """The paper's settings for CIFAR-10 or CIFAR-100 with this model and T, as plain data for a checkpoint."""
    name = {"cifar10": "vgg5-cifar10", "cifar100": "vgg11-cifar100"}[data]
    sizes = {"model": model.name, "width": model.width, "hidden": model.hidden, "dropout": model.dropout}
    return preset(name, **sizes, steps=steps, periods=min(2, steps)).describe()
