"""SA-PGD with the adaptive surrogate ASSG (arXiv 2512.22522, CVPR 2026): PGD whose step is scaled pixel by pixel.

    g = ∂L/∂x̂,    p ← 0.5·p + g/mean|g|,    q ← 0.8·q + g²/mean(g²),    x̂ ← P[x̂ + clip(η·p/(√q + 1e-12), −η, η)]

Means are over the pixels of an image; p and q start from 0; P projects into the L∞ ball of radius ε and clips to [0, 1]. η
starts as ε and is halved for all images at each check of Auto-PGD (`schedule.checks`). The gradient goes through an arctan
whose sharpness follows the membranes of each neuron and time step (`backends.surrogates.adapted_slopes`). Its running means are
kept from iteration to iteration and start anew with each run. The constants are those of the authors' released code. The start
is a uniform random point of the ball. An image counts as fooled at any x̂.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from backends.interface import Adaptation, Array
from backends.surrogates import adaptive
from minihire.attacks.tracking import Iteration, Track, TrackingAttack, TrackingAttacker
from minihire.engine.arrays import full, times
from minihire.network import Gradients, Network

MEAN_DECAY, SQUARE_DECAY, TINY = 0.5, 0.8, 1e-12


@dataclass(frozen=True)
class SAPGDAttack(TrackingAttack):
    """SA-PGD. alpha has no effect. See `TrackingAttack`."""

    def attacker(self, network: Network) -> "SAPGDAttacker":
        """Return the attack on this network."""
        return SAPGDAttacker(network, self)


class Memory(NamedTuple):
    """The state between two steps."""

    mean: Array  # p [B, H, W, C]
    square: Array  # q [B, H, W, C]
    step: Array  # η [B]
    adaptation: dict[str, Adaptation]  # by layer of neurons; empty before the first step


class SAPGDAttacker(TrackingAttacker):
    """SA-PGD on one network."""

    attack: SAPGDAttack

    def memory(self, images: Array) -> Any:
        """Return p = q = 0 and η = ε."""
        k = self.network.backend
        zeros = k.zeros(tuple(images.shape))
        return Memory(zeros, zeros, full(k, (images.shape[0],), self.attack.epsilon), {})

    def options(self, memory: Any) -> dict[str, Any]:
        """Return the memory of the surrogate, which the gradient updates."""
        return {"adaptation": memory.adaptation}

    def move(
        self, current: Array, found: Gradients, track: Track, memory: Any, images: Array, iteration: Iteration
    ) -> Any:
        """Return the next x̂ and memory; see the docstring of this file."""
        k = self.network.backend
        step = times(k, memory.step, 0.5) if iteration.check else memory.step
        grad = k.scale_to_norm(found.image, 1)  # before it is squared, so that the squares of small gradients are not 0
        p = k.add(times(k, memory.mean, MEAN_DECAY), grad)
        q = k.add(times(k, memory.square, SQUARE_DECAY), k.scale_to_norm(k.multiply(grad, grad), 1))
        direction = k.multiply(p, k.power(times(k, k.power(q, 0.5), 1.0, TINY), -1.0))
        moved = k.add(current, k.multiply(k.clip(direction, -1.0, 1.0)[0], step))
        return self.inside(moved, images), Memory(p, q, step, memory.adaptation)


def sa_pgd(
    epsilon: float = 8 / 255, iterations: int = 100, restarts: int = 1, samples: int = 1, loss: str = "cross-entropy"
) -> SAPGDAttack:
    """SA-PGD with its adaptive surrogate.

    >>> sa_pgd().surrogate.kind
    'adaptive'
    """
    options = {"loss": loss, "restarts": restarts, "samples": samples}
    return SAPGDAttack("sa-pgd", epsilon, epsilon, iterations, True, adaptive(), **options)
