"""The loop of attacks that remember their best images. An image counts as fooled if any x̂ was misclassified, not just the last.

Each iteration computes loss and gradient at x̂, remembers the image if it was fooled or has the largest loss so far, and moves.
Flags are arrays [B] of 0 and 1, so that no value is read on the host.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from backends.interface import Array
from backends.randomness import Draws
from minihire.analysis.accuracy import mean_logits
from minihire.attacks.gradient import Attack, AttackCost, Attacker
from minihire.attacks.schedule import FEW
from minihire.attacks.schedule import checks as checks_of
from minihire.attacks.targets import refuse_few_classes, target_classes
from minihire.engine.arrays import full
from minihire.network import Gradients, Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.weak import weak_method

LOW = -1e30  # less than every loss
# The losses that attacks increase. Of `network.LOSSES`, "margin" is larger for correct images, and "zero-one" has no gradient.
INCREASED = ("cross-entropy", "dlr", "dlr-targeted")


@dataclass(frozen=True)
class TrackingAttack(Attack):
    """An attack that remembers its best images. loss: one of INCREASED. targets: how many classes the loss "dlr-targeted" aims
    at, one after the other: those of the second largest, third largest, … logit of the clean image. See `Attack` for the rest.
    Raises MinihireError for another loss, and for less than one target.
    """

    loss: str = "cross-entropy"
    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in INCREASED:
            raise MinihireError(f"the attack's loss is {self.loss!r}: choose {', '.join(INCREASED)}")
        object.__setattr__(self, "targets", checks.whole("the attack's number of targets", self.targets))

    def cost(self, classes: int | None = None) -> AttackCost:
        """See `Attack.cost`. A run also evaluates its last x̂, and with targets, the clean images are classified first."""
        targeted = self.loss == "dlr-targeted"
        goals = min(self.targets, self.targets if classes is None else classes - 1) if targeted else 1
        runs = goals * self.restarts
        forwards = targeted + runs + (runs if runs > 1 else 0) + 1
        return AttackCost(self.samples * runs * self.iterations, self.samples * forwards)


class Iteration(NamedTuple):
    """The present iteration: whether it is the first, whether a check is due, and the check's limit for rises of the loss."""

    first: bool
    check: bool
    few_rises: Any  # FEW × the number of steps since the previous check; at most this many rises of the loss are few


class Track(NamedTuple):
    """The best images so far."""

    fooling: Array  # the last misclassified x̂
    fooled: Array  # flags [B]: whether there was one
    best: Array  # the x̂ with the largest loss
    best_grad: Array  # its gradient
    best_loss: Array  # its loss [B]


class TrackingAttacker(Attacker):
    """Runs the loop. A subclass defines `memory` and `move`. Raises MinihireError for fewer classes than the loss needs."""

    attack: TrackingAttack

    def __init__(self, network: Network, attack: TrackingAttack):
        super().__init__(network, attack)
        refuse_few_classes(network, attack.loss)
        self._first = functools.partial(weak_method(self._step_once), first=True)
        self._later = self.captured(weak_method(self._step_once))
        self._checked = self.captured(functools.partial(weak_method(self._step_once), check=True))

    def run(self, images: Array, labels: Array, draws: Draws, goal: Array | None) -> Array:
        """Return for each image the last x̂ that fooled the network, or else the one with the largest loss."""
        k, count, due = self.network.backend, self.attack.iterations, checks_of(self.attack.iterations)
        current, flags = self.start(images, draws), k.zeros((images.shape[0],))
        memory = self.memory(images)
        track = Track(current, flags, current, k.zeros(tuple(images.shape)), full(k, flags.shape, LOW))
        for i in range(count):
            step = self._first if i == 0 else self._checked if i in due else self._later
            given = images, labels, goal, self.iteration_draws(draws, i), FEW * due.get(i, 1)
            current, track, memory = step(current, track, memory, *given)
        logits = mean_logits(self.network, current, self.iteration_draws(draws, count), self.attack.samples)
        losses = self._losses(logits, labels, goal)
        track = self._remember(track, current, Gradients(losses, logits, {}, track.best_grad, {}, None), labels)
        return k.select(track.fooled, track.fooling, track.best)

    def goals(self, images: Array, draws: Draws) -> list[Any]:
        """Return the target classes of each run, int64 [B], in the order of the clean images' logits; [None] without targets."""
        if self.attack.loss != "dlr-targeted":
            return [None]
        logits = mean_logits(self.network, images, self.iteration_draws(draws, 0), self.attack.samples)
        return target_classes(self.network.backend, logits, self.attack.targets)

    def options(self, memory: tuple[Any, ...]) -> dict[str, Any]:
        """Return further arguments of `Network.gradients`. Default: none."""
        return {}

    def move(
        self, current: Array, found: Gradients, track: Track, memory: Any, images: Array, iteration: Iteration
    ) -> Any:
        """Return the next x̂, and the memory for it. found: loss, logits and gradient at x̂."""
        raise NotImplementedError

    def inside(self, moved: Array, images: Array) -> Array:
        """Return the nearest point of the ball, clipped to [0, 1]."""
        return self.clip(self.project(moved, images))

    def _step_once(self, current, track, memory, images, labels, goal, draws, few, first=False, check=False):
        """One iteration."""
        options = {"loss": self.attack.loss, "targets": goal, **self.options(memory)}
        found = self.gradient(current, labels, draws, **options)
        track = self._remember(track, current, found, labels)
        current, memory = self.move(current, found, track, memory, images, Iteration(first, check, few))
        return current, track, memory

    def _remember(self, track, current, found, labels):
        k = self.network.backend
        wrong = k.logit_loss(found.logits, labels, "zero-one")[0]
        larger = k.greater(found.losses, track.best_loss)
        return Track(
            k.select(wrong, current, track.fooling),
            k.greater(k.add(track.fooled, wrong), 0.0),
            k.select(larger, current, track.best),
            k.select(larger, found.image, track.best_grad),
            k.select(larger, found.losses, track.best_loss),
        )

    def _losses(self, logits, labels, goal):
        k, loss = self.network.backend, self.attack.loss
        if loss == "cross-entropy":
            return k.cross_entropy(logits, labels, 1.0)[0]
        return k.logit_loss(logits, labels, loss, goal)[0]
