"""Which images a network gets right."""

import numpy as np

from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.layers import Draws
from minihire.network import Network

BATCH = 100


def predict(network: Network, images, draws: Draws = Draws()) -> np.ndarray:
    """Predicted classes, int64 [B], of backend images [B, H, W, C]."""
    return network.backend.to_numpy(network.forward(images, draws=draws)).argmax(axis=1)


def accuracy(network: Network, data: Dataset, *, seed: int = 0, batch_size: int = BATCH) -> np.ndarray:
    """Which images are classified correctly: bool [N]. An image's draws go by its place in the data, not by its batch."""
    found = []
    for number, (images, labels) in enumerate(Batches(data, network.backend, batch_size)):
        found.append(predict(network, images, Draws(seed, 0, number * batch_size)) == network.backend.to_numpy(labels))
    return np.concatenate(found)
