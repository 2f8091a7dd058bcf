"""Checkpoints are loaded as they were saved, never half written, and any other file is refused in one sentence."""

import io
import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from backends.surrogates import Surrogate, arctan
from minihire.attacks import pgd
from minihire.engine.lif import NeuronOptions
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import FileError, write_atomically
from minihire.training import Adversarial, CraftedNoise, Recipe, checkpoint, train
from minihire.training.checkpoint import FORMAT, CheckpointError, load, save
from minihire.training.optimisers import Schedule

NETWORKS = {
    "ann": dict(spiking=False),
    "snn": dict(time_chunk=2, steps=5),
    "resnet": dict(name="resnet12", coding="rate"),
    "spikes": dict(readout="spikes", neuron=NeuronOptions("delayed", arctan(3.0), True)),
}


@pytest.fixture
def written(network, tmp_path):
    """The path of an SNN's checkpoint."""
    path = tmp_path / "snn.npz"
    save(path, network(get_backend("reference")), extra={"about": {"note": "κ"}})
    return path


def edit(path, arrays=None, **meta):
    """Rewrite a checkpoint with some entries of its metadata or some arrays changed; None leaves an entry out."""
    with np.load(path) as archive:
        entries = {**{name: archive[name] for name in archive.files}, **(arrays or {})}
    entries["meta"] = np.frombuffer(json.dumps({**json.loads(bytes(entries["meta"])), **meta}).encode(), np.uint8)
    np.savez(path, **{name: a for name, a in entries.items() if a is not None})


def refused(path, match=None):
    """Loading and building must fail with one sentence that names the file."""
    with pytest.raises(CheckpointError, match=match) as caught:
        load(path).network(get_backend("reference"))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_a_saved_network_is_loaded_unchanged(k, network, digest, tmp_path, options):
    net = network(k, **options)
    save(tmp_path / "x.npz", net)
    again = load(tmp_path / "x.npz").network(k)
    for name in ("model", "spiking", "steps", "coding", "readout", "time_chunk", "neuron"):
        assert getattr(again, name) == getattr(net, name), name
    assert list(again.parameters) == list(net.parameters) and digest(again.parameters) == digest(net.parameters)


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_a_loaded_network_gives_the_same_logits(network, tmp_path, options):
    k = get_backend("reference")
    net, images = network(k, **options), np.random.default_rng(0).random((3, 8, 8, 3)).astype(np.float32)
    save(tmp_path / "x.npz", net)
    assert np.array_equal(
        load(tmp_path / "x.npz").network(k).forward(images, draws=Draws(4)), net.forward(images, draws=Draws(4))
    )


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_training_with_settings_of_numpy_writes_a_checkpoint(network, data, tmp_path, adversarial):
    """As in a search over np.linspace(…): JSON has no numbers of NumPy."""
    half, yes = np.float32(0.5), np.True_
    curve = Surrogate("arctan", half, np.float64(2))
    neuron = NeuronOptions(surrogate=curve, reset_grad=yes, initial=half)
    start = lambda: replace(network(get_backend("reference"), steps=np.int64(2)), spiking=yes, neuron=neuron)
    attack = pgd(half, half, np.int64(1), random_start=yes, surrogate=curve)
    noise = Adversarial(attack) if adversarial else CraftedNoise(half, half, carried=yes, surrogate=curve)
    settings = dict(augment=yes, freeze=yes, carry_membranes=yes, clip_noise=yes, craft_after_update=np.False_)
    schedule = Schedule(milestones=np.array([0.5], np.float32), factor=half)
    recipe = Recipe(np.int64(1), np.int64(20), "sgd", half, schedule, half, half, noise=noise, **settings)
    train(start(), recipe, data, seed=np.int64(3), path=tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").network(get_backend("reference")).neuron == neuron
    train(start(), recipe, data, seed=3, path=tmp_path / "x.npz", resume=True)


def test_a_network_is_loaded_without_the_state_of_its_training(network, digest, tmp_path):
    k = get_backend("reference")
    net = network(k)
    save(tmp_path / "x.npz", net, arrays={"optimiser/mean/conv1.weight": k.zeros((3, 4)), "kappa": k.zeros((2, 2))})
    assert {"optimiser/mean/conv1.weight", "kappa"} < load(tmp_path / "x.npz").arrays.keys()
    alone = load(tmp_path / "x.npz", training=False)
    assert alone.arrays.keys() == {f"parameter/{name}" for name in net.parameters}
    assert digest(alone.network(k).parameters) == digest(net.parameters)


def test_a_checkpoint_of_one_backend_is_read_by_another(network, digest, tmp_path):
    net = network(get_backend("numba", threads=1))
    save(tmp_path / "x.npz", net)
    assert digest(load(tmp_path / "x.npz").network(get_backend("reference")).parameters) == digest(net.parameters)


def test_the_meta_data_name_versions_and_settings(written):
    meta = load(written).meta
    assert (meta["format"], meta["backend"], meta["dtype"], meta["about"]) == (
        FORMAT,
        "reference",
        "float32",
        {"note": "κ"},
    )
    assert meta["minihire"] and meta["numpy"] == np.__version__


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(1)],
    ids=lambda e: type(e).__name__,
)
def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(written, error):
    before = written.read_bytes()

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(FileError if isinstance(error, OSError) else type(error)):
        write_atomically(written, fail)
    assert written.read_bytes() == before and os.listdir(written.parent) == [written.name]


def test_a_full_disk_is_one_sentence(tmp_path, network, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(FileError, match=r"cannot write .*x\.npz: No space left on device; choose another place"):
        save(tmp_path / "x.npz", network(get_backend("reference")))
    assert os.listdir(tmp_path) == []


def test_a_path_below_a_file_is_refused(tmp_path, network):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        save(tmp_path / "file" / "x.npz", network(get_backend("reference")))


def test_missing_folders_are_made(tmp_path, network):
    save(tmp_path / "a" / "b" / "x.npz", network(get_backend("reference")))
    assert load(tmp_path / "a" / "b" / "x.npz")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_checkpoint_has_the_usual_permissions(written):
    (plain := written.parent / "plain").touch()
    assert written.stat().st_mode == plain.stat().st_mode


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


def test_a_pickle_is_refused_and_not_run(written, tmp_path):
    mark = tmp_path / "mark"
    edit(written, {"parameter/readout.weight": np.array([Bomb(str(mark))], object)})
    refused(written, "not a minihire checkpoint")
    written.write_bytes(pickle.dumps(Bomb(str(mark))))
    refused(written, "not a minihire checkpoint")
    assert not mark.exists()


@pytest.mark.parametrize("tenth", range(10))
def test_a_truncated_checkpoint_is_refused(written, tenth):
    content = written.read_bytes()
    written.write_bytes(content[: len(content) * tenth // 10])
    refused(written)


def test_any_flipped_byte_is_harmless_or_refused(written, digest):
    content = written.read_bytes()
    expected = load(written)
    for position in np.random.default_rng(0).integers(0, len(content), 400):
        written.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            found = load(written)
        except CheckpointError:
            continue
        assert digest(found.arrays) == digest(expected.arrays) and found.meta == expected.meta


def foreign(kind):
    """The bytes of files that are not checkpoints."""
    file = io.BytesIO()
    if kind == "npz":
        np.savez(file, x=np.arange(3))
    elif kind == "npy":
        np.save(file, np.arange(3))
    elif kind == "compressed":
        np.savez_compressed(file, meta=np.arange(9000) % 251)
        file.getbuffer()[100:130] = bytes([255]) * 30
    elif kind == "meta is a list":
        np.savez(file, meta=np.frombuffer(b"[1, 2]", np.uint8))
    elif kind == "meta is not JSON":
        np.savez(file, meta=np.frombuffer(b"{", np.uint8))
    elif kind == "nothing in meta":
        np.savez(file, meta=np.frombuffer(b'{"format": 1}', np.uint8))
    return {"text": b"hello", "empty": b"", "zeros": bytes(1000)}.get(kind, file.getvalue())


@pytest.mark.parametrize(
    "kind",
    ["npz", "npy", "compressed", "meta is a list", "meta is not JSON", "nothing in meta", "text", "empty", "zeros"],
)
def test_foreign_files_are_refused(tmp_path, kind):
    (tmp_path / "x.npz").write_bytes(foreign(kind))
    refused(tmp_path / "x.npz")


def test_compressed_metadata_that_would_take_gigabytes_are_not_parsed(written, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_META_BYTES", 100_000)
    with np.load(written) as archive:
        entries = dict(archive)
    entries["meta"] = np.frombuffer(bytes(entries["meta"])[:-1] + b', "x": [' + b"{}," * 200_000 + b"0]}", np.uint8)
    np.savez(written, **entries)
    assert len(load(written).meta["x"]) == 200_001  # `save` does not compress them, so the file is as large
    np.savez_compressed(written, **entries)
    refused(written, "its metadata have 6[0-9,]* bytes, but the file has")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.nir", "`minihire import` makes"),
        ("x.PT", "`minihire import` makes"),
        ("x.onnx", "not read"),
        ("x.zip", "unpack it"),
    ],
)
def test_files_of_other_formats_get_advice(tmp_path, name, says):
    (tmp_path / name).write_bytes(b"of another program")
    with pytest.raises(CheckpointError, match=says):
        load(tmp_path / name)


def test_missing_files_and_folders_are_refused(tmp_path):
    refused(tmp_path / "none.npz", "there is no checkpoint")
    refused(tmp_path, "cannot read")


def test_a_newer_format_is_refused(written):
    edit(written, format=FORMAT + 1)
    refused(written, f"has checkpoint format {FORMAT + 1}, this version reads up to {FORMAT}: update minihire")


WRONG = {
    "half steps": lambda meta: dict(network={**meta["network"], "steps": 4.0}),
    "a time chunk of one and a half": lambda meta: dict(network={**meta["network"], "time_chunk": 1.5}),
    "spiking in words": lambda meta: dict(network={**meta["network"], "spiking": "yes"}),
    "a surrogate of text": lambda meta: dict(
        network={**meta["network"], "neuron": {**meta["network"]["neuron"], "surrogate": ["triangle", "wide"]}}
    ),
    "a width of infinity": lambda meta: dict(model={**meta["model"], "width": 1e400}),
    "many classes": lambda meta: dict(model={**meta["model"], "classes": 10**30}),
    "another width": lambda meta: dict(model={**meta["model"], "width": 1 / 8}),
    "another name": lambda meta: dict(model={**meta["model"], "name": "resnet12"}),
    "an unknown name": lambda meta: dict(model={**meta["model"], "name": "vgg6"}),
    "other classes": lambda meta: dict(model={**meta["model"], "classes": 5}),
    "no model": lambda meta: dict(model=None),
    "an unknown coding": lambda meta: dict(network={**meta["network"], "coding": "morse"}),
    "an unknown reset": lambda meta: dict(
        network={**meta["network"], "neuron": {**meta["network"]["neuron"], "reset": "never"}}
    ),
    "no time steps": lambda meta: dict(network={**meta["network"], "steps": 0}),
    "text for time steps": lambda meta: dict(network={**meta["network"], "steps": "six"}),
    "no neuron": lambda meta: dict(network={k: v for k, v in meta["network"].items() if k != "neuron"}),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_weights_and_description_must_fit(written, change):
    edit(written, **change(load(written).meta))
    refused(written, "does not describe a network of this version")


def test_a_missing_or_extra_weight_is_named(written):
    edit(written, {"parameter/conv2.weight": None})
    refused(written, "conv2.weight")
    edit(
        written,
        {
            "parameter/conv2.weight": np.zeros((3, 3, 2, 4), np.float32),
            "parameter/conv9.weight": np.zeros(1, np.float32),
        },
    )
    refused(written, "conv9.weight")


@pytest.mark.parametrize("missing", ["kappa", "optimiser/mean/conv1.weight"])
def test_a_training_with_something_missing_is_refused(network, data, tmp_path, missing):
    recipe, path = Recipe(1, 16, periods=2, noise=CraftedNoise(0.02, 0.02)), tmp_path / "x.npz"
    train(network(get_backend("reference")), recipe, data, path=path)
    edit(path, {missing: None})
    with pytest.raises(MinihireError, match="x.npz"):
        train(network(get_backend("reference")), recipe, data, path=path, resume=True)


def test_networks_on_loaded_weights_do_not_share_them(written):
    saved, k = load(written), get_backend("reference")
    first, second = saved.network(k), saved.network(k)
    first.parameters["readout.weight"][...] = 0
    assert second.parameters["readout.weight"].any()


def test_replacing_steps_keeps_the_weights(written, digest):
    net = load(written).network(get_backend("reference"))
    assert isinstance(replace(net, steps=9), Network) and digest(replace(net, steps=9).parameters) == digest(
        net.parameters
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, network, value):
    net = network(get_backend("reference"))
    net.parameters["conv1.weight"][0, 0, 0, 0] = value
    save(tmp_path / "x.npz", net)
    with pytest.raises(CheckpointError, match="conv1.weight has values that are not finite"):
        load(tmp_path / "x.npz").network(get_backend("reference"))


def test_only_networks_are_saved(tmp_path):
    with pytest.raises(CheckpointError, match="a checkpoint contains a Network, not dict: from_torch makes one"):
        save(tmp_path / "x.npz", {})
