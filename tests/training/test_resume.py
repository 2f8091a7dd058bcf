"""A training that is stopped anywhere and resumed is bit-identical to an unbroken one, on any number of threads."""

import os
import signal
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from backends import get_backend
from backends.surrogates import arctan
from minihire.attacks import Attack
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted, StopSignal
from minihire.training import Adversarial, CraftedNoise, GaussianNoise, Recipe, loop, train, training_attack
from minihire.training.checkpoint import CheckpointError, load
from minihire.training.noise import NoiseRule
from minihire.training.optimisers import Schedule

ROOT = Path(__file__).parents[2]
ONE_CYCLE = Schedule("one-cycle")
RECIPES = {
    "ann": Recipe(3, 16, "sgd", 0.02, ONE_CYCLE, weight_decay=5e-4),
    "traditional": Recipe(3, 16, "adam", 0.01),
    "hire": Recipe(3, 16, "amsgrad", 0.01, ONE_CYCLE, periods=2, noise=CraftedNoise(0.02, 0.03)),
    "moments in 16 bits": Recipe(3, 16, "adam16", 0.01, periods=2, noise=CraftedNoise(0.02, 0.03)),
    "gaussian": Recipe(3, 16, "adam", 0.01, periods=2, noise=GaussianNoise(0.05)),
    "rate": Recipe(3, 16, "adam", 0.01, periods=2, noise=CraftedNoise(0.02, 0.03), carry_membranes=True),
    "adversarial": Recipe(3, 16, "adam", 0.01, noise=Adversarial(training_attack(0.05, 2))),
    "adversarial-ann": Recipe(3, 16, "sgd", 0.02, noise=Adversarial(training_attack(0.05, 1))),
    "two steps of κ": Recipe(
        *(3, 16, "adam", 0.01),
        periods=2,
        noise=CraftedNoise(0.02, 0.03, iterations=2, surrogate=arctan(2.0)),
        period_steps=(1, 3),
    ),
}


@pytest.fixture
def start(network, data, make_data):
    """start(kind, k, path) trains or resumes from the checkpoint; each of the 3 epochs has batches of 16, 16 and 8 images."""

    def make(kind, k, path):
        net = network(k, spiking=kind not in ("ann", "adversarial-ann"), coding="rate" if kind == "rate" else "direct")
        return train(net, RECIPES[kind], data, heldout=make_data(8, seed=5), path=path, resume=True)

    return make


@pytest.fixture
def everything(digest):
    """Parameters, optimiser state, κ, history and warnings of a finished training."""

    def collect(training):
        slots = {f"{slot}/{name}": a for slot, group in training.optimiser.slots.items() for name, a in group.items()}
        kappa = {} if training.kappa is None else {"kappa": training.kappa}
        return (
            digest({**training.network.parameters, **slots, **kappa}),
            training.optimiser.steps,
            training.history,
            training.warnings,
        )

    return collect


@pytest.mark.parametrize(
    ("epoch_seconds", "write_seconds"),
    [(300.0, 5.0), (60.0, 5.0), (5.0, 0.6), (1.0, 0.01)],
    ids=["full VGG5", "full VGG5, few images", "quarter width", "small"],
)
def test_checkpoints_take_less_than_2_percent_of_the_time(
    network, data, tmp_path, monkeypatch, epoch_seconds, write_seconds
):
    now, writes = [0.0], []

    def write(training):
        now[0] += write_seconds
        writes.append(training.epoch)

    def pass_time(training):
        now[0] += epoch_seconds

    monkeypatch.setattr("minihire.training.loop.perf_counter", lambda: now[0])
    monkeypatch.setattr("minihire.training.loop.save", write)
    k, epochs = get_backend("numba", threads=1), 100
    ann = network(k, spiking=False)
    train(ann, Recipe(epochs, 40, "sgd", 0.001), data, path=tmp_path / "x.npz", callbacks=[pass_time])
    assert writes[0] == 1 and writes[-1] == epochs and len(writes) > 2
    assert (len(writes) - 1) * write_seconds <= 0.02 * now[0]
    assert (writes[2] - writes[1]) * epoch_seconds <= max(epoch_seconds, 50 * write_seconds + epoch_seconds)


def test_no_array_of_a_checkpoint_is_in_memory_after_it_was_restored(start, tmp_path, monkeypatch):
    k, read, restore = get_backend("numba", threads=1), [], loop.restore
    trained = start("hire", k, tmp_path / "x.npz")

    def restore_and_note(training, saved):
        read.extend(weakref.ref(array) for array in saved.arrays.values())
        restore(training, saved)
        assert not saved.arrays

    monkeypatch.setattr(loop, "restore", restore_and_note)
    again = start("hire", k, tmp_path / "x.npz")
    assert len(read) == len(trained.network.parameters) + 3 * len(trained.optimiser.names) + 1  # amsgrad, and κ
    assert all(reference() is None for reference in read) and again.history == trained.history


SLOW_STOPS = [pytest.param(stops, marks=pytest.mark.slow) for stops in ([3], [5, 1], [8])]


@pytest.mark.parametrize("stops", [[1], *SLOW_STOPS], ids=str)
@pytest.mark.parametrize("kind", RECIPES)
def test_a_resumed_training_is_bit_identical_to_an_unbroken_one(
    k, start, everything, press_ctrl_c, tmp_path, kind, stops
):
    unbroken = everything(start(kind, k, tmp_path / "unbroken.npz"))
    for stop in stops:
        press_ctrl_c(stop)
        with pytest.raises(Interrupted, match="resume=True resumes it"):
            start(kind, k, tmp_path / "stopped.npz")
    assert everything(start(kind, k, tmp_path / "stopped.npz")) == unbroken
    saved = [
        {n: a.tobytes() for n, a in load(tmp_path / f"{name}.npz").arrays.items()} for name in ("unbroken", "stopped")
    ]
    assert saved[0] == saved[1]


def test_the_message_of_a_stop_names_epoch_batch_and_file(start, press_ctrl_c, tmp_path):
    press_ctrl_c(5)
    with pytest.raises(Interrupted, match=r"stopped training in epoch 2 after batch 2; saved in .*stopped.npz"):
        start("hire", get_backend("reference"), tmp_path / "stopped.npz")


def test_without_a_path_the_message_says_that_nothing_was_saved(network, data, press_ctrl_c):
    press_ctrl_c(1)
    with pytest.raises(Interrupted, match="nothing was saved"):
        train(network(get_backend("reference")), RECIPES["hire"], data)


@pytest.mark.parametrize("kind", ["ann", "hire"])
def test_a_killed_training_resumes_from_its_last_epoch(k, start, everything, before_update, tmp_path, kind):
    unbroken = everything(start(kind, k, tmp_path / "unbroken.npz"))

    def kill(network):
        raise SystemExit

    before_update(6 if kind == "ann" else 11, kill)  # in the third batch of the second epoch; HIRE's have two periods
    with pytest.raises(SystemExit):
        start(kind, k, tmp_path / "killed.npz")
    assert load(tmp_path / "killed.npz").meta["training"]["position"]["epoch"] == 1
    assert everything(start(kind, k, tmp_path / "killed.npz")) == unbroken


def test_slow_checkpoints_are_written_rarely_but_always_at_the_end(network, data, monkeypatch, after_batches, tmp_path):
    """A clock on which a checkpoint takes 2 s and an epoch 19.5 s: saving every sixth epoch takes less than 2 % of the time."""
    now, epochs = [100.0], []

    def saving(training):
        now[0] += 2
        epochs.append(training.epoch)

    monkeypatch.setattr("minihire.training.loop.save", saving)
    monkeypatch.setattr("minihire.training.loop.perf_counter", lambda: now[0])
    after_batches(lambda: now.append(now.pop() + 6.5))  # three in an epoch
    train(network(get_backend("numba", threads=1)), Recipe(epochs=15, batch_size=16), data, path=tmp_path / "x.npz")
    assert epochs == [1, 7, 13, 15]


def test_resuming_a_finished_training_changes_nothing(start, everything, monkeypatch, tmp_path):
    k, path = get_backend("reference"), tmp_path / "hire.npz"
    done = everything(start("hire", k, path))
    before = path.read_bytes()
    monkeypatch.setattr(Network, "gradients", None)
    assert everything(start("hire", k, path)) == done and path.read_bytes() == before


class Shift(NoiseRule):
    """A rule that is no dataclass: its setting is an attribute."""

    def __init__(self, shift):
        object.__setattr__(self, "shift", shift)


class Darker(Attack):
    """An attack with an attribute that is no field."""

    def __init__(self, factor):
        super().__init__("darker", 1.0, 0.0, 1)
        object.__setattr__(self, "factor", factor)

    def attacker(self, network):
        return lambda images, labels, draws: images * np.float32(self.factor)


OTHERS = {
    "recipe": dict(recipe=replace(RECIPES["hire"], learning_rate=0.02)),
    "noise": dict(recipe=replace(RECIPES["hire"], noise=CraftedNoise(0.02, 0.04))),
    "steps of κ": dict(recipe=replace(RECIPES["hire"], noise=CraftedNoise(0.02, 0.03, iterations=2))),
    "noise rule": dict(recipe=replace(RECIPES["hire"], noise=RECIPES["adversarial"].noise)),
    "attribute of a rule": dict(recipe=replace(RECIPES["hire"], noise=Shift(0.5))),
    "period steps": dict(recipe=replace(RECIPES["hire"], period_steps=(3, 1))),
    "seed": dict(seed=1),
    "images": dict(count=32),
    "model": dict(width=1 / 16),
    "time steps": dict(steps=6),
    "coding": dict(coding="rate"),
    "reset": dict(reset="delayed"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_different_settings_is_refused(network, make_data, tmp_path, other):
    def start(recipe=RECIPES["hire"], seed=0, count=40, reset="immediate", **options):
        net = network(get_backend("reference"), **options)
        net.neuron = replace(net.neuron, reset=reset)
        return train(net, recipe, make_data(count), seed=seed, path=tmp_path / "x.npz", resume=True)

    start()
    before = (tmp_path / "x.npz").read_bytes()
    with pytest.raises(
        CheckpointError,
        match="trained with other .*: resume with the same (settings|ones, delete it to train again), or choose another path",
    ):
        start(**OTHERS[other])
    assert (tmp_path / "x.npz").read_bytes() == before


def test_an_attribute_of_an_own_rule_counts_when_the_training_resumes(network, data, tmp_path):
    net, path = network(get_backend("reference")), tmp_path / "x.npz"
    rule = Shift(np.float32(0.1))
    first = train(net.copy(), replace(RECIPES["hire"], noise=rule), data, path=path)
    object.__setattr__(rule, "shift", 0.9)  # a rule may change while it trains; its start counts
    assert train(
        net.copy(), replace(RECIPES["hire"], noise=Shift(np.float32(0.1))), data, path=path, resume=True
    ).history == (first.history)
    with pytest.raises(CheckpointError, match="trained with other settings"):
        train(net.copy(), replace(RECIPES["hire"], noise=rule), data, path=path, resume=True)


def test_an_attribute_of_an_own_attack_counts_when_adversarial_training_resumes(network, data, tmp_path):
    net, path = network(get_backend("reference")), tmp_path / "x.npz"
    recipes = [replace(RECIPES["adversarial"], noise=Adversarial(Darker(factor))) for factor in (0.5, 0.5, 0.9)]
    history = train(net.copy(), recipes[0], data, path=path).history
    assert train(net.copy(), recipes[1], data, path=path, resume=True).history == history
    with pytest.raises(CheckpointError, match="trained with other settings"):
        train(net.copy(), recipes[2], data, path=path, resume=True)


def test_a_rule_with_an_attribute_that_cannot_be_copied_trains_without_a_checkpoint(network, data):
    recipe = replace(RECIPES["traditional"], noise=Shift(Lock()))
    assert len(train(network(get_backend("reference")), recipe, data).history) == 3


UNRECORDABLE = {
    "the recipe": dict(recipe=replace(RECIPES["hire"], noise=Shift(print))),
    "`about`": dict(about={"weights": np.ones(3)}),
}


@pytest.mark.parametrize("what", UNRECORDABLE)
def test_what_a_checkpoint_cannot_contain_is_refused_before_the_training(network, data, tmp_path, monkeypatch, what):
    monkeypatch.setattr(Network, "gradients", None)
    options = {"recipe": RECIPES["hire"], **UNRECORDABLE[what]}
    with pytest.raises(
        MinihireError, match=rf"^{what} cannot be written to a file \(\w+ is not JSON\): use numbers, text"
    ):
        train(network(get_backend("reference")), data=data, path=tmp_path / "x.npz", **options)


def test_numbers_of_numpy_that_a_callback_records_are_saved(network, data, tmp_path):
    def measure(training):
        training.history[-1] |= {"norm": np.float32(0.5), "nan": np.nan}

    net, path = network(get_backend("reference")), tmp_path / "x.npz"
    history = train(net, RECIPES["traditional"], data, path=path, callbacks=[measure]).history
    assert [(row["norm"], row["nan"]) for row in history] == [(0.5, None)] * 3 and load(path).meta["training"][
        "history"
    ] == history


def test_a_checkpoint_of_different_initial_weights_is_refused(network, data, tmp_path):
    """A checkpoint resumes only the training of the network that it started from."""
    net = network(get_backend("reference"))
    train(net, RECIPES["hire"], data, path=tmp_path / "x.npz")
    with pytest.raises(CheckpointError, match="trained with other images or starting weights"):
        train(net, RECIPES["hire"], data, path=tmp_path / "x.npz", resume=True)  # the trained one, not the start


@pytest.mark.parametrize("entry", ["optimiser/mean/conv1.weight", "kappa"])
def test_a_checkpoint_with_an_array_of_another_shape_is_refused(network, data, tmp_path, entry):
    """Compiled kernels do not check bounds."""
    path = tmp_path / "x.npz"
    train(network(get_backend("numba", threads=1)), RECIPES["hire"], data, path=path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, entry: np.zeros(1, np.float32)})
    with pytest.raises(CheckpointError, match=f"{entry} is float32"):
        train(network(get_backend("numba", threads=1)), RECIPES["hire"], data, path=path, resume=True)


@pytest.mark.parametrize("kind", ["u1", "<u4", "<i2", "<f4"])
def test_moments_of_another_type_are_refused(network, data, tmp_path, kind):
    """Moments of another type would be read as numbers instead of codes."""
    path, entry = tmp_path / "x.npz", "optimiser/square/conv1.weight"
    start = lambda: train(
        network(get_backend("reference")), RECIPES["moments in 16 bits"], data, path=path, resume=True
    )
    start()
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, entry: arrays[entry].astype(kind)})
    with pytest.raises(CheckpointError, match=f"{entry} is {np.dtype(kind)}"):
        start()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "numba", "torch"])
def test_a_checkpoint_of_the_other_byte_order_resumes(network, data, press_ctrl_c, tmp_path, digest, name):
    pytest.importorskip(name) if name != "reference" else None
    start = lambda path: train(network(get_backend(name)), RECIPES["moments in 16 bits"], data, path=path, resume=True)
    unbroken = start(tmp_path / "unbroken.npz")
    press_ctrl_c(4)
    with pytest.raises(Interrupted):
        start(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as archive:
        arrays = {key: a if a.dtype == np.uint8 else a.astype(a.dtype.newbyteorder("S")) for key, a in archive.items()}
    np.savez(tmp_path / "x.npz", **arrays)
    assert digest(start(tmp_path / "x.npz").network.parameters) == digest(unbroken.network.parameters)


def test_a_checkpoint_without_a_training_is_refused(network, data, tmp_path):
    from minihire.training import checkpoint

    net = network(get_backend("reference"))
    checkpoint.save(tmp_path / "x.npz", net)
    with pytest.raises(CheckpointError, match="holds no training to resume"):
        train(net, RECIPES["hire"], data, path=tmp_path / "x.npz", resume=True)


def test_a_second_ctrl_c_stops_at_once(capsys):
    with pytest.raises(KeyboardInterrupt), StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested and "Ctrl-C again" in capsys.readouterr().out
        signal.raise_signal(signal.SIGINT)


def test_sigterm_stops_like_ctrl_c_and_handlers_are_restored():
    before = [signal.getsignal(number) for number in StopSignal.SIGNALS]
    with pytest.raises(Interrupted, match="stopped here"), StopSignal() as stop:
        stop.check("too early")
        signal.raise_signal(signal.SIGTERM)
        stop.check("here")
    assert [signal.getsignal(number) for number in StopSignal.SIGNALS] == before


THREADS = """
import hashlib, sys
import numpy as np
from backends import get_backend
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.training import CraftedNoise, Recipe, train

rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8), np.arange(24) % 4
data = Dataset("tiny", images, labels, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)
model = build("vgg5", 4, (16, 16, 3), width=1 / 8, hidden=16)
recipe = Recipe(2, 16, learning_rate=0.01, periods=2, noise=CraftedNoise(0.02, 0.02))
for threads in (1, 2, 4):
    k = get_backend("numba", threads=threads)
    parameters = {n: a * 0.5 if n.endswith("threshold") else a for n, a in initialise(model, k, 1, True).items()}
    net = Network(model, k, parameters, spiking=True, steps=4)
    train(net, recipe, data, path=sys.argv[1] + str(threads))
    print(hashlib.sha256(b"".join(net.parameters[n].tobytes() for n in sorted(net.parameters))).hexdigest())
"""


@pytest.mark.slow
def test_training_does_not_depend_on_the_number_of_threads(tmp_path):
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", THREADS, str(tmp_path / "x")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    found = [line for line in done.stdout.splitlines() if len(line) == 64]
    assert done.returncode == 0, done.stderr
    assert len(found) == 3 and len(set(found)) == 1


def test_a_damaged_checkpoint_says_how_to_resume(network, data, tmp_path):
    path = tmp_path / "x.npz"
    train(network(get_backend("reference")), Recipe(1, 16), data, path=path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        CheckpointError, match=r"x\.npz is not a minihire checkpoint.*delete the damaged checkpoint and resume"
    ):
        train(network(get_backend("reference")), Recipe(1, 16), data, path=path, resume=True)
