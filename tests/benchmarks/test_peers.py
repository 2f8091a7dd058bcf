"""The peers compute what minihire computes: otherwise a comparison of times says nothing."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.own import Minihire
from benchmarks.peers import PEERS, create, missing, side_class
from benchmarks.peers.layouts import Layout, walk
from benchmarks.problem import Problem
from minihire.engine.lif import NeuronOptions
from minihire.layers import AvgPool, Conv2d, Flatten, Neuron
from minihire.models import build

SIDE, BATCH = 16, 3


def make_problem(folder, model="vgg5", spiking=True, dtype="float64", reset="immediate", leak=None):
    """A small network in which no spike hangs on a rounding.

    Weights are multiples of 1/64, thresholds and leaks of 1/8, so all layers are exact but the first, whose currents
    have no chance to equal the threshold, the images' means being what they are.
    """
    rng, mean = np.random.default_rng(3), (0.4914, 0.4822, 0.4465)
    model = build(model, 10, (SIDE, SIDE, 3), mean=mean, width=1 / 16, hidden=16)
    problem = Problem(folder, model, spiking, 3 if spiking else 1, NeuronOptions(reset), dtype=dtype)
    for name, p in model.parameters(spiking).items():
        if name.endswith(".threshold"):
            values = rng.choice([0.25, 0.375], 1)
        elif name.endswith(".leak"):
            values = np.array([leak]) if leak else rng.choice([0.5, 0.75], 1)
        else:
            spread = 0.6 / np.sqrt(np.prod(p.shape[:-1]))
            values = np.rint((rng.standard_normal(p.shape) + 0.15) * spread * 64) / 64
        problem.write("parameter", {name: values.astype(dtype)})
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    problem.write("batch", {"images": images, "labels": rng.integers(0, 10, BATCH)})
    return problem


def side(name, problem, task="train"):
    """A peer's side, or a skip where something is not installed."""
    lacking = missing(PEERS[name])
    if lacking:
        pytest.skip(f"{lacking[0]} is not installed")
    return create(PEERS[name], problem, task, 1)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vgg5", "vgg11", "resnet12"])
@pytest.mark.parametrize("name", ["torch", "ann"])
def test_the_dense_peers_equal_minihire(tmp_path, name, model):
    problem = make_problem(tmp_path, model, spiking=name == "torch")
    expected = Minihire(problem, "train", 1, backend="reference").gradients()
    got = side(name, problem).gradients()
    assert got.keys() == expected.keys()
    for key in expected:
        assert got[key].shape == expected[key].shape
        np.testing.assert_allclose(
            got[key], expected[key], rtol=1e-7, atol=1e-9 * np.abs(expected[key]).max(), err_msg=key
        )
    assert any(np.abs(expected[key]).max() > 0 for key in expected if key.endswith((".threshold", "conv1.weight")))


def delayed_outputs(problem):
    """Logits of a network of spyx.nn.LIF, in NumPy: S[t] = [V[t−1] > v], V[t] = βV[t−1] + I[t] − v·S[t]."""
    images, _ = problem.batch()
    start = (images - np.array(problem.model.mean)) / np.array(problem.model.std)
    membranes, total = {}, 0

    def layer(part, x):
        if isinstance(part, Neuron):
            leak, threshold = (problem.parameter(f"{part.name}.{which}") for which in ("leak", "threshold"))
            before = membranes.get(part.name, np.zeros_like(x))
            spikes = (before > threshold).astype(x.dtype)
            membranes[part.name] = leak * before + x - spikes * threshold
            return spikes
        if isinstance(part, AvgPool):
            return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean((2, 4))
        if isinstance(part, Flatten):
            return x.reshape(len(x), -1)
        weight = problem.parameter(f"{part.name}.weight")
        if not isinstance(part, Conv2d):
            return x @ weight
        edge, (height, wide) = part.size // 2, x.shape[1:3]
        padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        taps = itertools.product(range(part.size), repeat=2)
        found = sum(padded[:, i : i + height, j : j + wide] @ weight[i, j] for i, j in taps)
        return found[:, :: part.stride, :: part.stride]

    for _ in range(problem.steps):
        total = total + walk(problem.model.layers, problem.model.image_shape, start, layer)
    return total


@pytest.fixture
def spyx(monkeypatch):
    """Spyx on all cores: the peer would bind this whole process to one core."""
    pytest.importorskip("spyx")
    monkeypatch.setattr("benchmarks.peers.spyx_jax.use_cores", lambda count: None)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vgg5", "resnet12"])
def test_the_spyx_peer_computes_its_network(tmp_path, model, spyx):
    problem = make_problem(tmp_path, model, dtype="float32")
    problem = replace(problem, steps=8)
    peer = side("spyx", problem, "forward")
    expected = delayed_outputs(problem)
    np.testing.assert_allclose(peer.logits(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 0 and max(peer.densities().values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["train", "hire"])
def test_the_spyx_peer_trains(tmp_path, task, spyx):
    problem = replace(make_problem(tmp_path, dtype="float32"), steps=24, learning_rate=1e-3)
    peer = side("spyx", problem, task)
    before = {name: np.array(weight) for name, weight in peer.weights.items()}
    peer.step()
    changed = [name for name, weight in peer.weights.items() if not np.array_equal(before[name], weight)]
    assert "conv1.weight" in changed and "neuron1.leak" in changed
    assert task == "train" or np.abs(peer.kappa).max() == pytest.approx(0.013)


@pytest.mark.slow
def test_the_spyx_peer_attacks(tmp_path, spyx):
    problem = replace(make_problem(tmp_path, dtype="float32"), steps=24)
    peer = side("spyx", problem, "attack")
    moved = np.abs(peer.functions.attack(peer.weights, peer.images, peer.labels) - peer.images)
    assert moved.max() == pytest.approx(problem.attack.alpha, rel=1e-3) and moved.max() <= problem.attack.epsilon


@pytest.mark.parametrize("task, expected", [("train", 0.0), ("hire", 0.0), ("forward", 2e-39)])
def test_a_peer_takes_subnormal_numbers_as_zeros_where_minihire_does(tmp_path, task, expected):
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(False):
        pytest.skip("the processor cannot take subnormal numbers as zeros")
    try:
        side("torch", make_problem(tmp_path, dtype="float32"), task)
        assert float(torch.tensor(2e-38) * 0.1) == pytest.approx(expected)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vgg5", "resnet12"])
def test_the_dense_peer_s_neuron_for_a_gpu_equals_the_other(tmp_path, monkeypatch, model):
    problem = make_problem(tmp_path, model)
    expected, peer = side("torch", problem).gradients(), side("torch", problem)
    monkeypatch.setattr(type(peer), "numbers_on_host", False)
    got = peer.gradients()
    for key in expected:
        np.testing.assert_allclose(got[key], expected[key], rtol=1e-9, atol=1e-12, err_msg=key)
    for task in ("train", "attack"):
        side("torch", make_problem(tmp_path / task, model, dtype="float32"), task).step()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "ann", "spikingjelly"])
@pytest.mark.parametrize("task", ["train", "attack", "forward"])
def test_peers_take_bf16_steps_near_those_of_float32(tmp_path, monkeypatch, name, task):
    torch = pytest.importorskip("torch")
    problem, found = make_problem(tmp_path, spiking=PEERS[name].spiking, dtype="float32", leak=0.75), []
    side(name, problem)
    for precision in ("float32", "bf16"):
        peer = side_class(PEERS[name])(problem, task, 1, precision=precision)
        monkeypatch.setattr(type(peer), "numbers_on_host", False, raising=False)
        torch.manual_seed(0)  # for dropout
        peer.step()
        found.append(peer.forward())
    assert [logits.dtype for logits in found] == [torch.float32, torch.bfloat16]
    assert (found[0] - found[1]).norm() < 0.5 * found[0].norm()


@pytest.mark.parametrize("static", [False, True])
def test_bf16_currents_fire_like_float32_ones(static):
    """Currents that bf16 can represent give equal spikes, because membranes are float32, and gradients up to bf16 rounding."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers.lif import LIF
    from benchmarks.peers.lif_tensors import LIFOnDevice

    generator = torch.Generator().manual_seed(0)
    current = torch.randint(-64, 128, (4 if static else 12, 8, 3, 3), generator=generator) / 64
    upstream = torch.randn(12, 8, 3, 3, generator=generator).bfloat16()
    found = []
    for neuron, dtype in ((LIF, torch.float32), (LIF, torch.bfloat16), (LIFOnDevice, torch.bfloat16)):
        inputs = [current.detach().to(dtype), torch.tensor([0.75]), torch.tensor([0.8])]
        for tensor in inputs:
            tensor.requires_grad_()
        spikes = neuron.apply(*inputs, None, 1.0, 3, static, (0.3, 1.0))
        spikes.backward(upstream.to(dtype))
        assert spikes.dtype == inputs[0].grad.dtype == dtype
        found.append([spikes, *(tensor.grad.float() for tensor in inputs)])
    for other in found[1:]:
        assert torch.equal(other[0].float(), found[0][0])
        for got, expected in zip(other[1:], found[0][1:], strict=True):
            assert (got - expected).norm() < 2**-8 * expected.norm()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vgg5", "resnet12"])
def test_snntorch_equals_the_delayed_reset(tmp_path, model):
    problem = make_problem(tmp_path, model, dtype="float32", reset="delayed")
    got, own = side("snntorch", problem), Minihire(problem, "train", 1)
    np.testing.assert_allclose(got.gradients()["logits"], own.gradients()["logits"], rtol=1e-4, atol=1e-4)
    for layer, density in own.densities().items():
        assert got.densities()[layer] == pytest.approx(density, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vgg5", "resnet12"])
def test_spikingjelly_fires_as_minihire(tmp_path, model):
    problem = make_problem(tmp_path, model, dtype="float32")
    got, own = side("spikingjelly", problem), Minihire(problem, "train", 1)
    first = next(iter(own.densities()))  # the deeper ones differ by what fires at exactly the threshold
    assert got.densities()[first] == pytest.approx(own.densities()[first], abs=0.01)
    assert got.densities().keys() == own.densities().keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if not peer.compiled])
@pytest.mark.parametrize("task", ["train", "hire", "attack", "forward"])
def test_every_side_takes_every_step(tmp_path, name, task):
    if task == "hire" and not PEERS[name].spiking:
        pytest.skip("an ANN has no HIRE batch")
    problem = make_problem(tmp_path, spiking=PEERS[name].spiking, dtype="float32", leak=1.0)
    if task in ("train", "hire"):
        names = problem.model.parameters(problem.spiking)
        shapes = {n: problem.parameter(n).shape for n in names}
        problem.write("mean", {n: np.full(s, 1e-3, np.float32) for n, s in shapes.items()})
        problem.write("square", {n: np.full(s, 1e-4, np.float32) for n, s in shapes.items()})
        problem = replace(problem, learning_rate=0.5, optimiser_steps=1000)
    peer = side(name, problem, task)
    before = peer.forward().clone()
    peer.step()
    assert np.abs((peer.forward() - before).float().numpy()).max() > 0 or task not in ("train", "hire")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch-bf16", "torch-compiled", "ann-bf16"])
def test_variants_of_the_dense_peers_are_near_minihire(tmp_path, name):
    """Compiled float32 sides differ by the order of sums.

    bf16 has eight significant bits. It moves the currents of the first layer, so that some spikes come at another step. In this
    small network this changes the logits by a few percent, and the gradients by almost their own size.
    """
    peer = PEERS[name]
    problem = make_problem(tmp_path, spiking=peer.spiking, dtype="float32", leak=0.75)
    expected = Minihire(problem, "train", 1, backend="reference").gradients()
    try:
        got = side(name, problem).gradients()
    except Exception as error:
        if peer.compiled and "C++ compiler" in str(error):
            pytest.skip("there is no C++ compiler")
        raise
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        difference = np.linalg.norm(got[key] - array) / np.linalg.norm(array)
        limit = 1e-4 if peer.precision == "float32" else 0.1 if key == "logits" else 1.0
        assert difference < limit, key


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vgg5", "resnet12"])
def test_hire_batches_are_equal(tmp_path, model):
    """Two batches, so that κ and Adam's moments continue: κ, weights, thresholds and leaks."""
    problem = make_problem(tmp_path, model, leak=0.75)
    problem = replace(problem, model=replace_dropout(problem.model), learning_rate=0.01, steps=4)
    own, peer = Minihire(problem, "hire", 1, backend="reference"), side("torch", problem, "hire")
    for _ in range(2):
        own.step()
        peer.step()
    kappa = own.k.to_numpy(own.training.kappa)
    assert np.abs(kappa).max() == pytest.approx(problem.noise.bound)
    np.testing.assert_allclose(peer.kappa.permute(0, 2, 3, 1).numpy(), kappa, atol=1e-12)
    for name, tensor in peer.trained().items():
        expected = own.k.to_numpy(own.network.parameters[name])
        assert np.abs(expected - problem.parameter(name)).max() > 0
        np.testing.assert_allclose(peer.layout.to_minihire(name, tensor), expected, atol=1e-6, err_msg=name)


def test_adam_takes_the_same_step_on_both_sides(tmp_path):
    problem = make_problem(tmp_path, dtype="float32")
    problem = replace(problem, model=replace_dropout(problem.model), learning_rate=0.01, optimiser_steps=1000)
    rng = np.random.default_rng(0)
    for name in problem.model.parameters(True):
        shape = problem.parameter(name).shape
        problem.write("mean", {name: rng.standard_normal(shape).astype(np.float32)})
        problem.write("square", {name: rng.random(shape).astype(np.float32) + 1})
    own, peer = Minihire(problem, "train", 1), side("torch", problem)
    own.step()
    peer.step()
    for name, tensor in peer.trained().items():
        got, expected = peer.layout.to_minihire(name, tensor), own.k.to_numpy(own.network.parameters[name])
        np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=name)


def replace_dropout(model):
    """The model without dropout."""
    return build(**{**model.describe(), "dropout": 0.0})


def test_the_pgd_steps_are_equal(tmp_path):
    problem = make_problem(tmp_path)
    peer, own = side("torch", problem, "attack"), Minihire(problem, "attack", 1, backend="reference")
    from minihire.attacks import perturb

    expected = perturb(own.network, own.images, own.labels, problem.attack)
    np.testing.assert_allclose(peer.attack_step().permute(0, 2, 3, 1).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("channels_first", [False, True])
def test_layouts_are_inverted_exactly(channels_first):
    pytest.importorskip("torch")
    model = build("vgg5", 10, (SIDE, SIDE, 3), width=1 / 16, hidden=16)
    layout, rng = Layout(model, channels_first), np.random.default_rng(0)
    for name, p in model.parameters(True).items():
        array = rng.standard_normal(p.shape)
        np.testing.assert_array_equal(layout.to_minihire(name, layout.to_torch(name, array)), array)
