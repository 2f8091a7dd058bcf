"""The cost of a training recipe: time steps times gradient passes. Methods can be compared at equal cost."""

from typing import NamedTuple

from minihire.training.recipe import Recipe


class TrainingCost(NamedTuple):
    """Gradient passes per batch, and the time steps of all these passes together.

    A gradient pass is one forward and one backward pass. A crafting pass counts like the pass of an update, although it computes
    no weight gradients and is therefore somewhat faster.
    """

    passes: int
    time_steps: int


def cost_per_batch(recipe: Recipe, steps: int) -> TrainingCost:
    """The cost of a batch in a training of a network with T = steps (1 for an ANN).

    >>> from minihire import Adversarial, CraftedNoise, Recipe, cost_per_batch, training_attack
    >>> cost_per_batch(Recipe(periods=2, noise=CraftedNoise(step=0.013, bound=0.013)), steps=7)
    TrainingCost(passes=2, time_steps=6)
    >>> cost_per_batch(Recipe(noise=Adversarial(training_attack(iterations=7))), steps=7)
    TrainingCost(passes=8, time_steps=56)
    """
    periods = recipe.steps_of_periods(steps)
    # per period: passes that craft κ before the update, one pass for the update, and 1 or 0 that craft κ for the next period
    passes = recipe.noise.passes + 1 + (recipe.crafting in ("before", "after"))
    return TrainingCost(passes * len(periods), passes * sum(periods))


def epochs_at_equal_cost(recipe: Recipe, other: Recipe, steps: int) -> int:
    """The most epochs with which `recipe` costs no more than `other`, at least 1. Both have the same batch size.

    >>> from minihire import Adversarial, Recipe, epochs_at_equal_cost, training_attack
    >>> epochs_at_equal_cost(Recipe(noise=Adversarial(training_attack(iterations=7))), Recipe(epochs=30), steps=6)
    3
    """
    total = other.epochs * cost_per_batch(other, steps).time_steps
    return max(1, total // cost_per_batch(recipe, steps).time_steps)
