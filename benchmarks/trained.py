"""A trained SNN for the benchmarks. It is trained once with minihire and cached as a checkpoint."""

from pathlib import Path
from typing import NamedTuple

from minihire import data
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import say
from minihire.training import Calibration, Recipe, checkpoint, convert, train
from minihire.training.optimisers import Schedule

ANN_BATCH, SNN_BATCH = 128, 32


class Plan(NamedTuple):
    """How the network is trained. name: part of the file name; ann, snn: a recipe and the images for it."""

    name: str
    ann: tuple[Recipe, Dataset]
    snn: tuple[Recipe, Dataset]


def plan(request, images: Dataset) -> Plan:
    """The training that a request asks for: on all images, or for a number of batches."""
    cycle = Schedule("one-cycle")
    if request.trained_on_all:
        ann = Recipe(8, ANN_BATCH, "sgd", 0.05, cycle, 5e-4)
        return Plan("all", (ann, images), (Recipe(1, SNN_BATCH, learning_rate=3e-4, schedule=cycle), images))
    epochs, part = _epochs(images, request.ann_steps, ANN_BATCH)
    ann = Recipe(epochs, ANN_BATCH, "sgd", 0.02, cycle, 5e-4), part
    epochs, part = _epochs(images, request.snn_steps, SNN_BATCH)
    return Plan(f"{request.ann_steps}-{request.snn_steps}", ann, (Recipe(epochs, SNN_BATCH), part))


def trained_network(request, k) -> Path:
    """Return the checkpoint of a network trained on CIFAR-10 as an ANN, converted, and trained as an SNN.

    The checkpoint contains Adam's moments. If it is missing, the network is trained; an interrupted training resumes.
    """
    folder = request.cache or Path("runs/benchmarks")
    steps = request.steps or build(request.model).steps
    hidden = f"-hidden{request.hidden}" if request.hidden else ""
    images = data.load("cifar10", request.data_dir, seed=0).train
    chosen = plan(request, images)
    name = f"{request.model}-width{request.width:g}{hidden}-steps{steps}-{chosen.name}"
    path, converted, ann_path = (Path(folder) / f"{name}{end}.npz" for end in ("", "-converted", "-ann"))
    if path.exists() and checkpoint.load(path).meta["training"]["position"]["finished"]:
        return path
    if not converted.exists():
        recipe, part = chosen.ann
        say(f"training {request.model} as an ANN, {_amount(recipe, part)}; cached in {folder}/")
        model = build(request.model, mean=images.mean, std=images.std, width=request.width, hidden=request.hidden)
        ann = Network(model, k, initialise(model, k, seed=0))
        train(ann, recipe, part, path=ann_path, resume=True, label="ANN")
        snn = convert(ann, images, steps=steps, calibration=Calibration(images=128, steps=20))
        checkpoint.save(converted, snn)
    snn = checkpoint.load(converted).network(k)
    if not snn.spiking:
        raise MinihireError(f"{converted} is not a spiking network: delete it, and it will be created again")
    recipe, part = chosen.snn
    say(f"training the SNN, {_amount(recipe, part)}")
    train(snn, recipe, part, path=path, resume=True, label="SNN")
    return path


def _amount(recipe, images):
    """The length of a training, for example "4 epochs of 9,600 images"."""
    return f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)} of {len(images):,} images"


def _epochs(images, batches, size):
    """Number of epochs and a subset of the images, so that training takes about `batches` batches in several epochs.

    A training is saved after each epoch.
    """
    count = min(len(images), max(size, batches * size // 4))
    return max(1, round(batches * size / count)), images.limit(count)
