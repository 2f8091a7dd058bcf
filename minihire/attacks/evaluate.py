"""Accuracy under attack: images crafted on the attacked network (white box) or on another network (black box)."""

import json
import math
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from backends.randomness import Draws
from minihire.analysis.accuracy import BATCH, predict
from minihire.attacks.gradient import Attack
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.data.identity import identity
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.archive import ArchiveError, read_arrays
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.interrupt import Interrupted, StopSignal
from minihire.runtime.progress import Progress

UNKNOWN = -1.0  # the predicted class of an image that was not attacked yet


def attack_accuracy(
    targets: list[Network],
    source: Network,
    data: Dataset,
    attack: Attack,
    *,
    seed: int = 0,
    batch_size: int = BATCH,
    path: os.PathLike[str] | None = None,
    about: str = "",
    keep: bool = False,
) -> list[np.ndarray]:
    """Whether each target classifies each image correctly after the attack: bool [N] per target.

    Images are crafted on `source`, once for all targets; a white-box attack has targets = [source]. Of several restarts,
    the source chooses each image's. Several ranks share the batches.

    path: a file for the answers of an interrupted attack. The same call resumes from it and then deletes it.
    The file identifies attack, seed, networks and images. keep: write all answers to the file and keep it. about: further text
    that has to be the same when the attack resumes.

    Raises MinihireError for networks and data with different image shapes or numbers of classes, for data without images, and
    for a file that is damaged or belongs to another attack.

    >>> from minihire import Network, attack_accuracy, build, fgsm, get_backend, initialise, load_data
    >>> k, images, model = get_backend("reference"), load_data("shapes", test_limit=10), build("vgg5", width=1 / 16, hidden=16)
    >>> network = Network(model, k, initialise(model, k, seed=0))
    >>> (answers,) = attack_accuracy([network], network, images.test, fgsm(8 / 255))  # white box
    >>> answers.shape, answers.dtype
    ((10,), dtype('bool'))
    """
    found = attacked_predictions(
        targets, source, data, attack, seed=seed, batch_size=batch_size, path=path, about=about, keep=keep
    )
    return [classes == data.labels for classes in found]


def attacked_predictions(
    targets: list[Network],
    source: Network,
    data: Dataset,
    attack: Attack,
    *,
    seed: int = 0,
    batch_size: int = BATCH,
    path: os.PathLike[str] | None = None,
    about: str = "",
    keep: bool = False,
) -> list[np.ndarray]:
    """The class that each target predicts for each image after the attack: int64 [N] per target.

    Arguments and errors: see `attack_accuracy`.
    """
    if isinstance(targets, Network):
        raise MinihireError("the targets are a single network: give a list, [network]")
    for target in targets:
        ours, theirs = (n.model.image_shape + (n.model.classes,) for n in (target, source))
        if ours != theirs:
            raise MinihireError(
                f"the source network has images {theirs[:3]} and {theirs[3]} classes, but a target has images {ours[:3]} and "
                f"{ours[3]} classes: give networks for the same data set"
            )
    checks.data(data, source.model)
    batch_size, seed = checks.whole("the batch size", batch_size), checks.whole("the seed", seed, None)
    k = source.backend
    shape = len(targets), len(data)
    whose = cache(partial(_identity, targets, source, data, attack, seed, about))  # lazy, because it hashes all weights
    loaded = path and _load_answers(Path(path), shape, source.model.classes, whose)
    earlier, done = loaded or (np.full(shape, UNKNOWN), 0)
    if done < len(data):  # start with a whole batch, also if the file was written with another batch size
        done -= done % batch_size
    earlier[:, done:] = UNKNOWN
    new = np.zeros(shape)  # the predicted class + 1, of the images that this rank attacks in this call
    batches, attacker = Batches(data, k, batch_size), attack.attacker(source)
    first_batch = math.ceil(done / batch_size)
    with StopSignal(k) as stop, Progress(attack.name, len(data), done=done) as progress:
        for number in range(first_batch, len(batches), k.services.ranks):  # one batch for each rank
            try:
                stop.check(f"during {attack.name}" + (f"; finished batches were saved in {path}" if path else ""))
            except Interrupted:
                if path:
                    _save_answers(path, earlier + k.services.sum_over_ranks([new])[0], number * batch_size, whose())
                raise
            own = number + k.services.rank
            if own < len(batches):
                first = own * batch_size
                (images, labels), draws = batches.load(0, own), Draws(seed, 0, first)
                crafted = attacker(images, labels, draws)
                for classes, target in zip(new, targets, strict=True):
                    classes[first : first + batch_size] = predict(target, crafted, draws, attack.samples) + 1
            progress.add(sum(batches.images(n) for n in range(number, min(number + k.services.ranks, len(batches)))))
        (new,) = k.services.sum_over_ranks([new])
        if stop.asked() and path:  # during the last batch: leaving `with` raises Interrupted
            _save_answers(path, earlier + new, len(data), whose())
    if keep and path and k.services.rank == 0:
        _save_answers(path, earlier + new, len(data), whose())
    elif loaded and path and k.services.rank == 0:
        Path(path).unlink()
    return list((earlier + new).astype(np.int64))


def _identity(targets: list[Network], source: Network, data: Dataset, attack: Attack, seed: int, about: str) -> str:
    """The text that a file of answers must have for this call to resume from it."""
    networks = [identity(network, data) for network in (source, *targets)]
    return json.dumps([networks, repr(attack), seed, about])


def _save_answers(path: os.PathLike[str], predicted: np.ndarray, done: int, about: str) -> None:
    """Write a file from which an attack resumes: predicted classes [targets, N], known for the first `done` images."""
    arrays: dict[str, Any] = {
        "predicted": predicted.astype(np.int64),
        "done": np.array(done),
        "about": np.array(about),
    }
    write_atomically(Path(path), lambda file: np.savez_compressed(file, **arrays))


def _load_answers(
    path: Path, shape: tuple[int, int], classes: int, about: Callable[[], str]
) -> tuple[np.ndarray[Any, Any], int] | None:
    """(predicted classes [targets, images], number of images done) of an interrupted attack; None if there is no file."""
    if not path.exists():
        return None
    try:
        saved = read_arrays(path, {"predicted", "done", "about"})
        if saved["predicted"].dtype != np.int64 or saved["done"].dtype.kind != "i":
            raise ValueError("other types")
        predicted, done, saved_about = saved["predicted"].astype(float), int(saved["done"]), str(saved["about"])
    except (OSError, ArchiveError, ValueError, TypeError) as error:
        raise MinihireError(f"{path} is damaged: delete it, and the attack starts again") from error
    fits = predicted.shape == shape and 0 <= done <= shape[1]
    if saved_about != about() or not fits or not ((predicted >= UNKNOWN) & (predicted < classes)).all():
        raise MinihireError(f"{path} is of another attack or other images: delete it, and the attack starts again")
    return predicted, done
