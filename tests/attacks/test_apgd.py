"""Auto-PGD equals the authors' reference implementation, iterate by iterate: pip install --no-deps pyautoattack."""

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.attacks import apgd, attack_accuracy, perturb, pgd, sa_pgd
from minihire.attacks.schedule import checks
from minihire.network import Network
from minihire.runtime.errors import MinihireError

STEPS = 20


@pytest.fixture
def reference():
    """reference(network, images, labels, start, attack, targets): (every x̂, the images returned) of pyautoattack, NHWC."""
    torch = pytest.importorskip("torch")
    oracle = pytest.importorskip("pyautoattack.autopgd_base")
    from minihire.interop import torch_module

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # it makes arrays of the default type

    def run(network, images, labels, start, attack, targets=None):
        module, seen = torch_module(network), []

        def model(x):
            seen.append(x.detach().numpy().transpose(0, 2, 3, 1).copy())
            return module(x)

        kind = oracle.APGDAttack if targets is None else oracle.APGDAttack_targeted
        options = {} if targets is not None else {"loss": {"cross-entropy": "ce"}.get(attack.loss, attack.loss)}
        theirs = kind(model, n_iter=attack.iterations, eps=attack.epsilon, device="cpu", **options)
        theirs.y_target = None if targets is None else torch.from_numpy(targets)
        x, first = (torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2))) for a in (images, start))
        theirs.init_hyperparam(x)
        best, correct, _, fooling = theirs.attack_single_run(x, torch.from_numpy(labels), x_init=first)
        found = torch.where(correct[:, None, None, None], best, fooling)
        return seen, found.detach().numpy().transpose(0, 2, 3, 1)

    yield run
    torch.set_default_dtype(before)


@pytest.mark.filterwarnings("ignore:there are . points with zero gradient")
@pytest.mark.parametrize("epsilon", [0.004, 0.03])
@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "dlr-targeted"])
@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_every_iterate_is_that_of_the_reference(network, data, images, reference, monkeypatch, kind, loss, epsilon):
    k = get_backend("reference", dtype="float64")
    net = network(k, kind)
    net.parameters |= {
        name: k.asarray([0.1]) for name in net.parameters if name.endswith("threshold")
    }  # no equal logits
    images, labels, seen = images.astype(np.float64), net.forward(images.astype(np.float64)).argmax(axis=1), []
    attack = apgd(epsilon, STEPS, loss=loss, targets=1)
    attacker, gradients = attack.attacker(net), Network.gradients
    (goal,) = attacker.goals(images, Draws())
    monkeypatch.setattr(
        Network, "gradients", lambda *a, **options: seen.append(a[1].copy()) or gradients(*a, **options)
    )
    found = attacker.run(images, labels, Draws(3), goal)
    theirs, expected = reference(net, images, labels, attacker.start(images, Draws(3)), attack, goal)
    assert len(seen) == STEPS and len(theirs) == STEPS + 1
    np.testing.assert_allclose(seen, theirs[:STEPS], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert len({x.tobytes() for x in seen}) == STEPS


def test_the_checks_are_the_published_ones():
    assert checks(100) == {22: 22, 41: 19, 57: 16, 70: 13, 80: 10, 87: 7, 93: 6, 99: 6}
    assert list(checks(1)) == [1] and list(checks(20))[:5] == [4, 7, 9, 10, 11]


def test_the_targets_are_the_classes_after_the_first(k, network, data, images):
    net = network(k)
    order = np.argsort(-k.to_numpy(net.forward(k.asarray(images))), axis=1)
    goals = apgd(loss="dlr-targeted").attacker(net).goals(k.asarray(images), Draws())
    assert len(goals) == 3 and np.array_equal(np.stack(goals, axis=1), order[:, 1:])


@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "dlr-targeted"])
def test_images_do_not_depend_on_the_batch_and_stay_in_the_ball(k, network, data, images, loss):
    net, attack = network(k), apgd(0.02, 6, restarts=2, loss=loss)
    together = perturb(net, images, data.labels, attack, Draws(2))
    assert together.dtype == np.float32 and 0 <= together.min() <= together.max() <= 1
    assert abs(together - images).max() <= 0.02 + 1e-6
    for i in range(2):
        alone = perturb(net, images[i : i + 1], data.labels[i : i + 1], attack, Draws(2, first=i))
        assert np.mean(alone[0] != together[i]) < 0.05  # a sign may turn where the gradient is rounding


@pytest.mark.parametrize("kind", ["ann", "direct", "rate"])
def test_apgd_is_at_least_as_strong_as_pgd_of_as_many_steps(k, network, data, kind):
    net = network(k, kind)
    strong, weak = (attack_accuracy(net, data, a) for a in (apgd(0.02, 10), pgd(0.02, 0.005, 10)))
    assert strong.sum() <= weak.sum()


def test_too_few_classes_are_refused_in_one_sentence(network):
    net = network(get_backend("reference"), classes=3)
    assert apgd(loss="dlr").attacker(net)
    for attack in (apgd(loss="dlr-targeted"), sa_pgd(loss="dlr-targeted")):
        with pytest.raises(MinihireError, match="needs at least 4 classes, and this network has 3: use cross-entropy"):
            attack.attacker(net)
