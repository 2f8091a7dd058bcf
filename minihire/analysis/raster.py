"""Spike trains to look at: a few neurons of every layer, for one image and for its attacked version."""

import numpy as np

from minihire.layers import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError

NEURONS = 16  # shown of a layer, fewer where there are many steps: at most PLACES neurons · steps
STEPS = 100  # shown, from the first
PLACES = 800
MARKS = ".cab"  # neither, on the clean image alone, on the attacked one alone, on both


def spike_trains(network: Network, clean, attacked, *, seed: int = 0) -> list[dict]:
    """Every neuron layer's spikes for one clean and one attacked image, backend [1, H, W, C] each, in the signal's order.

    Of each layer: `neurons`, `fired_clean` and `fired_attacked` (how many fired at all), `rate_clean` and `rate_attacked`
    (share of all neurons that fire, per step), and for at most NEURONS of those that fired for either image, evenly
    spaced, their index (`shown`) and `trains`, a letter of MARKS per step. At most STEPS steps. With rate coding both
    images see the same draws. Raises MinihireError for an ANN.
    """
    if not network.spiking:
        raise MinihireError("an ANN has no spike trains: give its SNN")
    k, seen = network.backend, [{}, {}]

    def keep(found):
        def observe(event, name, array):
            if event == "spikes":
                fired = k.to_numpy(array) > 0
                found.setdefault(name, []).append(fired.reshape(len(fired), -1))

        return observe

    for images, found in zip((clean, attacked), seen, strict=True):
        network.forward(images, draws=Draws(seed), observe=keep(found))
    return [_layer(name, *(np.concatenate(found[name]) for found in seen)) for name in seen[0]]


def _layer(name, clean, attacked):
    """bool [T, neurons] twice → plain data."""
    fired = np.flatnonzero((clean | attacked).any(axis=0))
    count = min(NEURONS, PLACES // min(len(clean), STEPS), len(fired))
    few = fired[np.unique(np.linspace(0, len(fired) - 1, count).round().astype(int))]
    codes = (clean + 2 * attacked.astype(int))[:STEPS, few]
    rate = lambda spikes: [round(float(share), 5) for share in spikes[:STEPS].mean(axis=1)]
    return {
        "name": name,
        "neurons": clean.shape[1],
        "fired_clean": int(clean.any(axis=0).sum()),
        "fired_attacked": int(attacked.any(axis=0).sum()),
        "rate_clean": rate(clean),
        "rate_attacked": rate(attacked),
        "shown": few.tolist(),
        "trains": ["".join(MARKS[code] for code in train) for train in codes.T],
    }
