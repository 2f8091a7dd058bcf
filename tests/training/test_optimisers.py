"""Learning-rate schedules, and what optimisers do with thresholds and leaks."""

import numpy as np
import pytest

from minihire.layers import THRESHOLD_FLOOR
from minihire.study.settings import Config
from minihire.training.optimisers import OPTIMISERS, SGD, Adam, Adam16, AMSGrad, Schedule


def drops(recipe):
    """{epoch: rate} of the first epoch and wherever the rate changes."""
    rates = [
        recipe.schedule.learning_rate(recipe.learning_rate, epoch, recipe.epochs, 0.0) for epoch in range(recipe.epochs)
    ]
    return {epoch: rate for epoch, rate in enumerate(rates) if epoch == 0 or rate != rates[epoch - 1]}


def test_snn_rate_falls_at_60_80_and_90_percent_of_30_epochs():
    assert drops(Config().recipe("hire")) == pytest.approx({0: 1e-4, 18: 2e-5, 24: 4e-6, 27: 8e-7})


def test_ann_rate_falls_after_150_180_and_210_of_240_epochs():
    assert drops(Config().recipe("ann")) == pytest.approx({0: 1e-2, 150: 1e-3, 180: 1e-4, 210: 1e-5})


def test_step_schedule_is_constant_within_an_epoch():
    assert Schedule().learning_rate(1.0, 17, 30, 0.999) == 1.0


@pytest.mark.parametrize(("at", "expected"), [(0, 1 / 25), (3, 1), (10, 1 / 1000), (1.5, 0.52), (6.5, 0.5005)])
def test_one_cycle_start_peak_and_end(at, expected):
    epoch = min(int(at), 9)
    assert Schedule("one-cycle").learning_rate(2.0, epoch, 10, at - epoch) == pytest.approx(2 * expected)


def test_one_cycle_rises_then_falls():
    rates = [Schedule("one-cycle").learning_rate(1.0, i // 10, 10, i % 10 / 10) for i in range(100)]
    assert (np.diff(rates[:31]) > 0).all() and (np.diff(rates[30:]) < 0).all()


def test_rates_are_plain_numbers():
    for kind in ("step", "one-cycle"):
        # a NumPy scalar would change the precision of later products
        assert type(Schedule(kind).learning_rate(1.0, 5, 10, 0.5)) is float


def test_thresholds_and_leaks_do_not_decay(k, network):
    net = network(k)
    before = {name: np.array(k.to_numpy(a)) for name, a in net.parameters.items()}
    SGD(net, list(net.parameters), decay=0.5).step({name: k.zeros(a.shape) for name, a in before.items()}, 0.1)
    for name, array in net.parameters.items():
        np.testing.assert_allclose(array, before[name] * (0.95 if name.endswith(".weight") else 1), rtol=1e-6)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("direction", [-1, 1])
def test_leaks_and_thresholds_stay_in_bounds_after_a_huge_step(k, network, optimiser, direction):
    net = network(k)
    OPTIMISERS[optimiser](net, list(net.parameters)).step(
        {n: k.asarray(np.full(a.shape, float(direction))) for n, a in net.parameters.items()}, 1e6
    )
    for name, array in net.parameters.items():
        if name.endswith(".leak"):
            assert array[0] == (1 if direction < 0 else 0)
        if name.endswith(".threshold"):
            assert array[0] > 1e3 if direction < 0 else array[0] == np.float32(THRESHOLD_FLOOR)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_parameter_without_a_gradient_keeps_its_value(k, network, digest, optimiser):
    net = network(k)
    before = digest(net.parameters)
    OPTIMISERS[optimiser](net, list(net.parameters)).step({}, 0.1)
    assert digest(net.parameters) == before


def test_first_step_of_adam_is_the_rate(k, network):
    net = network(k)
    before, grad = np.array(k.to_numpy(net.parameters["readout.weight"])), np.random.default_rng(0).normal(size=(8, 4))
    Adam(net, ["readout.weight"]).step({"readout.weight": k.asarray(grad)}, 0.01)
    np.testing.assert_allclose(before - k.to_numpy(net.parameters["readout.weight"]), 0.01 * np.sign(grad), rtol=1e-4)


def test_moments_of_weights_alone_have_16_bits(k, network):
    net = network(k)
    slots = Adam16(net, list(net.parameters)).slots
    assert slots.keys() == {"mean", "square"}
    for group in slots.values():
        for name, array in group.items():
            assert (k.to_numpy(array).dtype == np.uint16) == name.endswith(".weight")
    assert {k.to_numpy(a).dtype for g in Adam(net, list(net.parameters)).slots.values() for a in g.values()} == {
        np.dtype(k.dtype)
    }


def test_amsgrad_never_forgets_its_largest_second_moment(k, network):
    net = network(k)
    optimiser = AMSGrad(net, ["readout.weight"])
    for size in (1.0, 0.0, 0.0):
        optimiser.step({"readout.weight": k.asarray(np.full((8, 4), size))}, 0.01)
    np.testing.assert_allclose(k.to_numpy(optimiser.slots["largest"]["readout.weight"]), 1e-3, rtol=1e-4)
    assert np.max(k.to_numpy(optimiser.slots["square"]["readout.weight"])) < 0.9999e-3
