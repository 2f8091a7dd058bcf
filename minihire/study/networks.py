"""Functions of a study for single networks: load images, build an ANN, convert it, measure activity and energy."""

from collections.abc import Collection

import numpy as np

from backends.interface import Backend
from minihire import data as datasets
from minihire.analysis import Energy, LayerActivity, NeuroBench, measure_activity, measure_energy, measure_neurobench
from minihire.analysis.accuracy import BATCH
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset, Splits
from minihire.models import Model, build
from minihire.network import Network, initialise
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import counted, say
from minihire.study.settings import Config
from minihire.training import Calibration, convert

DATA_SEED = 0  # the split into training and held-out images is the same for every seed
LIMITS = ("train_limit", "test_limit", "heldout")  # settings that ask for a number of images


def load_data(config: Config, download: bool = False, given: Collection[str] = LIMITS) -> Splits:
    """The images that a configuration names.

    given: the settings that the user chose. A limit among them must fit the data set, else DataError is raised; any other
    limit comes from a preset and is lowered to the images that are there.
    """
    splits = datasets.load(
        config.data,
        None
        if config.data == "shapes"
        else config.data_dir,  # settings of a checkpoint may name the folder of other data
        seed=DATA_SEED,
        heldout=config.heldout,
        train_limit=config.train_limit,
        test_limit=config.test_limit,
        download=download,
        size=config.image_size,
        flexible=[name for name in LIMITS if name not in given],
    )
    for kind, part, wanted in (
        ("training", splits.train, config.train_limit),
        ("held-out", splits.heldout, config.heldout),
        ("test", splits.test, config.test_limit),
    ):
        if wanted is not None and len(part) < wanted:
            used = "all " if kind != "held-out" else ""
            used += f"{len(part):,}" if len(part) else "no"
            say(f"using {used} {kind} images: the preset's {wanted:,} are more than {config.data} has")
    return splits


def build_model(config: Config, data: Dataset) -> Model:
    """The model that a configuration names, for the images of a data set.

    Rate coding uses the pixels as spike probabilities and cannot normalise them. So the ANN of a rate-coded SNN gets pixels that
    are not normalised, too.
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
    """The configuration's ANN with initial weights.

    For rate coding the images are not normalised, and an ANN hardly learns from inputs that are all small and positive. So, for
    rate coding, each filter of the first layer is shifted to mean zero and divided by the standard deviation of the pixels.
    """
    model = build_model(config, data)
    parameters = initialise(model, backend, seed)
    if config.coding == "rate":
        first = next(iter(parameters))
        filters = backend.to_numpy(parameters[first])
        centred = filters - filters.mean(axis=(0, 1, 2), keepdims=True)
        parameters[first] = backend.asarray(centred / np.mean(data.std))
    return Network(model, backend, parameters)


def converted_snn(
    ann: Network, config: Config, images: Dataset, seed: int, calibration: Calibration | None = None
) -> Network:
    """The SNN that an ANN is converted to. calibration: by default the configuration's."""
    return convert(
        ann,
        images,
        steps=config.steps,
        calibration=calibration or config.calibration,
        seed=seed,
        coding=config.coding,
        readout=config.readout,
        neuron=config.neuron,
        time_chunk=config.time_chunk,
    )


def activity_and_energy(
    network: Network, data: Dataset, seed: int, stop: StopSignal | None = None
) -> tuple[list[LayerActivity], dict[str, Energy]]:
    """Activity of every layer, and the energy of an inference with the first layer computed once or at every step.

    stop: checked after every batch.
    """

    def batches():
        for images in _batches(network, data, "activity"):
            yield images
            if stop:
                stop.check("during the measurement of activity", time_limit=False)

    activity = measure_activity(network, batches(), seed=seed)
    return activity, {
        "first_layer_once": measure_energy(network, activity),
        "first_layer_every_step": measure_energy(network, activity, first_layer_every_step=True),
    }


def neurobench_metrics(network: Network, data: Dataset, seed: int) -> NeuroBench:
    """NeuroBench's metrics of a network, in batches of the size of an evaluation."""
    return measure_neurobench(network, _batches(network, data, "NeuroBench"), seed=seed)


def _batches(network, data, label):
    """The images in batches, with progress."""
    batches = (images for images, _ in Batches(data, network.backend, BATCH))
    return counted(batches, label, len(data), count=lambda images: images.shape[0])
