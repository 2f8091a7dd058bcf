"""Bad images, labels, weights and data sets are refused in one sentence where they come in, on every backend."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from backends import get_backend
from backends.surrogates import Surrogate
from minihire import load_data
from minihire.analysis.accuracy import accuracy, predict
from minihire.attacks import (
    MEMBERS,
    attack_accuracy,
    attacked_predictions,
    evaluate_robustness,
    fgsm,
    perturb,
    pgd,
)
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset, Splits
from minihire.engine.lif import NeuronOptions
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.training import Adversarial, CraftedNoise, Recipe, train
from minihire.training.optimisers import Schedule

SHAPE, CLASSES, COUNT = (8, 8, 3), 4, 6
MODEL = build("vgg5", CLASSES, SHAPE, width=1 / 16, hidden=8)
PIXELS = np.random.default_rng(0).random((COUNT, *SHAPE))
LABELS = np.arange(COUNT) % CLASSES


def network(k):
    return Network(MODEL, k, initialise(MODEL, k, 0, spiking=True), spiking=True, steps=2)


def changed(values, index, value):
    values = values.copy()
    values[index] = value
    return values


def dataset(**changes):
    images = (PIXELS * 255).astype(np.uint8)
    return replace(Dataset("tiny", images, LABELS, tuple("abcd"), (0.5,) * 3, (0.5,) * 3), **changes)


def refused(call, match):
    with pytest.raises(MinihireError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


BAD_PIXELS = {
    "levels": PIXELS * 255,
    "below zero": PIXELS - 0.5,
    "one NaN": changed(PIXELS, (5, 7, 7, 2), np.nan),
    "one infinity": changed(PIXELS, (0, 0, 0, 0), np.inf),
    "minus infinity": changed(PIXELS, (3, 0, 0, 1), -np.inf),
}
BAD_LABELS = {
    "−1": changed(LABELS, 2, -1),
    "−classes": changed(LABELS, 5, -CLASSES),
    "classes": changed(LABELS, 0, CLASSES),
    "huge": changed(LABELS, 0, 2**40),
    "too few": LABELS[:3],
    "too many": np.arange(7) % CLASSES,
    "a column": LABELS[:, None],
    "floats": LABELS.astype(float),
    "bools": LABELS > 1,
    "None": None,
    "a ragged list": [[0], [1, 2], 3, 0, 1, 2],
}


@pytest.mark.parametrize("name", BAD_PIXELS)
def test_bad_pixels_are_refused(backend, name):
    if backend.device != "cpu":
        pytest.skip("pixels of a GPU are not read")
    net, images, labels = network(backend), backend.asarray(BAD_PIXELS[name]), backend.asarray(LABELS)
    for call in (
        lambda: net.forward(images),
        lambda: net.gradients(images, labels),
        lambda: net.pullback(images),
        lambda: predict(net, images),
        lambda: perturb(net, images, labels, fgsm()),
    ):
        refused(call, "these images have pixels from .* to .*, expected 0 to 1: divide")


def test_pixels_may_be_rounded(backend):
    """A library that clips in float64, or in another order, may be off by a unit of the last place."""
    images = np.where(PIXELS < 0.5, -1e-7, 1 + 1e-7)
    assert tuple(network(backend).forward(backend.asarray(images)).shape) == (COUNT, CLASSES)


@pytest.mark.parametrize("given", [lambda x: x[0], lambda x: x[:, :7], lambda x: x[..., :1], lambda x: x.tolist()])
def test_images_of_another_shape_are_refused(backend, given):
    x = PIXELS if given(PIXELS).__class__ is list else None
    images = given(x) if x is not None else backend.asarray(given(PIXELS))
    refused(lambda: network(backend).forward(images), "vgg5 was built for images of .*: give images")


def test_arrays_of_another_type_are_refused(backend):
    """float64 in a float32 backend and the reverse, bytes, and NumPy arrays where the backend has its own."""
    other = np.float32 if backend.dtype == "float64" else np.float64
    given = [PIXELS.astype(other), (PIXELS * 255).astype(np.uint8)]
    given += [PIXELS.astype(backend.dtype)] if backend.name == "torch" else []
    net = network(backend)
    for images in given:
        refused(lambda images=images: net.forward(images), "these images: .* give backend.asarray")
        refused(lambda images=images: net.gradients(images, LABELS), "these images: .* give backend.asarray")


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels_are_refused(backend, name):
    net, images, labels = network(backend), backend.asarray(PIXELS), BAD_LABELS[name]
    for given in [labels, backend.asarray(labels)] if isinstance(labels, np.ndarray) else [labels]:
        if backend.device == "cpu" or isinstance(given, np.ndarray):
            refused(lambda given=given: net.gradients(images, given), "^these labels (are|run from) .*: give")
            refused(lambda given=given: perturb(net, images, given, pgd()), "^these labels (are|run from) .*: give")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64])
def test_labels_of_every_whole_type_are_the_same(backend, kind):
    net, images = network(backend), backend.asarray(PIXELS)
    sums = [
        backend.to_numpy(net.gradients(images, given).sums) for given in (LABELS, LABELS.astype(kind), LABELS.tolist())
    ]
    assert np.array_equal(sums[0], sums[1]) and np.array_equal(sums[0], sums[2])


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_labels_on_a_gpu_become_int64_too(kind):
    """Kernels take int64 alone. Tensors of the CPU stand for those of a GPU."""
    torch = pytest.importorskip("torch")
    k = SimpleNamespace(device="cuda", asarray=torch.tensor, to_numpy=lambda tensor: tensor.numpy())
    found = checks.labels(k, torch.tensor(LABELS.astype(kind)), COUNT, CLASSES)
    assert found.dtype == torch.int64 and found.tolist() == LABELS.tolist()
    wrong = torch.tensor((LABELS + 1).astype(kind))
    refused(lambda: checks.labels(k, wrong, COUNT, CLASSES), "^these labels run from 1 to 4")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Recipe(noise="hire"), "^the recipe's noise is 'hire': give a NoiseRule, as in CraftedNoise"),
        (lambda: Recipe(noise=CraftedNoise), "give a NoiseRule, as in CraftedNoise"),
        (lambda: Recipe(augment=np.flip), "^the recipe's augment is <.*>: give True or False$"),
        (lambda: Recipe(freeze="no"), "^the recipe's freeze is 'no': give True or False$"),
        (lambda: Recipe(schedule="step"), "^the recipe's schedule is 'step': give a Schedule"),
        (
            lambda: Recipe(schedule=Schedule("step", 0.5)),
            "^the schedule's milestones are 0.5: give a list, even of one$",
        ),
        (lambda: Recipe(period_steps=3), "^the recipe's period_steps are 3: give a list, even of one$"),
        (lambda: Adversarial("pgd"), "^the attack is 'pgd': give an Attack, as in training_attack"),
        (lambda: Adversarial(pgd), "give an Attack, as in training_attack"),
        (lambda: CraftedNoise(0.1, 0.1, surrogate="arctan"), "^the noise's surrogate is 'arctan': give a function of"),
        (lambda: NeuronOptions(surrogate="arctan"), "^the neuron's surrogate is 'arctan': give a function of"),
        (lambda: NeuronOptions(initial=float("nan")), "^the initial membrane is nan: give a number$"),
        (
            lambda: NeuronOptions(surrogate=Surrogate("mine", 1, 1)),
            "has the kind 'mine': choose triangle, .*, adaptive$",
        ),
        (lambda: NeuronOptions(initial="0"), "^the initial membrane is '0': give a number$"),
    ],
)
def test_options_of_another_type_are_refused(make, says):
    refused(make, says)


@pytest.mark.parametrize("values", [np.zeros(0), np.ones((1, 1)), np.ones(1, np.int64), None], ids=repr)
def test_replaced_weights_that_do_not_fit_are_refused(backend, values):
    net = network(backend)
    net.parameters["neuron1.threshold"] = None if values is None else backend.asarray(values)
    for call in (net.forward, lambda x: net.gradients(x, LABELS), net.pullback):
        refused(lambda call=call: call(backend.asarray(PIXELS)), r"^neuron1.threshold(:| is) .*: give")


def test_data_that_do_not_fit_are_refused():
    net = network(get_backend("reference"))
    for data, said in [
        (dataset(images=dataset().images[:0], labels=LABELS[:0]), "tiny has no images"),
        (dataset(classes=tuple("abcde")), "tiny has images of .* and 5 classes, but vgg5 was built for .* and 4"),
        (dataset(images=dataset().images[:, :7].copy()), "tiny has images of .7, 8, 3. and 4 classes, but vgg5"),
    ]:
        refused(lambda data=data: accuracy(net, data), said)
        refused(lambda data=data: attack_accuracy(net, data, fgsm()), said)


def test_what_is_no_data_set_is_refused():
    net, splits = network(get_backend("reference")), Splits(dataset(), dataset(), dataset())
    for data, said in [
        (PIXELS, "^the data is of type ndarray: give a Dataset, as in load_data.…..{} or Dataset.name, images"),
        (splits, "^the data is of type Splits: give one of its parts, as in images.{}$"),
    ]:
        refused(lambda data=data: accuracy(net, data), said.replace("{}", "test"))
        refused(lambda data=data: attack_accuracy(net, data, fgsm()), said.replace("{}", "test"))
        refused(lambda data=data: train(net, Recipe(epochs=1), data), said.replace("{}", "train"))


def test_a_single_target_is_refused():
    net = network(get_backend("reference"))
    refused(
        lambda: attacked_predictions(net, net, dataset(), fgsm()),
        "^the networks are Network.*: give a list, even of one$",
    )
    for measure in (accuracy, lambda *arguments: attack_accuracy(*arguments, fgsm())):
        refused(lambda measure=measure: measure([net], dataset()), "^the network is .Network.*: give a Network$")
    refused(lambda: attack_accuracy(net, dataset(), "pgd"), "^the attack is 'pgd': give an Attack, as in fgsm")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"recipe": 2}, "^the recipe is 2: give a Recipe$"),
        ({"recipe": Recipe}, "^the recipe is <class .*>: give a Recipe$"),
        ({"network": None}, "^the network is None: give a Network$"),
        ({"network": "x.npz"}, "^the network is 'x.npz': give a Network$"),
        ({"heldout": PIXELS}, "^the data is of type ndarray: give a Dataset, as in load_data.…..heldout or "),
        ({"path": 3}, "^the checkpoint's path is 3: give a string or a Path$"),
        ({"path": b"x.npz"}, "^the checkpoint's path is b'x.npz': give a string or a Path$"),
    ],
)
def test_arguments_of_a_training_of_another_type_are_refused(changes, says):
    given = {"network": network(get_backend("reference")), "recipe": Recipe(epochs=1), "data": dataset(), **changes}
    refused(lambda: train(**given), says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attacks": fgsm()}, "^the attacks are Attack.name='fgsm'.*: give a list, even of one$"),
        ({"attacks": None}, "^the attacks are None: give a list, even of one$"),
        ({"attacks": ["pgd"]}, "^one of the attacks is 'pgd': give an Attack$"),
        (
            {"sources": [network(get_backend("reference"))]},
            "^one of the sources is Network.*: give pairs .name, Network.$",
        ),
        ({"members": ["arctan"]}, "^one of the members is 'arctan': give a Member$"),
        ({"members": MEMBERS[0]}, "^the members are Member.*: give a list, even of one$"),
        ({"folder": 3}, "^the folder is 3: give a string or a Path$"),
        ({"network": "x.npz"}, "^the network is 'x.npz': give a Network$"),
    ],
)
def test_arguments_of_a_suite_of_another_type_are_refused(changes, says):
    given = {"network": network(get_backend("reference")), "data": dataset(), **changes}
    refused(lambda: evaluate_robustness(**given), says)


def test_arguments_of_an_attack_of_another_type_are_refused():
    k = get_backend("reference")
    net, images = network(k), k.asarray(PIXELS)
    refused(lambda: attack_accuracy(net, dataset(), fgsm(), source="x"), "^the source is 'x': give a Network$")
    refused(
        lambda: attack_accuracy(net, dataset(), fgsm(), path=3), "^the file of answers is 3: give a string or a Path$"
    )
    refused(lambda: perturb(net, images, LABELS, "fgsm"), "^the attack is 'fgsm': give an Attack, as in fgsm")
    refused(lambda: perturb(3, images, LABELS, fgsm()), "^the network is 3: give a Network$")


@pytest.mark.parametrize("seed", ["0", None, 1.5])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    k = get_backend("reference")
    refused(lambda: initialise(MODEL, k, seed), "^the seed is .*: give a whole number$")
    refused(lambda: load_data("shapes", seed=seed), "^the seed is .*: give a whole number$")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda a, b: None, None),
        (lambda a, b, c=0, *d, e=0, **f: None, None),
        (lambda *a: None, None),
        (partial(lambda x, a, b: None, 1), None),
        (print, None),
        (lambda a: None, r"^it is <lambda>\(a\): let it take \(a, b\)$"),
        (lambda a, b, c: None, r"^it is <lambda>\(a, b, c\): let it take \(a, b\)$"),
        (lambda a, b, *, c: None, r"^it is <lambda>\(a, b, c\): let it take \(a, b\)$"),
        (partial(lambda x, a: None, 1), r"^it is partial\(a\): let it take \(a, b\)$"),
        (3, r"^it is 3: give a function that takes \(a, b\)$"),
    ],
)
def test_a_function_is_called_with_the_arguments_that_it_takes(function, says):
    if says is None:
        checks.callable_with("it", function, "a", "b")
    else:
        refused(lambda: checks.callable_with("it", function, "a", "b"), says)


@pytest.mark.parametrize("size", [0, -1, 1.5, "8", True, None])
def test_impossible_batches_are_refused(size):
    net = network(get_backend("reference"))
    for call in (
        lambda: accuracy(net, dataset(), batch_size=size),
        lambda: attack_accuracy(net, dataset(), fgsm(), batch_size=size),
        lambda: Batches(dataset(), net.backend, size),
    ):
        refused(call, "the batch size is .*: give a whole number of at least 1")


@pytest.mark.parametrize("steps", [1.0, 0, "2", np.float64(3)])
def test_impossible_steps_are_refused(steps):
    k = get_backend("reference")
    for changes in ({"steps": steps}, {"steps": 4, "time_chunk": steps}):
        refused(lambda changes=changes: network(k).copy(**changes), "time (steps|chunk) is .*: give a whole number")
    refused(lambda: network(k).forward(k.asarray(PIXELS), steps=steps), "time steps is .*: give a whole number")


def test_an_attack_checks_each_batch_once(monkeypatch):
    calls, check = [], checks.images
    monkeypatch.setattr(checks, "images", lambda *arguments: calls.append(1) or check(*arguments))
    k = get_backend("reference")
    perturb(network(k), k.asarray(PIXELS), LABELS, pgd(iterations=5))
    assert len(calls) == 1


def test_torch_modules_refuse_pixels_out_of_range():
    torch = pytest.importorskip("torch")
    from minihire.interop import torch_module

    module = torch_module(network(get_backend("reference")))
    for pixels in BAD_PIXELS.values():
        for gradient in (False, True):
            images = torch.tensor(pixels).permute(0, 3, 1, 2).requires_grad_(gradient)
            refused(lambda images=images: module(images), "these images have pixels from .* to .*, expected 0 to 1")
