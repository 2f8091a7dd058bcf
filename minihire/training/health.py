"""Signs of trouble: layers that never or always fire, and where a value stopped being finite."""

import math

from minihire.layers import Draws
from minihire.network import Network


def silent_layers(network: Network, images, seed: int = 0) -> list[str]:
    """A sentence for each neuron layer that fires for none of these images, or at every neuron and step."""
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
                f"{layer} never fires: lower its threshold (a smaller scaling factor), or nothing behind it learns"
            )
        elif fired == size:
            sentences.append(
                f"{layer} always fires: raise its threshold (a larger scaling factor), it passes nothing on"
            )
    return sentences


def describe_failure(network: Network, images, seed: int = 0) -> str:
    """The first weight, or else the first layer on the way of these images, that is not finite."""
    k = network.backend
    odd = [name for name, array in network.parameters.items() if not math.isfinite(k.total(array))]
    if odd:
        return f"the weights {odd[0]}{f' and {len(odd) - 1} more' * (len(odd) > 1)} are no longer finite"
    found = []

    def observe(event, layer, array):
        if not found and not math.isfinite(k.total(array)):
            found.append(f"the {event} of {layer}")

    network.forward(images, draws=Draws(seed), observe=observe)
    return found[0] if found else "the loss itself"
