"""Perturbation distances (definition 2): the change of the pixels, and of the firing rates in every layer."""

import numpy as np

from backends.randomness import Draws
from minihire.analysis.activity import time_steps
from minihire.network import Network
from minihire.runtime.errors import MinihireError


def perturbation_distance(clean, perturbed) -> np.ndarray:
    """PD = ‖x − x̂‖₂ over the pixels of each image (definition 2): float64 [B], in pixels of [0, 1].

    clean, perturbed: NumPy arrays [B, …]. Raises MinihireError if their shapes differ.
    """
    clean, perturbed = np.asarray(clean, np.float64), np.asarray(perturbed, np.float64)
    _same_shape(clean, perturbed)
    return _norms(clean - perturbed)


def spike_distance(
    network: Network, clean, perturbed, *, steps: int | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Spike PD = ‖r(x) − r(x̂)‖₂ of every neuron layer (definition 2): name → float64 [B], from input to output.

    r is the layer's spike counts over T steps, divided by T. clean, perturbed: backend images [B, H, W, C]. Rate coding
    uses the same draws for both. Raises MinihireError for an ANN, if the shapes differ, and if steps < 1.
    """
    if not network.spiking:
        raise MinihireError(
            "spike_distance needs a spiking network, but this is an ANN: give an SNN, or use perturbation_distance"
        )
    _same_shape(clean, perturbed)
    steps, k = time_steps(network, steps), network.backend
    difference: dict[str, np.ndarray] = {}  # counts of clean minus perturbed images, [1, B, …]

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
            f"clean and perturbed images have shapes {tuple(clean.shape)} and {tuple(perturbed.shape)}; "
            "give arrays of the same shape"
        )


def _norms(difference):
    return np.sqrt(np.sum(difference**2, axis=tuple(range(1, difference.ndim))))
