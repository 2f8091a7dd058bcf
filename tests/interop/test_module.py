"""A network as a torch.nn.Module: it has minihire's gradients, and attack libraries find the images that `perturb` finds."""

import importlib
import sys

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from backends.surrogates import straight_through, triangle
from minihire.attacks import fgsm, perturb, pgd
from minihire.engine.lif import NeuronOptions
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError

torch = pytest.importorskip("torch")

from minihire.interop.module import TorchModule, torch_module  # noqa: E402 - it needs torch

KINDS = ["ann", "direct", "rate"]
CLASSES, SHAPE = 5, (8, 12, 3)  # no two axes are equally long, so that none can be taken for another
LABELS = np.array([0, 2, 4, 1])


def network_of(k, kind="direct", **options):
    """An SNN of T = 4 that fires in every layer, rate-coded or not, or an ANN."""
    model, spiking = build("vgg5", CLASSES, SHAPE, width=1 / 16, hidden=12), kind != "ann"
    parameters = initialise(model, k, 1, spiking)
    parameters |= {name: k.asarray([0.4]) for name in parameters if name.endswith("threshold")}
    coding = "rate" if kind == "rate" else "direct"
    return Network(model, k, parameters, spiking, 4 if spiking else 1, coding, **options)


@pytest.fixture
def images():
    """Four images [B, H, W, C], float64; a few pixels are black or white."""
    return np.clip(np.random.default_rng(0).normal(0.5, 0.35, (len(LABELS), *SHAPE)), 0, 1)


def tensor(images, dtype="float64"):
    """These images in torch's layout, as a leaf."""
    return torch.tensor(images.transpose(0, 3, 1, 2).copy(), dtype=getattr(torch, dtype)).requires_grad_()


def ours(x):
    """A tensor in torch's layout as a NumPy array in minihire's."""
    return x.detach().numpy().transpose(0, 2, 3, 1)


def input_gradient(module, x, labels=LABELS):
    """∂/∂x of the sum of torch's own cross-entropies."""
    loss = torch.nn.functional.cross_entropy(module(x), torch.tensor(labels), reduction="sum")
    return torch.autograd.grad(loss, x)[0]


def own_gradient(network, images, labels=LABELS, draws=Draws(0, 1), **options):
    """The same from `Network.gradients`, as a NumPy array."""
    k = network.backend
    given = dict(weights=False, image=True, training=False, scale=1.0, draws=draws, **options)
    return k.to_numpy(network.gradients(k.asarray(images), k.asarray(labels), **given).image)


# ---------------------------------------------------------------- values and gradients


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_equal_the_network_s(backend, agrees, images, kind):
    network = network_of(backend, kind)
    module, x = torch_module(network), tensor(images, backend.dtype)
    logits = backend.to_numpy(network.forward(backend.asarray(images), draws=Draws(0, 1)))
    np.testing.assert_array_equal(module(x).detach(), logits)  # recorded
    module.calls = 0
    with torch.no_grad():
        np.testing.assert_array_equal(module(x), logits)  # not recorded
    module.calls = 0
    expected = own_gradient(network, images)
    assert np.count_nonzero(expected) > expected.size / 4
    agrees(backend.asarray(ours(input_gradient(module, x))), expected)


@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_the_gradient_of_any_linear_function_of_the_logits(exact, images, kind):
    """Cross-entropy's gradient is softmax − onehot, so weights a[c] of sum 0 on the logits make −Σ a[c]·∂CE(label c)."""
    network, x = network_of(exact, kind), tensor(images)
    a = np.random.default_rng(1).standard_normal((len(images), CLASSES))
    a -= a.mean(axis=1, keepdims=True)
    (torch.tensor(a) * torch_module(network)(x)).sum().backward()
    by_label = [own_gradient(network, images, np.full(len(images), c)) for c in range(CLASSES)]
    expected = -sum(a[:, c, None, None, None] * by_label[c] for c in range(CLASSES))
    np.testing.assert_allclose(ours(x.grad), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_soft_spikes_agree_with_finite_differences(exact, images, check_gradient):
    """Spikes have no derivative to compare with, soft spikes do. The loss is the sum of all logits."""
    network = network_of(exact, neuron=NeuronOptions(surrogate=triangle(1.0), reset_grad=True, soft=True))
    x = tensor(images)
    torch_module(network)(x).sum().backward()
    check_gradient(lambda pixels: network.forward(pixels).sum(), [images], [ours(x.grad)])


def test_an_attacker_may_bring_a_surrogate(exact, images):
    network, x = network_of(exact), tensor(images)
    expected = own_gradient(network, images, surrogate=straight_through())
    found = ours(input_gradient(torch_module(network, surrogate=straight_through()), x))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    assert not np.allclose(found, own_gradient(network, images))


def test_a_time_chunk_changes_nothing(exact, images):
    x = tensor(images)
    whole, chunked = (input_gradient(torch_module(network_of(exact, time_chunk=c)), x) for c in (None, 3))
    np.testing.assert_array_equal(whole, chunked)


@pytest.mark.parametrize("name", ["reference", "numba"])
def test_batches_of_any_size(name, images):
    """One image alone has the gradient that it has in a batch; an empty batch has an empty gradient."""
    module = torch_module(network_of(get_backend(name, dtype="float64", threads=1)))
    together = input_gradient(module, tensor(images))
    for i in range(len(images)):
        alone = input_gradient(module, tensor(images[i : i + 1]), LABELS[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], rtol=0, atol=1e-12)
    nothing = tensor(images[:0])
    module(nothing).sum().backward()
    assert module(nothing).shape == (0, CLASSES) and nothing.grad.shape == nothing.shape


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_results_have_the_images_type_and_are_computed_in_the_backend_s(images, dtype):
    network = network_of(get_backend("reference"), "ann")
    x = tensor(images, dtype)
    module, exactly = torch_module(network), tensor(ours(x.float()), "float32")
    weights = torch.tensor([1.0, -2.0, 0.5, 0.25, 4.0])  # no rounding in half precision
    (module(x) * weights.to(x.dtype)).sum().backward()
    (module(exactly) * weights).sum().backward()
    assert module(x).dtype == x.grad.dtype == x.dtype
    assert torch.equal(x.grad, exactly.grad.to(x.dtype)) and torch.equal(module(x), module(exactly).to(x.dtype))


@pytest.mark.parametrize("kind", ["ann", "direct"])
def test_autocast_does_not_change_the_precision(images, kind):
    module = torch_module(network_of(get_backend("torch"), kind))
    x, same = tensor(images, "float32"), tensor(images, "float32")
    expected, weights = module(x), torch.tensor([1.0, -2.0, 0.5, 0.25, 4.0])
    (expected * weights).sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(same)
        (found * weights).sum().backward()
    assert torch.equal(found, expected) and torch.equal(x.grad, same.grad)


def test_gradients_are_contiguous_and_share_no_memory(exact, images):
    """Attack libraries write to gradients and flatten them with `view`."""
    module, x = torch_module(network_of(exact)), tensor(images)
    first = input_gradient(module, x)
    assert first.is_contiguous() and module(x).is_contiguous()
    expected = first.clone()
    first.zero_()
    np.testing.assert_array_equal(input_gradient(module, x), expected)


# ---------------------------------------------------------------- as a module


def test_it_looks_like_a_module_without_parameters(exact, images, monkeypatch):
    module, x = torch_module(network_of(exact)), tensor(images)
    assert isinstance(module, torch.nn.Module) and not module.training and not list(module.parameters())
    evaluated = module(x)
    module.to("cpu").train()
    np.testing.assert_array_equal(module(x).detach(), evaluated.detach())  # no dropout
    monkeypatch.setattr(Network, "pullback", None)  # nothing is recorded that nobody asks for
    with torch.no_grad():
        assert not module(x).requires_grad
    assert not module(x.detach()).requires_grad


def test_a_retained_graph_allows_a_second_backward_pass(exact, images):
    """DeepFool and FAB ask one graph for every class's gradient."""
    module, x = torch_module(network_of(exact, "rate"), seed=3), tensor(images)
    total = module(x).sum()
    once, again = (torch.autograd.grad(total, x, retain_graph=keep)[0] for keep in (True, False))
    assert torch.equal(once, again) and once.any() and module.calls == 1
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(total, x)


@pytest.mark.parametrize("loss", [lambda logits: logits.sum(), lambda logits: (logits**2).sum()])
def test_there_is_no_second_derivative(exact, images, loss):
    """Asking for one is an error; it is not silently zero."""
    x = tensor(images)
    first = torch.autograd.grad(loss(torch_module(network_of(exact))(x)), x, create_graph=True)[0]
    with pytest.raises(MinihireError, match="differentiated only once"):
        (x.sum() + first.sum()).backward()


def test_a_pullback_may_be_called_once(exact, images):
    network = network_of(exact)
    logits, pull = network.pullback(images)
    pull(np.ones_like(logits))
    with pytest.raises(MinihireError, match="used already"):
        pull(np.ones_like(logits))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pullback_to_the_weights_gives_their_gradients(backend, images, kind):
    """Those of `gradients`, with the same dropout masks and spikes; a new step draws others."""
    net, x, labels = network_of(backend, kind), backend.asarray(images), LABELS
    found = []
    for step in (1, 2):
        draws = Draws(0, step)
        logits, pull = net.pullback(x, image=True, draws=draws)
        expected = net.gradients(x, labels, image=True, draws=draws)
        grad = backend.cross_entropy(logits, labels, 1 / len(labels))[1]
        pulled = pull(grad)
        found.append({name: backend.to_numpy(array) for name, array in pulled.weights.items()})
        assert np.array_equal(backend.to_numpy(pulled.image), backend.to_numpy(expected.image))
        assert np.array_equal(backend.to_numpy(logits), backend.to_numpy(expected.logits))
        assert found[-1].keys() == expected.weights.keys() == net.parameters.keys()
        for name, array in found[-1].items():
            assert np.array_equal(array, backend.to_numpy(expected.weights[name])), name
    assert not np.array_equal(found[0]["conv1.weight"], found[1]["conv1.weight"])


def test_rate_coding_draws_new_spikes_in_every_call(exact, images):
    network, x = network_of(exact, "rate"), tensor(images).detach()
    module = torch_module(network, seed=5)
    for call in (1, 2):
        np.testing.assert_array_equal(module(x), network.forward(images, draws=Draws(5, call)))
    module.calls = 0
    first, second = module(x), module(x)
    assert not torch.equal(first, second) and not torch.equal(first, torch_module(network, seed=6)(x))


def wrong_inputs():
    """(what to give, what the error says)."""
    nan = torch.zeros(2, 3, 8, 12)
    nan[1, 2, 3, 4] = float("nan")
    return [
        (torch.zeros(2, 8, 12, 3), r"images \[B, 3, 8, 12\] in torch's layout, not \[2, 8, 12, 3\]"),
        (torch.zeros(3, 8, 12), r"not \[3, 8, 12\]"),
        (torch.zeros(2, 3, 8, 12, dtype=torch.uint8), "floating-point tensor of images .* not torch.uint8"),
        (np.zeros((2, 3, 8, 12)), "not ndarray"),
        (nan, "these images have pixels from"),
    ]


@pytest.mark.parametrize("wrong, says", wrong_inputs())
def test_arrays_that_are_no_batch_of_images_are_refused_in_one_sentence(exact, wrong, says):
    with pytest.raises(MinihireError, match=says) as caught:
        torch_module(network_of(exact))(wrong)
    assert "\n" not in str(caught.value)


def test_only_networks_become_modules():
    with pytest.raises(MinihireError, match="takes a minihire Network, not str"):
        torch_module("vgg5.npz")


def test_without_torch_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "minihire.interop.module")
    with pytest.raises(MinihireError, match="pip install torch"):
        importlib.import_module("minihire.interop.module")


# ---------------------------------------------------------------- attacked by others

EPSILON, ALPHA, STEPS = 8 / 255, 0.01, 4


def by_torch(module, x, labels, iterations):
    """Equation 4 in plain torch."""
    adversarial, step = x, ALPHA if iterations > 1 else EPSILON
    for _ in range(iterations):
        grad = input_gradient(module, adversarial.detach().requires_grad_(), labels.numpy())
        moved = adversarial + step * grad.sign()
        adversarial = torch.minimum(torch.maximum(moved, x - EPSILON), x + EPSILON).clip(0, 1)
    return adversarial


def by_foolbox(module, x, labels, iterations):
    """Its FGSM and PGD."""
    foolbox = pytest.importorskip("foolbox")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=ALPHA, steps=iterations, random_start=False)
    if iterations == 1:
        attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    return attack.run(model, x, foolbox.criteria.Misclassification(labels), epsilon=EPSILON)


def by_torchattacks(module, x, labels, iterations):
    """Its FGSM and PGD."""
    torchattacks = pytest.importorskip("torchattacks")
    if iterations == 1:
        return torchattacks.FGSM(module, eps=EPSILON)(x, labels)
    return torchattacks.PGD(module, eps=EPSILON, alpha=ALPHA, steps=iterations, random_start=False)(x, labels)


@pytest.mark.slow
@pytest.mark.parametrize("kind, iterations", [("direct", 1), *((kind, STEPS) for kind in KINDS)])
@pytest.mark.parametrize("name, dtype", [("reference", "float64"), ("numba", "float32")])
@pytest.mark.parametrize("library", [by_torch, by_foolbox, by_torchattacks])
def test_foolbox_and_torchattacks_find_the_images_that_perturb_finds(library, name, dtype, iterations, kind, images):
    """Each step runs the network once, so rate-coded spikes are the same too.

    They write the projection x + clip(x̂ − x) where we clip x̂ itself, and their softmax adds up in another order: the last
    bits differ. A pixel differs by more only where that turns the sign of a gradient that is itself rounding, or a spike:
    none in float64, and at most one in a hundred in float32.
    """
    k = get_backend(name, dtype=dtype, threads=1)
    network, attack = network_of(k, kind), fgsm(EPSILON) if iterations == 1 else pgd(EPSILON, ALPHA, iterations, False)
    module, x = TorchModule(network), tensor(images, dtype).detach()
    found = ours(library(module, x, torch.tensor(LABELS), iterations))
    expected = k.to_numpy(perturb(network, k.asarray(images), k.asarray(LABELS), attack))
    assert module.calls == iterations and found.dtype == expected.dtype
    assert np.abs(expected - images).max() > EPSILON / 2
    apart = np.abs(found - expected) > (1e-12 if dtype == "float64" else 1e-6)
    assert apart.mean() <= (0 if dtype == "float64" else 0.01)


def test_the_package_exports_torch_module():
    import minihire.interop

    assert minihire.interop.torch_module is torch_module
    with pytest.raises(AttributeError, match="no attribute 'jax_module'"):
        _ = minihire.interop.jax_module


@pytest.mark.parametrize("retained", [False, True])
def test_weights_that_were_trained_after_the_forward_pass_are_refused(retained):
    """Old spikes with new weights would give the gradient of neither network."""
    k, model = get_backend("reference"), build("vgg5", image_shape=(8, 8, 3), width=1 / 16, hidden=8)
    network = Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=3)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    loss = torch_module(network)(images).sum()
    if retained:
        loss.backward(retain_graph=True)
    weight = network.parameters["conv1.weight"]
    k.sgd_step(weight, np.ones_like(weight), np.zeros_like(weight), 0.1, 0.9, 0.0, -9.0, 9.0)
    with pytest.raises(MinihireError, match="the network was trained between"):
        loss.backward()
