"""Signs of a failed training: silent or saturated layers, values that are not finite, chance-level accuracy, a diverged loss."""

import math

import numpy as np

from backends.randomness import Draws
from minihire.network import Network

DIVERGED = 1.5  # see `failed_training`


def silent_layers(network: Network, images, seed: int = 0) -> list[str]:
    """A sentence for each layer of neurons that, on these images, never spikes, or spikes in every neuron at every step."""
    if not network.spiking:
        return []
    k, counts = network.backend, {}

    def observe(event, layer, array):
        if event == "spikes":
            fired, size = counts.get(layer, (0, 0))
            counts[layer] = fired + k.events(array), size + math.prod(array.shape)

    network.forward(images, draws=Draws(seed), observe=observe)
    sentences = []
    for layer, (fired, size) in counts.items():
        if fired == 0:
            sentences.append(
                f"{layer} never fires: lower its threshold (a smaller scaling factor), "
                "otherwise the layers after it cannot learn"
            )
        elif fired == size:
            sentences.append(
                f"{layer} always fires: raise its threshold (a larger scaling factor), "
                "otherwise it passes no information on"
            )
    return sentences


def failed_training(
    history: list[dict], labels: np.ndarray, network: Network, learning_rate: float, attacked: bool = False
) -> str | None:
    """A sentence that says that a finished training failed, why, and what to try; None where it did not.

    history: loss and accuracy of every epoch. The loss diverged if it is, in the last epoch, more than DIVERGED times the loss of
    the best epoch, and more than DIVERGED times log(classes), the loss of guessing. The training is at chance level if its
    accuracy does not exceed the share of the most frequent class by more than 3 standard errors. attacked: whether loss and
    accuracy are those of attacked images, as in adversarial training.
    """
    last, count = history[-1], max(len(labels), 1)
    prefix = "" if network.spiking else "ann-"
    advice = f"try a lower learning rate (--{prefix}learning-rate {learning_rate / 3:.2g})"
    best = min(row["loss"] for row in history)
    if last["loss"] > DIVERGED * max(best, math.log(network.model.classes)):
        return f"its loss diverged ({last['loss']:.3g} in the last epoch, {best:.3g} in the best one): {advice}"
    chance = np.bincount(labels, minlength=network.model.classes).max() / count
    if last["accuracy"] > chance + 3 * math.sqrt(chance * (1 - chance) / count):
        return None
    epochs = ("--adversarial-epochs" if attacked else "--snn-epochs") if network.spiking else "--ann-epochs"
    more = " or a better ANN to start from" if network.spiking else ""
    more += ", a smaller --adversarial-epsilon" if attacked else ""
    images = "attacked training images" if attacked else "training images"
    return (
        f"it ended at chance level ({last['accuracy']:.1%} of the {images} right; always answering with the most "
        f"frequent class gets {chance:.1%}): try more epochs ({epochs}){more}, more training images, or another learning "
        f"rate (--{prefix}learning-rate {learning_rate / 3:.2g} or {learning_rate * 3:.2g})"
    )


def is_finite(k, array) -> bool:
    """Whether every entry of a backend array is finite."""
    return math.isfinite(k.to_numpy(array).sum(dtype=np.float64))


def describe_failure(network: Network, images, seed: int = 0) -> str:
    """Where a value is not finite: the first such weight; if there is none, the first layer with such a value on these images."""
    k = network.backend
    broken = [name for name, array in network.parameters.items() if not is_finite(k, array)]
    if broken:
        others = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        return f"the weights {broken[0]}{others} are no longer finite"
    found = []

    def observe(event, layer, array):
        if not found and not is_finite(k, array):
            found.append(f"the {event} of {layer}")

    network.forward(images, draws=Draws(seed), observe=observe)
    return found[0] if found else "the loss itself"
