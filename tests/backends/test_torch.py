"""What is the Torch backend's own: parity over whole trainings, precision, bytes for spikes, devices, its GPU kernels."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from plain_calls import (
    avg_pool_gradient,
    conv2d,
    conv2d_weight_gradient,
    linear,
    linear_weight_gradient,
)

from backends import BackendError, get_backend
from backends.arrays import OuterProduct, PackedSpikes, SpikeTrain
from backends.interface import NeuronState
from backends.surrogates import triangle
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.training import CraftedNoise, Recipe
from minihire.training.loop import Training

torch = pytest.importorskip("torch")
from backends.torch_any import bits, fused, graphs, lif, memory, neurons, products  # noqa: E402 - they need torch

ROOT = Path(__file__).parent.parent.parent
MODEL = build("vgg5", image_shape=(16, 16, 3), width=0.125, hidden=32)


def images(count, size=16):
    rng = np.random.default_rng(0)
    classes = tuple(str(i) for i in range(10))
    pixels = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    return Dataset("random", pixels, rng.integers(0, 10, count), classes, MODEL.mean, MODEL.std)


def training(k, weights, epochs=1, **settings):
    """A training whose network starts from these weights (NumPy arrays by name)."""
    network = Network(MODEL, k, {n: k.asarray(np.array(a)) for n, a in weights.items()}, spiking=True, steps=4)
    recipe = Recipe(epochs=epochs, batch_size=8, optimiser="adam", learning_rate=1e-3, **settings)
    return Training(network, recipe, images(40), seed=3)


def random_weights(k, scale=1.0):
    found = {n: k.to_numpy(a) * scale for n, a in initialise(MODEL, k, 1, spiking=True).items()}
    return found | {n: np.full(1, 0.25 if n.endswith("threshold") else 0.5) for n in found if not n.endswith("weight")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "numba"])
def test_fifty_steps_in_float64_have_the_reference_s_losses(name, monkeypatch):
    """HIRE's noise, dropout, crops and flips included: 25 batches of two periods."""
    reference = get_backend("reference", dtype="float64")
    weights, losses, gradients = random_weights(reference), [], Network.gradients

    def observed(self, *arguments, **options):
        result = gradients(self, *arguments, **options)
        losses[-1].append(float(self.backend.to_numpy(result.losses).sum(dtype=np.float64)))
        return result

    monkeypatch.setattr(Network, "gradients", observed)
    for k in (reference, get_backend(name, dtype="float64")):
        losses.append([])
        training(k, weights, epochs=5, noise=CraftedNoise(step=0.02, bound=0.02), periods=2).run()
    assert len(losses[0]) == 50
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-8)
    assert len(set(np.round(losses[0], 6))) > 40, "the losses should change"


def test_a_step_on_dyadic_numbers_equals_numba_s():
    """Weights, pixels, thresholds and leaks that float32 does not round before a spike is decided."""
    rng, found = np.random.default_rng(0), []
    reference = get_backend("reference")
    weights = {
        n: np.round(rng.normal(size=a.shape) * 4) / 16 if n.endswith("weight") else np.array([0.5])
        for n, a in initialise(MODEL, reference, 0, spiking=True).items()
    }
    pixels, labels = rng.integers(0, 17, (8, 16, 16, 3)) / 16, rng.integers(0, 10, 8)
    for name in ("numba", "torch"):
        k = get_backend(name)
        network = Network(MODEL, k, {n: k.asarray(a) for n, a in weights.items()}, spiking=True, steps=4)
        result = network.gradients(k.asarray(pixels), k.asarray(labels), image=True, training=False)
        arrays = {"logits": result.logits, "image": result.image, **result.weights}
        found.append({n: np.asarray(k.to_numpy(a), np.float64) for n, a in arrays.items()})
    assert found[0].keys() == found[1].keys()
    for name, expected in found[0].items():
        error = np.linalg.norm(found[1][name] - expected)
        assert error <= 1e-5 * np.linalg.norm(expected), name
    assert np.linalg.norm(found[0]["conv1.weight"]) > 0


def test_spikes_are_bytes_and_linear_weight_gradients_are_lazy():
    k = get_backend("torch")
    x = k.asarray(np.random.default_rng(0).normal(size=(3, 2, 8)))
    spikes, *_ = k.lif_forward(x, None, k.asarray([1.0]), k.asarray([0.5]), 3)
    assert isinstance(spikes, SpikeTrain) and spikes.counts.dtype == torch.uint8
    assert isinstance(linear_weight_gradient(k, x, spikes), OuterProduct)


def test_autograd_records_nothing():
    k = get_backend("torch")
    run = training(k, random_weights(k))
    run.run()
    assert not any(array.requires_grad for array in run.network.parameters.values())


@pytest.mark.parametrize("rows", [1, 7, 1024])
@pytest.mark.parametrize("rule", ["sgd", "adam", "amsgrad"])
def test_optimisers_by_rows_equal_those_of_the_whole_gradient(monkeypatch, rows, rule):
    import backends.torch_any.updates as module

    k, rng = get_backend("torch", dtype="float64"), np.random.default_rng(0)
    monkeypatch.setattr(module, "ROWS", rows)
    x, g = (k.asarray(rng.normal(size=(2, 3, n))) for n in (20, 6))
    start, results = rng.normal(size=(20, 6)), []
    for grad in (linear_weight_gradient(k, g, x), k.asarray(k.to_numpy(linear_weight_gradient(k, g, x)))):
        weight, *slots = k.asarray(start), *(k.zeros((20, 6)) for _ in range(3))
        for step in (1, 2):
            if rule == "sgd":
                k.sgd_step(weight, grad, slots[0], 0.1, 0.9, 0.01, -1.0, 1.0)
            else:
                most = slots[2] if rule == "amsgrad" else None
                k.adam_step(weight, grad, *slots[:2], most, 0.1, (0.9, 0.999), 1e-8, step, -1.0, 1.0)
        results.append(k.to_numpy(weight))
    np.testing.assert_allclose(*results, rtol=0, atol=1e-12)
    assert np.abs(results[0]).max() <= 1.0 and not np.allclose(results[0], start)


def test_bf16_keeps_weights_membranes_and_losses_in_float32_and_stays_near():
    exact, rough = get_backend("torch"), get_backend("torch", precision="bf16")
    weights, found = random_weights(exact), []
    for k in (exact, rough):
        run = training(k, weights, augment=False)
        pixels, labels = run.batches.load(0, 0)
        result = run.network.gradients(pixels, labels, training=False)
        run.optimiser.step(result.weights, 1e-3)
        assert {a.dtype for a in run.network.parameters.values()} == {torch.float32}
        assert result.losses.dtype == torch.float32
        found.append(result.losses.double().numpy())
    assert 0 < np.abs(found[1] - found[0]).mean() < 0.3 * found[0].mean()


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("tpu",), "cpu or cuda, not on 'tpu'"),
        (("nonsense",), "cpu or cuda, not on 'nonsense'"),
        (("cpu", "fp8"), "no precision 'fp8'"),
        (("cpu", "bf16", "float64"), "precision bf16 is for float32"),
    ],
)
def test_unknown_devices_and_precisions_are_refused(arguments, says):
    device, precision, dtype = (*arguments, "float32", "float32")[:3] if len(arguments) < 3 else arguments
    with pytest.raises(BackendError, match=says):
        get_backend("torch", device, precision=precision, dtype=dtype)


def test_missing_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no CUDA device was found"):
        get_backend("torch", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BackendError, match="no cuda:7: this machine has 1 CUDA device$"):
        get_backend("torch", "cuda:7")


def test_a_request_for_too_much_memory_is_one_sentence():
    with pytest.raises(BackendError, match="cpu has too little memory"):
        get_backend("torch").zeros((1 << 45,))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        *(RuntimeError(f"{text}, as torch says") for text in memory.MEMORY_TEXTS),
    ],
)
def test_too_little_memory_is_one_sentence(monkeypatch, error):
    k = get_backend("torch")

    def full(*_, **__):
        raise error

    monkeypatch.setattr(torch.nn.functional, "conv2d", full)
    with pytest.raises(BackendError, match="cpu has too little memory: use a smaller batch"):
        conv2d(k, k.zeros((1, 1, 4, 4, 2)), k.zeros((3, 3, 2, 2)), 1, 1)
    captured = graphs.Captured(full, "cuda:0", None, k.versions)
    with pytest.raises(BackendError, match="cuda:0 has too little memory: use a smaller batch"):
        captured()
    assert not graphs.Captured.running
    monkeypatch.setattr(torch, "set_num_threads", full)
    with pytest.raises(BackendError, match="cpu has too little memory: use a smaller batch"):
        get_backend("torch")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), ImportError("no lif", name="backends.torch_any.triton_lif")]
)
def test_errors_that_are_not_triton_s_are_not_taken_for_its(monkeypatch, error):
    def at_least(*_):
        raise error

    monkeypatch.setitem(sys.modules, "backends.torch_any.triton_philox", SimpleNamespace(at_least=at_least))
    fused.obstacle.cache_clear()
    for _ in range(2):  # it is not remembered, either
        with pytest.raises(type(error)):
            fused.obstacle("cuda")
    fused.obstacle.cache_clear()


@pytest.mark.parametrize("values", [np.arange(4.0)[::-1], np.arange(3, dtype=">f4"), np.arange(3, dtype=">i8"), [1, 2]])
def test_any_numpy_array_is_taken(values):
    k = get_backend("torch", "cpu:0")
    np.testing.assert_array_equal(k.to_numpy(k.asarray(values)), values)


def test_bf16_does_not_round_dropout_s_factor():
    """1/(1 − 0.1) has no short form: it multiplies the result, not the spikes."""
    k, exact = get_backend("torch", precision="bf16"), get_backend("torch")
    spikes = SpikeTrain(torch.ones((1, 2, 4), dtype=torch.uint8), 1 / 0.9, True)
    weight = exact.asarray(np.eye(4))
    np.testing.assert_array_equal(linear(k, spikes, weight), linear(exact, spikes, weight))


def test_other_errors_of_torch_are_not_changed():
    k = get_backend("torch")
    with pytest.raises(RuntimeError, match="[Dd]imension") as error:
        k.zeros((-1, 2))
    assert not isinstance(error.value, BackendError)


def test_large_batches_computed_in_parts_equal_small_ones(monkeypatch):
    """In bf16, too: dropout's factor has no short form."""
    k, rng = get_backend("torch", precision="bf16"), np.random.default_rng(0)
    spikes = SpikeTrain(torch.tensor(rng.integers(0, 2, (1, 10, 6, 6, 4)), dtype=torch.uint8), 1 / 0.7, True)
    weight, found = k.asarray(rng.normal(size=(3, 3, 4, 5))), []
    for size in (1 << 19, 3 * 6 * 6 * 4):
        monkeypatch.setattr(products, "SPIKES", size)
        found.append(conv2d(k, spikes, weight, 1, 1))
    assert torch.equal(*found)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4, 8), (1, 7, 2, 2, 6), (3, 4, 5, 5, 16)])
def test_spikes_are_saved_for_the_backward_pass_as_bits(monkeypatch, shape, rate):
    k, rng = get_backend("torch", dtype="float64"), np.random.default_rng(0)
    counts = (rng.random(shape) < rate).astype(np.uint8)
    spikes, grad = SpikeTrain(torch.from_numpy(counts), 1 / 0.7, True), k.asarray(rng.normal(size=(*shape[:4], 5)))
    expected = conv2d_weight_gradient(k, grad, spikes, 3, 1, 1)
    kept = lambda x: k.conv2d(x, k.zeros((3, 3, x.shape[4], 5)), 1, 1)[1].open()[0]
    assert kept(spikes) is spikes, "few spikes stay as they are"
    monkeypatch.setattr(products, "SPIKES", 3 * counts[0, 0].size)  # parts of three images
    packed = kept(spikes)
    assert packed.shape == shape and packed.bytes.numel() * 8 == counts.size
    assert np.array_equal(bits.unpacked(packed.bytes).numpy().reshape(-1), counts.reshape(-1))
    found = conv2d_weight_gradient(k, grad, spikes, 3, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)
    odd = SpikeTrain(spikes.counts[..., :5].contiguous(), 1.0, True)
    assert odd.counts[0, 0].numel() % 8, "an image that does not fit into whole bytes"
    for other in (spikes._replace(binary=False), k.asarray(rng.normal(size=shape)), odd):
        assert not isinstance(kept(other), PackedSpikes)


def test_a_current_that_is_computed_again_is_the_same(monkeypatch):
    """Of a large image the first convolution's result is not kept; a whole network's gradients do not depend on it."""
    model, found = build("vgg5", image_shape=(16, 16, 3), width=0.25, hidden=16), []
    images = np.random.default_rng(0).random((3, 16, 16, 3))
    for spiking in (True, False):
        for large in (1 << 40, 0):
            monkeypatch.setattr(neurons, "LARGE", large)
            k = get_backend("torch", dtype="float64")
            one = k.asarray([1.0])
            saved = k.conv_lif_forward(k.zeros((1, 2, 4, 4, 3)), k.zeros((3, 3, 3, 8)), 1, 1, None, one, one, 3)[2]
            assert callable(saved.open().current) == (large == 0)
            net = Network(model, k, initialise(model, k, 1, spiking=spiking), spiking=spiking, steps=3)
            step = net.gradients(k.asarray(images), np.array([1, 2, 3]), image=True)
            found.append({name: k.to_numpy(g) for name, g in {**step.weights, "image": step.image}.items()})
        for name, expected in found[-2].items():
            np.testing.assert_allclose(found[-1][name], expected, rtol=0, atol=1e-12, err_msg=name)


# ---------------------------------------------------------------- neurons in parts, gradients where they are used


def test_neurons_fire_after_calls_that_failed_or_ran_without_autograd():
    k, leak = get_backend("torch"), torch.tensor([0.5])
    current = torch.full((1, 2, 3), 0.4)
    fire = lambda x: k.to_numpy(k.lif_forward(x, None, leak, leak, 4)[0])
    expected = get_backend("reference").lif_forward(current.numpy(), None, leak.numpy(), leak.numpy(), 4)[0]
    with torch.inference_mode():
        lif.thread_local.scratch = None
        np.testing.assert_array_equal(fire(current), expected)
    np.testing.assert_array_equal(fire(current), expected)
    with contextlib.suppress(RuntimeError):  # a current that wants torch's own gradient
        fire(current.clone().requires_grad_())
    np.testing.assert_array_equal(fire(current), expected)


def test_scratch_memory_of_a_long_run_is_freed():
    k, leak = get_backend("torch"), torch.tensor([0.5])
    lif.thread_local.scratch = None
    k.lif_forward(torch.zeros(1, 1, 1024), None, leak, leak, 20)
    assert len(lif.thread_local.scratch) == 23 * 1024
    saved = k.lif_forward(torch.zeros(1, 1, 64, 64, 1), None, leak, leak, 2000)[2]
    assert 23 * 1024 < len(lif.thread_local.scratch) <= lif.SCRATCH, "few neurons at a time"
    handle = avg_pool_gradient(k, torch.zeros(2000, 1, 32, 32, 1), (2000, 1, 64, 64, 1))
    before = len(lif.thread_local.scratch)
    k.lif_backward(saved, handle, None, triangle())  # whole images at a time
    assert len(lif.thread_local.scratch) == before


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("reset", ["immediate", "delayed"])
@pytest.mark.parametrize("source", ["dense", "pool"])
def test_neurons_computed_in_parts_have_the_same_gradients(monkeypatch, static, reset, source):
    """With gradients that are computed part by part; seven images make parts of three, three and one."""
    k, rng = get_backend("torch", dtype="float64"), np.random.default_rng(0)
    shape, array = (4, 7, 5, 6, 3), lambda *shape: k.asarray(rng.normal(size=shape))
    if source == "pool":
        handle = avg_pool_gradient(k, array(4, 7, 2, 3, 3), shape)
    else:
        handle = array(*shape)
    assert isinstance(handle, torch.Tensor) == (source == "dense")
    dense = k.asarray(k.to_numpy(handle))
    current, mask = array(1 if static else 4, 7, 5, 6, 3), k.asarray((rng.random(shape[1:]) < 0.7) / 0.7)
    leak, threshold, start = k.asarray([0.9]), k.asarray([0.4]), array(*shape[1:])
    state = NeuronState(start, (start > 0).double() if reset == "delayed" else None)
    end, found = NeuronState(array(*shape[1:]), None), []
    for chunk, grad in ((1 << 19, dense), (3 * 5 * 6 * 3 + 5, handle)):
        monkeypatch.setattr(lif, "CHUNK", chunk)
        spikes, last, saved = k.lif_forward(current, state, leak, threshold, 4, reset=reset, mask=mask)
        back = k.lif_backward(saved, grad, end, triangle(), reset_grad=True)
        arrays = spikes, *last, back[0], *back[1], *back[2:]
        found.append([k.to_numpy(a) for a in arrays if a is not None])
    for at_once, in_parts in zip(*found, strict=True):
        np.testing.assert_allclose(in_parts, at_once, rtol=1e-12, atol=1e-12)
    assert all(np.abs(a).max() > 0 for a in found[0])


# ---------------------------------------------------------------- kernels for CUDA, in Triton's interpreter


INTERPRETED = """
import itertools, math, sys, torch
from backends.arrays import PooledGradient
from backends.randomness import Draw, random_bits
from backends.surrogates import arctan, exponential, rectangle, straight_through, triangle
from backends.torch_any import lif, triton_lif, triton_philox

size, steps = int(sys.argv[1]), 4
source = torch.Generator().manual_seed(0)
normal = lambda *shape: torch.randn(*shape, generator=source)
leak, threshold = torch.tensor([0.9]), torch.tensor([0.5])

def both(static, delayed, state, reset_grad, mask, surrogate):
    inputs = normal(1 if static else steps, size)
    start, fired = (normal(size), (normal(size) > 0).float() if delayed else None) if state else (None, None)
    keep = (normal(size) > 0).view(torch.uint8) if mask else None
    grad, end = normal(steps, size), normal(size) if state else None
    end_spikes = normal(size) if state and delayed and reset_grad else None
    for scans, in_place in ((lif, False), (triton_lif, False), (triton_lif, True)):
        current = inputs.clone()
        membrane = None if static else current if in_place else torch.empty(steps, size)
        counts, room = torch.empty(steps, size, dtype=torch.uint8), lambda wanted: torch.empty(size) if wanted else None
        ends = room(state), room(state and delayed)
        scans.forward(current, start, fired, leak, threshold, delayed, keep, membrane, counts, *ends)
        into = membrane if in_place and not static else torch.empty(len(inputs), size)
        back = into, room(state), room(state and delayed and reset_grad)
        sums = scans.backward(
            current if static else None, membrane, start, fired, leak, threshold, delayed, keep, 1.25, grad,
            end, end_spikes, surrogate, reset_grad, *back,
        )
        yield [x for x in (counts.double(), *ends, *back, sums) if x is not None]

cases = [(*flags, triangle()) for flags in itertools.product((False, True), repeat=5)]
cases += [(False, False, False, False, False, s()) for s in (exponential, rectangle, arctan, straight_through)]
for case in cases:
    for number, (plain, *fused) in enumerate(zip(*both(*case))):
        error = max((plain.double() - values.double()).abs().max() for values in fused)
        assert error <= 1e-5 * max(1.0, plain.double().abs().max()), (case, number, error)
for draw in (Draw(0, 5, 3, 2), Draw(2**63 + 12345, 7, 2**31 + 5, 4)):
    low = 0xFFFFFFFF
    words, key = [draw.step & low, int(draw.stream), draw.layer], (draw.seed & low, draw.seed >> 32)
    for step in (words[0], torch.tensor(words[0])):
        got = triton_philox.random_bits(3, 603, [step, *words[1:]], key, "cpu")
        assert (got.numpy() == random_bits(draw, 2400, 12)).all()
        got = triton_philox.at_least(3, 603, [step, *words[1:]], key, 3355444, "cpu")
        assert (got.numpy() == (random_bits(draw, 2400, 12) >> 8 >= 3355444)).all() and got.float().mean() < 0.9
for shape in ((steps, 2, 6, 5, 3), (steps, 3, 4, 4, 16)):  # before a pool, which leaves out an odd last column
    pooled = PooledGradient(normal(steps, shape[1], shape[2] // 2, shape[3] // 2, shape[4]), shape)
    size = math.prod(shape[1:])
    membrane, found = normal(steps, size), []
    for scans in (lif, triton_lif):
        back = torch.empty(steps, size), torch.empty(size), None
        sums = scans.backward(
            None, membrane, None, None, leak, threshold, False, None, 1.0, pooled, None, None, triangle(), False, *back
        )
        found.append([*back[:2], sums])
    assert all(torch.allclose(*pair, rtol=1e-5, atol=1e-5) for pair in zip(*found)) and found[0][0].count_nonzero()
print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2500])
def test_fused_kernels_equal_the_plain_ones_in_triton_s_interpreter(size):
    """Sizes within one block and of several; both resets, states, masks, static currents, every surrogate; draws too."""
    pytest.importorskip("triton")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", INTERPRETED, str(size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, None),
        (ImportError("No module named 'triton'", name="triton"), "they need Triton: pip install triton"),
        (RuntimeError("Failed to find C compiler.\nSet CC."), "Triton failed: Failed to find C compiler."),
    ],
)
def test_what_hinders_fused_kernels_is_said(monkeypatch, error, reason):
    """Triton fails with its first kernel where there is no C compiler."""
    started = []

    def at_least(*arguments):
        started.append(arguments)
        if error:
            raise error

    monkeypatch.setitem(sys.modules, "backends.torch_any.triton_philox", SimpleNamespace(at_least=at_least))
    fused.obstacle.cache_clear()
    assert [fused.obstacle("cuda") for _ in range(2)] == [reason] * 2 and len(started) == 1
    assert fused.obstacle("cpu") == "they need CUDA"
    fused.obstacle.cache_clear()


def test_whether_values_are_finite_is_found_with_one_look_at_the_device(monkeypatch):
    k, fine = get_backend("torch"), torch.ones(3, 4)
    monkeypatch.setattr(k.services, "device", "cuda")  # its arrays stay on the CPU
    reads, to_numpy = [], k.to_numpy
    monkeypatch.setattr(k, "to_numpy", lambda array: (reads.append(1), to_numpy(array))[1])
    for value, finite in ((1.0, True), (float("nan"), False), (float("-inf"), False)):
        assert k.services.are_finite([fine, torch.full((2,), value)]) is finite
    assert len(reads) == 3 and k.services.are_finite([])
