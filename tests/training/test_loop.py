"""Algorithm 1 and its variants, batch by batch, compared with the same steps written out by hand."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend, surrogates
from backends.randomness import Draws
from minihire.attacks import attack_accuracy, fgsm
from minihire.engine.lif import NeuronOptions
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.training import CraftedNoise, GaussianNoise, NoNoise, Recipe, train
from minihire.training.loop import Training
from minihire.training.noise import NoiseRule
from minihire.training.optimisers import Schedule

HIRE = Recipe(epochs=1, batch_size=16, learning_rate=0.01, periods=2, noise=CraftedNoise(0.02, 0.03))


@pytest.fixture
def calls(monkeypatch):
    """Every call of Network.gradients from here on: (its keyword arguments, its result)."""
    found, gradients = [], Network.gradients

    def spy(self, images, labels, **options):
        noise = options.get("noise")
        before = {**options, "noise": None if noise is None else np.array(self.backend.to_numpy(noise))}
        result = gradients(self, images, labels, **options)
        found.append((before, result))
        return result

    monkeypatch.setattr(Network, "gradients", spy)
    return found


@pytest.fixture
def kappas(after_batches):
    """kappas(training) runs the training and returns κ after each batch."""

    def run(training):
        found = []
        after_batches(lambda: found.append(np.array(training.network.backend.to_numpy(training.kappa))))
        training.run()
        return found

    return run


def test_kappa_stays_within_its_bound_and_reaches_it(k, network, data, kappas):
    found = kappas(Training(network(k), HIRE, data, 0))
    assert max(abs(kappa).max() for kappa in found) == np.float32(0.03)


def test_kappa_moves_by_epsilon_s(k, network, data, kappas):
    first, second = kappas(Training(network(k), replace(HIRE, periods=1), data, 0))[0], np.float32(0.02)
    assert set(np.unique(abs(first))) <= {0, second} and second in abs(first)


def test_kappa_is_carried_from_period_to_period_and_from_batch_to_batch(k, network, data, calls, kappas):
    after = kappas(Training(network(k), HIRE, data, 0))
    seen = [options["noise"] for options, _ in calls]
    assert not seen[0].any() and seen[1].any()
    assert np.array_equal(seen[2], after[0]) and np.array_equal(seen[4], after[1][:8])
    np.testing.assert_array_equal(
        seen[3],
        np.clip(
            seen[2] + np.float32(0.02) * np.sign(k.to_numpy(calls[2][1].image)), -np.float32(0.03), np.float32(0.03)
        ),
    )


def test_a_small_last_batch_uses_the_first_rows_of_kappa_and_leaves_the_rest(k, network, data, calls, kappas):
    after = kappas(Training(network(k), HIRE, data, 0))
    assert calls[-1][0]["noise"].shape == (8, 8, 8, 3)
    assert np.array_equal(after[2][8:], after[1][8:]) and not np.array_equal(after[2][:8], after[1][:8])


def test_kappa_is_never_larger_than_the_data(network, make_data):
    training = Training(network(get_backend("reference")), HIRE, make_data(5), 0)
    assert training.kappa.shape == (5, 8, 8, 3)


@pytest.mark.parametrize(("steps", "periods", "expected"), [(4, 2, 2), (7, 3, 2), (5, 2, 2), (3, 3, 1), (6, 1, 6)])
def test_periods_have_t_over_n_steps(network, data, calls, steps, periods, expected):
    train(network(get_backend("reference"), steps=steps), replace(HIRE, periods=periods), data)
    assert [options["steps"] for options, _ in calls] == [expected] * 3 * periods


def by_hand(net, data, recipe, count=1):
    """The first batches of a training, as algorithm 1 says, with the noise added and clipped in NumPy."""
    k, training = net.backend, Training(net, recipe, data, 0)
    kappa, half = np.zeros((recipe.batch_size, *data.shape), np.float32), net.steps // recipe.periods
    for batch in range(count):
        images, labels = training.batches.load(0, batch)
        state = None
        for period in range(recipe.periods):
            draws = Draws(0, batch * recipe.periods + period)

            def passed(kappa=kappa, images=images, labels=labels, draws=draws, state=state):
                noisy = np.asarray(images) + kappa
                inside = (noisy >= 0) & (noisy <= 1) if recipe.clip_noise else np.ones_like(noisy, bool)
                noisy = np.clip(noisy, 0, 1) if recipe.clip_noise else noisy
                result = net.gradients(
                    k.asarray(noisy), labels, image=True, steps=half, draws=draws, state=state, check=False
                )
                return result, np.where(inside, result.image, 0)

            result, grad = passed()
            training.optimiser.step(result.weights, recipe.learning_rate)
            if recipe.craft_after_update:
                result, grad = passed()
            kappa = np.clip(
                kappa + np.float32(recipe.noise.step) * np.sign(grad),
                -np.float32(recipe.noise.bound),
                np.float32(recipe.noise.bound),
            )
            state = result.state if recipe.carry_membranes else None
    return kappa


@pytest.mark.parametrize(
    "changes",
    [{}, dict(clip_noise=False), dict(carry_membranes=True), dict(craft_after_update=True), dict(periods=1)],
    ids=["default", "clip_noise", "carry_membranes", "craft_after_update", "one period"],
)
def test_two_batches_equal_algorithm_1_by_hand(k, network, make_data, kappas, digest, changes):
    data = make_data(32)
    recipe = replace(HIRE, learning_rate=1e-3, noise=CraftedNoise(0.1, 0.15), **changes)  # loud enough to leave [0, 1]
    trained, expected = network(k), network(k)
    kappa = kappas(Training(trained, recipe, data, 0))[-1]
    assert np.array_equal(kappa, by_hand(expected, data, recipe, 2))
    assert digest(trained.parameters) == digest(expected.parameters)


@pytest.mark.parametrize("option", ["clip_noise", "carry_membranes", "craft_after_update"])
def test_each_option_changes_the_training(network, data, digest, option):
    nets = [network(get_backend("reference")) for _ in range(2)]
    recipe = replace(HIRE, noise=CraftedNoise(0.1, 0.15))
    for net, changed in zip(nets, (recipe, replace(recipe, **{option: not getattr(recipe, option)})), strict=True):
        train(net, changed, data)
    assert digest(nets[0].parameters) != digest(nets[1].parameters)


def trained(net, data, digest, **changes):
    train(net, replace(HIRE, **changes), data)
    return digest(net.parameters)


def test_hire_without_noise_in_one_period_is_traditional_training_to_the_bit(k, network, data, digest):
    hire = trained(network(k), data, digest, periods=1, noise=CraftedNoise(0.0, 0.0))
    assert hire == trained(network(k), data, digest, periods=1, noise=NoNoise())


def test_hire_without_noise_is_the_control_to_the_bit(k, network, data, digest):
    assert trained(network(k), data, digest, noise=CraftedNoise(0.0, 0.0)) == trained(
        network(k), data, digest, noise=NoNoise()
    )


def test_the_control_is_neither_traditional_nor_hire(k, network, data, digest):
    found = {
        trained(network(k), data, digest, **changes)
        for changes in (dict(noise=NoNoise()), dict(noise=NoNoise(), periods=1), {})
    }
    assert len(found) == 3


def test_gaussian_noise_is_fresh_in_every_period(k, network, data, calls):
    train(network(k), replace(HIRE, noise=GaussianNoise(0.05)), data)
    seen = [options["noise"][:8] for options, _ in calls]
    assert len({noise.tobytes() for noise in seen}) == 6 == len(seen)


def test_gaussian_noise_has_the_standard_deviation_asked_for(k):
    noise = np.concatenate(
        [GaussianNoise(0.05).before_period(k, k.zeros((32, 8, 8, 3)), Draws(0, step), None) for step in range(4)]
    )
    assert np.std(noise) == pytest.approx(0.05, rel=0.02) and abs(np.mean(noise)) < 0.001


def test_gaussian_noise_is_not_crafted(k, network, data, calls):
    train(network(k), replace(HIRE, noise=GaussianNoise(0.05)), data)
    assert all(not options["image"] and result.image is None for options, result in calls)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "amsgrad"])
def test_freeze_keeps_thresholds_and_leaks_to_the_bit(k, network, data, digest, optimiser):
    net = network(k)
    neurons = {name for name in net.parameters if not name.endswith(".weight")}
    kept, weights = (
        digest({n: net.parameters[n] for n in names}) for names in (neurons, net.parameters.keys() - neurons)
    )
    train(net, replace(HIRE, optimiser=optimiser, freeze=True), data)
    assert digest({n: net.parameters[n] for n in neurons}) == kept
    assert digest({n: net.parameters[n] for n in net.parameters.keys() - neurons}) != weights


def test_without_freeze_every_threshold_and_leak_is_trained(k, network, data):
    net = network(k)
    train(net, HIRE, data)
    moved = [
        name
        for name, a in net.parameters.items()
        if name.endswith(".threshold") and a[0] != np.float32(0.5) or name.endswith(".leak") and a[0] != 1
    ]
    assert {name.split(".")[0] for name in moved} == {f"neuron{i}" for i in range(1, 6)}


def test_an_epoch_reports_mean_loss_and_accuracy_over_all_images(network, data, calls):
    history = train(network(get_backend("reference")), HIRE, data).history
    losses = np.concatenate([result.losses for _, result in calls])
    assert len(losses) == 80 and history[0]["loss"] == pytest.approx(losses.mean(dtype=np.float64))


def test_heldout_accuracy_joins_the_history(network, data, make_data):
    history = train(
        network(get_backend("reference")), replace(HIRE, epochs=2), data, heldout=make_data(8, seed=5)
    ).history
    assert [row["epoch"] for row in history] == [1, 2]
    assert all(row["heldout_accuracy"] * 8 % 1 == 0 for row in history)


def test_an_ann_classifies_held_out_images(k, network, data, make_data):
    history = train(
        network(k, spiking=False, width=1 / 8, hidden=32),
        Recipe(15, 8, "sgd", 0.02),
        data,
        heldout=make_data(60, seed=5),
    ).history
    assert history[-1]["loss"] < 0.5 * history[0]["loss"] and history[-1]["heldout_accuracy"] > 0.7


def test_more_periods_than_steps_are_refused(network, data):
    with pytest.raises(MinihireError, match="3 periods do not fit into 2 time steps"):
        train(network(get_backend("reference"), steps=2), replace(HIRE, periods=3), data)


def test_the_rate_gradient_trains_weights_only(network, data):
    net = network(get_backend("reference"))
    net.neuron = NeuronOptions(surrogate=surrogates.rate())
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=0.01)
    with pytest.raises(MinihireError, match="the rate gradient trains weights only: give the recipe freeze=True"):
        train(net, recipe, data)
    before = {name: array.copy() for name, array in net.parameters.items()}
    train(net, replace(recipe, freeze=True), data)
    changed = {name for name in before if not np.array_equal(before[name], net.parameters[name])}
    assert changed == {name for name in before if name.endswith(".weight")}


@pytest.mark.parametrize(
    "wrong",
    [
        dict(epochs=0), dict(epochs=1.5), dict(batch_size=0), dict(batch_size="32"), dict(periods=0),
        dict(learning_rate=0.0), dict(learning_rate=float("nan")), dict(learning_rate=float("inf")), dict(momentum=-1),
        dict(weight_decay="0"),
    ],
)  # fmt: skip
def test_recipes_out_of_range_are_refused(wrong):
    with pytest.raises(MinihireError, match=f"^the recipe's {next(iter(wrong))} is .*: give a (whole )?number"):
        Recipe(**wrong)


def test_weight_decay_is_refused_where_it_would_be_ignored():
    assert Recipe(optimiser="sgd", weight_decay=5e-4).weight_decay == 5e-4
    for optimiser in ("adam", "adam16", "amsgrad"):
        with pytest.raises(MinihireError, match="^weight_decay is 0.0005, but only the optimiser sgd has weight decay"):
            Recipe(optimiser=optimiser, weight_decay=5e-4)


def test_noise_out_of_range_and_unknown_schedules_are_refused():
    for make in (lambda: CraftedNoise(2, 0.1), lambda: CraftedNoise(0.1, -1), lambda: GaussianNoise(float("nan"))):
        with pytest.raises(MinihireError, match="^the noise's (step|bound|std) is .*: give a number"):
            make()
    with pytest.raises(MinihireError, match="no schedule 'cosine': choose step, one-cycle"):
        Recipe(schedule=Schedule("cosine"))


def zeros(self, k, shape):
    return k.zeros(shape)


def narrow(k, kappa):
    return k.asarray(k.to_numpy(kappa)[:, :1])


@pytest.mark.parametrize(
    ("hooks", "says"),
    [
        ({"start": lambda self, k: None}, r"start of the noise rule Mine is <lambda>\(k\): let it take \(k, shape\)"),
        ({"before_period": lambda self, k, kappa: kappa}, r"before_period of .* let it take \(k, kappa, draws, craft\)"),
        ({"after_period": lambda self, k, kappa: kappa}, r"after_period of .* let it take \(k, kappa, grad\)"),
        ({"start": lambda self, k, shape: k.zeros(shape[1:])}, r"that Mine.start returns is \[8, 8, 3\]: return an array"),
        ({"start": lambda self, k, shape: 0.1}, "the noise that Mine.start returns: float .* give backend.asarray"),
        ({"before_period": lambda self, k, kappa, *_: narrow(k, kappa)}, "before_period returns is .16, 1, 8, 3.: return"),
        ({"before_period": lambda self, k, kappa, *_: kappa.tolist()}, "the noise that Mine.before_period returns: list "),
        ({"after_period": lambda self, k, kappa, grad: narrow(k, kappa)}, "after_period returns is .16, 1, 8, 3.: return"),
    ],
)  # fmt: skip
def test_a_wrong_noise_rule_is_refused_in_one_sentence(k, network, data, hooks, says):
    rule = type("Mine", (NoiseRule,), {"start": zeros, **hooks})
    with pytest.raises(MinihireError, match=says):
        train(network(k), Recipe(epochs=1, batch_size=16, noise=rule()), data)


def test_numbers_of_numpy_are_written_to_a_checkpoint(network, data, tmp_path):
    rule = CraftedNoise(np.float32(0.01), np.float32(0.02))
    recipe = Recipe(epochs=np.int64(1), batch_size=np.int32(16), learning_rate=np.float32(1e-3), noise=rule)
    snn = network(get_backend("reference"), steps=np.int64(4))
    training = train(snn, recipe, data, seed=np.int64(3), path=tmp_path / "a.npz")
    assert training.path.exists() and len(training.history) == 1


def test_data_that_do_not_fit_are_refused(network, data):
    ann, few = network(get_backend("reference"), spiking=False), replace(data, classes=tuple("abcde"))
    with pytest.raises(MinihireError, match="tiny has no images: give at least one"):
        train(ann, Recipe(epochs=1), data.take([]))
    for given in (dict(data=few), dict(data=data, heldout=few)):
        with pytest.raises(MinihireError, match="tiny has images of .* and 5 classes, but vgg5 was built for"):
            train(ann, Recipe(epochs=1), **given)


def test_unknown_optimisers_are_refused():
    with pytest.raises(MinihireError, match="no optimiser 'lion': choose sgd, adam, adam16, amsgrad"):
        Recipe(optimiser="lion")


def test_training_takes_subnormal_numbers_as_zeros_but_an_attack_does_not(network, data, monkeypatch):
    """The sign of a gradient of 1e-40 counts in an attack."""
    k, inside, seen = get_backend("reference"), [], []
    gradients = Network.gradients

    @contextlib.contextmanager
    def context():
        inside.append(True)
        yield
        inside.pop()

    monkeypatch.setattr(k.services, "subnormals_as_zeros", context)
    monkeypatch.setattr(Network, "gradients", lambda *a, **o: seen.append(len(inside)) or gradients(*a, **o))
    net = network(k)
    train(net, replace(HIRE, augment=False), data)
    assert seen and set(seen) == {1}
    seen.clear()
    attack_accuracy(net, data, fgsm(0.01))
    assert seen and set(seen) == {0} and not inside
