"""A trained SNN for the benchmarks. It is trained once with minihire and cached as a checkpoint."""

from pathlib import Path

from minihire import data
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import say
from minihire.training import Calibration, Recipe, checkpoint, convert, train
from minihire.training.optimisers import Schedule

ANN_BATCH, SNN_BATCH = 128, 32


def trained_network(request, k) -> Path:
    """Return the checkpoint of a network trained on CIFAR-10 as an ANN, converted, and trained as an SNN.

    The checkpoint contains Adam's moments. If it is missing, the network is trained; an interrupted training resumes.
    """
    folder = request.cache or Path("runs/benchmarks")
    steps = request.steps or build(request.model).steps
    hidden = f"-hidden{request.hidden}" if request.hidden else ""
    name = f"{request.model}-width{request.width:g}{hidden}-steps{steps}-{request.ann_steps}-{request.snn_steps}"
    path, converted, ann_path = (Path(folder) / f"{name}{end}.npz" for end in ("", "-converted", "-ann"))
    if path.exists() and checkpoint.load(path).meta["training"]["position"]["finished"]:
        return path
    images = data.load("cifar10", request.data_dir, seed=0).train
    if not converted.exists():
        say(f"training {request.model} as an ANN, {request.ann_steps} batches of {ANN_BATCH}; cached in {folder}/")
        model = build(request.model, mean=images.mean, std=images.std, width=request.width, hidden=request.hidden)
        ann = Network(model, k, initialise(model, k, seed=0))
        epochs, part = _epochs(images, request.ann_steps, ANN_BATCH)
        recipe = Recipe(epochs, ANN_BATCH, "sgd", 0.02, Schedule("one-cycle"), 5e-4)
        train(ann, recipe, part, path=ann_path, resume=True, label="ANN")
        snn = convert(ann, images, steps=steps, calibration=Calibration(images=128, steps=20))
        checkpoint.save(converted, snn)
    snn = checkpoint.load(converted).network(k)
    if not snn.spiking:
        raise MinihireError(f"{converted} is not a spiking network: delete it, and it will be created again")
    say(f"training the SNN, {request.snn_steps} batches of {SNN_BATCH}")
    epochs, part = _epochs(images, request.snn_steps, SNN_BATCH)
    train(snn, Recipe(epochs, SNN_BATCH), part, path=path, resume=True, label="SNN")
    return path


def _epochs(images, batches, size):
    """Number of epochs and a subset of the images, so that training takes about `batches` batches in several epochs.

    A training is saved after each epoch.
    """
    count = min(len(images), max(size, batches * size // 4))
    return max(1, round(batches * size / count)), images.limit(count)
