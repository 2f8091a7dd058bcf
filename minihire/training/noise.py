"""Noise rules: the noise κ that is added to training images. Training methods differ only in their rule and their periods."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from backends.interface import Array, Backend
from backends.randomness import Draws
from backends.surrogates import Surrogate
from minihire.attacks.gradient import Attack, checked_attacker, pgd, require_attack
from minihire.engine.arrays import subtract, times
from minihire.network import Gradients, Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream


@dataclass(frozen=True)
class Crafter:
    """Gradients of a period's batch at the current weights, for rules that craft κ before the update.

    network, images [B, H, W, C], labels [B]: those of the period. surrogate: the rule's own, None for the network's. options:
    arguments of `Network.gradients` that the period's own pass gets, too. So a crafting pass has the same time steps, dropout
    masks and initial membrane potentials as the period.
    """

    network: Network
    images: Array
    labels: Array
    surrogate: Surrogate | None
    options: dict[str, Any]

    def gradients(self, kappa: Array) -> Gradients:
        """One forward and one backward pass without weight gradients; its `image` is ∂L/∂κ."""
        wanted = dict(weights=False, image=True, noise=kappa, surrogate=self.surrogate)
        return self.network.gradients(self.images, self.labels, **wanted, **self.options)

    def attack(self, attack: Attack) -> Array:
        """κ = x̂ − x, where x̂ are the images after an attack on the current weights, with the period's time steps.

        The attack runs in evaluation mode, which means without dropout, like every attack on a trained network. Without dropout
        all iterations increase the same loss: the loss of the network as it is evaluated.
        """
        network, k = self.network, self.network.backend
        attacked = network.view(steps=self.options["steps"]) if network.spiking else network
        crafted = checked_attacker(attack, attacked)(self.images, self.labels, self.options["draws"])
        return subtract(k, crafted, self.images)


@dataclass(frozen=True)
class NoiseRule:
    """Base class of noise rules. It does not change κ.

    crafted: whether `after_period` needs ∂L/∂κ. The network sees x + κ, so this equals the ∂L/∂x of equation 6. carried: whether
    κ continues in the next batch; otherwise it starts from zero.
    """

    crafted: ClassVar[bool] = False
    carried = True  # not annotated as ClassVar, because CraftedNoise makes it a field

    @property
    def surrogate(self) -> Surrogate | None:
        """The surrogate gradient with which ∂L/∂κ is computed. None: the network's own."""
        return None

    @property
    def passes(self) -> int:
        """The number of gradient passes that `before_period` takes in a period."""
        return 0

    @property
    def extent(self) -> float:
        """The range of κ that pictures show, in pixels of [0, 1]. κ = −extent is drawn as 0, κ = 0 as 0.5, κ = extent as 1."""
        return 0.0

    def start(self, k: Backend, shape: tuple[int, ...]) -> Array | None:
        """Return κ before the first batch, [B, H, W, C], or None for no noise."""

    def before_period(self, k: Backend, kappa: Array | None, draws: Draws, craft: Crafter) -> Array | None:
        """Return the κ that is added to the images in a period.

        draws: the key of the period's random numbers. craft: computes gradients on the period's batch.
        """
        return kappa

    def after_period(self, k: Backend, kappa: Array | None, grad: Array | None) -> Array | None:
        """Return κ after a period. grad: ∂L/∂κ for a crafted rule, else None."""
        return kappa


def checked_noise(k: Backend, hook: str, rule: NoiseRule, kappa: Array | None, shape: tuple[int, ...]) -> Array | None:
    """The κ that a hook of a rule returned. Raises MinihireError unless it is None or an array of the backend of this shape."""
    if kappa is not None:
        name = f"the noise that {type(rule).__name__}.{hook} returns"
        checks.belongs(k, name, kappa)
        if tuple(kappa.shape) != tuple(shape):
            raise MinihireError(f"{name} is {list(kappa.shape)}: return an array {list(shape)}, one κ for each image")
    return kappa


@dataclass(frozen=True)
class NoNoise(NoiseRule):
    """κ = 0. With one period this is traditional training; with several periods it is the control experiment."""


@dataclass(frozen=True)
class GaussianNoise(NoiseRule):
    """κ ~ N(0, ε_s²), drawn anew in each period (section 5.3, figure 9); std = ε_s in pixels of [0, 1]."""

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", checks.number("the noise's std", self.std))

    def start(self, k: Backend, shape: tuple[int, ...]) -> Array:
        """Zeros. `before_period` replaces them."""
        return k.zeros(shape)

    @property
    def extent(self) -> float:
        """Three standard deviations."""
        return 3 * self.std

    def before_period(self, k: Backend, kappa: Array, draws: Draws, craft: Crafter) -> Array:
        """Return a new draw."""
        values = k.random(draws.key(Stream.NOISE), kappa.shape, draws.skipped(kappa.shape), "normal")
        return times(k, values, self.std)


@dataclass(frozen=True)
class CraftedNoise(NoiseRule):
    """HIRE: κ ← clip(κ + ε_s·sign(∂L/∂x), −ε_t, ε_t) after each period (equation 6), carried from batch to batch.

    step = ε_s, bound = ε_t, in pixels of [0, 1]. carried=False starts from zero in each batch. iterations: steps of κ in a
    period. The last one follows the period's own gradient, as in the paper; each of the others takes a gradient pass before the
    update. surrogate: a surrogate gradient for crafting only; then the last step takes a gradient pass of its own, too.
    Raises MinihireError for less than one iteration.

    >>> from minihire import CraftedNoise, get_backend
    >>> k, rule = get_backend("reference"), CraftedNoise(step=0.25, bound=0.5)
    >>> rule.after_period(k, k.asarray([0.0, 0.5, 0.25]), k.asarray([0.1, 3.0, -1.0])).tolist()
    [0.25, 0.5, 0.0]
    """

    crafted: ClassVar[bool] = True
    step: float
    bound: float
    carried: bool = field(default=True, kw_only=True)
    iterations: int = field(default=1, kw_only=True)
    surrogate: Surrogate | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("step", "bound"):
            advice = ", in pixels of [0, 1]"
            object.__setattr__(self, name, checks.number(f"the noise's {name}", getattr(self, name), 0, 1, advice))
        object.__setattr__(self, "carried", bool(self.carried))
        object.__setattr__(self, "iterations", checks.whole("the noise's iterations", self.iterations))
        if self.surrogate is not None:
            object.__setattr__(self, "surrogate", checks.surrogate("the noise's surrogate", self.surrogate))

    @property
    def passes(self) -> int:
        """One for each step but the last."""
        return self.iterations - 1

    @property
    def extent(self) -> float:
        """ε_t."""
        return self.bound

    def start(self, k: Backend, shape: tuple[int, ...]) -> Array:
        """Zeros."""
        return k.zeros(shape)

    def before_period(self, k: Backend, kappa: Array, draws: Draws, craft: Crafter) -> Array:
        """Equation 6, as often as `passes` says."""
        for _ in range(self.passes):
            kappa = self.after_period(k, kappa, craft.gradients(kappa).image)
        return kappa

    def after_period(self, k: Backend, kappa: Array, grad: Array) -> Array:
        """Equation 6."""
        return k.sign_step(kappa, grad, self.step, -self.bound, self.bound)


@dataclass(frozen=True)
class Adversarial(NoiseRule):
    """Adversarial training (Madry et al., ICLR 2018): κ = x̂ − x, where an attack crafts x̂ before every update.

    attack: any attack of minihire.attacks; `training_attack` makes the usual ones. With one period this is Madry's training.
    Raises MinihireError for anything else.

    >>> from minihire import Adversarial, Recipe, training_attack
    >>> recipe = Recipe(epochs=2, noise=Adversarial(training_attack(8 / 255, iterations=7)))
    >>> recipe.noise.passes  # gradient passes per batch, besides that of the update
    7
    """

    attack: Attack

    def __post_init__(self) -> None:
        require_attack(self.attack, "training_attack(8 / 255)")

    @property
    def passes(self) -> int:
        """The attack's gradient evaluations. Its forward passes are not counted: those of Square, and those that compare runs."""
        return self.attack.cost().gradients

    @property
    def extent(self) -> float:
        """The attack's ε."""
        return self.attack.epsilon

    def start(self, k: Backend, shape: tuple[int, ...]) -> Array:
        """Zeros. `before_period` replaces them."""
        return k.zeros(shape)

    def before_period(self, k: Backend, kappa: Array, draws: Draws, craft: Crafter) -> Array:
        """Return the perturbation that the attack finds at the current weights."""
        return craft.attack(self.attack)


def training_attack(epsilon: float = 8 / 255, iterations: int = 7, alpha: float | None = None) -> Attack:
    """The attack of adversarial training: PGD-K with α = 2.5·ε/K, or for K = 1 FGSM-RS with α = 1.25·ε.

    FGSM-RS (Wong, Rice and Kolter, ICLR 2020): one step from a uniform random point of the ε ball, clipped to the ball. Both
    start at random. epsilon, alpha: in pixels of [0, 1]; if alpha is given, it replaces the α above. Raises MinihireError for
    less than one iteration, and for negative ε or α.

    >>> from minihire import training_attack
    >>> training_attack(8 / 255, iterations=1).name
    'fgsm-rs'
    """
    iterations = checks.whole("the attack's number of iterations", iterations)
    if iterations == 1:
        return Attack("fgsm-rs", epsilon, 1.25 * epsilon if alpha is None else alpha, 1, random_start=True)
    return pgd(epsilon, 2.5 * epsilon / iterations if alpha is None else alpha, iterations)
