"""Predictions and accuracy of a network. Several ranks share the batches, and all ranks get the complete result."""

from typing import Any

import numpy as np

from backends.interface import Array
from backends.randomness import Draws
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.network import Network
from minihire.runtime import checks

BATCH = 100
Answers = np.ndarray[Any, Any]


def predict(network: Network, images: Array, draws: Draws = Draws()) -> Answers:
    """Predict the classes, int64 [B], of backend images [B, H, W, C] with pixels in [0, 1]."""
    logits = network.backend.to_numpy(network.forward(images, draws=draws))
    classes: Answers = logits.argmax(axis=1)
    return classes


def accuracy(network: Network, data: Dataset, *, seed: int = 0, batch_size: int = BATCH) -> Answers:
    """Return for each image whether it is classified correctly: bool [N].

    The random draws of an image depend on the seed and on its index in `data`, not on the batch size. Raises MinihireError for
    data without images, and for images or a number of classes that the network was not built for.

    >>> from minihire import Network, accuracy, build, get_backend, initialise, load_data
    >>> k, images, model = get_backend("reference"), load_data("shapes", test_limit=10), build("vgg5", width=1 / 16, hidden=16)
    >>> accuracy(Network(model, k, initialise(model, k, seed=0)), images.test).shape
    (10,)
    """
    checks.data(data, network.model)
    batch_size, seed = checks.whole("the batch size", batch_size), checks.whole("the seed", seed, None)
    k, right = network.backend, np.zeros(len(data))
    batches = Batches(data, k, batch_size)
    for number in range(k.services.rank, len(batches), k.services.ranks):
        (images, labels), first = batches.load(0, number), number * batch_size
        right[first : first + batch_size] = predict(network, images, Draws(seed, 0, first)) == k.to_numpy(labels)
    (right,) = k.services.sum_over_ranks([right])
    answers: Answers = right > 0
    return answers
