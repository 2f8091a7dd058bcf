"""The authors' checkpoints: networks give the same logits as theirs in torch; any other file is refused in one sentence."""

import errno
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
from run_files import command, write_cifar10

from backends import get_backend
from minihire.app import cli
from minihire.engine.lif import NeuronOptions
from minihire.interop import published
from minihire.models import build
from minihire.network import Network, initialise
from minihire.study.settings import paper_settings, preset
from minihire.training import checkpoint
from minihire.training.checkpoint import CheckpointError

torch = pytest.importorskip("torch", reason="the authors' checkpoints need PyTorch")
nn = torch.nn

PLANS = {"vgg5": (64, "A", 128, 128, "A"), "vgg11": (64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512)}
WIDTHS = {"vgg5": 1 / 32, "vgg11": 1 / 64}
HIDDEN, STEPS = 12, 5
NORMALISATION = {10: ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])}
NORMALISATION[100] = [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]


class Theirs(nn.Module):
    """The architecture of the authors' code, of any width; its state dict has their keys."""

    def __init__(self, name="vgg5", spiking=True, classes=10):
        super().__init__()
        torch.manual_seed(0)
        features, channels, side = [], 3, 32
        for size in PLANS[name]:
            if size == "A":
                features[-1], side = nn.AvgPool2d(2), side // 2
                continue
            planes = round(size * WIDTHS[name])
            features += [nn.Conv2d(channels, planes, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout(0.2)]
            channels = planes
        sizes = (channels * side * side, HIDDEN, HIDDEN, classes)
        linear = [nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:], strict=False)]
        hidden = [part for layer in linear[:-1] for part in (layer, nn.ReLU(), nn.Dropout(0.2))]
        self.features, self.classifier = nn.Sequential(*features), nn.Sequential(*hidden, linear[-1])
        self.classes, self.spiking = classes, spiking
        for weight in self.parameters():
            weight.data.normal_(0, (2 / weight[0].numel()) ** 0.5)
        if spiking:
            numbers = [n for n, part in enumerate([*features, *hidden]) if isinstance(part, nn.Conv2d | nn.Linear)]
            value = lambda start, n: nn.Parameter(torch.tensor(start + n / 100))
            self.threshold = nn.ParameterDict({f"t{n}": value(0.1, n) for n in numbers})
            self.leak = nn.ParameterDict({f"l{n}": value(0.6, n) for n in numbers})

    def forward(self, images, steps=STEPS):
        """Logits [B, classes] of images [B, H, W, C] in [0, 1], step by step in the order of time."""
        mean, std = (torch.tensor(x, dtype=images.dtype) for x in NORMALISATION[self.classes])
        x = ((images - mean) / std).permute(0, 3, 1, 2)
        if not self.spiking:
            return self.classifier(self.features(x).flatten(1))
        membranes, logits = {}, 0
        for _ in range(steps):
            signal = x
            for n, part in enumerate([*self.features, *self.classifier[:-1]]):
                signal = signal.flatten(1) if n == len(self.features) else signal
                signal = self.fire(membranes, n - 1, signal) if isinstance(part, nn.ReLU) else part(signal)
            logits = logits + self.classifier[-1](signal)
        return logits

    def fire(self, membranes, n, current):
        """The spikes of layer n: integrate with its leak, fire above its threshold, subtract that."""
        threshold = self.threshold[f"t{n}"]
        membrane = self.leak[f"l{n}"] * membranes.get(n, 0) + current
        spikes = (membrane > threshold).to(current.dtype)
        membranes[n] = membrane - threshold * spikes
        return spikes


def ours(name="vgg5", spiking=True, **options):
    """A small network of ours with different thresholds and leaks, on the reference backend."""
    k = get_backend("reference")
    model = build(name, 7, (16, 24, 3), width=0.05, hidden=9, dropout=0.1, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    parameters = initialise(model, k, 3, spiking, options.get("readout", "membrane"))
    for n, array in enumerate(array for array in parameters.values() if array.shape == (1,)):
        array[:] = 0.3 + n / 50
    return Network(model, k, parameters, spiking, STEPS if spiking else 1, **options)


def bits(arrays):
    """{name: shape and bytes}."""
    return {name: (array.shape, array.dtype.str, array.tobytes()) for name, array in arrays.items()}


@pytest.fixture
def save(tmp_path):
    """save(content): the path of a file that torch.save wrote."""

    def write(content, **options):
        torch.save(content, tmp_path / "model.pt", **options)
        return tmp_path / "model.pt"

    return write


@pytest.mark.parametrize(
    ("name", "spiking", "classes"),
    [("vgg5", True, 10), ("vgg5", False, 100), ("vgg11", True, 100), ("vgg11", False, 10)],
)
def test_our_network_computes_what_theirs_computes(save, name, spiking, classes):
    theirs = Theirs(name, spiking, classes).eval()
    network = published.read(save({"state_dict": theirs.state_dict(), "timesteps": STEPS})).network(
        get_backend("reference", dtype="float64")
    )
    assert (network.model.name, network.model.width, network.model.hidden) == (name, WIDTHS[name], HIDDEN)
    assert (network.spiking, network.steps, network.model.classes) == (spiking, STEPS if spiking else 1, classes)
    images = np.random.default_rng(1).random((3, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    with torch.no_grad():
        expected = theirs.double()(torch.from_numpy(images)).numpy()
    distance = lambda logits: np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert distance(expected[::-1]) > 0.1  # the images are told apart
    assert distance(network.forward(images)) < 1e-12
    network.parameters["linear1.weight"] = theirs.classifier[0].weight.detach().numpy().T.copy()
    assert distance(network.forward(images)) > 0.1  # with the columns in their order


@pytest.mark.parametrize("spiking", [True, False], ids=["snn", "ann"])
@pytest.mark.parametrize("name", PLANS)
def test_an_imported_file_is_exported_bit_identical(save, tmp_path, name, spiking):
    theirs = Theirs(name, spiking)
    published.write(tmp_path / "again.pt", published.read(save(theirs.state_dict())))
    content = torch.load(tmp_path / "again.pt", weights_only=True)
    again = Theirs(name, spiking)
    for weight in again.parameters():
        weight.data.zero_()
    again.load_state_dict(content["state_dict"])
    assert content.get("timesteps") == ({"vgg5": 6, "vgg11": 8}[name] if spiking else None)
    assert bits({k: v.numpy() for k, v in again.state_dict().items()}) == bits(
        {k: v.numpy() for k, v in theirs.state_dict().items()}
    )


@pytest.mark.parametrize("spiking", [True, False], ids=["snn", "ann"])
@pytest.mark.parametrize("name", PLANS)
def test_an_exported_checkpoint_is_imported_bit_identical(tmp_path, name, spiking):
    about = preset("mini", data_dir="/home/me").describe()
    neuron = NeuronOptions(reset_grad=True, surrogate=NeuronOptions().surrogate._replace(height=0.7))
    checkpoint.save(tmp_path / "x.npz", ours(name, spiking, neuron=neuron, time_chunk=2), extra={"about": about})
    saved = checkpoint.load(tmp_path / "x.npz")
    published.write(tmp_path / "x.pt", saved)
    again = published.read(tmp_path / "x.pt")
    assert bits(again.arrays) == bits(saved.arrays)
    assert (again.meta["model"], again.meta["network"]) == (saved.meta["model"], saved.meta["network"])
    assert again.meta["about"] == {name: value for name, value in about.items() if name != "data_dir"}
    published.write(tmp_path / "y.pt", again)
    assert (tmp_path / "y.pt").read_bytes() == (tmp_path / "x.pt").read_bytes()


FORMS = {
    "in a dictionary": lambda state: {"state_dict": state, "accuracy": 0.6, "optimizer": {"state": {}}, "epoch": 3},
    "of DataParallel": lambda state: OrderedDict((f"module.{key}", value) for key, value in state.items()),
    "of parameters": lambda state: {key: nn.Parameter(value) for key, value in state.items()},
    "of [1] tensors": lambda state: {key: v.reshape(1) if v.ndim == 0 else v for key, v in state.items()},
    "in channels_last": lambda state: {
        key: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for key, v in state.items()
    },
    "of float64": lambda state: {key: value.double() for key, value in state.items()},
    "in reverse order": lambda state: dict(reversed(state.items())),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_state_dict_is_read(save, form):
    state = Theirs().state_dict()
    expected = bits(published.read(save(state)).arrays)
    assert bits(published.read(save(form(state))).arrays) == expected


@pytest.mark.filterwarnings("error")
def test_the_file_format_of_torch_1_5_is_read_without_a_warning(save):
    state = Theirs().state_dict()
    expected = bits(published.read(save(state)).arrays)
    assert bits(published.read(save(state, _use_new_zipfile_serialization=False)).arrays) == expected


@pytest.mark.parametrize("width", [0.005, 1 / 64, 0.05, 1 / 8, 0.3])
@pytest.mark.parametrize("name", published.FAMILY.values())
def test_the_width_is_inferred_from_the_channels(save, name, width):
    """Some width that gives the same channels; the exact one where it is a power of two."""
    layout = published.layout(build(name, width=width, hidden=2), False)
    state = {entry.key: torch.zeros(entry.shape) for entry in layout}
    model = published.read(save(state)).network(get_backend("reference")).model
    assert [entry.shape for entry in published.layout(model, False)] == [entry.shape for entry in layout]
    assert model.width == width or width not in (1 / 64, 1 / 8)


def test_time_steps_are_the_file_s_else_the_given_else_the_model_s(save):
    state = Theirs().state_dict()
    steps = lambda path, given=None: published.read(path, steps=given).meta["network"]["steps"]
    assert (steps(save(state)), steps(save(state), 9)) == (6, 9)
    assert (steps(save({"state_dict": state, "timesteps": 1})), steps(save({"state_dict": state}), 1)) == (1, 1)


def test_an_imported_checkpoint_has_the_paper_s_settings(save):
    path = save(Theirs("vgg11", classes=100).state_dict())
    about = published.read(path, steps=1, about=paper_settings).meta["about"]
    settings = (about["preset"], about["data"], about["model"], about["hidden"], about["steps"], about["periods"])
    assert settings == ("vgg11-cifar100", "cifar100", "vgg11", HIDDEN, 1, 1)


# ---------------------------------------------------------------- what is refused


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


def changed(key, value):
    """A file with one key of the state dict changed: a tensor, a function of the old one, or None to leave it out."""

    def make(state):
        new = value(state[key]) if callable(value) else value
        return {name: new if name == key else old for name, old in state.items() if name != key or new is not None}

    return make


def one(tensor, value):
    """The tensor with one element changed."""
    tensor = tensor.clone()
    tensor.view(-1)[0] = value
    return tensor


REFUSED = {
    "another shape": (
        changed("features.3.weight", torch.zeros(4, 2, 5, 5)),
        r"features\.3\.weight of .*pt is \[4, 2, 5, 5\], expected \[4, 2, 3, 3\] for vgg5 with width 0\.03125",
    ),
    "another pool": (
        changed("classifier.0.weight", torch.zeros(HIDDEN, 64)),
        r"classifier\.0\.weight of .*pt is \[12, 64\], expected \[12, 256\]",
    ),
    "grey images": (changed("features.0.weight", torch.zeros(2, 1, 3, 3)), r"\[2, 1, 3, 3\], expected \[2, 3, 3, 3\]"),
    "two hidden sizes": (changed("classifier.3.weight", torch.zeros(9, 12)), r"\[9, 12\], expected \[12, 12\]"),
    "no rows": (changed("features.0.weight", torch.zeros(0, 3, 3, 3)), r"features\.0\.weight .* \[0, 3, 3, 3\]"),
    "only numbers": (
        lambda state: {key: torch.tensor(1.0) for key in state},
        r"features\.0\.weight .* is \[\], expected",
    ),
    "many thresholds": (changed("threshold.t3", torch.ones(4)), r"threshold\.t3 of .*pt is \[4\], expected \[\]"),
    "no convolution": (changed("features.3.weight", None), r"pt lacks features\.3\.weight, expected for vgg5"),
    "no last layer": (changed("classifier.6.weight", None), r"pt lacks classifier\.6\.weight, expected for vgg5"),
    "a threshold missing": (changed("threshold.t9", None), r"pt lacks threshold\.t9, expected"),
    "no leaks": (
        lambda state: {key: value for key, value in state.items() if "leak" not in key},
        r"pt lacks leak\.l0 and 4 more, expected for vgg5",
    ),
    "two convolutions": (
        lambda state: {
            "features.0.weight": state["features.0.weight"],
            "features.3.weight": state["features.3.weight"],
        },
        r"has 2 convolutions features\.N\.weight, expected one of 3 \(vgg5\), 7 \(vgg9\), 8 \(vgg11\)",
    ),
    "a bias": (
        lambda state: {**state, "features.0.bias": torch.zeros(2)},
        r"pt has 'features\.0\.bias', which vgg5 does not have",
    ),
    "another network": (
        lambda state: {"conv1.weight": torch.zeros(2, 3, 3, 3)},
        "has 0 convolutions .*; this format is that of the paper's authors; minihire.interop.from_torch converts",
    ),
    "a user's checkpoint": (
        lambda state: {"epoch": 3, "model": state},
        "'epoch' of .* is a int, expected .*from_torch",
    ),
    "nothing": (lambda state: {}, "has 0 convolutions"),
    "a list of tensors": (lambda state: list(state.values()), "contains a list, expected a state dict"),
    "one tensor": (lambda state: state["features.0.weight"], r"contains a torch\.float32 \[2, 3, 3, 3\], expected"),
    "a list as state dict": (
        lambda state: {"state_dict": [1]},
        "'state_dict' of .*pt is a list, expected a dictionary",
    ),
    "a list as weight": (changed("features.0.weight", [1.0]), r"'features\.0\.weight' of .*pt is a list, expected"),
    "numbers as names": (lambda state: {0: state["features.0.weight"]}, "pt has a key that is a int, expected names"),
    "whole numbers": (changed("leak.l0", torch.tensor(1)), r"'leak\.l0' of .*pt is a torch\.int64 \[\], expected"),
    "a sparse weight": (changed("classifier.6.weight", lambda w: w.to_sparse()), "expected a dense tensor"),
    "one number for all": (changed("classifier.6.weight", torch.ones(1).expand(10, 12)), "expected a dense tensor"),
    "not a number": (
        changed("classifier.3.weight", lambda w: one(w, np.nan)),
        r"classifier\.3\.weight .* NaN or infinite",
    ),
    "infinite": (changed("features.6.weight", lambda w: one(w, np.inf)), r"features\.6\.weight .* NaN or infinite"),
    "no threshold at all": (
        changed("threshold.t12", torch.tensor(0.0)),
        r"threshold\.t12 of .*pt is 0, expected a number from 0\.001 to inf",
    ),
    "a leak that grows": (
        changed("leak.l6", torch.tensor(1.5)),
        r"leak\.l6 of .*pt is 1\.5, expected a number from 0 to 1",
    ),
    "seven classes": (
        changed("classifier.6.weight", torch.zeros(7, HIDDEN)),
        r"classifier\.6\.weight of .*pt has 7 classes, expected those of a data set: cifar10 10 and cifar100 100",
    ),
    "a negated view": (
        changed("classifier.3.weight", torch._neg_view),
        r"classifier\.3\.weight' of .* is a negated view",
    ),
    "a name twice": (
        lambda state: {**state, "module.leak.l0": state["leak.l0"]},
        r"has both 'leak\.l0' and 'module\.' before it: keep one",
    ),
    "half a time step": (
        lambda state: {"state_dict": state, "timesteps": 2.5},
        r"'timesteps' of .*pt is a float, expected a whole number in 1 … 10000",
    ),
    "no time step": (lambda state: {"state_dict": state, "timesteps": 0}, "'timesteps' of .*pt is 0, expected"),
    "a whole model": (
        lambda state: nn.Linear(2, 2),
        r"contains a torch\.nn\.modules\.linear\.Linear, expected only tensors",
    ),
    "a description of nothing": (
        lambda state: {"state_dict": state, "minihire": {}},
        "'minihire' of .*pt does not describe a network of this version",
    ),
    "a description of another": (
        lambda state: {"state_dict": state, "minihire": {"model": {"name": "vgg6"}, "network": {}}},
        "'minihire' of .*pt does not describe a network of this version: there is no model 'vgg6'",
    ),
    "a description of a tensor": (
        lambda state: {"state_dict": state, "minihire": {"model": torch.ones(2)}},
        "'minihire' of .*pt does not describe a network of this version",
    ),
}


def refused(function, path, match):
    """Reading the file must fail with one sentence that names it."""
    with pytest.raises(CheckpointError, match=match) as caught:
        function()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "match"), REFUSED.values(), ids=REFUSED)
def test_a_file_of_another_kind_is_refused(save, change, match):
    path = save(change(Theirs().state_dict()))
    refused(lambda: published.read(path), path, match)


def test_every_flipped_bit_is_refused_or_harmless(save):
    path = save(Theirs().state_dict())
    content, expected = path.read_bytes(), published.read(path).arrays
    accepted = 0
    # two readers of archives may understand a damaged directory differently, so every third of its bytes is tried
    directory = range(content.index(b"PK\x01\x02"), len(content))
    for position in (*np.random.default_rng(0).integers(0, len(content), 300), *directory[::3]):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            found = published.read(path).arrays
        except CheckpointError:
            continue
        accepted += 1
        assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)
    assert accepted < 150 + len(directory) / 3  # bits of padding, dates and the like have no meaning


def test_code_in_a_file_is_not_run(save, tmp_path):
    path = save({"state_dict": Theirs().state_dict(), "args": Bomb(str(tmp_path / "mark"))})
    refused(lambda: published.read(path), path, r"contains a [\w.]*open, expected only tensors and plain containers")
    assert not (tmp_path / "mark").exists()


def test_a_bytearray_which_could_have_any_size_is_not_made(save):
    path = save({**Theirs().state_dict(), "size": bytearray(3)})
    refused(lambda: published.read(path), path, "contains a bytearray, expected only tensors and plain containers")


def nested(container, depth, width):
    """A container of containers, `depth` times; each of them contains the next one `width` times."""
    found = container()
    for _ in range(depth):
        found = container([found] * width)
    return found


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_containers_nested_so_that_python_crashes_or_never_ends_are_refused(save, zipped):
    for value, reason in (
        (nested(tuple, 200, 1), "more than 50 tuples inside one another"),
        (nested(tuple, 20, 2), "more than 10 references to earlier containers"),
        (nested(list, 20, 2), "more than 10 references to earlier containers"),
    ):
        path = save({"state_dict": Theirs().state_dict(), "args": value}, _use_new_zipfile_serialization=zipped)
        refused(lambda path=path: published.read(path), path, f"contains {reason}, which a state dict does not need")


def test_every_pickle_that_torch_could_read_is_checked(tmp_path):
    """torch finds data.pkl in whatever case it is written, and reads a file that begins with a pickle as no archive."""
    path, deep = tmp_path / "model.pt", pickle.dumps({nested(tuple, 200, 1): 1}, 2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/DATA.PKL", deep)
        archive.writestr("model/other_data.pkl", pickle.dumps({}, 2))
    refused(lambda: published.read(path), path, "more than 50 tuples")
    path.write_bytes(deep + path.read_bytes())
    refused(lambda: published.read(path), path, "more than 50 tuples")


def test_tensors_and_tuples_of_an_optimiser_may_occur_in_two_places(save):
    state, betas = Theirs().state_dict(), (0.9, 0.999)
    groups = [{"betas": betas, "nested": nested(tuple, 40, 1)} for _ in range(13)]  # Adam's groups share its betas
    found = published.read(save({"state_dict": state, "best": dict(state), "optimizer": {"param_groups": groups}}))
    assert len(found.arrays) == len(state)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_truncated_file_is_refused(save, zipped):
    path = save(Theirs().state_dict(), _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        refused(lambda: published.read(path), path, "is not a file that torch.save wrote, or it is damaged")


@pytest.mark.parametrize("content", [b"hello", bytes(1000)], ids=["text", "zeros"])
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    refused(lambda: published.read(tmp_path / "x.pt"), tmp_path / "x.pt", "is not a file that torch.save wrote")


def test_missing_files_folders_and_our_own_checkpoints_are_refused(tmp_path):
    checkpoint.save(tmp_path / "x.npz", ours())
    refused(lambda: published.read(tmp_path / "none.pt"), tmp_path / "none.pt", "there is no file")
    refused(lambda: published.read(tmp_path), tmp_path, "is a folder: give a .pt file of torch.save, or a .nir file")
    already = "is a checkpoint of minihire already: give it to the other commands as it is"
    refused(lambda: published.read(tmp_path / "x.npz"), tmp_path / "x.npz", already)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.txt", "or it is damaged: import reads .pt files of torch.save and .nir files"),
        ("x.onnx", "or it is damaged: ONNX files can be exported, but not imported"),
        ("x.zip", r"or it is damaged: unpack it; a .npz file in it that `minihire pack` wrote needs no import"),
        ("x.npz", r"or it is damaged: a checkpoint of minihire \(.npz\) needs no import"),
    ],
)
def test_the_message_says_what_import_reads(tmp_path, name, says):
    (tmp_path / name).write_bytes(b"hello")
    refused(lambda: published.read(tmp_path / name), tmp_path / name, says)


def test_flags_that_do_not_fit_the_file_are_refused(save, tmp_path):
    path = save({"state_dict": Theirs().state_dict(), "timesteps": 5})
    refused(lambda: published.read(path, steps=6), path, r"--steps 6 contradicts .*pt, which has 5 time steps")
    refused(
        lambda: published.read(path, data="cifar100"), path, "has 10 classes, but cifar100 has 100: give --data cifar10"
    )
    checkpoint.save(tmp_path / "x.npz", ours())
    path = tmp_path / "ours.pt"
    published.write(path, checkpoint.load(tmp_path / "x.npz"))
    refused(lambda: published.read(path, data="cifar10"), path, "records the data set it was trained on: omit --data")


UNKNOWN = {
    "rate coding": (dict(coding="rate"), "has coding 'rate', but the authors' model supports only 'direct'"),
    "output spikes": (dict(readout="spikes"), "has readout 'spikes', but the authors' model supports only 'membrane'"),
    "delayed reset": (
        dict(neuron=NeuronOptions("delayed")),
        "has reset 'delayed', but the authors' model supports only 'immediate'",
    ),
    "initial membrane": (
        dict(neuron=NeuronOptions(initial=0.5)),
        "has initial 0.5, but the authors' model supports only 0.0",
    ),
    "soft spikes": (dict(neuron=NeuronOptions(soft=True)), "has soft True, but the authors' model supports only False"),
}


@pytest.mark.parametrize(("options", "match"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_snn_that_their_model_cannot_express_is_refused(tmp_path, options, match):
    checkpoint.save(tmp_path / "x.npz", ours(**options))
    path = tmp_path / "x.npz"
    refused(lambda: published.write(tmp_path / "x.pt", checkpoint.load(path)), path, match)
    assert os.listdir(tmp_path) == ["x.npz"]


# ---------------------------------------------------------------- the commands


def test_what_is_imported_is_attacked_analysed_and_exported(save, tmp_path, capsys):
    state, data = Theirs().state_dict(), write_cifar10(tmp_path / "cifar")
    path = save({"state_dict": state, "timesteps": STEPS})
    code, text = command("import", path)
    assert (code, text) == (
        0,
        f"{tmp_path}/model.npz: an SNN of 5 time steps, vgg5 with width 0.03125, for 10 classes\n",
    )
    flags = ("--data-dir", data, "--backend", "reference", "--quiet", "--test-limit", 4)
    for name in ("attack", "analyze"):
        assert command(name, tmp_path / "model.npz", *flags)[0] == 0, capsys.readouterr().err
    assert command("export", tmp_path / "model.npz", "--out", tmp_path / "again.pt")[0] == 0
    again = torch.load(tmp_path / "again.pt", weights_only=True)["state_dict"]
    assert again.keys() == state.keys() and all(torch.equal(again[key], state[key]) for key in state)


def sentence(capsys, *arguments):
    """The error message of a command that must fail."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("minihire: ") and error.count("\n") == 1
    return error


def test_no_command_writes_over_a_file(save, tmp_path, capsys):
    path = save(Theirs().state_dict())
    assert command("import", path)[0] == 0
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert f"{tmp_path}/model.npz exists: choose another --out" in sentence(capsys, "import", path)
    assert f"{path} exists: choose another --out" in sentence(capsys, "export", tmp_path / "model.npz")
    assert "exists" in sentence(capsys, "import", path, "--out", tmp_path / "model.npz")
    assert "cannot write" in sentence(capsys, "import", path, "--out", path / "x.npz")
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_a_file_that_appeared_while_a_network_was_exported_or_imported_is_kept(save, tmp_path, monkeypatch, capsys):
    path = save(Theirs().state_dict())
    assert command("import", path)[0] == 0
    monkeypatch.setattr("minihire.app.outputs.require_absent", lambda path: path)  # it looked before the file was there
    for arguments in (
        ["import", path],
        *(["export", tmp_path / "model.npz", "--to", form] for form in ("pt", "nir", "onnx")),
    ):
        out = tmp_path / f"out.{arguments[-1] if len(arguments) > 2 else 'npz'}"
        out.write_text("mine")
        said = sentence(capsys, *arguments, "--out", out)
        kept = out.with_stem("out-2")
        assert f"{out} exists by now, so the output was written to {kept}: rename that file, or delete it" in said
        assert out.read_text() == "mine" and kept.stat().st_size > 1000


def test_wrong_flags_are_one_sentence(save, tmp_path, capsys):
    path = save(Theirs().state_dict())
    assert "invalid choice: 'mnist'" in sentence(capsys, "import", path, "--data", "mnist")
    assert "--steps must be in 1 … 10000, not 0" in sentence(capsys, "import", path, "--steps", 0)
    assert "there is no checkpoint" in sentence(capsys, "export", tmp_path / "none.npz")
    assert "is not a minihire checkpoint" in sentence(capsys, "export", path)


def test_resnets_are_not_exported(tmp_path, capsys):
    k = get_backend("reference")
    model = build("resnet12", 10, (16, 16, 3), width=1 / 64)
    checkpoint.save(tmp_path / "x.npz", Network(model, k, initialise(model, k, 0)))
    assert "does not support resnet12, only vgg5, vgg9, vgg11, vgg13, vgg16: give --to nir or --to onnx" in sentence(
        capsys, "export", tmp_path / "x.npz"
    )


def test_only_files_of_torch_need_torch(save, tmp_path, monkeypatch, capsys):
    (tmp_path / "legacy").mkdir()
    torch.save(Theirs().state_dict(), tmp_path / "legacy" / "x.pt", _use_new_zipfile_serialization=False)
    files = [save(Theirs().state_dict()), tmp_path / "legacy" / "x.pt"]
    checkpoint.save(tmp_path / "x.npz", ours())
    np.savez(tmp_path / "images.npz", images=np.zeros(3))
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    monkeypatch.setitem(sys.modules, "torch", None)
    for name, says in (
        ("none.pt", "there is no file {path}: give a .pt file of torch.save, or a .nir file"),
        ("legacy", "{path} is a folder: give a .pt file of torch.save, or a .nir file"),
        ("x.npz", "{path} is a checkpoint of minihire already: give it to the other commands as it is"),
        ("images.npz", "{path} is not a file that torch.save wrote, or it is damaged: "),
        ("photo.png", "{path} is not a file that torch.save wrote, or it is damaged: import reads .pt files"),
    ):
        assert f"minihire: {says.format(path=tmp_path / name)}" in sentence(capsys, "import", tmp_path / name)
    for path in files:
        assert "a .pt file needs the package torch" in sentence(capsys, "import", path)

    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("minihire.interop.published.open_regular", denied)
    assert f"cannot read {files[0]}: Permission denied; give a .pt file" in sentence(capsys, "import", files[0])


def test_without_torch_it_is_one_sentence(save, tmp_path, monkeypatch, capsys):
    path = save(Theirs().state_dict())
    checkpoint.save(tmp_path / "x.npz", replace(ours(), steps=2))
    monkeypatch.setitem(sys.modules, "torch", None)
    for arguments in (("import", path), ("export", tmp_path / "x.npz")):
        assert "a .pt file needs the package torch: pip install torch" in sentence(capsys, *arguments)
