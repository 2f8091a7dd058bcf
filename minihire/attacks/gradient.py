"""Gradient attacks in the L∞ ball (equations 3 and 4): value and gradient → step → project → clip, K times.

    x̂ ← clip(Proj_ε(x)[x̂ + α·sign(∂L/∂x̂)], 0, 1)

FGSM is the one-step case with α = ε and no random start.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from backends.interface import Array
from backends.randomness import Draw, Stream
from backends.surrogates import Surrogate
from minihire.layers import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError


@dataclass(frozen=True)
class Attack:
    """A gradient attack in the L∞ ball of radius ε.

    epsilon (ε), alpha (α): bound and step size, in pixels of [0, 1]. iterations: K. random_start: start from a uniform random
    point of the ball. surrogate: the attacker's surrogate f(z), if it differs from the network's.
    Raises MinihireError for negative ε or α, and for less than one iteration.
    """

    name: str
    epsilon: float
    alpha: float
    iterations: int
    random_start: bool = False
    surrogate: Surrogate | None = None

    def __post_init__(self) -> None:
        if not self.epsilon >= 0 or not self.alpha >= 0 or self.iterations < 1:
            raise MinihireError(
                f"an attack needs ε ≥ 0, α ≥ 0 and at least 1 iteration, not {self.epsilon}, {self.alpha} and {self.iterations}"
            )

    def attacker(self, network: Network) -> Callable[..., Array]:
        """Return the function (images, labels, draws) → adversarial images. A subclass with another algorithm overrides it."""
        return Attacker(network, self)


def fgsm(epsilon: float = 8 / 255, surrogate: Surrogate | None = None) -> Attack:
    """The fast gradient sign method (equation 3).

    >>> from minihire import fgsm
    >>> fgsm(8 / 255).iterations
    1
    """
    return Attack("fgsm", epsilon, epsilon, 1, surrogate=surrogate)


def pgd(
    epsilon: float = 8 / 255,
    alpha: float = 0.01,
    iterations: int = 7,
    random_start: bool = True,
    surrogate: Surrogate | None = None,
) -> Attack:
    """Projected gradient descent (equation 4). The default random start is that of the released code; equation 4 has none.

    >>> from minihire import pgd
    >>> pgd(8 / 255, alpha=2 / 255, iterations=10).name
    'pgd'
    """
    return Attack("pgd", epsilon, alpha, iterations, random_start, surrogate)


class Attacker:
    """An attack on one network, batch after batch. The weights must not change between batches."""

    def __init__(self, network: Network, attack: Attack):
        self.network, self.attack = network, attack
        fixed = network.coding == "direct"  # else each iteration has draws of its own
        self._step = network.backend.repeated(self._towards) if fixed else self._towards

    def __call__(self, images: Array, labels: Array, draws: Draws = Draws()) -> Array:
        """Adversarial images [B, H, W, C] in [0, 1], crafted in evaluation mode with the true labels int64 [B].

        Images and labels are the network's backend's arrays. draws names the random start, and a rate-coded network's
        spikes, fresh at every iteration and never those of an evaluation with the same draws; draws.first is the place of
        the first image, so that batches do not matter.
        """
        attack, k, current = self.attack, self.network.backend, images
        if attack.random_start:
            channels, first = images.shape[-1], draws.first * math.prod(images.shape[1:])
            start = k.uniform(Draw(draws.seed, Stream.RANDOM_START, draws.step), images.shape, first)
            offset = k.scale_shift(start, (2 * attack.epsilon,) * channels, (-attack.epsilon,) * channels)
            current = k.clip(k.add(images, offset), 0.0, 1.0)
        for iteration in range(attack.iterations):
            step = draws.step * attack.iterations + iteration + 1
            current = self._step(current, images, labels, draws._replace(step=step))
        return current

    def _towards(self, current: Array, images: Array, labels: Array, draws: Draws) -> Array:
        """One iteration of equation 4."""
        attack, k = self.attack, self.network.backend
        found = self.network.gradients(
            current,
            labels,
            weights=False,
            image=True,
            training=False,
            scale=1.0,
            draws=draws,
            surrogate=attack.surrogate,
            keep_state=False,
        )
        return k.sign_step(current, found.image, attack.alpha, 0.0, 1.0, center=images, bound=attack.epsilon)


def perturb(network: Network, images: Array, labels: Array, attack: Attack, draws: Draws = Draws()) -> Array:
    """Adversarial images [B, H, W, C] of one batch. Arguments as in `Attacker.__call__`."""
    return attack.attacker(network)(images, labels, draws)
