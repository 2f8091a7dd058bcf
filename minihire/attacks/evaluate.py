"""Accuracy under attack: crafted on the attacked network (white box) or on another (black box, transfer)."""

import numpy as np

from minihire.attacks.gradient import Attack, perturb
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

    White box: targets = [source]. Images are crafted once for all targets. Raises MinihireError where the networks take
    images of different shapes or have different classes.
    """
    for target in targets:
        ours, theirs = (n.model.image_shape + (n.model.classes,) for n in (target, source))
        if ours != theirs:
            raise MinihireError(
                f"a network for {theirs[:3]} images of {theirs[3]} classes "
                f"cannot craft images for one of {ours[:3]} and {ours[3]}"
            )
    right = [[] for _ in targets]
    k = source.backend
    with StopSignal() as stop, Progress(attack.name, len(data)) as progress:
        for number, (images, labels) in enumerate(Batches(data, k, batch_size)):
            stop.check(f"during {attack.name}; finished results were kept")
            draws = Draws(seed, 0, number * batch_size)
            crafted = perturb(source, images, labels, attack, draws)
            for found, target in zip(right, targets, strict=True):
                found.append(predict(target, crafted, draws) == k.to_numpy(labels))
            progress.add(images.shape[0])
    return [np.concatenate(found) for found in right]
