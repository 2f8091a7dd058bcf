"""Predictions and accuracy of a network. Several ranks share the batches, and all ranks get the complete result."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from backends.interface import Array
from backends.randomness import Draws
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.engine.arrays import times
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.progress import counted

BATCH = 100
Answers = np.ndarray[Any, Any]


def sample_draws(draws: Draws, samples: int) -> list[Draws]:
    """The draws themselves, and samples − 1 others that no draws with step < 2³¹ equal, for a mean over random spikes."""
    return [draws] + [draws._replace(step=2**31 + draws.step * samples + n) for n in range(1, samples)]


def mean_logits(network: Network, images: Array, draws: Draws = Draws(), samples: int = 1) -> Array:
    """Logits [B, classes], an array of the backend: the mean over `samples` draws of the spikes of a rate-coded network."""
    k, logits = network.backend, network.forward(images, draws=draws)
    if samples == 1 or not network.random:
        return logits
    for other in sample_draws(draws, samples)[1:]:
        logits = k.add(logits, network.forward(images, draws=other))
    return times(k, logits, 1 / samples)


def predict(network: Network, images: Array, draws: Draws = Draws(), samples: int = 1) -> Answers:
    """Predict the classes, int64 [B], of backend images [B, H, W, C] with pixels in [0, 1].

    samples: see `mean_logits`. Raises MinihireError if a logit is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # the check below says it in a sentence
        logits = network.backend.to_numpy(mean_logits(network, images, draws, samples))
    checks.finite_logits(logits)
    classes: Answers = logits.argmax(axis=1)
    return classes


def accuracy(network: Network, data: Dataset, *, seed: int = 0, batch_size: int = BATCH, samples: int = 1) -> Answers:
    """Return for each image whether it is classified correctly: bool [N].

    The random draws of an image depend on the seed and on its index in `data`, not on the batch size. samples: see
    `mean_logits`. Raises MinihireError for data without images, for samples or batch_size below 1, and for images or a number
    of classes that the network was not built for.

    >>> from minihire import Network, accuracy, build, get_backend, initialise, load_data
    >>> k, images, model = get_backend("reference"), load_data("shapes", test_limit=10), build("vgg5", width=1 / 16, hidden=16)
    >>> accuracy(Network(model, k, initialise(model, k, seed=0)), images.test).shape
    (10,)
    """
    answers: Answers = predictions(network, data, seed=seed, batch_size=batch_size, samples=samples) == data.labels
    return answers


def predictions(
    network: Network, data: Dataset, *, seed: int = 0, batch_size: int = BATCH, samples: int = 1, label: str = ""
) -> Answers:
    """The predicted class of each image: int64 [N]. label: the name under which progress is shown; "" shows none.

    Other arguments and errors: see `accuracy`.
    """
    checks.instance("the network", network, Network)
    checks.data(data, network.model)
    batch_size, seed = checks.whole("the batch size", batch_size), checks.whole("the seed", seed, None)
    samples = checks.whole("the number of samples", samples)
    k, found = network.backend, np.zeros(len(data))
    batches, ranks = Batches(data, k, batch_size), k.services.ranks
    numbers: Iterable[int] = range(k.services.rank, len(batches), ranks)
    if label:
        numbers = counted(numbers, label, len(data), count=lambda number: ranks * batches.image_count(number))
    for number in numbers:
        (images, _), first = batches.load(0, number), number * batch_size
        found[first : first + batch_size] = predict(network, images, Draws(seed, 0, first), samples)
    (found,) = k.services.sum_over_ranks([found])
    classes: Answers = found.astype(np.int64)
    return classes


def confusion_matrix(labels: Answers, predicted: Answers, classes: int) -> Answers:
    """How many images of each class (rows) were predicted as each class (columns): int64 [classes, classes].

    >>> import numpy as np
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts: Answers = np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    return counts
