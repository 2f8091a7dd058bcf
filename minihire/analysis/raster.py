"""Spike trains of a few neurons in every layer, for one image and its attacked version. Raster plots show them."""

import numpy as np

from backends.randomness import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError

MAX_NEURONS = 16  # per layer
MAX_STEPS = 100  # the first steps are shown
MAX_MARKS = 800  # neurons · steps per layer
MARKS = ".cab"  # spikes for: no image, the clean image only, the attacked image only, both images


def spike_trains(network: Network, clean, attacked, *, seed: int = 0) -> list[dict]:
    """Record the spikes of every neuron layer, from input to output, for a clean and an attacked image.

    clean, attacked: backend images [1, H, W, C]. Rate coding uses the same draws for both. Raises MinihireError for an ANN.

    Returns one dictionary per layer:
    name, neurons: name of the layer, and its number of neurons.
    fired_clean, fired_attacked: number of neurons that fired at least once.
    rate_clean, rate_attacked: fraction of all neurons that fires at each step.
    shown: indices of at most MAX_NEURONS neurons, evenly spaced among those that fired for either image.
    trains: one string per shown neuron, with one letter of MARKS per step, for at most MAX_STEPS steps.
    """
    if not network.spiking:
        raise MinihireError("an ANN has no spike trains: give an SNN")
    k, recorded = network.backend, [{}, {}]

    def record(into):
        def observe(event, name, array):
            if event == "spikes":
                fired = k.to_numpy(array) > 0
                into.setdefault(name, []).append(fired.reshape(len(fired), -1))

        return observe

    for images, into in zip((clean, attacked), recorded, strict=True):
        network.forward(images, draws=Draws(seed), observe=record(into))
    return [_layer(name, *(np.concatenate(layers[name]) for layers in recorded)) for name in recorded[0]]


def _layer(name, clean, attacked):
    """The dictionary of one layer from its spikes, two bool arrays [T, neurons]."""
    fired = np.flatnonzero((clean | attacked).any(axis=0))
    count = min(MAX_NEURONS, MAX_MARKS // min(len(clean), MAX_STEPS), len(fired))
    shown = fired[np.unique(np.linspace(0, len(fired) - 1, count).round().astype(int))]
    codes = (clean + 2 * attacked.astype(int))[:MAX_STEPS, shown]
    rate = lambda spikes: [round(float(rate), 5) for rate in spikes[:MAX_STEPS].mean(axis=1)]
    return {
        "name": name,
        "neurons": clean.shape[1],
        "fired_clean": int(clean.any(axis=0).sum()),
        "fired_attacked": int(attacked.any(axis=0).sum()),
        "rate_clean": rate(clean),
        "rate_attacked": rate(attacked),
        "shown": shown.tolist(),
        "trains": ["".join(MARKS[code] for code in train) for train in codes.T],
    }
