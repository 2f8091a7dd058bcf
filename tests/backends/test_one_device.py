"""Whole trainings and attacks without a host: on torch's device "meta", whose arrays have shapes and no values.

A GPU's own mistakes are found so where there is none: an array left on the host, an operation done there, a value read.
"""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from plain_calls import linear_input_gradient

from minihire.attacks import attack_accuracy, fgsm, pgd
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.training import Adversarial, CraftedNoise, GaussianNoise, NoNoise, Recipe, training_attack
from minihire.training.loop import Training

torch = pytest.importorskip("torch")
from torch.utils import _pytree as trees  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from backends import torch_any  # noqa: E402

SENDS = ("_to_copy", "copy_", "empty_like", "lift_fresh", "detach")  # what may touch an array of the host


class OneDevice(TorchDispatchMode):
    """Fails where an operation mixes devices or is done on the host, but for numbers [] that a kernel takes as such."""

    def __init__(self):
        super().__init__()
        self.done = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options, name = options or {}, function.overloadpacket.__name__
        tensors = [x for x in trees.tree_leaves((arguments, options)) if isinstance(x, torch.Tensor)]
        host = [tuple(x.shape) for x in tensors if x.device.type == "cpu" and x.dim()]
        assert not host or name in SENDS, f"{name} works on arrays of the host: {host}"
        self.done[name] += bool(tensors)
        if name.startswith("_fused_"):  # of which torch has no version without values
            return None
        return function(*arguments, **options)


class Elsewhere(torch_any.TorchBackend):
    """Sends arrays to "meta"; what is read from there is zero."""

    def _send(self, tensor):
        return torch.empty_like(tensor, device=self.device)

    def to_numpy(self, array):
        return array if isinstance(array, np.ndarray) else torch.zeros_like(self._dense(array), device="cpu").numpy()

    def events(self, array):
        return 0

    def top_k(self, array, count):
        return self.to_numpy(array).reshape(-1)[:count]


assert all(hasattr(torch_any.TorchBackend, name) for name in vars(Elsewhere) if not name.startswith("__"))


def _all_there(*arguments):
    """Stands for a neuron's scan: its arrays are on the device."""
    tensors = [x for x in trees.tree_leaves(arguments) if isinstance(x, torch.Tensor)]
    assert tensors and all(x.device.type == "meta" for x in tensors)


def _sums(*arguments):
    _all_there(*arguments)
    return torch.empty(2, dtype=torch.float64, device="meta")


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setattr(torch_any, "find_device", lambda name: "meta")

    def make(precision):
        monkeypatch.setattr(torch_any, "multiplies_into_float32", lambda device: False)
        k = Elsewhere(precision=precision, record=False)
        k.services.fetch_async = lambda array: lambda: k.to_numpy(array)
        k.lif_kernels = SimpleNamespace(forward=_all_there, backward=_sums)  # Triton's read no values
        return k

    return make


def network(k, model, **settings):
    return Network(model, k, initialise(model, k, 1, spiking=True), spiking=True, **{"steps": 4, **settings})


def images(model, count):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *model.image_shape), np.uint8)
    return Dataset("random", pixels, rng.integers(0, 10, count), tuple("0123456789"), model.mean, model.std)


MODELS = {
    name: build(name, image_shape=shape, width=0.125, hidden=16)
    for name, shape in dict(vgg5=(16, 16, 3), vgg11=(32, 32, 3), resnet12=(32, 32, 3)).items()
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # neurons that never fire
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "recipe",
    [
        dict(periods=2, noise=CraftedNoise(0.02, 0.03)),
        dict(periods=2, noise=CraftedNoise(0.02, 0.03), carry_membranes=True, craft_after_update=True),
        dict(noise=GaussianNoise(0.02), optimiser="sgd", weight_decay=5e-4),
        dict(noise=NoNoise(), optimiser="amsgrad"),
        dict(noise=NoNoise(), optimiser="adam16"),
        dict(noise=Adversarial(training_attack(0.03, 2))),
    ],
    ids=["HIRE", "HIRE, carried membranes", "gaussian, sgd", "amsgrad", "adam16", "adversarial"],
)
def test_a_training_never_leaves_the_device(backend, model, recipe, precision):
    k, model = backend(precision), MODELS[model]
    with OneDevice() as operations:
        recipe = Recipe(epochs=1, batch_size=8, learning_rate=1e-3, **recipe)
        Training(network(k, model), recipe, images(model, 20), seed=3).run()
    assert operations.done["convolution_backward"]
    assert operations.done["_fused_sgd_" if recipe.optimiser == "sgd" else "_fused_adam_"]


@pytest.mark.parametrize("coding", ["direct", "rate"])
@pytest.mark.parametrize("attack", [fgsm(0.03), pgd(0.03, 0.01, 3)], ids=["FGSM", "PGD"])
def test_an_attack_never_leaves_the_device(backend, attack, coding):
    model = MODELS["vgg5"]
    target = network(backend("float32"), model, coding=coding)
    with OneDevice() as operations:
        attack_accuracy(target, images(model, 20), attack, batch_size=8)
    assert operations.done["convolution"]


def test_the_check_finds_work_on_the_host(backend):
    k = backend("float32")
    with OneDevice(), pytest.raises(AssertionError, match="works on arrays of the host"):
        linear_input_gradient(k, k.zeros((1, 2, 3)), torch.zeros(4, 3))
