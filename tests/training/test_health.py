"""Signs of trouble are seen, named, and nothing good is overwritten by them."""

import signal
from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend
from minihire.runtime.errors import MinihireError
from minihire.training import CraftedNoise, Recipe, train
from minihire.training.checkpoint import load
from minihire.training.health import describe_failure, silent_layers

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


def test_training_keeps_the_warning(k, network, data, tmp_path):
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
def test_a_weight_that_hides_behind_spikes_is_found_before_it_is_saved(k, network, data, poison, tmp_path):
    poison("conv2.weight", 9)  # no spike, so no NaN in the loss
    with pytest.raises(MinihireError, match=r"epoch 2, batch [23]: the weights conv"):
        train(network(k), RECIPE, data, path=tmp_path / "x.npz")
    assert np.isfinite(load(tmp_path / "x.npz").arrays["parameter/conv2.weight"]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_stop_does_not_save_what_is_not_finite(network, data, poison, tmp_path):
    poison("conv2.weight", 9, then=lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(MinihireError, match="not finite"):
        train(network(get_backend("reference")), RECIPE, data, path=tmp_path / "x.npz")
    assert np.isfinite(load(tmp_path / "x.npz").arrays["parameter/conv2.weight"]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_huge_learning_rate_is_reported(k, network, data):
    with pytest.raises(MinihireError, match=r"not finite in epoch \d+, batch [123]: .*; lower the learning rate$"):
        train(network(k, spiking=False), Recipe(30, 16, "sgd", 1e9), data)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_overflow_is_traced_to_its_layer(k, network):
    net = network(k, spiking=False)
    net.parameters["conv2.weight"][...] = 3e38
    assert describe_failure(net, k.asarray(IMAGES)) == "the current of neuron2"


def test_a_finite_network_leaves_the_loss(k, network):
    assert describe_failure(network(k), k.asarray(IMAGES)) == "the loss itself"
