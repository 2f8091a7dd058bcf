"""Square attack in the L∞ ball (Andriushchenko et al., ECCV 2020): random search with the logits alone.

The start adds vertical stripes, one pixel wide, of +ε or −ε per column and channel. Each query then proposes a square at a random
place with a random sign per channel: x̂ + 2ε·sign inside the square, projected into the ball and clipped to [0, 1]. The
proposal replaces x̂ if its margin z_y − max over i ≠ y of z_i is smaller, or if the network misclassifies it. Once x̂ is
misclassified, it no longer changes.

The side of the square is √(p·H·W). p is 0.8 and halved after the iterations in HALVED. Each image has its own square and signs.
They are counter-based random numbers, computed on the host from the numbers of the image and of the query. The authors' reference
draws one square per batch, and never at the last row and column; tests/attacks/test_square.py gives both implementations the
same squares and compares every iterate.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.interface import Array
from backends.randomness import Draws, random_bits
from minihire.attacks.gradient import Attack, AttackCost, Attacker
from minihire.engine.arrays import times
from minihire.network import Network
from minihire.runtime.random_streams import Stream
from minihire.runtime.weak import weak_method

SHARE = 0.8
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def side_of_square(iteration: int, height: int, width: int) -> int:
    """The side of the square at an iteration, counted from 0.

    >>> from minihire.attacks.square import side_of_square
    >>> [side_of_square(i, 32, 32) for i in (0, 11, 4999)]
    [29, 20, 3]
    """
    share = SHARE / 2 ** sum(iteration > after for after in HALVED)
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


@dataclass(frozen=True)
class SquareAttack(Attack):
    """The Square attack. iterations: queries of the network per image, the start included. See `Attack`; alpha has no effect."""

    def cost(self, classes: int | None = None) -> AttackCost:
        """See `Attack.cost`. Each query is a forward pass; no gradient is used."""
        queries, forwards = super().cost(classes)
        return AttackCost(0, queries + forwards)

    def attacker(self, network: Network) -> "SquareAttacker":
        """Return the attack on this network."""
        return SquareAttacker(network, self)


class SquareAttacker(Attacker):
    """The Square attack on one network."""

    def __init__(self, network: Network, attack: Attack):
        super().__init__(network, attack)
        self._query = self.captured(weak_method(self._propose))

    def run(self, images: Array, labels: Array, draws: Draws, goal: Array | None) -> Array:
        """Return the images with the smallest margins found."""
        k, shape = self.network.backend, tuple(images.shape)
        stripes = k.asarray(self.stripes(shape, draws))
        best = k.sign_step(images, stripes, self.attack.epsilon, 0.0, 1.0)
        margin, fooled = self.judge(best, labels, self.iteration_draws(draws, 0))
        for i in range(self.attack.iterations - 1):
            square = k.asarray(self.square(i, shape, draws))
            best, margin, fooled = self._query(
                best, margin, fooled, images, labels, square, self.iteration_draws(draws, i + 1)
            )
        return best

    def stripes(self, shape: tuple[int, ...], draws: Draws) -> np.ndarray[Any, Any]:
        """Return the signs of the start, [B, H, W, C]: one per image, column and channel."""
        batch, height, width, channels = shape
        count = width * channels
        bits = random_bits(draws.key(Stream.SQUARE), batch * count, draws.first * count)
        signs = np.where(bits >> 31, np.float32(1), np.float32(-1)).reshape(batch, 1, width, channels)
        return np.broadcast_to(signs, (batch, height, width, channels))

    def square(self, iteration: int, shape: tuple[int, ...], draws: Draws) -> np.ndarray[Any, Any]:
        """Return the proposed signs, [B, H, W, C]: 1 or −1 inside a square of each image, 0 outside."""
        batch, height, width, channels = shape
        side, count = side_of_square(iteration, height, width), 2 + channels
        draw, first = draws.key(Stream.SQUARE, iteration + 1), draws.first * count
        bits = random_bits(draw, batch * count, first).astype(np.int64).reshape(batch, count)
        top, left = (bits[:, i, None] * (size - side + 1) >> 32 for i, size in enumerate((height, width)))
        rows, columns = (
            (start <= np.arange(size)) & (np.arange(size) < start + side)
            for size, start in ((height, top), (width, left))
        )
        signs = np.where(bits[:, 2:] >> 31, np.float32(1), np.float32(-1))[:, None, None, :]
        return (rows[:, :, None] & columns[:, None, :])[..., None] * signs

    def _propose(self, best, margin, fooled, images, labels, square, draws):
        """One query: images, margins and flags after it."""
        k, epsilon = self.network.backend, self.attack.epsilon
        proposed = k.sign_step(best, square, 2 * epsilon, 0.0, 1.0, center=images, bound=epsilon)
        found, wrong = self.judge(proposed, labels, draws)
        better = k.greater(k.add(k.greater(margin, found), wrong), 0.0)
        taken = k.multiply(better, times(k, fooled, -1.0, 1.0))
        fooled = k.greater(k.add(fooled, wrong), 0.0)
        return k.select(taken, proposed, best), k.select(taken, found, margin), fooled


def square(epsilon: float = 8 / 255, queries: int = 5000, restarts: int = 1, samples: int = 1) -> SquareAttack:
    """The Square attack; an image that is fooled keeps taking part in its batch's queries, without a change.

    >>> square(queries=1000).iterations
    1000
    """
    return SquareAttack("square", epsilon, epsilon, queries, True, restarts=restarts, samples=samples)
