"""Uniform noise of size ε, without gradients. An attack that lowers the accuracy less than this noise does not work."""

from dataclasses import dataclass

from backends.interface import Array
from backends.randomness import Draws
from minihire.attacks.gradient import Attack, AttackCost, Attacker
from minihire.network import Network


@dataclass(frozen=True)
class NoiseAttack(Attack):
    """Noise uniform in ±ε, clipped to [0, 1]. See `Attack`; alpha and iterations have no effect."""

    def cost(self, classes: int | None = None) -> AttackCost:
        """See `Attack.cost`. No gradient is used."""
        return super().cost(classes)._replace(gradients=0)

    def attacker(self, network: Network) -> "NoiseAttacker":
        """Return the attack on this network."""
        return NoiseAttacker(network, self)


class NoiseAttacker(Attacker):
    """Returns the random start."""

    def run(self, images: Array, labels: Array, draws: Draws, goal: Array | None) -> Array:
        """Return the noisy images."""
        return self.start(images, draws)


def uniform_noise(epsilon: float = 8 / 255, restarts: int = 1, samples: int = 1) -> NoiseAttack:
    """Uniform noise.

    >>> uniform_noise().name
    'noise'
    """
    return NoiseAttack("noise", epsilon, 0.0, 1, True, restarts=restarts, samples=samples)
