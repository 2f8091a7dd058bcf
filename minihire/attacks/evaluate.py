"""Accuracy under attack: images crafted on the attacked network (white box) or on another network (black box)."""

import json
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from backends.randomness import Draws
from minihire.analysis.accuracy import BATCH, Answers, predict
from minihire.attacks.gradient import (
    Attack,
    attack_identity,
    checked_attacker,
    measured_distance,
    require_attack,
    warn_outside_ball,
)
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.data.identity import identity
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.archive import ArchiveError, read_arrays
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import open_regular, write_atomically
from minihire.runtime.interrupt import Interrupted, StopSignal
from minihire.runtime.progress import Progress

UNKNOWN = -1  # the predicted class of an image that was not attacked yet
# Arrays of a file of answers, in the order in which they are written. Earlier versions did not write "farthest".
NAMES = ("predicted", "done", "about", "farthest")
# The answers are saved every SAVE_EVERY seconds, and less often if writing them takes more than 1 / WRITE_RATIO of the time.
SAVE_EVERY, WRITE_RATIO = 60, 50


def attack_accuracy(
    network: Network,
    data: Dataset,
    attack: Attack,
    *,
    source: Network | None = None,
    seed: int = 0,
    batch_size: int = BATCH,
    path: os.PathLike[str] | None = None,
    about: str = "",
    keep: bool = False,
    replace: bool = False,
) -> Answers:
    """Whether the network classifies each image correctly after the attack: bool [N].

    source: the network to craft the images on. Default: the network itself, which is a white-box attack; with another one it is
    a black-box attack. With several restarts, each image is the one that fools the source best. Several ranks share the batches.
    A warning is printed if the attack leaves its ε ball.

    path: a file for the answers of an attack. They are written about once a minute and when the attack is stopped. The same call
    resumes from the file and then deletes it. The file identifies attack, seed, networks and images. keep: write all answers to
    the file and keep it. about: further text that has to be the same when the attack resumes. replace: if the file belongs to
    another attack, start anew and replace it, instead of raising an error.

    Raises MinihireError for networks and data with different image shapes or numbers of classes, for data without images, for
    an attack that is no Attack, and for a file that is damaged, belongs to another attack or has other content.

    >>> from minihire import Network, attack_accuracy, build, fgsm, get_backend, initialise, load_data
    >>> k, images, model = get_backend("reference"), load_data("shapes", test_limit=10), build("vgg5", width=1 / 16, hidden=16)
    >>> network = Network(model, k, initialise(model, k, seed=0))
    >>> answers = attack_accuracy(network, images.test, fgsm(8 / 255))  # white box
    >>> answers.shape, answers.dtype
    ((10,), dtype('bool'))
    """
    checks.instance("the network", network, Network)
    options: dict[str, Any] = dict(seed=seed, batch_size=batch_size, path=path, about=about, keep=keep, replace=replace)
    (classes,) = attacked_predictions([network], network if source is None else source, data, attack, **options)
    answers: Answers = classes == data.labels
    return answers


def attacked_predictions(
    networks: list[Network],
    source: Network,
    data: Dataset,
    attack: Attack,
    *,
    seed: int = 0,
    batch_size: int = BATCH,
    path: os.PathLike[str] | None = None,
    about: str = "",
    keep: bool = False,
    replace: bool = False,
) -> list[np.ndarray]:
    """The class that each network predicts for each image after the attack: int64 [N] per network.

    The images are crafted once for all networks, on `source`. The other arguments, and the errors: see `attack_accuracy`.
    """
    networks = [*checks.several("the networks", networks, Network)]
    checks.instance("the source", source, Network)
    require_attack(attack)
    for network in networks:
        ours, theirs = (n.model.image_shape + (n.model.classes,) for n in (network, source))
        if ours != theirs:
            raise MinihireError(
                f"the source network has images {theirs[:3]} and {theirs[3]} classes, but the attacked one has images {ours[:3]} "
                f"and {ours[3]} classes: give networks for the same data set"
            )
    checks.data(data, source.model)
    batch_size, seed = checks.whole("the batch size", batch_size), checks.whole("the seed", seed, None)
    shape = len(networks), len(data)
    file = AnswerFile(
        checks.path("the file of answers", path) if path else None,
        lambda: _identity(networks, source, data, attack, seed, about),
        replace,
    )
    loaded = file.load(shape, source.model.classes)
    predicted, done, farthest = loaded or (np.full(shape, UNKNOWN), 0, 0.0)
    if done < len(data):  # start with a whole batch, also if the file was written with another batch size
        done -= done % batch_size
    predicted[:, done:] = UNKNOWN
    batches = Batches(data, source.backend, batch_size)
    predicted, farthest = _attack_batches(networks, source, attack, seed, batches, predicted, farthest, done, file)
    if source.backend.services.rank == 0:
        if keep:
            file.save(predicted, farthest, len(data))
        else:
            file.delete()
    if file.path:
        source.backend.services.wait_for_all_ranks()  # no rank looks for the file before rank 0 is done with it
    warn_outside_ball(attack, farthest)
    return list(predicted)


def _attack_batches(
    networks: list[Network],
    source: Network,
    attack: Attack,
    seed: int,
    batches: Batches,
    predicted: np.ndarray,
    farthest: float,
    done: int,
    file: "AnswerFile",
) -> tuple[np.ndarray, float]:
    """Attack all images from number `done` on. Returns the predicted classes of all images, int64 [networks, N], and the largest
    distance of an adversarial image from its original.

    predicted: the classes that are known already, int64 [networks, N]. It is changed in place. farthest: the largest distance so
    far. From time to time, and if the attack is stopped, both are written to the file.
    """
    k, attacker, count = source.backend, checked_attacker(attack, source), predicted.shape[1]
    services = k.services
    own = np.zeros(count, bool)  # the images that this rank attacks

    def of_all_ranks() -> tuple[np.ndarray, float]:
        distances = np.zeros(services.ranks)
        distances[services.rank] = farthest
        mine = [np.where(own, predicted, 0.0), own.astype(float), distances]
        classes, ranks, distances = services.sum_over_ranks(mine)
        return np.where(ranks > 0, classes, predicted).astype(np.int64), float(distances.max())

    def due() -> bool:
        return bool(file.path and services.sum_over_ranks([np.array([float(file.due)])])[0][0])

    with StopSignal(k) as stop, Progress(attack.name, count, done=done) as progress:
        for number in range(math.ceil(done / batches.size), len(batches), services.ranks):  # one batch for each rank
            try:
                stop.check(f"during {attack.name}" + file.where)
            except Interrupted:
                file.save(*of_all_ranks(), number * batches.size)
                raise
            if due():
                file.save(*of_all_ranks(), number * batches.size)
            if number + services.rank < len(batches):
                first = (number + services.rank) * batches.size
                images, labels = batches.load(0, number + services.rank)
                draws, rows = Draws(seed, 0, first), slice(first, first + batches.size)
                crafted, own[rows] = attacker(images, labels, draws), True
                distance = measured_distance(attack, *map(k.to_numpy, (crafted, images)))
                farthest = max(farthest, distance)
                for classes, network in zip(predicted, networks, strict=True):
                    classes[rows] = predict(network, crafted, draws, attack.samples)
            progress.add(sum(map(batches.image_count, range(number, min(number + services.ranks, len(batches))))))
        predicted, farthest = of_all_ranks()
        if stop.asked():  # during the last batch: leaving `with` raises Interrupted
            file.save(predicted, farthest, count)
    return predicted, farthest


def _identity(networks: list[Network], source: Network, data: Dataset, attack: Attack, seed: int, about: str) -> str:
    """The text that a file of answers must have for this call to resume from it."""
    identities = [identity(network, data) for network in (source, *networks)]
    return json.dumps([identities, attack_identity(attack), seed, about])


def _begins_like_answers(path: Path) -> bool:
    """Whether the first array of a NumPy archive is that of a file of answers. The rest may be damaged."""
    try:
        with open_regular(path) as file:
            return f"{NAMES[0]}.npy".encode() in file.read(100)  # the archive's first bytes name its first member
    except OSError:
        return False


class AnswerFile:
    """The file from which an attack resumes. path: None for no file; then nothing is loaded or saved.

    text: a function that returns the text of `_identity`. It is called only if it is needed, because it hashes all weights.
    replace: whether a file of another attack is replaced. Otherwise loading it raises MinihireError.
    """

    def __init__(self, path: Path | None, text: Callable[[], str], replace: bool = False):
        self.path, self.text, self.replace = path, cache(text), replace
        self.used = False  # whether it was loaded or saved
        self.save_seconds, self.saved_at = 0.0, perf_counter()

    @property
    def due(self) -> bool:
        """Whether the last save was so long ago that the answers should be saved again."""
        return perf_counter() - self.saved_at > max(SAVE_EVERY, WRITE_RATIO * self.save_seconds)

    @property
    def where(self) -> str:
        """The end of a message about an interrupted attack."""
        return f"; finished batches were saved in {self.path}" if self.path else ""

    def save(self, predicted: np.ndarray[Any, Any], farthest: float, done: int) -> None:
        """Write the predicted classes, int64 [networks, N], and the largest distance. done: number of images attacked so far."""
        if self.path is None:
            return
        start, self.used = perf_counter(), True
        distance = np.array(np.nan_to_num(farthest))  # an archive with infinity would be refused
        arrays: dict[str, Any] = dict(
            zip(NAMES, (predicted, np.array(done), np.array(self.text()), distance), strict=True)
        )
        write_atomically(self.path, lambda file: np.savez_compressed(file, **arrays))
        self.saved_at = perf_counter()
        self.save_seconds = self.saved_at - start

    def load(self, shape: tuple[int, int], classes: int) -> tuple[np.ndarray[Any, Any], int, float] | None:
        """(predicted classes int64 [networks, N], number of images done, largest distance); None if there is nothing to load."""
        path = self.path
        if path is None or not path.exists():
            return None
        try:
            saved = read_arrays(path, wanted=lambda name: name in NAMES)
            farthest = saved.get("farthest", np.array(0.0))
            if saved["predicted"].dtype != np.int64 or saved["done"].dtype.kind + farthest.dtype.kind != "if":
                raise ValueError("other types")
            predicted, done, about = saved["predicted"].copy(), int(saved["done"]), str(saved["about"])
            distance = float(farthest)
        except (OSError, ArchiveError, LookupError, ValueError, TypeError) as error:
            if _begins_like_answers(path):
                raise MinihireError(f"{path} is damaged: delete it, and the attack starts again") from error
            raise MinihireError(
                f"{path} is not an interim file of this attack: move it, or write the results elsewhere, as with another --json "
                "or --out"
            ) from error
        if self.replace and about != self.text():
            return None
        fits = predicted.shape == shape and 0 <= done <= shape[1]
        if about != self.text() or not fits or not ((predicted >= UNKNOWN) & (predicted < classes)).all():
            raise MinihireError(f"{path} is of another attack or other images: delete it, and the attack starts again")
        self.used = True
        return predicted, done, distance

    def delete(self) -> None:
        """Delete the file, if it was loaded or saved."""
        if self.path and self.used:
            self.path.unlink(missing_ok=True)
