"""Adversarial training and HIRE with more steps of κ, another surrogate or other periods, compared with the steps by hand."""

from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draw, Draws
from backends.surrogates import arctan, triangle
from minihire.attacks import Attack, momentum_pgd, perturb, pgd, square
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream
from minihire.training import Adversarial, CraftedNoise, NoNoise, Recipe, cost_per_batch, train, training_attack
from minihire.training.cost import epochs_at_equal_cost
from minihire.training.loop import Training

EPSILON = 0.1
PGD = Recipe(epochs=1, batch_size=16, learning_rate=0.01, noise=Adversarial(training_attack(EPSILON, 3)))
FGSM_RS = replace(PGD, noise=Adversarial(training_attack(EPSILON, 1)))
HIRE = replace(PGD, periods=2, noise=CraftedNoise(0.02, 0.03))


@pytest.fixture
def passes(monkeypatch):
    """Every gradient pass from here on: its options, and "time_steps", the number of steps that the network ran."""
    found, gradients = [], Network.gradients

    def spy(self, images, labels, **options):
        steps = (options.get("steps") or self.steps) if self.spiking else 1
        noise = options.get("noise")
        kappa = None if noise is None else np.array(self.backend.to_numpy(noise))
        found.append({"training": True, "weights": True, **options, "noise": kappa, "time_steps": steps})
        return gradients(self, images, labels, **options)

    monkeypatch.setattr(Network, "gradients", spy)
    return found


def test_fgsm_rs_is_one_step_of_five_quarters_of_the_bound_from_a_uniform_start(k, network, data, passes):
    """Wong, Rice and Kolter (2020), algorithm 3, written out for the first batch."""
    net = network(k)
    start_of = network(k)
    training = Training(net, FGSM_RS, data, 7)
    images, labels = training.batches.load(0, 0)
    training.train_batch()
    x = np.asarray(k.to_numpy(images))
    uniform = np.asarray(k.to_numpy(k.random(Draw(7, Stream.RANDOM_START, 0), x.shape)))
    start = np.clip(x + (2 * uniform - 1) * EPSILON, 0, 1).astype(np.float32)
    grad = k.to_numpy(
        start_of.gradients(k.asarray(start), labels, weights=False, image=True, training=False, scale=1.0).image
    )
    delta = np.clip(start - x + 1.25 * EPSILON * np.sign(grad), -EPSILON, EPSILON)
    (update,) = (each for each in passes if each["weights"])
    np.testing.assert_allclose(update["noise"], np.clip(x + delta, 0, 1) - x, rtol=0, atol=1e-6)
    assert abs(update["noise"]).max() == pytest.approx(EPSILON, abs=1e-6)


def test_an_attack_that_works_in_place_does_not_change_the_batch_of_later_periods(k, network, make_data, digest):
    class Darken(Attack):
        def attacker(self, network):
            return lambda images, labels, draws: images * 0.5

    class DarkenInPlace(Attack):
        def attacker(self, network):
            return lambda images, labels, draws: images.__imul__(0.5)

    found = []
    for kind in (Darken, DarkenInPlace):
        trained = network(k)
        train(trained, replace(PGD, periods=2, noise=Adversarial(kind("darken", 0.5, 0.5, 1))), make_data(32))
        found.append(digest(trained.parameters))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "attack",
    [training_attack(EPSILON, 3), training_attack(EPSILON, 1), momentum_pgd(EPSILON, 0.05, 2)],
    ids=lambda attack: attack.name,
)
def test_two_batches_equal_updates_on_attacked_images(k, network, make_data, digest, attack):
    """Madry et al. (2018): attack the batch with the current weights, update on the attacked images, go on."""
    data, recipe = make_data(32), replace(PGD, noise=Adversarial(attack))
    trained, expected = network(k), network(k)
    train(trained, recipe, data)
    training = Training(expected, recipe, data, 0)
    for batch in range(2):
        images, labels = training.batches.load(0, batch)
        crafted = np.asarray(k.to_numpy(perturb(expected, images, labels, attack, Draws(0, batch))))
        x = np.asarray(k.to_numpy(images))
        noisy = np.clip(x + (crafted - x), 0, 1)
        result = expected.gradients(k.asarray(noisy), labels, draws=Draws(0, batch))
        training.optimiser.step(result.weights, recipe.learning_rate)
    assert digest(trained.parameters) == digest(expected.parameters)


def test_the_attack_runs_in_evaluation_mode_and_the_update_with_dropout(network, data, passes):
    train(network(get_backend("reference")), PGD, data)
    assert [each["training"] for each in passes] == [False, False, False, True] * 3
    assert [each["weights"] for each in passes] == [False, False, False, True] * 3


def test_attacked_images_lie_in_the_ball_and_differ_from_epoch_to_epoch(network, make_data, passes):
    data = make_data(16)
    train(network(get_backend("reference")), replace(PGD, epochs=2, augment=False), data)
    first, second = (each["noise"] for each in passes if each["weights"])
    assert max(abs(first).max(), abs(second).max()) <= EPSILON + 1e-6
    assert not np.array_equal(np.sort(first, axis=None), np.sort(second, axis=None))


def test_the_input_spikes_of_a_rate_coded_network_are_new_in_every_iteration(network, data, passes):
    train(network(get_backend("reference"), coding="rate"), PGD, data)
    crafting = [each["draws"].step for each in passes if not each["weights"]]
    updates = [each["draws"].step for each in passes if each["weights"]]
    assert crafting == [1, 2, 3, 4, 5, 6, 7, 8, 9] and updates == [0, 1, 2]


def test_an_attack_of_no_size_is_traditional_training(k, network, data, digest):
    found = []
    for noise in (Adversarial(pgd(0.0, 0.0, 2)), NoNoise()):
        net = network(k)
        train(net, replace(PGD, noise=noise), data)
        found.append(digest(net.parameters))
    assert found[0] == found[1]


@pytest.mark.slow
def test_an_adversarially_trained_network_withstands_what_fools_the_other(network, make_data):
    """Four grey levels with noise. Both networks classify all clean images of the test; PGD fools the one trained without it."""
    k, data, test = get_backend("numba", threads=1), make_data(200), make_data(120, seed=9)
    images, labels = k.asarray((test.images / 255).astype(np.float32)), test.labels
    right = {}
    for name, noise in (("traditional", NoNoise()), ("adversarial", Adversarial(training_attack(0.05, 3)))):
        net = network(k, width=1 / 8, hidden=32)
        train(net, Recipe(30, 8, "adam", 0.003, augment=False, noise=noise), data)
        crafted = perturb(net, images, labels, pgd(0.05, 0.0125, 10))
        right[name] = [np.mean(np.argmax(k.to_numpy(net.forward(x)), axis=1) == labels) for x in (images, crafted)]
    assert right["traditional"][0] > 0.95 and right["adversarial"][0] > 0.95, right
    assert right["adversarial"][1] > right["traditional"][1] + 0.1, right


# ---------------------------------------------------------------- HIRE with more steps, another surrogate, other periods


def by_hand(net, data, recipe, count):
    """HIRE with K steps of κ per period, each after a gradient with the rule's surrogate; the update in between."""
    k, rule, training = net.backend, recipe.noise, Training(net, recipe, data, 0)
    kappa = k.zeros((recipe.batch_size, *data.shape))
    for batch in range(count):
        images, labels = training.batches.load(0, batch)
        for period, steps in enumerate(recipe.steps_of_periods(net.steps)):
            options = dict(steps=steps, draws=Draws(0, batch * recipe.periods + period))

            def moved(kappa, images=images, labels=labels, options=options):
                found = net.gradients(images, labels, image=True, noise=kappa, surrogate=rule.surrogate, **options)
                return k.sign_step(kappa, found.image, rule.step, -rule.bound, rule.bound)

            for _ in range(rule.iterations - 1):
                kappa = moved(kappa)
            update = net.gradients(images, labels, noise=kappa, **options)
            before = None if recipe.craft_after_update else moved(kappa)
            training.optimiser.step(update.weights, recipe.learning_rate)
            kappa = moved(kappa) if recipe.craft_after_update else before
    return kappa


VARIANTS = {
    "three steps": dict(noise=CraftedNoise(0.02, 0.05, iterations=3)),
    "arctan": dict(noise=CraftedNoise(0.02, 0.03, surrogate=arctan(2.0))),
    "two steps, arctan": dict(noise=CraftedNoise(0.02, 0.03, iterations=2, surrogate=arctan(2.0))),
    "two steps, after": dict(noise=CraftedNoise(0.02, 0.05, iterations=2), craft_after_update=True),
    "arctan, after": dict(noise=CraftedNoise(0.02, 0.03, surrogate=arctan(2.0)), craft_after_update=True),
    "periods of 3 and 1": dict(period_steps=(3, 1)),
    "periods of 1, 3 and 4": dict(periods=3, period_steps=(1, 3, 4)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_batches_of_a_variant_of_hire_equal_the_steps_by_hand(k, network, make_data, digest, variant):
    data, recipe = make_data(32), replace(HIRE, **VARIANTS[variant])
    trained, expected, plain = network(k), network(k), network(k)
    training = train(trained, recipe, data)
    kappa = by_hand(expected, data, recipe, 2)
    assert np.array_equal(k.to_numpy(training.kappa), k.to_numpy(kappa))
    assert digest(trained.parameters) == digest(expected.parameters)
    train(plain, HIRE, data)
    assert digest(trained.parameters) != digest(plain.parameters)


def test_crafting_with_the_networks_own_surrogate_in_a_pass_of_its_own_changes_nothing(k, network, data, digest):
    nets = network(k), network(k)
    for net, surrogate in zip(nets, (None, triangle(0.3)), strict=True):
        train(net, replace(HIRE, noise=CraftedNoise(0.02, 0.03, surrogate=surrogate)), data)
    assert digest(nets[0].parameters) == digest(nets[1].parameters)


def test_periods_run_the_steps_given_for_each(network, data, passes):
    train(network(get_backend("reference"), steps=7), replace(HIRE, period_steps=(4, 3)), data)
    assert [each["time_steps"] for each in passes] == [4, 3] * 3


@pytest.mark.parametrize("wrong", [(4,), (2, 1, 1), ()])
def test_steps_of_other_periods_are_refused(wrong):
    with pytest.raises(MinihireError, match="2 periods need 2 numbers of time steps, not"):
        replace(HIRE, period_steps=wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_periods_without_a_whole_number_of_steps_are_refused(wrong):
    with pytest.raises(
        MinihireError, match=f"a period's number of time steps is {wrong}: give a whole number of at least 1"
    ):
        replace(HIRE, period_steps=(4, wrong))


def test_no_step_of_kappa_at_all_is_refused():
    with pytest.raises(MinihireError, match="the noise's iterations is 0: give a whole number of at least 1"):
        CraftedNoise(0.1, 0.1, iterations=0)


def test_a_description_without_new_settings_is_that_of_version_0_1(network):
    """Trainings that were stopped in that version resume only if the descriptions are equal."""
    assert HIRE.describe()["noise"] == {"rule": "CraftedNoise", "carried": True, "step": 0.02, "bound": 0.03}
    assert "period_steps" not in HIRE.describe()
    for changes in VARIANTS.values():
        assert replace(HIRE, **changes).describe() != replace(HIRE, noise=CraftedNoise(0.02, 0.05)).describe()
    described = PGD.describe()["noise"]
    assert described["rule"] == "Adversarial" and described["attack"]["iterations"] == 3


# ---------------------------------------------------------------- the inner attack, and costs


@pytest.mark.parametrize(
    ("iterations", "alpha", "expected"),
    [
        (1, None, Attack("fgsm-rs", 0.2, 0.25, 1, True)),
        (1, 0.1, Attack("fgsm-rs", 0.2, 0.1, 1, True)),
        (5, None, Attack("pgd", 0.2, 0.1, 5, True)),
        (5, 0.3, Attack("pgd", 0.2, 0.3, 5, True)),
    ],
)
def test_the_inner_attack_has_the_usual_step(iterations, alpha, expected):
    found = training_attack(0.2, iterations, alpha)
    assert replace(found, alpha=expected.alpha) == expected and found.alpha == pytest.approx(expected.alpha)


def test_an_inner_attack_without_iterations_is_refused():
    with pytest.raises(
        MinihireError, match="the attack's number of iterations is 0: give a whole number of at least 1"
    ):
        training_attack(0.1, 0)


COSTS = {  # passes per batch and their time steps, with T = 7
    "traditional": (dict(periods=1, noise=NoNoise()), 1, 7),
    "control": (dict(noise=NoNoise()), 2, 6),
    "hire": ({}, 2, 6),
    "hire, N = 3": (dict(periods=3), 3, 6),
    "hire, after the update": (dict(craft_after_update=True), 4, 12),
    "fgsm-rs": (dict(periods=1, noise=FGSM_RS.noise), 2, 14),
    "pgd-3": (dict(periods=1, noise=PGD.noise), 4, 28),
    "pgd-3, N = 2": (dict(noise=PGD.noise), 8, 24),
    "pgd-2, 3 restarts": (dict(periods=1, noise=Adversarial(pgd(EPSILON, 0.03, 2, restarts=3))), 7, 49),
    "square, without gradients": (dict(periods=1, noise=Adversarial(square(EPSILON, 5))), 1, 7),
    "three steps": (VARIANTS["three steps"], 6, 18),
    "arctan": (VARIANTS["arctan"], 4, 12),
    "two steps, arctan": (VARIANTS["two steps, arctan"], 6, 18),
    "two steps, after": (VARIANTS["two steps, after"], 6, 18),
    "periods of 4 and 3": (dict(period_steps=(4, 3)), 2, 7),
}


@pytest.mark.parametrize("name", COSTS)
def test_the_cost_is_what_a_batch_computes(network, data, passes, name):
    changes, count, time_steps = COSTS[name]
    recipe = replace(HIRE, **changes)
    train(network(get_backend("reference"), steps=7), recipe, data)
    batches = 3
    assert cost_per_batch(recipe, 7) == (count, time_steps)
    assert len(passes) == count * batches
    assert sum(each["time_steps"] for each in passes) == time_steps * batches


def test_an_ann_has_one_time_step_per_pass(network, data, passes):
    train(network(get_backend("reference"), spiking=False), replace(PGD, optimiser="sgd"), data)
    assert cost_per_batch(PGD, 1) == (4, 4) and sum(each["time_steps"] for each in passes) == 12


@pytest.mark.parametrize(("iterations", "epochs", "expected"), [(1, 20, 10), (7, 20, 2), (7, 30, 3), (7, 3, 1)])
def test_epochs_at_equal_cost_never_cost_more_unless_one_epoch_does(iterations, epochs, expected):
    recipe = Recipe(noise=Adversarial(training_attack(0.1, iterations)))
    assert epochs_at_equal_cost(recipe, replace(HIRE, epochs=epochs), steps=6) == expected
