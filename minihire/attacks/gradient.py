"""Gradient attacks (equations 3 and 4): value and gradient → normalise → step → project → clip, K times.

    x̂ ← clip(Proj_ε(x)[x̂ + α·sign(∂L/∂x̂)], 0, 1)

FGSM is the one-step case with α = ε and no random start. The other files of this package replace some of the five operations,
or the loop.
"""

import contextlib
import copy
import hashlib
import inspect
import math
import pickle
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from backends.interface import Array
from backends.randomness import Draws
from backends.surrogates import Surrogate
from minihire.analysis.accuracy import mean_logits, sample_draws
from minihire.engine.arrays import times
from minihire.network import Gradients, Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import say
from minihire.runtime.random_streams import Stream
from minihire.runtime.weak import weak_method


class AttackCost(NamedTuple):
    """The work of an attack for each image: gradient evaluations, and forward passes without a gradient."""

    gradients: int
    forwards: int

    @property
    def work(self) -> float:
        """The work in gradient evaluations. A forward pass counts a third of one."""
        return self.gradients + self.forwards / 3


@dataclass(frozen=True)
class Attack:
    """A gradient attack, by default in the L∞ ball of radius ε.

    epsilon (ε), alpha (α): bound and step size, in pixels of [0, 1]. iterations: K. random_start: start from a uniform random
    point of the ball. surrogate: the surrogate gradient that the attacker uses (default: the network's own). restarts: how
    often the attack runs, each time from another start; an image withstands it only if it withstands all runs. samples: for
    a rate-coded network, each gradient and each evaluation is the mean over this many draws of the input spikes (expectation
    over transformation, EOT).
    Raises MinihireError for negative ε or α, for those above `largest`, for less than one iteration, restart or sample, and
    for a `surrogate` that is no Surrogate.
    """

    largest: ClassVar[float] = 1.0  # the range of pixels; a larger ε or α is probably in levels of 0 … 255
    name: str
    epsilon: float
    alpha: float
    iterations: int
    random_start: bool = False
    surrogate: Surrogate | None = None
    restarts: int = field(default=1, kw_only=True)
    samples: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        for symbol, name in (("ε", "epsilon"), ("α", "alpha")):
            value = getattr(self, name)
            advice = ", in pixels of [0, 1] (such as 8/255 for 8 of 255 levels)"
            found = checks.number(f"the attack's {symbol}", value, 0, self.largest, advice)
            object.__setattr__(self, name, found)
        for name in ("iterations", "restarts", "samples"):
            object.__setattr__(self, name, checks.whole(f"the attack's number of {name}", getattr(self, name)))
        object.__setattr__(self, "random_start", bool(self.random_start))
        if self.surrogate is not None:
            object.__setattr__(self, "surrogate", checks.surrogate("the attack's surrogate", self.surrogate))

    def changed(self, **settings: Any) -> "Attack":
        """A copy with other values of some fields. It works for every subclass, also for one with attributes of its own."""
        found = copy.copy(self)
        for name, value in settings.items():
            object.__setattr__(found, name, value)
        return found

    def cost(self, classes: int | None = None) -> AttackCost:
        """The work for each image, with the classification of the adversarial image.

        classes: those of the network; None: as many as the attack has targets for. `samples` are counted as given, although a
        network without random spikes draws only once. A subclass with another algorithm overrides it.

        >>> from minihire import pgd
        >>> pgd(iterations=7).cost(), pgd(iterations=7, restarts=3).cost()
        (AttackCost(gradients=7, forwards=1), AttackCost(gradients=21, forwards=4))
        """
        judged = self.restarts if self.restarts > 1 else 0  # forward passes that compare the runs
        return AttackCost(self.samples * self.restarts * self.iterations, self.samples * (judged + 1))

    def distance(self, crafted: np.ndarray[Any, Any], images: np.ndarray[Any, Any]) -> float:
        """The largest distance of an adversarial image from its original, in the norm of ε: by default, L∞."""
        return float(np.abs(crafted - images).max(initial=0.0))

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
    restarts: int = 1,
    samples: int = 1,
) -> Attack:
    """Projected gradient descent (equation 4). The default random start is that of the released code; equation 4 has none.

    >>> from minihire import pgd
    >>> pgd(8 / 255, alpha=2 / 255, iterations=10).name
    'pgd'
    """
    return Attack("pgd", epsilon, alpha, iterations, random_start, surrogate, restarts=restarts, samples=samples)


class Attacker:
    """A gradient attack on one network. Call it once for each batch; the weights must not change between the calls.

    Each iteration computes the gradient of the loss and applies hooks. A subclass may override them, and `gradient`:

        direction, memory = normalise(∂L/∂x̂, memory);  x̂ ← clip(project(step(x̂, direction), x))

    memory: arrays that `normalise` passes from one iteration to the next, such as the momentum. The hooks take and return arrays
    of the backend, and no hook reads a value on the host. So an attack stays on its device.
    """

    def __init__(self, network: Network, attack: Attack):
        self.network, self.attack = network, attack
        self._iteration = self.captured(weak_method(self._iterate))

    def captured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, recorded as a CUDA graph where that is possible.

        It is not possible with rate coding: a captured function gets draws.first as an array on the device, but rate coding
        needs its value on the host.
        """
        return function if self.network.random else self.network.backend.services.captured(function)

    def __call__(self, images: Array, labels: Array, draws: Draws = Draws()) -> Array:
        """Return adversarial images [B, H, W, C] in [0, 1], crafted in evaluation mode with the true labels int64 [B].

        Images and labels are arrays of the network's backend. draws: key of the random numbers, for the random start and for
        the input spikes of a rate-coded network. Each iteration draws its own input spikes. They differ from those of an
        evaluation with the same `draws`. draws.first is the number of the first image, so that results do not depend on
        the batches. If there are several runs, each image comes from a run that fooled the network, or else from the one with
        the smallest margin. Raises MinihireError for images and labels of another shape, type or range.
        """
        model, k = self.network.model, self.network.backend
        checks.images(k, images, model.image_shape, model.name)
        labels = checks.labels(k, labels, images.shape[0], model.classes)
        runs = list(product(self.goals(images, draws), range(self.attack.restarts)))
        best = best_margins = None
        for number, (goal, _) in enumerate(runs):
            run_draws = draws._replace(step=draws.step * len(runs) + number)
            crafted = self.run(images, labels, run_draws, goal)
            if len(runs) == 1:
                return k.asarray(crafted)  # a copy: the next call may overwrite a captured result
            margins, wrong = self.judge(crafted, labels, self.iteration_draws(run_draws, self.attack.iterations))
            if best_margins is None:
                best, best_margins = k.asarray(crafted), margins  # a copy, too
            else:
                better = k.add(k.greater(best_margins, margins), wrong)
                best, best_margins = k.select(better, crafted, best), k.select(better, margins, best_margins)
        return best

    def run(self, images: Array, labels: Array, draws: Draws, goal: Array | None) -> Array:
        """Return the adversarial images of one run. goal: one of `goals`."""
        current, memory = self.start(images, draws), self.memory(images)
        for iteration in range(self.attack.iterations):
            current, memory = self._iteration(current, memory, images, labels, self.iteration_draws(draws, iteration))
        return current

    def goals(self, images: Array, draws: Draws) -> list[Any]:
        """Return the list of goals. Each goal gets `restarts` runs. Default: one goal, None, which is any wrong class."""
        return [None]

    def iteration_draws(self, draws: Draws, iteration: int) -> Draws:
        """Return the draws of an iteration of a run. Iterations count from 0; number K judges the result."""
        return draws._replace(step=draws.step * self.attack.iterations + iteration + 1)

    def judge(self, images: Array, labels: Array, draws: Draws) -> tuple[Array, Array]:
        """Return for each image [B] the margin, and 1 if it is misclassified, else 0."""
        k, logits = self.network.backend, mean_logits(self.network, images, draws, self.attack.samples)
        return k.logit_loss(logits, labels, "margin")[0], k.logit_loss(logits, labels, "zero-one")[0]

    def gradient(self, current: Array, labels: Array, draws: Draws, **options: Any) -> Gradients:
        """Return losses, logits and image gradient at x̂, each the mean over `samples` draws. options: of Network.gradients."""
        options |= {"weights": False, "image": True, "training": False, "scale": 1.0, "keep_state": False}
        options |= {"check": False, "surrogate": self.attack.surrogate}
        k, samples = self.network.backend, self.attack.samples if self.network.random else 1
        first, *others = sample_draws(draws, samples)
        result = self.network.gradients(current, labels, draws=first, **options)
        if not others:
            return result
        names = ("losses", "logits", "image")
        sums = [getattr(result, name) for name in names]
        for each in others:
            more = self.network.gradients(current, labels, draws=each, **options)
            sums = [k.add(total, getattr(more, name)) for total, name in zip(sums, names, strict=True)]
        return result._replace(**{name: times(k, x, 1 / samples) for name, x in zip(names, sums, strict=True)})

    def start(self, images: Array, draws: Draws) -> Array:
        """Return the first x̂: the images, or with `random_start` a uniform random point of the L∞ ball, clipped."""
        attack, k = self.attack, self.network.backend
        if not attack.random_start:
            return images
        start = k.random(draws.key(Stream.RANDOM_START), images.shape, draws.skipped(images.shape))
        offset = times(k, start, 2 * attack.epsilon, -attack.epsilon)
        return self.clip(k.add(images, offset))

    def memory(self, images: Array) -> tuple[Array, ...]:
        """Return the arrays that `normalise` gets in the first iteration. Default: none."""
        return ()

    def normalise(self, grad: Array, memory: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """Return the direction of the step, and the arrays for the next iteration. Default: the gradient itself."""
        return grad, memory

    def step(self, current: Array, direction: Array) -> Array:
        """Return x̂ + α·sign(direction)."""
        return self.network.backend.sign_step(current, direction, self.attack.alpha, -math.inf, math.inf)

    def project(self, moved: Array, images: Array) -> Array:
        """Return the nearest point of the L∞ ball of radius ε around the images."""
        k, epsilon = self.network.backend, self.attack.epsilon
        return k.sign_step(moved, moved, 0.0, -math.inf, math.inf, center=images, bound=epsilon)  # a step of length 0

    def clip(self, x: Array) -> Array:
        """Return x̂ clipped to [0, 1]."""
        return self.network.backend.clip(x, 0.0, 1.0)[0]

    def update(self, current: Array, direction: Array, images: Array) -> Array:
        """Return clip(project(step(x̂, direction), x)). If no subclass overrides these hooks, one kernel computes all three."""
        hooks = ("step", "project", "clip")
        if any(getattr(type(self), hook) is not getattr(Attacker, hook) for hook in hooks):
            return self.clip(self.project(self.step(current, direction), images))
        k, attack = self.network.backend, self.attack  # equation 4
        return k.sign_step(current, direction, attack.alpha, 0.0, 1.0, center=images, bound=attack.epsilon)

    def _iterate(
        self, current: Array, memory: tuple[Array, ...], images: Array, labels: Array, draws: Draws
    ) -> tuple[Array, tuple[Array, ...]]:
        """One iteration: the gradient, then the hooks."""
        found = self.normalise(self.gradient(current, labels, draws).image, memory)
        direction, memory = checks.pair(f"normalise of {type(self).__name__}", found, "(direction, memory)")
        return self.update(current, direction, images), memory


def attack_identity(attack: Attack) -> str:
    """A text that differs for attacks that craft other images: the settings of the attack.

    For a user's class, also a hash of all its attributes and of the files that define it and its base classes. Other files that
    it imports do not count. An attribute that cannot be pickled, such as a lambda, never counts as the same.
    """
    own = [kind for kind in type(attack).__mro__[:-1] if not kind.__module__.startswith("minihire.")]
    if not own:
        return repr(attack)
    content = hashlib.blake2b(digest_size=16)
    try:
        content.update(pickle.dumps(vars(attack)))
    except (pickle.PicklingError, AttributeError, TypeError):
        content.update(secrets.token_bytes())
    for kind in own:
        with contextlib.suppress(OSError, TypeError):  # a class of a notebook has no file
            content.update(Path(inspect.getfile(kind)).read_bytes())
    return f"{attack!r} {content.hexdigest()}"


def require_attack(attack: Any, example: str = "fgsm(8 / 255)") -> None:
    """Raise MinihireError for what is not an Attack, and for a subclass with wrong methods."""
    checks.instance("the attack", attack, Attack, example)
    checks.methods(f"the attack {attack.name!r}", attack, Attack)
    checks.instance(f"the cost of the attack {attack.name!r}", attack.cost(), AttackCost)


def checked_attacker(attack: Attack, network: Network) -> Callable[[Array, Array, Draws], Array]:
    """The attacker, which gets a copy of the images: so the originals do not change if it works in place.

    Raises MinihireError if it cannot be called with (images, labels, draws), or does not return one image of the same type for
    each image.
    """
    require_attack(attack)
    checks.instance("the network", network, Network)
    k, attacker = network.backend, attack.attacker(network)
    checks.callable_with(f"the attacker of {attack.name!r}", attacker, "images", "labels", "draws")
    if isinstance(attacker, Attacker):
        checks.methods(f"the attacker of {attack.name!r}", attacker, Attacker)

    def craft(images: Array, labels: Array, draws: Draws) -> Array:
        checks.belongs(k, "these images", images)
        crafted = attacker(k.asarray(images), labels, draws)
        given, wanted = _kind(crafted), _kind(images)
        if given != wanted:
            raise MinihireError(f"the attack {attack.name!r} returned {given}: let it return images, {wanted}")
        checks.belongs(k, f"the images of the attack {attack.name!r}", crafted)
        return crafted

    return craft


def _kind(array: Any) -> str:
    """The type and shape of an array of any backend, for messages; the class of anything else."""
    if not (hasattr(array, "dtype") and hasattr(array, "shape")):
        return type(array).__name__
    return f"{str(array.dtype).removeprefix('torch.')} {list(array.shape)}"


def measured_distance(attack: Attack, crafted: np.ndarray[Any, Any], images: np.ndarray[Any, Any]) -> float:
    """The largest distance of an adversarial image from its original. Raises MinihireError if it is NaN: so are pixels, then."""
    distance = attack.distance(crafted, images)
    if not isinstance(distance, Real):
        raise MinihireError(f"the distance of the attack {attack.name!r} is {checks.shown(distance)}: return a number")
    if math.isnan(distance):
        raise MinihireError(
            f"the attack {attack.name!r} made pixels that are NaN: if it is your own, correct it; else the network's weights are "
            "so large that its gradient is not finite: give another network, or train it with a lower learning rate"
        )
    return distance


def warn_outside_ball(attack: Attack, farthest: float) -> None:
    """Print a warning if an adversarial image was this far from its original, and the attack's ε is less."""
    if farthest > attack.epsilon * 1.0001 + 1e-6:  # float32 rounds
        distance, epsilon = f"{farthest:.4g}", f"{attack.epsilon:.4g}"
        say(f"warning: {attack.name} has ε = {epsilon}, but changed an image by {distance}: it has to stay in its ball")


def perturb(network: Network, images: Array, labels: Array, attack: Attack, draws: Draws = Draws()) -> Array:
    """Adversarial images [B, H, W, C] of one batch. Arguments as in `Attacker.__call__`."""
    return checked_attacker(attack, network)(images, labels, draws)
