"""Recorded periods and attack steps: on a GPU real CUDA graphs; on a CPU a rehearsal, in which a replay runs the function again.

The rehearsal keeps what makes graphs treacherous: arguments at fixed places, numbers as tensors, results at fixed places
that the next call overwrites, and no look at a value while it runs.
"""

import contextlib
import gc
from types import SimpleNamespace

import numpy as np
import pytest

from backends import BackendError, get_backend
from backends.randomness import Draw, Draws
from backends.surrogates import arctan
from benchmarks.own import Minihire
from minihire.attacks import attack_accuracy, pgd
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.random_streams import Stream
from minihire.training import Adversarial, CraftedNoise, GaussianNoise, NoNoise, Recipe, training_attack
from minihire.training.loop import Training

torch = pytest.importorskip("torch")
from torch.utils import _pytree as trees  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from backends.torch_any import graphs, lif, updates  # noqa: E402

MODEL = build("vgg5", image_shape=(16, 16, 3), width=0.125, hidden=32)
HIRE = dict(periods=2, noise=CraftedNoise(0.02, 0.03))
READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


class NobodyLooks(TorchDispatchMode):
    """Fails where a value is read, or made of the host's numbers; but not in the plain scan, which no graph records."""

    allowed = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        assert self.allowed or name not in READS, f"{name} reads a value"
        assert self.allowed or name not in ("lift_fresh", "_pin_memory"), f"{name} sends a host's value"
        return function(*arguments, **(options or {}))


@pytest.fixture
def rehearsal(monkeypatch):
    """Recordings without a GPU; returns the list of functions recorded."""
    looks, recorded = NobodyLooks(), []
    for name in ("forward", "backward"):
        scan = getattr(lif, name)

        def allowed(*arguments, scan=scan):
            looks.allowed += 1
            try:
                return scan(*arguments)
            finally:
                looks.allowed -= 1

        monkeypatch.setattr(lif, name, allowed)

    def record(function, device):
        recorded.append(function)
        with looks:
            found = function()  # a CUDA graph would not run it here: undone by `replayed_once`
        results = trees.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, found)
        first = [True]

        def replay():
            if first.pop() if first else False:
                return
            with looks:
                again = function()
            for old, new in zip(trees.tree_leaves(results), trees.tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)

        return replay, results

    monkeypatch.setattr(graphs, "record", record)
    return recorded


@pytest.fixture
def recordings(monkeypatch):
    """The functions of which CUDA graphs were made."""
    recorded, record = [], graphs.record

    def counted(function, device):
        found = record(function, device)
        recorded.append(function)  # only where nothing was raised
        return found

    monkeypatch.setattr(graphs, "record", counted)
    return recorded


def backends(device, dtype="float64"):
    """The same device without and with recordings."""
    plain = get_backend("torch", device, dtype=dtype, record=False)
    recording = get_backend("torch", device, dtype=dtype)
    recording.services.records = True
    return plain, recording


def images(count):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 16, 16, 3), np.uint8)
    return Dataset("random", pixels, rng.integers(0, 10, count), tuple("0123456789"), MODEL.mean, MODEL.std)


def network(k, **settings):
    weights = initialise(MODEL, k, 1, spiking=True)
    weights |= {n: k.asarray([0.25 if "threshold" in n else 0.5]) for n in weights if not n.endswith("weight")}
    return Network(MODEL, k, weights, spiking=True, **{"steps": 4, **settings})


def train(k, **recipe):
    """Three epochs of five batches, the last one smaller: losses by epoch, weights and κ."""
    settings = dict(epochs=3, batch_size=8, learning_rate=1e-3)
    training = Training(network(k), Recipe(**{**settings, **recipe}), images(37), seed=3)
    history = training.run()
    arrays = {**training.network.parameters, "kappa": k.zeros((1,)) if training.kappa is None else training.kappa}
    return [row["loss"] for row in history], {name: k.to_numpy(array).copy() for name, array in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "recipe",
    [
        HIRE,
        dict(noise=NoNoise(), optimiser="amsgrad"),
        dict(periods=2, noise=GaussianNoise(0.02), optimiser="sgd", weight_decay=5e-4),
        dict(HIRE, carry_membranes=True),
        dict(HIRE, craft_after_update=True, freeze=True),
        dict(HIRE, optimiser="adam16"),
        dict(noise=Adversarial(training_attack(0.05, 2))),
        dict(periods=2, noise=CraftedNoise(0.02, 0.03, iterations=2, surrogate=arctan()), period_steps=(1, 3)),
    ],
    ids=[
        *("HIRE", "amsgrad", "gaussian, sgd", "carried membranes", "noise after the update", "adam16", "adversarial"),
        "two steps of κ, 1 + 3 time steps",
    ],
)
def test_recorded_training_gives_the_numbers_of_training_without_a_recording(request, device, recipe):
    """Draws, learning rates and Adam's corrections change from step to step, and must do so in a recording."""
    recorded = request.getfixturevalue("rehearsal" if device == "cpu" else "recordings")
    (losses, arrays), (again, recorded_arrays) = (train(k, **recipe) for k in backends(device))
    assert recorded, "nothing was recorded"
    exact = 1e-10 if device == "cpu" else 1e-8  # a GPU's fused optimisers read the learning rate as float32
    np.testing.assert_allclose(again, losses, rtol=0, atol=exact)
    for name, expected in arrays.items():
        np.testing.assert_allclose(recorded_arrays[name], expected, rtol=0, atol=1e-8, err_msg=name)
    assert len(set(losses)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_recorded_attacks_give_the_same_images(request, device):
    recorded = request.getfixturevalue("rehearsal" if device == "cpu" else "recordings")
    found = [attack_accuracy(n, images(20), pgd(0.1, 0.03, 5), batch_size=8) for n in map(network, backends(device))]
    assert np.array_equal(*found) and len(recorded) == 2  # batches of 8 and of 4


@pytest.mark.slow
def test_rate_coded_networks_are_attacked_without_a_recording(rehearsal):
    """Each image has draws of its own there, which depend on its place in the data."""
    found = [
        attack_accuracy(n, images(20), pgd(0.1, 0.03, 3), batch_size=4)
        for n in (network(k, coding="rate") for k in backends("cpu"))
    ]
    assert np.array_equal(*found) and not rehearsal


def test_each_set_of_shapes_and_of_missing_arguments_has_its_own_recording(rehearsal):
    k, calls = backends("cpu")[1], []

    def double(array, other, factor):
        calls.append(1)
        return array * factor if other is None else array * factor + other

    repeated, one = k.services.captured(double), k.asarray([1.0])
    for factor in (2.0, 3.0, 4.0, 5.0):
        assert repeated(one, None, factor).tolist() == [factor]
        assert repeated(one, one, factor).tolist() == [factor + 1]
        assert repeated(k.zeros((2,)), None, factor).tolist() == [0, 0]
    assert len(rehearsal) == 3


def test_a_captured_function_that_another_one_calls_is_part_of_its_recording(rehearsal):
    k = backends("cpu")[1]
    inner = k.services.captured(lambda array, factor: array * factor)
    outer = k.services.captured(lambda array, factor: inner(array, factor) + inner(array, 1.0))
    one = k.asarray([1.0])
    for factor in (2.0, 3.0, 4.0, 5.0):
        assert outer(one, factor).tolist() == [factor + 1]
    assert len(rehearsal) == 1 and not inner.recordings
    assert [inner(one, 2.0).tolist() for _ in range(4)] == [[2.0]] * 4 and len(rehearsal) == 2


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be …"),
        BackendError("cuda has too little memory: use a smaller batch"),
    ],
)
def test_work_that_cannot_be_recorded_runs_without_a_recording_and_says_so(monkeypatch, error):
    k, said = backends("cpu")[1], []
    k.services.announce(said.append)

    def refuse(function, device):
        raise error

    monkeypatch.setattr(graphs, "record", refuse)
    repeated = k.services.captured(lambda array, factor: array * factor)
    assert [repeated(k.asarray([2.0]), n).item() for n in range(5)] == [0, 2, 4, 6, 8]
    assert len(said) == 1 and said[0].endswith(str(error).splitlines()[0])


def test_a_replayed_optimiser_step_makes_older_saved_state_unusable(monkeypatch):
    """The host runs no kernel in a replay, so the replay itself must count the updates of the parameters."""
    k = backends("cpu")[1]
    monkeypatch.setattr(graphs, "record", lambda function, device: (lambda: None, function()))
    weight, velocity = k.asarray(np.ones((3, 2))), k.zeros((3, 2))
    x, grad = k.asarray(np.ones((1, 4, 3))), k.asarray(np.ones((3, 2)))
    step = k.services.captured(lambda grad: k.sgd_step(weight, grad, velocity, 0.1, 0.9, 0.0, -np.inf, np.inf))
    for _ in range(5):
        saved = k.linear(x, weight)[1]
        step(grad)
        with pytest.raises(BackendError, match="weights were updated"):
            k.linear_backward(saved, k.asarray(np.ones((1, 4, 2))))
    assert k.versions.log is None


class Driver:
    """What a recording calls of torch.cuda: notes the pools, and which stream is the current one."""

    def __init__(self):
        self.stream, self.pools, self.alive, self.replayed = "own", [], 0, []

    def graph_pool_handle(self):
        return (0, len(self.pools))

    def Stream(self, device):
        return f"stream of {device}"

    def CUDAGraph(self):
        driver = self

        class Graph:
            def __init__(self):
                driver.alive += 1

            def replay(self):
                driver.replayed.append(self)

            def __del__(self):
                driver.alive -= 1

        return Graph()

    def current_stream(self, device):
        return self.stream

    def set_stream(self, stream):
        self.stream = stream

    @contextlib.contextmanager
    def graph(self, graph, pool, stream):
        assert stream == "stream of cpu", "torch's default is a stream of the first device that recorded"
        self.pools.append(pool)
        self.stream = "recording"
        yield
        self.stream = "own"

    def device(self, device):
        return contextlib.nullcontext()


@pytest.mark.parametrize("old", [False, True], ids=["torch 2.8", "torch 2.7"])
def test_a_recording_is_undisturbed_and_leaves_stream_and_pool_as_it_found_them(monkeypatch, old):
    driver, collected = Driver(), []
    for name in ("graph_pool_handle", "CUDAGraph", "Stream", "current_stream", "set_stream", "graph", "device"):
        monkeypatch.setattr(torch.cuda, name, getattr(driver, name))

    ended, names = [], ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for name in names:
        monkeypatch.delattr(torch._C, name, raising=False)
    monkeypatch.setattr(torch._C, names[old], lambda device, pool: ended.append(pool), raising=False)

    def fail():
        collected.append(gc.isenabled())
        raise BackendError("cuda has too little memory: use a smaller batch")

    def work():
        collected.append(gc.isenabled())
        return 5

    replays, results = zip(*(graphs.record(work, "cpu") for _ in range(2)), strict=True)
    assert results == (5, 5) and driver.pools == [(0, 0)] * 3, (
        "one pool: of the graph that keeps it, and of both recordings"
    )
    with pytest.raises(BackendError, match="too little memory"):
        graphs.record(fail, "cpu")
    assert ended == [(0, 0)], "the allocator must not go on recording into the pool"
    assert collected == [False] * 3 and driver.stream == "own" and gc.isenabled()
    later, _ = graphs.record(work, "cpu")
    assert driver.pools[4:] == [(0, 4)] * 2, "the pool of a failed recording is not used again"
    for replay in (*replays, later):
        replay()
    assert len(driver.replayed) == 3
    driver.replayed.clear()
    assert driver.alive == 5, (
        "three graphs, and those that keep the two pools: torch refuses a pool whose graphs are all gone"
    )
    del replays, replay, later
    gc.collect()
    assert driver.alive == 0 and "cpu" not in graphs.POOLS, "the last graph frees its pool"


def test_learning_rates_are_float32_on_a_gpu():
    """Its fused optimisers refuse others; on a CPU they have the weights' own precision."""
    a_tenth = torch.full((), 0.1, dtype=torch.float64)
    assert updates.fused_learning_rate(a_tenth, "cuda").dtype == torch.float32
    assert updates.fused_learning_rate(a_tenth, "cuda").item() == updates.fused_learning_rate(0.1, "cuda") != 0.1
    assert updates.fused_learning_rate(a_tenth, "cpu").item() == updates.fused_learning_rate(0.1, "cpu") == 0.1


def test_draws_may_have_their_step_on_the_device():
    k = backends("cpu")[0]
    for seed, step in ((7, 3), (2**40, 2**31 + 5)):
        host = k.random(Draw(seed, Stream.DROPOUT, step, 2), (5, 3), 7)
        there = k.random(Draw(seed, Stream.DROPOUT, torch.tensor(step), 2), (5, 3), 7)
        assert torch.equal(host, there)


def test_a_fetched_value_does_not_change_when_its_array_does():
    k = get_backend("torch")
    array = k.asarray([1.0, 2.0])
    read = k.services.fetch_async(array)
    k.write_rows(array, 0, k.asarray([5.0, 6.0]))
    assert read().tolist() == [1.0, 2.0]


def test_the_results_of_an_attack_are_not_overwritten_by_the_next_call(rehearsal):
    k = backends("cpu")[1]
    attacker, pixels = pgd(0.1, 0.03, 2, random_start=False).attacker(network(k)), images(8).images / np.float32(255)
    given = [k.asarray(pixels[:4] if i % 2 else pixels[4:]) for i in range(6)]
    found = [attacker(x, np.zeros(4, np.int64)) for x in given]
    assert rehearsal and np.abs(k.to_numpy(found[4]) - k.to_numpy(given[4])).max() < 0.1001
    assert torch.equal(found[2], found[4]) and torch.equal(found[3], found[5]) and not torch.equal(found[4], found[5])


@pytest.mark.parametrize("seed", [2**64 - 3, np.int64(3)])
def test_a_seed_of_64_bits_can_be_recorded(rehearsal, seed):
    found = []
    for k in backends("cpu"):
        net = network(k)
        found.append([attack_accuracy(net, images(20), pgd(0.1, 0.03, 3), batch_size=4, seed=0).tolist()])
        attacker, pixels = pgd(0.1, 0.03, 2).attacker(net), k.asarray(images(4).images / 255)
        found[-1] += [k.to_numpy(attacker(pixels, np.zeros(4, np.int64), Draws(seed))).tolist() for _ in range(4)]
    assert rehearsal and found[0] == found[1]


def test_a_benchmark_notices_that_nothing_was_recorded(rehearsal, monkeypatch):
    def side(record):
        monkeypatch.setattr(graphs, "record", record)
        k = backends("cpu")[1]
        training = Training(network(k), Recipe(1, 5, augment=False, **HIRE), images(20), 0)
        for _ in range(4):
            training.train_batch()
        made = SimpleNamespace(task="hire", k=k, training=training)
        return Minihire.unrecorded(made)

    def fails(function, device):
        raise BackendError("too little memory")

    assert side(graphs.record) is False and rehearsal
    assert side(fails) is True
