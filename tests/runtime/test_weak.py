"""Nothing that holds arrays waits for Python's garbage collector: what is no longer used is freed at once."""

import gc
import weakref

import pytest

from backends import get_backend
from minihire import Network, accuracy, attack_accuracy, build, convert, fgsm, initialise, load_data, pgd
from minihire.analysis import measure_activity
from minihire.attacks.apgd import apgd
from minihire.attacks.sa_pgd import sa_pgd
from minihire.attacks.square import square
from minihire.data.batches import Batches
from minihire.runtime.weak import weak_method
from minihire.training import Adversarial, Calibration, CraftedNoise, Recipe, checkpoint, train


@pytest.fixture
def garbage():
    """A function that collects garbage and returns the names of the types of minihire and of the backends in it."""
    gc.collect()
    enabled, flags = gc.isenabled(), gc.get_debug()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def types():
        gc.collect()
        return {t.__qualname__ for t in map(type, gc.garbage) if t.__module__.split(".")[0] in ("minihire", "backends")}

    yield types
    gc.set_debug(flags)
    gc.garbage.clear()
    if enabled:
        gc.enable()


def test_the_function_of_a_method_does_not_keep_its_object():
    class Holder:
        def __init__(self):
            self.double = weak_method(self.twice)

        def twice(self, number, plus=0):
            return 2 * number + plus

    holder = Holder()
    assert holder.double(3, plus=1) == 7
    gone = weakref.ref(holder)
    gc.disable()
    try:
        del holder
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "numba", "torch"])
def test_training_and_attacks_leave_nothing_to_the_garbage_collector(name, garbage, tmp_path):
    if name == "torch":
        pytest.importorskip("torch")
    k, data = get_backend(name), load_data("shapes", train_limit=16, test_limit=8)
    model = build("vgg5", mean=data.train.mean, std=data.train.std, width=1 / 16, hidden=16)
    ann = Network(model, k, initialise(model, k, seed=0))
    train(ann, Recipe(epochs=1, optimiser="sgd", learning_rate=0.05), data.train, seed=0, path=tmp_path / "ann.npz")
    loaded = checkpoint.load(tmp_path / "ann.npz").network(k)
    snn = convert(loaded, data.train, steps=4, calibration=Calibration(8, 5))
    for noise in (CraftedNoise(0.013, 0.013), Adversarial(pgd(iterations=2))):
        train(snn, Recipe(epochs=1, learning_rate=1e-3, periods=2, noise=noise), data.train, seed=0)
    accuracy(snn, data.test)
    attacks = fgsm(), pgd(iterations=2), apgd(iterations=3), sa_pgd(iterations=3), square(queries=3)
    for attack in (*attacks, apgd(iterations=3, loss="dlr-targeted", targets=2)):
        attack_accuracy(snn, data.test, attack, path=tmp_path / "answers.npz")
    measure_activity(snn, (images for images, _ in Batches(data.test, k, 8)))
    assert garbage() == set()
