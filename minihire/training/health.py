"""Signs of a failed training: silent or saturated layers, values that are not finite, accuracy at chance level, diverged loss."""

import math
from collections.abc import Mapping

import numpy as np

from backends.randomness import Draws
from minihire.analysis.statistics import wilson
from minihire.network import Network
from minihire.training.recipe import NAMES

DIVERGED = 1.5  # see `failed_training`
ENOUGH = 30  # with fewer held-out images, the training images show better whether a network learned
FEW_TESTED = 100  # with fewer test images, the interval of an accuracy is so wide that more of them are advised
LARGE = {True: 0.01, False: 0.1}  # SNN, ANN: if the learning rate was above this, only a lower one is advised


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
                f"{layer} never fires: lower its threshold (in a conversion, by a smaller scaling factor), "
                "otherwise the layers after it cannot learn"
            )
        elif fired == size:
            sentences.append(
                f"{layer} always fires: raise its threshold (in a conversion, by a larger scaling factor), "
                "otherwise it passes no information on"
            )
    return sentences


def failed_training(
    history: list[dict],
    labels: np.ndarray,
    heldout_labels: np.ndarray,
    network: Network,
    learning_rate: float,
    attacked: bool = False,
    names: Mapping[str, str] = NAMES,
) -> str | None:
    """A sentence that says that a finished training failed, why, and what to try; None where it did not.

    history: loss and accuracy of every epoch. labels, heldout_labels: of the training images and of the held-out images. The loss
    diverged if it is, in the last epoch, more than DIVERGED times the loss of the best epoch, and more than DIVERGED times
    log(classes), the loss of guessing. The training is at chance level if its accuracy does not exceed the share of the most
    frequent class by more than 3 standard errors. The accuracy used here is that of the held-out images if there are at least
    ENOUGH of them, else that of the training. The latter is lower, because it is an average over the last epoch, of augmented
    images, with dropout. attacked: whether loss and training accuracy are those of attacked images, as in adversarial training.
    names: what the sentence calls the settings, see `recipe.NAMES`.
    """
    last = history[-1]
    large = LARGE[network.spiking]
    lower = f"{names['learning_rate']} {min(learning_rate / 3, large):.2g}"
    advice = f"try a lower learning rate ({lower})"
    best = min(row["loss"] for row in history)
    if last["loss"] > DIVERGED * max(best, math.log(network.model.classes)):
        return f"its loss diverged ({last['loss']:.3g} in the last epoch, {best:.3g} in the best one): {advice}"
    kind, accuracy = "attacked training" if attacked else "training", last["accuracy"]
    if len(heldout_labels) >= ENOUGH:
        kind, accuracy, labels = "held-out", last["heldout_accuracy"], heldout_labels
    count = max(len(labels), 1)
    chance = np.bincount(labels, minlength=network.model.classes).max() / count
    if accuracy > chance + 3 * math.sqrt(chance * (1 - chance) / count):
        return None
    rate = f"another learning rate ({lower} or {learning_rate * 3:.2g})"
    if learning_rate > large:
        rate = f"a lower learning rate ({lower})"
    more = " or a better ANN to start from" if network.spiking else ""
    more += f", a smaller {names['epsilon']}" if attacked else ""
    return (
        f"its accuracy cannot be told from chance ({accuracy:.1%} of the {kind} images right; always answering with the most "
        f"frequent class gets {chance:.1%}): try more epochs ({names['epochs']}){more}, more training images, or {rate}"
    )


def no_better_than_chance(correct: int, labels: np.ndarray) -> str | None:
    """A sentence where the 95 % interval of a test accuracy includes the share of the most frequent class; None elsewhere.

    correct: how many of the images with these labels were classified correctly.
    """
    count, chance = len(labels), np.bincount(labels).max() / len(labels)
    low, high = wilson(correct, count)
    if low > chance:
        return None
    few = f", and more than {count} test images" if count < FEW_TESTED else ""
    return (
        f"its accuracy cannot be told from chance: {correct} of {count} test images right, 95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %; always answering with the most frequent class gets {100 * chance:.1f} %: "
        f"use more training images{few}"
    )


def describe_failure(network: Network, images, seed: int = 0) -> str:
    """Where a value is not finite: the first such weight; if there is none, the first layer with such a value on these images."""
    k = network.backend
    broken = [name for name, array in network.parameters.items() if not k.services.are_finite([array])]
    if broken:
        others = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        return f"the weights {broken[0]}{others} are no longer finite"
    found = []

    def observe(event, layer, array):
        if not found and not k.services.are_finite([array]):
            found.append(f"the {event} of {layer}")

    network.forward(images, draws=Draws(seed), observe=observe)
    return found[0] if found else "the loss itself"
