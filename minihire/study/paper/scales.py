"""The scales of a reproduction: minutes on "shapes", hours on a part of CIFAR-10, or the paper's own settings.

The rate-coded SNN has our own T at every scale: the paper takes its accuracies from another paper (Sharmin et al.).
"""

from dataclasses import dataclass, field, replace

from backends.errors import choose
from minihire.data.sources import SOURCES, MissingData, find_files
from minihire.runtime.errors import MinihireError
from minihire.study.settings import Config, preset

# Scaling the thresholds down helps with few time steps only; with many, firing rates saturate. An earlier measurement at scale
# small: the ANN had an accuracy of 53 %, its conversion 51 % with the factor 1.0 and 29 % with 0.3.
# Logits summed over T = 100 need the paper's learning rate: accuracy after half an epoch is 51 % with 1e-4, 40 % with 1e-3.
RATE = dict(coding="rate", time_chunk=10, scaling_factor=1.0, learning_rate=1e-4)


@dataclass(frozen=True)
class Scale:
    """What is trained at a scale, and how much is measured.

    settings: one configuration per pair of network and data set. rate: the settings that differ for the rate-coded SNN. reason:
    why this scale cannot be compared with the paper, or "" if it can. on_request: models that are used only if --models names
    them. left_out: a sentence for each data set whose rows are left out because its files are not there.
    """

    name: str
    settings: tuple[Config, ...]
    rate: dict
    reason: str = ""
    noise_steps: tuple[float, ...] = (0.013, 0.02, 0.03)  # figure 10: ε_s
    time_steps: tuple[int, ...] = (4, 6, 8)  # figure 4: T
    bounds: tuple[float, ...] = (2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255, 64 / 255)  # figure 8a: ε
    iterations: tuple[int, ...] = (1, 2, 4, 7, 20, 40, 80)  # figure 8b: K
    sweep_images: int = 500  # test images of figure 8 and table 4
    rate_images: int = 200  # test images of rate-coded networks
    suite_images: int = 1000  # test images of the strong suite
    batches: int = 200  # figure 7
    choices: dict = field(default_factory=lambda: dict(heldout=5000))  # changes for `choices` and `moments`
    on_request: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def config(self, model: str) -> Config:
        """The configuration of a model; the scale's first one if it does not have the model."""
        return next((c for c in self.settings if c.model == model), self.settings[0])

    def configs(self, model: str) -> list[Config]:
        """The configurations of an experiment that the paper made with one model only.

        That is `config`. At a scale whose usual network stands for the paper's model, it is the usual one too, and comes first.
        """
        first, own = self.settings[0], self.config(model)
        both = self.on_request and first.model not in self.on_request and own is not first
        return [first, own] if both else [own]

    @property
    def usual_models(self) -> tuple[str, ...]:
        """The models that are used without --models."""
        return tuple(dict.fromkeys(c.model for c in self.settings if c.model not in self.on_request))


MINI = Scale(
    "mini",
    (
        preset(
            "mini",
            train_limit=2000,
            test_limit=200,
            heldout=0,
            hidden=64,
            ann_epochs=14,
            ann_batch_size=32,
            snn_epochs=2,
            calibration_images=64,
        ),
    ),
    rate=dict(steps=20, snn_epochs=2, calibration_steps=20, **RATE),
    reason="ten simple figures, 2,000 training images and seconds of training are not the paper's experiment",
    noise_steps=(0.013, 0.03),
    time_steps=(2, 4),
    bounds=(4 / 255, 8 / 255, 32 / 255),
    iterations=(1, 4, 7, 20),
    sweep_images=100,
    rate_images=100,
    suite_images=20,
    batches=10,
    choices=dict(heldout=200),
)
# CIFAR-100 at scale small. VGG11 learns nothing from a few thousand of its images, so all of them are used.
SMALL_CIFAR100 = dict(
    width=0.25,
    test_limit=1000,
    ann_epochs=40,
    ann_batch_size=64,
    ann_learning_rate=0.02,
    ann_schedule="one-cycle",
    calibration_images=256,
    calibration_steps=30,
    snn_epochs=5,
    learning_rate=1e-3,
)
SMALL = Scale(
    "small",
    (
        preset("cifar10-small", train_limit=5000, heldout=0, ann_epochs=40, snn_epochs=10, calibration_images=256),
        preset("vgg11-cifar100", hidden=1024, **SMALL_CIFAR100),
        preset("resnet12-cifar100", **SMALL_CIFAR100),
    ),
    rate=dict(steps=100, snn_epochs=1, calibration_images=128, calibration_steps=100, **RATE),
    iterations=(1, 2, 4, 7, 20, 40),
    batches=20,
    choices=dict(heldout=1000, snn_epochs=6),
    on_request=("vgg11", "resnet12"),  # their trainings take many times as long as those of VGG5
)
MEDIUM = Scale(
    "medium",
    (preset("cifar10-small", test_limit=10_000),),
    rate=dict(steps=100, snn_epochs=2, calibration_images=128, calibration_steps=100, **RATE),
    batches=20,
    choices=dict(heldout=1000, snn_epochs=10),
)
FULL = Scale(
    "full",
    tuple(preset(f"{name}") for name in ("vgg5-cifar10", "resnet12-cifar10", "vgg11-cifar100", "resnet12-cifar100")),
    rate=dict(steps=100, snn_epochs=10, **RATE),
    noise_steps=(0.01, 0.013, 0.02, 0.025, 0.03),
    iterations=(1, 2, 4, 7, 10, 20, 40, 60, 80, 100),
    sweep_images=10_000,
    rate_images=10_000,
)
SCALES = {scale.name: scale for scale in (MINI, SMALL, MEDIUM, FULL)}


def scale(name: str, data_dir: str | None, models: tuple[str, ...] = (), download: bool = False) -> Scale:
    """A scale by name, with those of its networks whose data set is there. Raises MinihireError.

    data_dir: the folder of its data sets. models: the models to use, ("all",) for all; none: the usual ones. download: the
    files that are missing will be downloaded.
    """
    if name not in SCALES:
        raise MinihireError(f"there is no scale {name!r}: {choose(name, SCALES)}")
    found = SCALES[name]
    known = list(dict.fromkeys(c.model for c in found.settings))
    if models and len(known) == 1:
        raise MinihireError(
            f"scale {name} has one network, {known[0]}: leave --models out, or choose a scale with several, as in --scale full"
        )
    for model in models:
        if model not in known and models != ("all",):
            raise MinihireError(f"scale {name} has no {model}: choose {', '.join(known)}, or all")
    chosen = known if models == ("all",) else models or found.usual_models
    settings = tuple(replace(c, data_dir=data_dir) for c in found.settings if c.model in chosen)
    if data_dir is None and any(c.data != "shapes" for c in settings):
        names = ", ".join(dict.fromkeys(c.data for c in settings))
        raise MinihireError(f"scale {name} trains on {names}: give its folder with --data-dir")
    there = settings if download else tuple(c for c in settings if _has_files(c))
    absent = dict.fromkeys(c.data for c in settings if c not in there) if there else {}
    left_out = tuple(
        f"{SOURCES[data].title} rows left out: {data_dir} has no files of {SOURCES[data].title}. With them, the same "
        "command adds these rows."
        for data in absent
    )
    return replace(found, settings=there or settings, left_out=left_out)


def _has_files(config: Config) -> bool:
    """Whether the files of a configuration's data set are in its folder."""
    if config.data not in SOURCES:
        return True
    try:
        return bool(find_files(config.data, config.data_dir or "."))
    except MissingData:
        return False
