"""Auto-PGD (Croce & Hein, ICML 2020): PGD in the L∞ ball with momentum, which chooses its own step size.

    y ← P[x̂ + η·sign(∂L/∂x̂)],    x̂ ← P[x̂ + 0.75·(y − x̂) + 0.25·(x̂ − x̂_before)],    P: project into the ball, clip to [0, 1]

The first step is y. The start is clip(x + ε·U/‖U‖∞), U uniform in [−1, 1]; η starts as 2ε. At each check (`schedule.checks`), an
image halves its η and returns to its best x̂ so far, with the gradient found there, if

- its loss rose in at most 75 % of the steps since the last check, or
- η was not halved at the last check, and the best loss has not improved since (never at the first check).

This equals the authors' reference implementation, iterate by iterate (tests/attacks/test_apgd.py), including one detail: the loss
after the first step is compared with 0, not with the loss of the start.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from backends.interface import Array
from backends.randomness import Draws
from backends.surrogates import Surrogate
from minihire.attacks.tracking import Iteration, Track, TrackingAttack, TrackingAttacker
from minihire.engine.arrays import full, subtract, times
from minihire.network import Gradients, Network
from minihire.runtime.random_streams import Stream

MOMENTUM = 0.75  # weight of the new step


@dataclass(frozen=True)
class APGDAttack(TrackingAttack):
    """Auto-PGD. alpha has no effect. See `TrackingAttack` for the rest."""

    def attacker(self, network: Network) -> "APGDAttacker":
        """Return the attack on this network."""
        return APGDAttacker(network, self)


class Memory(NamedTuple):
    """The state between two steps. All but `before` are [B]; flags are 0 or 1."""

    before: Array  # x̂ of the step before [B, H, W, C]
    step: Array  # η
    last_loss: Array
    rises: Array  # steps that raised the loss since the last check
    halved: Array  # whether η was halved at the last check
    checked_loss: Array  # the best loss at the last check


class APGDAttacker(TrackingAttacker):
    """Auto-PGD on one network."""

    attack: APGDAttack

    def start(self, images: Array, draws: Draws) -> Array:
        """Return clip(x + ε·U/‖U‖∞)."""
        k, shape = self.network.backend, tuple(images.shape)
        uniform = k.random(draws.key(Stream.RANDOM_START), shape, draws.skipped(shape))
        offset = k.scale_to_norm(times(k, uniform, 2.0, -1.0), math.inf)
        return self.clip(k.add(images, times(k, offset, self.attack.epsilon)))

    def memory(self, images: Array) -> Any:
        """Return the memory of the first step."""
        k, each = self.network.backend, (images.shape[0],)
        zeros = k.zeros(each)
        return Memory(images, full(k, each, 2 * self.attack.epsilon), zeros, zeros, full(k, each, 1.0), zeros)

    def move(
        self, current: Array, found: Gradients, track: Track, memory: Any, images: Array, iteration: Iteration
    ) -> Any:
        """Return the next x̂ and memory; see the docstring of this file."""
        k, grad = self.network.backend, found.image
        if not iteration.first:
            rises = k.add(memory.rises, k.greater(found.losses, memory.last_loss))
            memory = memory._replace(rises=rises, last_loss=found.losses)
        if iteration.check:
            few = self._not(k.greater(memory.rises, iteration.few_rises))
            stuck = k.multiply(self._not(memory.halved), self._not(k.greater(track.best_loss, memory.checked_loss)))
            halve = k.greater(k.add(few, stuck), 0.0)
            current, grad = k.select(halve, track.best, current), k.select(halve, track.best_grad, grad)
            step, none = k.multiply(memory.step, times(k, halve, -0.5, 1.0)), times(k, halve, 0.0)
            memory = Memory(memory.before, step, memory.last_loss, none, halve, track.best_loss)
        zeros = k.zeros(tuple(current.shape))
        signs = k.sign_step(zeros, grad, 1.0, -1.0, 1.0)
        moved = self.inside(k.add(current, k.multiply(signs, memory.step)), images)
        if not iteration.first:
            new, last = subtract(k, moved, current), subtract(k, current, memory.before)
            moved = k.add(k.add(current, times(k, new, MOMENTUM)), times(k, last, 1 - MOMENTUM))
            moved = self.inside(moved, images)
        # a copy: a captured function must not return an argument (here `current`) as the next value of another (here `before`)
        return moved, memory._replace(before=k.asarray(current))

    def _not(self, flags):
        return times(self.network.backend, flags, -1.0, 1.0)


def apgd(
    epsilon: float = 8 / 255,
    iterations: int = 100,
    surrogate: Surrogate | None = None,
    restarts: int = 1,
    samples: int = 1,
    loss: str = "cross-entropy",
    targets: int = 9,
) -> APGDAttack:
    """Auto-PGD. loss: "cross-entropy", "dlr" or "dlr-targeted". targets: how many classes "dlr-targeted" aims at in turn.

    >>> apgd(iterations=50, loss="dlr").name
    'apgd-dlr'
    """
    name = {"dlr": "apgd-dlr", "dlr-targeted": "apgd-targeted"}.get(loss, "apgd")
    options = {"loss": loss, "targets": targets, "restarts": restarts, "samples": samples}
    return APGDAttack(name, epsilon, epsilon, iterations, True, surrogate, **options)
