"""Accuracy under attack: crafted on the attacked network (white box) or on another (black box, transfer)."""

import os
import zipfile
from pathlib import Path

import numpy as np

from minihire.analysis.accuracy import BATCH, predict
from minihire.attacks.gradient import Attack
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.layers import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.interrupt import Interrupted, StopSignal
from minihire.runtime.progress import Progress


def attack_accuracy(
    targets: list[Network],
    source: Network,
    data: Dataset,
    attack: Attack,
    *,
    seed: int = 0,
    batch_size: int = BATCH,
    path: os.PathLike | None = None,
    about: str = "",
) -> list[np.ndarray]:
    """Which images each target still gets right when they were crafted on `source`: bool [N] per target.

    White box: targets = [source]. Images are crafted once for all targets; of several ranks each attacks every ranks-th
    batch. path: a file for the answers so far when it is stopped; called again with this file it goes on from them. about:
    what tells this attack on these networks and images from others, where the file's name does not. Raises MinihireError
    where the networks take images of different shapes or have different classes, or where `path` is damaged or of another.
    """
    for target in targets:
        ours, theirs = (n.model.image_shape + (n.model.classes,) for n in (target, source))
        if ours != theirs:
            raise MinihireError(
                f"a network for {theirs[:3]} images of {theirs[3]} classes "
                f"cannot craft images for one of {ours[:3]} and {ours[3]}"
            )
    k, found_earlier = source.backend, path and _begun(Path(path), len(targets), len(data), about)
    earlier, done = found_earlier or (np.zeros((len(targets), len(data))), 0)
    done -= done % batch_size
    earlier[:, done:] = 0
    right = np.zeros_like(earlier)  # what this rank finds
    batches, attacker = Batches(data, k, batch_size), attack.attacker(source)
    with StopSignal(k) as stop, Progress(attack.name, len(data), done=done) as progress:
        for number in range(done // batch_size, len(batches), k.ranks):
            try:
                stop.check(f"during {attack.name}" + ("; what was finished is kept" if path else ""))
            except Interrupted:
                if path:
                    keep_answers(path, earlier + k.sum_over_ranks([right])[0], number * batch_size, about)
                raise
            if number + k.rank < len(batches):
                first = (number + k.rank) * batch_size
                (images, labels), draws = batches.load(0, number + k.rank), Draws(seed, 0, first)
                crafted = attacker(images, labels, draws)
                for found, target in zip(right, targets, strict=True):
                    found[first : first + batch_size] = predict(target, crafted, draws) == k.to_numpy(labels)
            progress.add(sum(batches.images(n) for n in range(number, min(number + k.ranks, len(batches)))))
        (right,) = k.sum_over_ranks([right])
    if found_earlier and k.rank == 0:
        Path(path).unlink()
    return list(earlier + right > 0)


def keep_answers(path: os.PathLike, right: np.ndarray, done: int, about: str = "") -> None:
    """Write what `attack_accuracy` goes on from: answers [targets, N], of which the first `done` images' are known."""
    arrays = {"right": right > 0, "done": np.array(done), "about": np.array(about)}
    write_atomically(Path(path), lambda file: np.savez_compressed(file, **arrays))


def _begun(path, targets, images, about):
    """(answers [targets, images], of how many images) that an attack left when it was stopped; None if there is no file."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            right, done, of = kept["right"].astype(float), int(kept["done"]), str(kept["about"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise MinihireError(f"{path} is damaged: delete it, and the attack begins anew") from error
    if of != about or right.shape != (targets, images) or not 0 <= done <= images:
        raise MinihireError(f"{path} is of another attack or other images: delete it, and the attack begins anew")
    return right, done
