"""The cost that an attack states is the work that it does; attacks that cannot work are refused where they are made."""

import inspect
from dataclasses import replace

import pytest

from backends import get_backend
from backends.surrogates import Surrogate, arctan
from minihire.attacks import (
    ATTACKS,
    TrackingAttack,
    apgd,
    attack_accuracy,
    fgsm,
    momentum_pgd,
    pgd,
    pgd_l2,
    sa_pgd,
    square,
    uniform_noise,
)
from minihire.network import Network
from minihire.runtime.errors import MinihireError


def of_few_steps(make):
    parameters = inspect.signature(make).parameters
    return make(**{name: 3 for name in ("iterations", "queries") if name in parameters})


CASES = {
    **{name: of_few_steps(make) for name, make in ATTACKS.items()},
    "pgd, 3 restarts": pgd(iterations=2, restarts=3),
    "momentum, 2 restarts": momentum_pgd(iterations=3, restarts=2),
    "pgd-l2, 2 restarts": pgd_l2(iterations=3, restarts=2),
    "noise, 2 restarts": uniform_noise(restarts=2),
    "square, 2 restarts": square(queries=3, restarts=2),
    "apgd, 2 restarts": apgd(iterations=3, restarts=2),
    "one target": apgd(iterations=3, loss="dlr-targeted", targets=1),
    "targeted, 2 restarts": apgd(iterations=3, loss="dlr-targeted", restarts=2),
    "sa-pgd, 2 restarts": sa_pgd(iterations=3, restarts=2),
}


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_the_cost_is_what_an_attack_computes(network, data, monkeypatch, name, samples):
    """For each image, with the classification at the end. A network with random spikes draws `samples` times."""
    attack = replace(CASES[name], samples=samples)
    net, passes = (
        network(get_backend("reference"), "direct" if samples == 1 else "rate"),
        {"gradients": 0, "forward": 0},
    )
    for method in passes:
        called = getattr(Network, method)

        def count(self, images, *arguments, method=method, called=called, **options):
            passes[method] += len(images)
            return called(self, images, *arguments, **options)

        monkeypatch.setattr(Network, method, count)
    attack_accuracy(net, data, attack)
    assert (passes["gradients"] / len(data), passes["forward"] / len(data)) == attack.cost(net.model.classes)


def test_the_cost_without_a_number_of_classes_counts_every_target():
    targeted = apgd(iterations=10, loss="dlr-targeted")
    assert targeted.cost() == targeted.cost(classes=100) == (90, 1 + 9 * 2 + 1)
    assert targeted.cost(classes=4) == (30, 1 + 3 * 2 + 1)


@pytest.mark.parametrize("make", [apgd, sa_pgd, lambda loss: TrackingAttack("mine", 0.1, 0.1, 5, loss=loss)])
@pytest.mark.parametrize("loss", ["ce", "margin", "zero-one", None])
def test_only_losses_that_an_attack_can_increase_are_accepted(make, loss):
    """The margin is larger for correct images, and the zero-one loss has no gradient."""
    with pytest.raises(MinihireError) as error:
        make(loss=loss)
    assert str(error.value) == f"the attack's loss is {loss!r}: choose cross-entropy, dlr, dlr-targeted"


def test_no_targets_are_refused():
    with pytest.raises(MinihireError, match="the attack's number of targets is 0: give a whole number of at least 1"):
        apgd(loss="dlr-targeted", targets=0)


@pytest.mark.parametrize(
    ("surrogate", "says"),
    [
        ("arctan", r"the attack's surrogate is 'arctan': give a function of backends.surrogates with its arguments"),
        (arctan, "give a function of backends.surrogates with its arguments, as in arctan"),
        (Surrogate("bell", 1.0, 1.0), "the attack's surrogate has the kind 'bell': choose triangle, exponential"),
        (Surrogate("arctan", 1.0, 0.0), "the width of the attack's surrogate is 0.0: give a number above 0"),
        (Surrogate("arctan", -1.0, 1.0), "the height of the attack's surrogate is -1.0"),
    ],
)
def test_a_surrogate_that_is_none_is_refused(surrogate, says):
    for make in (pgd, fgsm, apgd):
        with pytest.raises(MinihireError, match=says):
            make(surrogate=surrogate)
