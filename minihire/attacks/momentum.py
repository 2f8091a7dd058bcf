"""PGD with momentum (MI-FGSM; Dong et al., CVPR 2018): the step follows a running sum of normalised gradients.

    g ← μ·g + (∂L/∂x̂)/mean|∂L/∂x̂|;   x̂ ← clip(Proj_ε(x)[x̂ + α·sign(g)], 0, 1)

The published form divides by the sum of the absolute values. The mean differs by a constant factor, which the sign removes.
"""

from dataclasses import dataclass

from backends.interface import Array
from backends.surrogates import Surrogate
from minihire.attacks.gradient import Attack, Attacker
from minihire.engine.arrays import times
from minihire.network import Network
from minihire.runtime import checks


@dataclass(frozen=True)
class MomentumAttack(Attack):
    """PGD with momentum in the L∞ ball. decay: μ ≥ 0. Raises MinihireError for other values; see `Attack` for the rest."""

    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "decay", checks.number("the attack's decay μ", self.decay))

    def attacker(self, network: Network) -> "MomentumAttacker":
        """Return the attack on this network."""
        return MomentumAttacker(network, self)


class MomentumAttacker(Attacker):
    """Keeps g between the iterations."""

    attack: MomentumAttack

    def memory(self, images: Array) -> tuple[Array, ...]:
        """Return g = 0."""
        return (self.network.backend.zeros(tuple(images.shape)),)

    def normalise(self, grad: Array, memory: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """Return g ← μ·g + grad/mean|grad|, as the direction and for the next iteration."""
        k, (g,) = self.network.backend, memory
        g = k.add(times(k, g, self.attack.decay), k.scale_to_norm(grad, 1))
        return g, (g,)


def momentum_pgd(
    epsilon: float = 8 / 255,
    alpha: float = 0.01,
    iterations: int = 7,
    random_start: bool = False,
    surrogate: Surrogate | None = None,
    decay: float = 1.0,
    restarts: int = 1,
    samples: int = 1,
) -> MomentumAttack:
    """PGD with momentum; without a random start, as published.

    >>> momentum_pgd(8 / 255, iterations=10).decay
    1.0
    """
    options = {"restarts": restarts, "samples": samples}
    return MomentumAttack("momentum", epsilon, alpha, iterations, random_start, surrogate, decay, **options)
