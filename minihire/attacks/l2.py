"""PGD in the L2 ball (Madry et al., ICLR 2018): steps of length α along the gradient, within distance ε of the image.

x̂ ← clip(Proj_ε(x)[x̂ + α·(∂L/∂x̂)/‖∂L/∂x̂‖₂], 0, 1),    Proj_ε(x)[y] = x + (y − x)·min(1, ε/‖y − x‖₂)
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backends.interface import Array
from backends.randomness import Draws
from backends.surrogates import Surrogate
from minihire.attacks.gradient import Attack, Attacker
from minihire.engine.arrays import subtract, times
from minihire.network import Network
from minihire.runtime.random_streams import Stream


@dataclass(frozen=True)
class L2Attack(Attack):
    """PGD in the L2 ball. epsilon, alpha: Euclidean lengths over all pixels of an image in [0, 1]; see `Attack` for the rest."""

    largest: ClassVar[float] = math.inf

    def distance(self, crafted: np.ndarray[Any, Any], images: np.ndarray[Any, Any]) -> float:
        """The largest Euclidean distance of an adversarial image from its original."""
        change = (crafted - images).reshape(len(images), -1).astype(np.float64)
        return float(np.linalg.norm(change, axis=1).max(initial=0.0))

    def attacker(self, network: Network) -> "L2Attacker":
        """Return the attack on this network."""
        return L2Attacker(network, self)


class L2Attacker(Attacker):
    """Replaces the signs and the L∞ ball by Euclidean norms."""

    def start(self, images: Array, draws: Draws) -> Array:
        """Return the images, or with `random_start` a uniform random point at distance ε, clipped.

        In thousands of dimensions almost the whole volume of a ball lies near its surface.
        """
        k = self.network.backend
        if not self.attack.random_start:
            return images
        normal = k.random(draws.key(Stream.RANDOM_START), images.shape, draws.skipped(images.shape), "normal")
        return self.clip(k.add(images, times(k, k.scale_to_norm(normal, 2), self.attack.epsilon)))

    def normalise(self, grad: Array, memory: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """Return the gradient with length 1."""
        return self.network.backend.scale_to_norm(grad, 2), memory

    def step(self, current: Array, direction: Array) -> Array:
        """Return x̂ + α·direction."""
        k = self.network.backend
        return k.add(current, times(k, direction, self.attack.alpha))

    def project(self, moved: Array, images: Array) -> Array:
        """Return the nearest point of the L2 ball of radius ε around the images."""
        k = self.network.backend
        difference = k.scale_to_norm(subtract(k, moved, images), 2, limit=self.attack.epsilon)
        return k.add(images, difference)


def pgd_l2(
    epsilon: float = 0.5,
    alpha: float = 0.125,
    iterations: int = 7,
    random_start: bool = True,
    surrogate: Surrogate | None = None,
    restarts: int = 1,
    samples: int = 1,
) -> L2Attack:
    """PGD in the L2 ball; 0.5 is the usual radius for CIFAR-10.

    >>> pgd_l2().name
    'pgd-l2'
    """
    return L2Attack("pgd-l2", epsilon, alpha, iterations, random_start, surrogate, restarts=restarts, samples=samples)
