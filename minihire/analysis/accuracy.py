"""Which images a network gets right. Of several ranks each looks at every ranks-th batch, and all know the answers."""

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
    k, right = network.backend, np.zeros(len(data))
    batches = Batches(data, k, batch_size)
    for number in range(k.rank, len(batches), k.ranks):
        (images, labels), first = batches.load(0, number), number * batch_size
        right[first : first + batch_size] = predict(network, images, Draws(seed, 0, first)) == k.to_numpy(labels)
    return k.sum_over_ranks([right])[0] > 0
