"""Auto-PGD (Croce & Hein, ICML 2020): PGD in the L∞ ball with momentum, which chooses its own step size.

    y ← P[x̂ + η·sign(∂L/∂x̂)],    x̂ ← P[x̂ + 0.75·(y − x̂) + 0.25·(x̂ − x̂_before)],    P: project into the ball, clip to [0, 1]

The first step is y. The start is clip(x + ε·U/‖U‖∞), U uniform in [−1, 1]; η starts as 2ε. At each check (`tracking.checks`), an
image halves its η and returns to its best x̂ so far, with the gradient found there, if

- its loss rose in at most 75 % of the steps since the last check, or
- η was not halved at the last check, and the best loss has not improved since (never at the first check).

This equals the authors' reference implementation, iterate by iterate (tests/attacks/test_apgd.py), including one detail: the loss
after the first step is compared with 0, not with the loss of the start.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from backends.interface import Array
from backends.randomness import Draw, Draws
from backends.surrogates import Surrogate
from minihire.analysis.accuracy import mean_logits
from minihire.attacks.gradient import times
from minihire.attacks.tracking import Track, TrackingAttack, TrackingAttacker
from minihire.network import Gradients, Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream

MOMENTUM, ENOUGH = 0.75, 0.75  # weight of the new step; share of steps that must raise the loss
NEEDED = {"dlr": 3, "dlr-targeted": 4}  # classes


@dataclass(frozen=True)
class APGDAttack(TrackingAttack):
    """Auto-PGD. targets: how many classes the loss "dlr-targeted" aims at, one after the other: those of the second largest,
    third largest, … logit of the clean image. alpha is the first η. See `TrackingAttack` for the rest.
    """

    targets: int = 9

    def attacker(self, network: Network) -> "APGDAttacker":
        """Return the attack on this network. Raises MinihireError for fewer classes than the loss needs."""
        classes, needed = network.model.classes, NEEDED.get(self.loss, 2)
        if classes < needed:
            raise MinihireError(
                f"{self.name} needs at least {needed} classes, and this network has {classes}: use apgd"
            )
        return APGDAttacker(network, self)


class Memory(NamedTuple):
    """What is kept from step to step; all but `before` are [B], flags are 0 or 1."""

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
        k, first = self.network.backend, draws.first * math.prod(images.shape[1:])
        uniform = k.random(Draw(draws.seed, Stream.RANDOM_START, draws.step), tuple(images.shape), first)
        offset = k.scale_to_norm(times(k, uniform, 2.0, -1.0), math.inf)
        return self.clip(k.add(images, times(k, offset, self.attack.epsilon)))

    def goals(self, images: Array, draws: Draws) -> list[Any]:
        """Return the target classes of each run, int64 [B], in the order of the clean images' logits."""
        if self.attack.loss != "dlr-targeted":
            return [None]
        k, own = self.network.backend, self.draws(draws, 0)
        logits = k.to_numpy(mean_logits(self.network, images, own, self.attack.samples))
        order = np.argsort(-logits, axis=1, kind="stable")
        return [k.asarray(order[:, i].copy()) for i in range(1, min(self.attack.targets + 1, order.shape[1]))]

    def memory(self, images: Array) -> Any:
        """Return the memory of the first step."""
        k, zeros = self.network.backend, self.network.backend.zeros((images.shape[0],))
        return Memory(images, times(k, zeros, 0.0, self.attack.alpha), zeros, zeros, times(k, zeros, 0.0, 1.0), zeros)

    def move(
        self,
        current: Array,
        found: Gradients,
        track: Track,
        memory: Any,
        images: Array,
        period: Any,
        first: bool,
        check: bool,
    ) -> tuple[Array, Any]:
        """Return the next x̂ and memory; see the docstring of this file."""
        k, grad = self.network.backend, found.image
        if not first:
            rises = k.add(memory.rises, k.greater(found.losses, memory.last_loss))
            memory = memory._replace(rises=rises, last_loss=found.losses)
        if check:
            few = self._not(k.greater(memory.rises, ENOUGH * period))
            stuck = k.multiply(self._not(memory.halved), self._not(k.greater(track.best_loss, memory.checked_loss)))
            halve = k.greater(k.add(few, stuck), 0.0)
            current, grad = k.select(halve, track.best, current), k.select(halve, track.best_grad, grad)
            step, none = k.multiply(memory.step, times(k, halve, -0.5, 1.0)), times(k, halve, 0.0)
            memory = Memory(memory.before, step, memory.last_loss, none, halve, track.best_loss)
        zeros = k.zeros(tuple(current.shape))
        signs = k.sign_step(zeros, grad, 1.0, -1.0, 1.0)
        moved = self._inside(k.add(current, k.multiply(signs, memory.step)), images)
        if not first:
            new, old = (k.add(a, times(k, b, -1.0)) for a, b in ((moved, current), (current, memory.before)))
            moved = k.add(k.add(current, times(k, new, MOMENTUM)), times(k, old, 1 - MOMENTUM))
            moved = self._inside(moved, images)
        return moved, memory._replace(before=current)

    def _inside(self, moved, images):
        """P: the nearest point of the ball, clipped to [0, 1]."""
        return self.clip(self.project(moved, images))

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
    """Auto-PGD; loss "dlr" and "dlr-targeted" are `apgd-dlr` and `apgd-targeted` of `minihire attack`.

    >>> apgd(iterations=50, loss="dlr").name
    'apgd-dlr'
    """
    name = {"cross-entropy": "apgd", "dlr": "apgd-dlr", "dlr-targeted": "apgd-targeted"}[loss]
    options = {"loss": loss, "targets": targets, "restarts": restarts, "samples": samples}
    return APGDAttack(name, epsilon, 2 * epsilon, iterations, True, surrogate, **options)
