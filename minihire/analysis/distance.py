"""How far a perturbation moves what a network sees: in pixels, and in the firing rates of every layer (definition 2)."""

import numpy as np

from minihire.analysis.activity import time_steps
from minihire.layers import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError


def perturbation_distance(clean, perturbed) -> np.ndarray:
    """PD = ‖x − x̂‖₂ over the pixels of each image: NumPy [B, …] twice → float64 [B], in pixel units of [0, 1].

    Definition 2. Raises MinihireError for two shapes.
    """
    clean, perturbed = np.asarray(clean, np.float64), np.asarray(perturbed, np.float64)
    _same_shape(clean, perturbed)
    return _norms(clean - perturbed)


def spike_distance(
    network: Network, clean, perturbed, *, steps: int | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Spike PD = ‖r(x) − r(x̂)‖₂ of every layer of neurons: float64 [B] by its name, in the order of the signal.

    Definition 2, with r the spike counts over T steps divided by T. clean, perturbed: backend images [B, H, W, C]; with
    rate coding both see the same draws. Raises MinihireError for an ANN, two shapes, and less than one step.
    """
    if not network.spiking:
        raise MinihireError(
            "spike distance needs a spiking network, and this is an ANN: give its SNN, or use perturbation_distance"
        )
    _same_shape(clean, perturbed)
    steps, k = time_steps(network, steps), network.backend
    difference: dict[str, np.ndarray] = {}  # spike counts of the clean images less those of the perturbed, [1, B, …]

    def add(sign):
        def observe(event, name, array):
            if event == "spikes":
                counts = sign * k.to_numpy(k.sum_time(array))
                difference[name] = difference[name] + counts if name in difference else counts

        return observe

    for images, sign in ((clean, 1), (perturbed, -1)):
        network.forward(images, steps=steps, draws=Draws(seed), observe=add(sign))
    return {name: _norms(counts[0].astype(np.float64)) / steps for name, counts in difference.items()}


def _same_shape(clean, perturbed):
    if tuple(clean.shape) != tuple(perturbed.shape):
        raise MinihireError(
            f"a distance needs each image beside its perturbed one, not arrays of "
            f"{tuple(clean.shape)} and {tuple(perturbed.shape)}"
        )


def _norms(difference):
    return np.sqrt(np.sum(difference.reshape(len(difference), -1) ** 2, axis=1))
