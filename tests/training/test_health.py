"""Silent layers and values that are not finite are found and named, and they never overwrite a good checkpoint."""

import signal
from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import Progress
from minihire.study.settings import training_flags
from minihire.training import Adversarial, CraftedNoise, GaussianNoise, Recipe, train, training_attack
from minihire.training.checkpoint import load
from minihire.training.health import describe_failure, failed_training, no_better_than_chance, silent_layers

IMAGES = np.random.default_rng(0).random((5, 8, 8, 3)).astype(np.float32)
RECIPE = Recipe(2, 16, learning_rate=0.01, periods=2, noise=CraftedNoise(0.02, 0.02))


@pytest.fixture
def always(k, network):
    """An SNN whose first layer fires at every neuron and step, and whose third never does."""
    net = network(k)
    net.parameters["conv1.weight"] = k.asarray(np.abs(net.parameters["conv1.weight"]))
    net.model = replace(net.model, mean=(-1.0,) * 3)
    net.parameters["neuron1.threshold"] = k.asarray([1e-3])
    net.parameters["neuron3.threshold"] = k.asarray([1e6])
    return net


def test_silent_and_saturated_layers_are_named(k, always):
    sentences = silent_layers(always, k.asarray(IMAGES))
    assert sentences[0].startswith("neuron1 always fires: raise its threshold")
    assert [s.split(":")[0] for s in sentences[1:]] == [
        "neuron3 never fires",
        "neuron4 never fires",
        "neuron5 never fires",
    ]


def test_a_healthy_network_has_no_warnings(k, network):
    assert silent_layers(network(k), k.asarray(IMAGES)) == []


def test_an_ann_has_no_silent_layers(k, network):
    assert silent_layers(network(k, spiking=False), k.asarray(IMAGES)) == []


def test_chunks_of_time_are_taken_together(k, always):
    assert silent_layers(replace(always, time_chunk=1), k.asarray(IMAGES)) == silent_layers(always, k.asarray(IMAGES))


def test_training_stores_the_warning_in_its_checkpoint(k, network, data, tmp_path):
    net = network(k)
    net.parameters["neuron3.threshold"] = k.asarray([1e6])
    done = train(net, replace(RECIPE, epochs=1), data, label="hire", path=tmp_path / "x.npz")
    assert done.warnings[0].startswith("hire, epoch 1: neuron3 never fires: lower its threshold")
    assert load(tmp_path / "x.npz").meta["training"]["warnings"] == done.warnings


@pytest.fixture
def poison(before_update):
    """poison(name, n): a weight becomes NaN before the n-th update of a training."""

    def arrange(name, number, then=lambda: None):
        def act(network):
            network.parameters[name].reshape(-1)[0] = np.nan
            then()

        before_update(number, act)

    return arrange


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("spiking", "name"), [(False, "conv2.weight"), (True, "readout.weight")])
def test_a_value_that_is_not_finite_stops_the_training(k, network, data, poison, tmp_path, spiking, name):
    poison(name, 9 if spiking else 5)  # the second of three batches of the second epoch; of two periods each
    recipe = RECIPE if spiking else Recipe(2, 16, "sgd", 0.02)
    with pytest.raises(MinihireError) as caught:
        train(network(k, spiking=spiking), recipe, data, path=tmp_path / "x.npz", label="hire")
    assert str(caught.value) == (
        f"hire met a value that is not finite in epoch 2, batch 2: the weights {name} are no longer finite; "
        f"lower the learning rate; the last good checkpoint is {tmp_path / 'x.npz'}"
    )
    saved = load(tmp_path / "x.npz")
    assert saved.meta["training"]["position"]["epoch"] == 1 and np.isfinite(saved.arrays[f"parameter/{name}"]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_weight_that_is_not_finite_is_found_before_it_is_saved_even_if_no_neuron_fires(
    k, network, data, poison, tmp_path
):
    poison("conv2.weight", 9)  # no spike, so no NaN in the loss
    with pytest.raises(MinihireError, match=r"epoch 2, batch [23]: the weights conv"):
        train(network(k), RECIPE, data, path=tmp_path / "x.npz")
    assert np.isfinite(load(tmp_path / "x.npz").arrays["parameter/conv2.weight"]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_interrupted_training_saves_no_weight_that_is_not_finite(network, data, poison, tmp_path):
    poison("conv2.weight", 9, then=lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(MinihireError, match="not finite"):
        train(network(get_backend("reference")), RECIPE, data, path=tmp_path / "x.npz")
    assert np.isfinite(load(tmp_path / "x.npz").arrays["parameter/conv2.weight"]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_huge_learning_rate_is_reported(k, network, data):
    with pytest.raises(MinihireError, match=r"not finite in epoch \d+, batch [123]: .*; lower the learning rate$"):
        train(network(k, spiking=False), Recipe(30, 16, "sgd", 1e9), data)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_noise_rule_of_the_user_s_that_may_have_made_nan_is_named(k, network, data):
    class Broken(GaussianNoise):
        def before_period(self, k, kappa, draws, craft):
            return k.asarray(np.full(kappa.shape, np.nan))

    said = "not finite in epoch 1, batch 1: .*; lower the learning rate, or look for NaN in the noise of Broken$"
    with pytest.raises(MinihireError, match=said):
        train(network(k), Recipe(1, 40, "sgd", 0.1, noise=Broken(0.1)), data)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_overflow_is_traced_to_its_layer(k, network):
    net = network(k, spiking=False)
    net.parameters["conv2.weight"][...] = 3e38
    assert describe_failure(net, k.asarray(IMAGES)) == "the current of neuron2"


def test_if_the_network_is_finite_the_loss_is_named(k, network):
    assert describe_failure(network(k), k.asarray(IMAGES)) == "the loss itself"


NONE = np.empty(0, np.int64)  # labels of no held-out images


def epochs(*losses, accuracy=0.9):
    """A history with these losses."""
    return [{"epoch": i + 1, "loss": loss, "accuracy": accuracy} for i, loss in enumerate(losses)]


def test_a_training_at_chance_level_is_named_with_what_to_try(k, network):
    labels = np.arange(1000) % 10
    sentence = failed_training(epochs(2.4, 2.3, accuracy=0.12), labels, NONE, network(k), 0.01)
    assert sentence.startswith("its accuracy cannot be told from chance (12.0% of the training images right; ")
    assert "always answering with the most frequent class gets 10.0%" in sentence
    assert "more epochs (epochs)" in sentence and "learning rate (learning_rate 0.0033 or 0.03)" in sentence


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("hire", ("(--snn-epochs)", "(--learning-rate 0.0033 or 0.03)")),
        ("ann", ("(--ann-epochs)", "(--ann-learning-rate 0.0033 or 0.03)")),
        ("adversarial", ("(--adversarial-epochs)", "(--learning-rate ", "a smaller --adversarial-epsilon")),
        ("adversarial-ann", ("(--ann-epochs)", "(--ann-learning-rate ", "a smaller --adversarial-epsilon")),
    ],
)
def test_on_the_command_line_settings_are_named_by_their_flags(k, network, method, expected):
    labels, history, attacked = np.arange(1000) % 10, epochs(2.3, accuracy=0.1), method.startswith("adversarial")
    net = network(k, spiking=not method.endswith("ann"))
    sentence = failed_training(history, labels, NONE, net, 0.01, attacked, training_flags(method))
    assert all(part in sentence for part in expected), sentence
    assert ("(10.0% of the attacked training images right; " in sentence) == attacked


def test_in_python_settings_are_named_by_the_fields_of_the_recipe(k, network, make_data):
    labels, history = np.arange(1000) % 10, epochs(2.3, accuracy=0.1)
    assert "--" not in failed_training(history, labels, NONE, network(k), 0.01, attacked=True)
    recipe = Recipe(1, 16, "sgd", 0.001, noise=Adversarial(training_attack(0.5, 3)))
    (warning,) = train(network(k, spiking=False), recipe, make_data(64)).warnings
    assert "of the attacked training images right" in warning


def test_chance_is_the_share_of_the_most_frequent_class(k, network):
    balanced, skewed = np.arange(1000) % 10, np.repeat([0, 1], [800, 200])
    assert failed_training(epochs(0.5, accuracy=0.8), balanced, NONE, network(k), 0.01) is None
    assert "most frequent class gets 80.0%" in failed_training(
        epochs(0.5, accuracy=0.8), skewed, NONE, network(k), 0.01
    )


def test_held_out_images_decide_if_there_are_enough(k, network):
    labels, heldout = np.arange(1000) % 10, np.arange(100) % 10
    learned = [{"epoch": 1, "loss": 2.3, "accuracy": 0.1, "heldout_accuracy": 0.5}]  # the average over a first epoch
    assert failed_training(learned, labels, heldout, network(k), 0.01) is None
    assert "10.0% of the training images right" in failed_training(learned, labels, heldout[:29], network(k), 0.01)
    failed = [{"epoch": 1, "loss": 2.3, "accuracy": 0.5, "heldout_accuracy": 0.15}]
    assert "15.0% of the held-out images right" in failed_training(failed, labels, heldout, network(k), 0.01)


@pytest.mark.parametrize("losses", [(2.3,), (2.3, 9.0)], ids=["chance", "diverged"])
@pytest.mark.parametrize(
    ("spiking", "rate", "advised"), [(True, 10, "0.01"), (True, 0.02, "0.0067"), (False, 10, "0.1")]
)
def test_a_large_learning_rate_gets_the_advice_to_lower_it(k, network, losses, spiking, rate, advised):
    labels = np.arange(1000) % 10
    sentence = failed_training(epochs(*losses, accuracy=0.1), labels, NONE, network(k, spiking=spiking), rate)
    assert sentence.endswith(f"a lower learning rate (learning_rate {advised})")


@pytest.mark.parametrize("losses", [(2.0, 1.5, 9.0), (2.3, 4.0)])
def test_a_diverged_loss_is_named_with_what_to_try(k, network, losses):
    sentence = failed_training(epochs(*losses), np.arange(1000) % 10, NONE, network(k), 0.03)
    assert sentence.startswith(
        f"its loss diverged ({losses[-1]:.3g} in the last epoch, {min(losses):.3g} in the best one)"
    )
    assert "try a lower learning rate (learning_rate 0.01)" in sentence


@pytest.mark.parametrize("losses", [(2.0, 1.5, 1.6), (0.01, 0.2), (30.0, 2.0), (50.0,)])
def test_a_loss_that_wavers_or_came_down_did_not_diverge(k, network, losses):
    assert failed_training(epochs(*losses), np.arange(1000) % 10, NONE, network(k), 0.03) is None


def test_a_failed_training_says_so_at_its_end_and_in_its_checkpoint(k, network, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Progress, "quiet", False)
    data = replace(data, labels=np.zeros_like(data.labels))  # every answer is right: at most chance
    done = train(network(k), replace(RECIPE, epochs=2), data, label="hire", path=tmp_path / "x.npz")
    assert done.warnings[-1].startswith("hire: its accuracy cannot be told from chance")
    assert load(tmp_path / "x.npz").meta["training"]["warnings"] == done.warnings
    assert f"warning: {done.warnings[-1]}" in capsys.readouterr().out.splitlines()[-1]
    assert sum("told from chance" in warning for warning in done.warnings) == 1


def test_a_test_accuracy_is_compared_with_chance_by_its_interval():
    labels = np.repeat([0, 1, 2], 6)
    assert no_better_than_chance(10, labels) is None  # [33.7, 75.4] %
    assert no_better_than_chance(9, labels) == (
        "its accuracy cannot be told from chance: 9 of 18 test images right, 95 % interval 29.0 to 71.0 %; always answering with "
        "the most frequent class gets 33.3 %: use more training images, and more than 18 test images"
    )
    assert no_better_than_chance(45, np.repeat([0, 1], 50)).endswith("gets 50.0 %: use more training images")
    assert no_better_than_chance(2, np.zeros(2, int)) is not None  # a single class


@pytest.mark.parametrize(
    ("size", "path", "advice"),
    [
        (16, None, "try batch_size 8"),
        (16, "x.npz", "try batch_size 8 with another path"),
        (1, None, "choose a smaller width or hidden"),
    ],
)
def test_out_of_memory_in_python_names_the_field_of_the_recipe(
    network, data, monkeypatch, tmp_path, size, path, advice
):
    def without_memory(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(Network, "gradients", without_memory)
    with pytest.raises(MinihireError) as caught:
        train(
            network(get_backend("reference")),
            replace(RECIPE, batch_size=size),
            data,
            path=path and tmp_path / path,
            label="hire",
        )
    assert str(caught.value) == f"hire ran out of memory with {size} images in a batch: {advice}"
