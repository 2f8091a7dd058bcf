"""Networks made from torch modules: the same logits and gradients as the module's, and a clear refusal of everything else."""

import doctest
import importlib
import json

import numpy as np
import pytest

from backends import get_backend
from minihire.app import cli
from minihire.data.dataset import Dataset, Splits
from minihire.interop import from_torch
from minihire.layers import Branches, Neuron, Readout
from minihire.models import MODELS, rebuild
from minihire.runtime.errors import MinihireError
from minihire.training import Calibration, convert
from minihire.training.checkpoint import CheckpointError, load, save

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from torch.nn.utils.parametrizations import weight_norm  # noqa: E402

from benchmarks.torch_networks import VGG, BasicBlock, Bottleneck, ResNet  # noqa: E402 - it needs torch

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.fixture(params=["reference", "numba", "torch"])
def k(request):
    """Every backend on the CPU in float32."""
    return get_backend(request.param, threads=1)


def trained_like(module, seed=0):
    """The module with random biases, and with BatchNorm statistics and factors far from 0 and 1. Logits are of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan_in = part.weight[0].numel()
            part.weight.data = torch.randn(part.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
            if part.bias is not None:
                part.bias.data = 0.3 * torch.randn(part.bias.shape, generator=generator)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            if part.affine:
                part.weight.data = 0.5 + torch.rand(part.weight.shape, generator=generator)
                part.bias.data = 0.5 * torch.randn(part.bias.shape, generator=generator)
            part.running_mean = 0.5 * torch.randn(part.running_mean.shape, generator=generator)
            part.running_var = 0.25 + torch.rand(part.running_var.shape, generator=generator)
    return module


def images(side=32, count=3, channels=3):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))


def logits_of(module, x):
    """The module's own, in float64, of normalised images."""
    mean, std = (torch.tensor(numbers, dtype=torch.float64).view(3, 1, 1) for numbers in (MEAN, STD))
    return module.double().eval()((x.double() - mean) / std)


def layouts(x):
    return x.permute(0, 2, 3, 1).contiguous().numpy()


class Functions(nn.Module):
    """A residual network as it is often written for CIFAR: functions instead of modules."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(16, 5)

    def forward(self, x):
        x = functional.relu(self.norm(self.conv(x)))
        x = functional.max_pool2d(torch.relu(torch.add(self.inner(x), x)), 2)
        x = functional.dropout(functional.avg_pool2d(x, 4), training=self.training)
        x = functional.adaptive_avg_pool2d(x, (2, 2))
        return self.last(x.view(x.size(0), -1))


class PreActivation(nn.Module):
    """BatchNorm and ReLU come first, so they follow sums; and the average is a method."""

    def __init__(self):
        super().__init__()
        self.stem, self.norms = nn.Conv2d(3, 4, 3, padding=1), nn.ModuleList(nn.BatchNorm2d(4) for _ in range(3))
        self.convs, self.last = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)), nn.Linear(4, 5)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = x + conv(norm(x).relu())
        return self.last(functional.relu(self.norms[2](x)).mean((2, 3)))


NETWORKS = {
    "VGG with max pools": (lambda: VGG(), 32),
    "VGG with average pools": (lambda: VGG(pool=nn.AvgPool2d, grid=2), 32),
    "ResNet": (lambda: ResNet(), 64),
    "ResNet of bottlenecks": (lambda: ResNet(Bottleneck), 32),
    "ResNet for small images": (lambda: ResNet(BasicBlock, stem=False, size=3), 28),
    "functions": (Functions, 16),
    "pre-activation": (PreActivation, 8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_module_s(k, name):
    make, side = NETWORKS[name]
    module, x = trained_like(make()), images(side)
    network = from_torch(module, x, mean=MEAN, std=STD, backend=k)
    expected = logits_of(module, x).detach().numpy()
    found = k.to_numpy(network.forward(k.asarray(layouts(x))))
    assert np.abs(expected).max() > 0.5 and np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_the_module_s(exact, name):
    """Of the loss with respect to the images, in float64."""
    make, side = NETWORKS[name]
    module, x = trained_like(make()), images(side).double().requires_grad_()
    network = from_torch(module, x, mean=MEAN, std=STD, backend=exact)
    labels = np.arange(len(x)) % 5
    functional.cross_entropy(logits_of(module, x), torch.tensor(labels)).backward()
    found = network.gradients(layouts(x.detach()), labels, weights=False, image=True, training=False)
    expected = layouts(x.grad)
    assert np.linalg.norm(found.image - expected) < 1e-6 * np.linalg.norm(expected)


def conv(features=4, *arguments, **options):
    return nn.Conv2d(3, features, *arguments, **options)


FLAT = [nn.Flatten(), nn.Linear(256, 5)]
PARTS = {
    "kernel of 2 pixels": [conv(4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 5)],
    "stride": [conv(4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)],
    "padding same": [conv(4, 3, padding="same", bias=False), nn.ReLU(), *FLAT],
    "padding valid": [conv(4, 3, padding="valid"), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)],
    "large padding": [conv(4, 3, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5)],
    "batch norm first": [nn.BatchNorm2d(3), conv(4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), *FLAT],
    "batch norm without factors": [conv(4, 3, padding=1), nn.BatchNorm2d(4, affine=False), nn.ReLU(), *FLAT],
    "batch norm after a linear layer": [nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)],
    "batch norm of a flattened image": [conv(2, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(72), nn.Linear(72, 5)],
    "average pool of 4": [conv(4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 5)],
    "average pool of 3": [conv(4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.Linear(64, 5)],
    "odd image": [conv(4, 2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 5)],
    "adaptive pool of 3": [conv(4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5)],
    "adaptive pool of rows": [conv(4, 3, padding=1), nn.AdaptiveAvgPool2d((None, 3)), nn.Flatten(), nn.Linear(96, 5)],
    "max pool of 3": [conv(4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 1, 1), *FLAT],
    "max pool before ReLU": [conv(4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)],
    "max pool before ReLU, twice": [conv(4, 3), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5)],
    "two ReLUs": [conv(4, 3, padding=1), nn.ReLU(), nn.ReLU(), *FLAT],
    "ReLU of the image": [nn.ReLU(), conv(4, 3, padding=1), *FLAT],
    "no linear layer": [conv(5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    "nested": [nn.Sequential(conv(4, 3, padding=1), nn.Sequential(nn.ReLU(), nn.Identity())), nn.Dropout2d(), *FLAT],
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_each_module_computes_what_torch_computes(exact, name):
    module, x = trained_like(nn.Sequential(*PARTS[name])), images(8).double()
    network = from_torch(module, x, mean=MEAN, std=STD, backend=exact)
    np.testing.assert_allclose(network.forward(layouts(x)), logits_of(module, x).detach().numpy(), rtol=1e-9, atol=1e-9)


class Calls(nn.Module):
    """A module whose forward method is the given function of (self, x)."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.call = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.call(self, x)


def tutorial(self, x):
    """The network of PyTorch's tutorials, as it was written for many years."""
    x = functional.max_pool2d(functional.relu_(self.conv(x)), 2).contiguous()
    return self.last(x.view(-1, 4 * 3 * 3))


@pytest.mark.parametrize(
    "view", [tutorial, lambda self, x: self.last(functional.avg_pool2d(self.conv(x), 2).reshape(-1, 36))]
)
def test_features_may_be_counted_in_view(exact, view):
    module, x = trained_like(Calls(view, conv=conv(4, 3), last=nn.Linear(36, 5))).double().eval(), images(8).double()
    network = from_torch(module, x, backend=exact)
    np.testing.assert_allclose(network.forward(layouts(x)), module(x).detach().numpy(), rtol=1e-9, atol=1e-9)


def dense(self, x):
    a = torch.relu(self.conv(x))
    b = self.second(a)
    return (b + a) + self.third(b)


def in_place(self, x):
    x = self.conv(x)
    return self.relu(x) + x


def pruned(module):
    """The module with a weight that is computed from two others in each call."""
    prune.l1_unstructured(module, "weight", 0.3)
    module(torch.zeros(1, 3, 8, 8))
    return module


CONVOLUTIONS = {name: nn.Conv2d(4 if name != "conv" else 3, 4, 3, padding=1) for name in ("conv", "second", "third")}
REFUSED = [
    (nn.Sequential(conv(4, 3), nn.ELU()), "ELU at 1 is not supported: spike rates stand for ReLU"),
    (nn.Sequential(nn.Sequential(conv(4, 3), nn.GroupNorm(2, 4))), "GroupNorm at 0.1 is not supported: its statistics"),
    (nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Softmax(1)), "Softmax at 2 is not supported: return the logits"),
    (nn.Sequential(nn.ConvTranspose2d(3, 4, 3)), "ConvTranspose2d at 0 is not supported: Conv2d, Linear, BatchNorm1d, "),
    (Calls(lambda self, x: torch.sigmoid(self.a(x)), a=conv(4, 3)), "sigmoid at sigmoid is not supported: spike rates stand"),
    (Calls(lambda self, x: self.a((x - 0.5) / 0.25), a=conv(4, 3)), "truediv at truediv is not supported: if it normalises"),
    (Calls(lambda self, x: torch.softmax(self.a(x), 1), a=conv(4, 3)), "softmax at softmax is not supported: return the logits"),
    (nn.Sequential(type("Mine", (nn.Conv2d,), {})(3, 4, 3)), "conv2d at 0.conv2d is not supported: use nn.Conv2d, nn.Linear and"),
    (nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), "LazyLinear at 1 is not supported: call the module once"),
    (nn.Sequential(weight_norm(conv(4, 3))), "ParametrizedConv2d at 0 is not supported: call torch.nn.utils.parametrize.remove"),
    (pruned(conv(4, 3)), "Conv2d cannot be copied (Only Tensors created explicitly"),
    (nn.Sequential(conv(4, 3, device="meta")), "0.weight of Sequential has no values (device meta): load the weights first"),
    (nn.DataParallel(conv(4, 3)), "DataParallel is not supported: give its attribute `module`"),
    (torch.compile(conv(4, 3)), "OptimizedModule is not supported: give the module that you gave to torch.compile"),
    (torch.jit.script(nn.Flatten()), "RecursiveScriptModule is not supported: give the module"),
    (nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), "Sequential returns one number, but one logit for each class is needed"),
    (Calls(lambda self, x: self.a(x) + 1, a=conv(4, 3)), "add at add is not supported"),
    (Calls(lambda self, x: x * self.scale, scale=nn.Parameter(torch.ones(1))), "mul at mul is not supported"),
    (Calls(lambda self, x: x.view(2, -1, 4)), "view at view is not supported"),
    (Calls(lambda self, x: x if x.sum() > 0 else -x), "torch.fx cannot trace Calls (symbolically traced variables"),
    (Calls(lambda self, x: functional.dropout(self.a(x)), a=conv(4, 3)), "dropout at dropout is not supported: it also drops"),
    (Calls(lambda self, x: (x, x)), "Calls must take one batch of images and return one tensor of logits"),
    (Calls(dense, **CONVOLUTIONS), "the result of Conv2d at second is used in several places that do not join in one sum"),
    (Calls(in_place, conv=conv(4, 3), relu=nn.ReLU(True)), "ReLU at relu overwrites a value that is used again"),
    (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3)), "Conv2d at 0 is not supported: only groups=1"),
    (nn.Sequential(conv(4, 3, padding_mode="reflect")), "Conv2d at 0 is not supported: only groups=1"),
    (nn.Sequential(conv(4, (3, 1))), "Conv2d at 0 is not supported: kernel_size=(3, 1), but rows and columns must be equal"),
    (nn.Sequential(conv(4, 3), nn.BatchNorm2d(4, track_running_stats=False)), "BatchNorm2d at 1 is not supported: "),
    (nn.Sequential(conv(4, 3), nn.MaxPool2d(2), *FLAT), "MaxPool2d at 1 is not supported: put it directly"),
    (nn.Sequential(conv(4, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)), "MaxPool2d at 2 is not supported: ceil_mode"),
    (nn.Sequential(conv(4, 3), nn.AvgPool2d(2, ceil_mode=True)), "AvgPool2d at 1 is not supported: ceil_mode"),
    (nn.Sequential(nn.AdaptiveAvgPool2d(5), conv(4, 3)), "the pool at 0 has windows of several sizes: Flatten and Linear must"),
    (nn.Sequential(nn.Flatten(2), nn.Linear(64, 5)), "Flatten at 0 is not supported: only start_dim=1"),
    (nn.Sequential(nn.Linear(8, 5)), "Linear at 0 is not supported: it is given an image, so put nn.Flatten before it"),
    (nn.Sequential(nn.Flatten(), conv(4, 3)), "Conv2d at 1 is not supported: it comes after Flatten"),
    (nn.Sequential(nn.Flatten(), nn.Linear(100, 5)), "Linear at 1 takes 100 features, but images of this size give 192"),
    (nn.Sequential(nn.Conv2d(1, 4, 3)), "Conv2d at 0 takes 1 channels, but it is given 3: images must be [B, C, H, W]"),
    (nn.Sequential(conv(4, 3), nn.ReLU()), "Sequential returns values of the shape (6, 6, 4) for each image"),
    (nn.Sequential(conv(4, 9), *FLAT), "0 leaves nothing of 8×8 values"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "says"), REFUSED, ids=[says[:40] for _, says in REFUSED])
def test_everything_else_is_refused_in_one_sentence(exact, module, says):
    with pytest.raises(MinihireError) as error:
        from_torch(module, images(8), backend=exact)
    assert str(error.value).startswith(says), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(3, 8, 8), "not float32 [3, 8, 8]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "not uint8"),
        (torch.full((1, 3, 8, 8), 255.0), "255"),
    ],
)
def test_images_that_cannot_be_used_are_refused(exact, x, says):
    with pytest.raises(MinihireError) as error:
        from_torch(nn.Sequential(*FLAT), x, backend=exact)
    assert says in str(error.value)


def test_a_single_number_normalises_every_channel(exact):
    module = trained_like(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    model = from_torch(module, images(8), mean=0.5, std=torch.tensor(0.25), backend=exact).model
    assert (model.mean, model.std) == ((0.5,) * 3, (0.25,) * 3)
    assert from_torch(module, images(8), mean=torch.tensor(MEAN), backend=exact).model.mean == pytest.approx(MEAN)


@pytest.mark.parametrize("value", ["a", (0.5, 0.5), ("a", "b", "c"), [[1], [1, 2]], float("nan"), object()])
def test_a_mean_or_std_that_is_not_a_number_is_refused(exact, value):
    for name in ("mean", "std"):
        with pytest.raises(MinihireError, match=f"{name} is .*: give a number, or one for each of the 3 channels"):
            from_torch(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), images(8), **{name: value}, backend=exact)


def test_convert_refuses_what_is_not_a_data_set_or_a_network(exact):
    module = trained_like(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    ann = from_torch(module, images(8), backend=exact)
    for x in (images(8), images(8).numpy()):
        with pytest.raises(
            MinihireError, match=r"needs a Dataset, not an array: give Dataset\(name, images, labels, classes"
        ):
            convert(ann, x, steps=4)
    with pytest.raises(MinihireError, match="convert needs a Dataset, not list: give Dataset"):
        convert(ann, [], steps=4)
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    data = Dataset("mine", pixels, np.zeros(2, np.int64), tuple("abcde"), MEAN, STD)
    with pytest.raises(MinihireError, match="convert needs a Dataset, not Splits: give its part .train"):
        convert(ann, Splits(data, data, data), steps=4)
    with pytest.raises(MinihireError, match="convert needs a Network, not Sequential: from_torch makes one"):
        convert(module, data, steps=4)


def test_a_module_that_branches_on_shapes_is_refused(exact):
    module = Calls(lambda self, x: x if x.shape[2] > 8 else -x)
    with pytest.raises(MinihireError, match="may not branch on values or shapes of tensors"):
        from_torch(module, images(8), backend=exact)


def test_logits_that_differ_are_refused(exact):
    """The branch depends on a buffer that `torch.fx` reads once, but the module changes in every call."""

    class Changing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last, self.calls = conv(4, 3, padding=1), nn.Linear(256, 5), 0

        def forward(self, x):
            self.calls += 1
            x = self.conv(x)
            return self.last(torch.flatten(torch.relu(x) if self.calls == 1 else x, 1))

    with pytest.raises(MinihireError, match="the logits of Changing and of the network made from it differ by"):
        from_torch(trained_like(Changing()), images(8), backend=exact)


def test_the_module_does_not_change_and_its_dropout_is_kept(exact):
    module = trained_like(VGG(pool=nn.AvgPool2d, grid=1))
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = from_torch(module, images(), backend=exact)
    assert module.training and all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    neurons = [layer for layer, _ in network.model.walk() if isinstance(layer, Neuron)]
    assert [layer.dropout for layer in neurons] == [0.0] * 4 + [0.5] * 2
    assert len({layer.index for layer in neurons}) == len(neurons)
    network.parameters["features.0.weight"][...] = 0
    assert before["features.0.weight"].any() and module.features[0].weight.any()


def test_a_data_set_can_be_given(exact):
    module, x = trained_like(VGG()), images(count=10)
    pixels = (layouts(x) * 255).round().astype(np.uint8)
    data = Dataset("mine", pixels, np.zeros(10, np.int64), tuple("abcde"), MEAN, STD)
    assert from_torch(module, data, backend=exact).model.image_shape == (32, 32, 3)


def test_names_are_those_of_the_modules(exact):
    """A ReLU that is called twice becomes two layers of neurons."""
    network = from_torch(trained_like(ResNet(stem=False, size=3)), images(), backend=exact, name="mine")
    model = network.model
    assert model.name == "mine" and model.layers[-1] == Readout("fc", 5, bias=True)
    assert [layer.name for layer in model.layers if isinstance(layer, Branches)][:2] == ["layer1.0.add", "layer1.1.add"]
    assert {"layer2.downsample.0.weight", "layer2.conv1.bias", "fc.bias"} < network.parameters.keys()
    rows = [row.name for row in model.table() if row.kind == "Neuron"]
    assert rows[:3] == ["relu", "layer1.0.relu", "layer1.0.relu_1"]
    with pytest.raises(MinihireError, match="needs a name that is not in MODELS"):
        from_torch(trained_like(VGG()), images(), backend=exact, name=next(iter(MODELS)))


def test_a_checkpoint_contains_the_layers(exact, tmp_path):
    x = layouts(images().double())
    network = from_torch(trained_like(ResNet(stem=False, size=3)), images(), mean=MEAN, std=STD, backend=exact)
    save(tmp_path / "mine.npz", network)
    again = load(tmp_path / "mine.npz").network(exact)
    assert again.model == network.model
    np.testing.assert_array_equal(again.forward(x), network.forward(x))


def test_damaged_lists_of_layers_are_refused(exact, tmp_path):
    network = from_torch(trained_like(ResNet(stem=False, size=3)), images(), backend=exact)
    save(tmp_path / "mine.npz", network)
    saved = load(tmp_path / "mine.npz")
    text = json.dumps(saved.meta["model"])
    deep = {"kind": "Branches", "name": "b", "main": [], "shortcut": []}
    for _ in range(200):
        deep = {**deep, "main": [deep]}
    damaged = [
        text.replace('"kind": "Conv2d"', '"kind": "Exec"', 1),
        text.replace('"features": 4', '"features": "4"', 1),
        text.replace('"stride": 1', '"stride": 0', 1),
        text.replace('"size": 3', '"width": 3', 1),
        text.replace('"kind": "Readout"', '"kind": "Linear"', 1),
        json.dumps({**json.loads(text), "layers": [deep, *json.loads(text)["layers"]]}),
        json.dumps({**json.loads(text), "layers": 3}),
        json.dumps({**json.loads(text), "layers": [3]}),
    ]
    assert rebuild(json.loads(text)) == network.model
    for model in damaged:
        assert model != text
        saved.meta["model"] = json.loads(model)
        with pytest.raises(CheckpointError, match="does not describe a network"):
            saved.network(exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VGG with max pools", "ResNet of bottlenecks", "functions"])
def test_rates_of_the_converted_network_approach_the_logits(name):
    """Also through max pools, which are layers of neurons: with four times as many steps the error is less than half."""
    make, side = NETWORKS[name]
    k, module, x = get_backend("numba", threads=1), trained_like(make()), images(side, 8)
    data = Dataset("mine", (layouts(x) * 255).astype(np.uint8), np.zeros(8, np.int64), tuple("abcde"), MEAN, STD)
    ann = from_torch(module, data, mean=MEAN, std=STD, backend=k)
    pixels = k.asarray(data.images / 255)
    expected, errors = k.to_numpy(ann.forward(pixels)), []
    for steps in (64, 256):
        snn = convert(ann, data, steps=steps, calibration=Calibration(percentile=100), time_chunk=32)
        errors.append(np.abs(k.to_numpy(snn.forward(pixels)) / steps - expected).mean())
    assert errors[1] < 0.5 * errors[0] and errors[1] < 0.1 * np.abs(expected).mean()


def test_the_command_refuses_flags_that_a_network_with_biases_ignores(exact, tmp_path, capsys):
    module = nn.Sequential(*PARTS["stride"])
    save(tmp_path / "ann.npz", from_torch(trained_like(module), images(8), backend=exact))
    for flag in ("--scaling-factor", "--calibration-steps"):
        command = [
            "convert",
            str(tmp_path / "ann.npz"),
            "--data",
            "shapes",
            flag,
            "1",
            "--out",
            str(tmp_path / "snn.npz"),
        ]
        assert cli.main(command) == 2
        assert f"{flag} has no effect on a network with biases" in capsys.readouterr().err


def test_the_command_records_the_names_of_the_classes(exact, tmp_path):
    module = trained_like(nn.Sequential(conv(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10)))
    save(tmp_path / "ann.npz", from_torch(module, images(32), backend=exact))
    flags = "--data", "shapes", "--train-limit", "64", "--heldout", "0", "--steps", "4", "--backend", "reference"
    assert cli.main(["convert", str(tmp_path / "ann.npz"), *flags, "--out", str(tmp_path / "snn.npz")]) == 0
    assert load(tmp_path / "snn.npz").meta["data"]["classes"][:2] == ["disc", "ring"]


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(importlib.import_module("minihire.interop.torch_import"))
    assert found.attempted >= 4 and not found.failed


def test_a_network_of_another_spiking_program_is_named():
    class Leaky(nn.Module):
        def forward(self, x):
            return x

    Leaky.__module__ = "snntorch._neurons.leaky"
    with pytest.raises(
        MinihireError, match="^Sequential is a spiking network of snntorch, and from_torch converts .* NIR file"
    ):
        from_torch(nn.Sequential(conv(4, 3), Leaky()), torch.zeros(1, 3, 8, 8))
