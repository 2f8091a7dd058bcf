"""Accuracy under attack: crafted on the attacked network (white box) or on another (black box, transfer)."""

import numpy as np

from minihire.attacks.gradient import Attack
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.errors import MinihireError
from minihire.evaluation import BATCH, predict
from minihire.interrupt import StopSignal
from minihire.layers import Draws
from minihire.network import Network
from minihire.progress import Progress


def attack_accuracy(
    targets: list[Network], source: Network, data: Dataset, attack: Attack, *, seed: int = 0, batch_size: int = BATCH
) -> list[np.ndarray]:
    """Which images each target still gets right when they were crafted on `source`: bool [N] per target.

    White box: targets = [source]. Images are crafted once for all targets; of several ranks each attacks every ranks-th
    batch. Raises MinihireError where the networks take images of different shapes or have different classes.
    """
    for target in targets:
        ours, theirs = (n.model.image_shape + (n.model.classes,) for n in (target, source))
        if ours != theirs:
            raise MinihireError(
                f"a network for {theirs[:3]} images of {theirs[3]} classes "
                f"cannot craft images for one of {ours[:3]} and {ours[3]}"
            )
    k, right = source.backend, np.zeros((len(targets), len(data)))
    batches, attacker = Batches(data, k, batch_size), attack.attacker(source)
    with StopSignal(k) as stop, Progress(attack.name, len(data)) as progress:
        for number in range(0, len(batches), k.ranks):
            stop.check(f"during {attack.name}; finished results were kept")
            if number + k.rank < len(batches):
                first = (number + k.rank) * batch_size
                (images, labels), draws = batches.load(0, number + k.rank), Draws(seed, 0, first)
                crafted = attacker(images, labels, draws)
                for found, target in zip(right, targets, strict=True):
                    found[first : first + batch_size] = predict(target, crafted, draws) == k.to_numpy(labels)
            progress.add(sum(batches.images(n) for n in range(number, min(number + k.ranks, len(batches)))))
        (right,) = k.sum_over_ranks([right])
    return list(right > 0)
