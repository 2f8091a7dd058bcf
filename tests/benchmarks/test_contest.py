"""Every command at a tiny size: a table, a JSON file with its keys; and wrong input, one sentence and exit code 2."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends import get_backend, moments16
from benchmarks import ceilings, conditions, contest, kernels, machine, train_step, trained
from benchmarks.command import run
from benchmarks.contest import Contestant, Entrant, Remote
from benchmarks.peers import MINIHIRE, PEERS, USUAL, CannotCompile, missing
from benchmarks.prepare import Preparation, Request, aged, force_density
from benchmarks.report import ratios
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.runtime.machine import peak_memory
from minihire.training import Recipe, checkpoint, train

ROOT = Path(__file__).parent.parent.parent
SIZE = {
    "width": 0.0625,
    "hidden": 16,
    "batch": 2,
    "steps": 2,
    "rounds": 1,
    "warm-up": 0,
    "threads": 1,
    "moment-steps": 1,
}
SMALL = [part for name, value in SIZE.items() for part in (f"--{name}", str(value))]


def command(name, *arguments):
    """Run python -m benchmarks.NAME in the repository."""
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def content_of(name, path, *arguments):
    """A successful command's output and the content of its JSON file."""
    done = command(name, *SMALL, *arguments, "--json", path)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text())


@pytest.mark.slow
def test_a_training_step_beside_all_peers(tmp_path):
    names = [name for name in USUAL if not PEERS[name].compiled]
    flags = ["--peers", ",".join(names), "--optimiser", "adam16"]
    output, content = content_of("train_step", tmp_path / "found.json", *flags)
    there = [name for name in names if not missing(PEERS[name])]
    for name in names:
        assert PEERS[name].title in output, "in the table, or left out with a sentence"
        assert (name in content["ratios"]) == (name in there)
    rows = content["results"][0]["sides"]
    assert [row["side"] for row in rows] == ["minihire", *there]
    for row in rows:
        assert len(row["samples_s"]) == 1 and row["median_s"] >= row["minimum_s"] > 0
        assert list(row["densities"]) == [f"neuron{i}" for i in range(1, 6)]
    ratios = {name: ratio for name, ratio in content["ratios"].items() if name != "ann"}
    assert content["ratio_to_fastest_peer"] == min(ratios.values(), default=None)
    assert content["fastest_peer"] == min(ratios, key=ratios.get, default=None)
    assert {"processor", "cores", "versions", "load_average"} <= content["machine"].keys()
    assert content["settings"]["own_optimiser"] == "adam16" and "minihire's optimiser: adam16" in output
    assert content["settings"]["optimiser"] == "adam" and content["settings"]["moments"]  # the peers'


@pytest.mark.slow
def test_an_attack_step_and_a_forward_pass(tmp_path):
    for name, peers, busy in (("attack_step", "torch", 0), ("forward", "", 1)):
        flags = ["--peers", peers, "--density", "0.2", "--busy", busy]
        output, content = content_of(name, tmp_path / f"{name}.json", *flags)
        assert content["settings"]["busy"] == busy
        assert ("busy processes beside the contest: 1" in output) == bool(busy)
        assert "minihire" in output and content["settings"]["density"] == 0.2
        assert content["settings"]["moments"] is None
        first = content["results"][0]["sides"][0]
        assert first["densities"]["neuron1"] == pytest.approx(0.2, abs=0.01)


@pytest.mark.slow
def test_the_ann_beside_pytorch(tmp_path):
    _, content = content_of("train_step", tmp_path / "found.json", "--ann", "--peers", "ann,ann-bf16")
    assert content["settings"]["optimiser"] == "sgd" and not content["settings"]["spiking"]
    assert list(content["ratios"]) == [name for name in ["ann", "ann-bf16"] if not missing(PEERS[name])]


@pytest.mark.slow
def test_a_hire_batch_beside_a_traditional_one_and_the_peers(tmp_path):
    flags = ["--hire", "--batch", "8", "--peers", "torch,torch-bf16,ann"]
    output, content = content_of("train_step", tmp_path / "found.json", *flags)
    assert "HIRE batch" in output
    assert content["hire_time_ratio"] > 0 and content["hire_activation_memory_ratio"] > 0
    there = [] if missing(PEERS["torch"]) else ["torch", "torch-bf16"]
    assert list(content["ratios"]) == there, "neither the traditional batch nor the ANN"
    assert [row["task"] for row in content["results"][0]["sides"]] == ["hire", "traditional", *["hire"] * len(there)]


def test_the_limits_of_an_instruction_set_need_a_processor_that_has_it(monkeypatch):
    features = conditions.llvmlite.binding.get_host_cpu_features
    monkeypatch.setattr(conditions.llvmlite.binding, "get_host_cpu_features", lambda: {"avx2": True, "avx512f": True})
    assert conditions.instruction_limits("native") == {}
    assert conditions.instruction_limits("avx512") == {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
    monkeypatch.setattr(conditions.llvmlite.binding, "get_host_cpu_features", lambda: {**features(), "avx512f": False})
    with pytest.raises(MinihireError, match="AVX512F"):
        conditions.instruction_limits("avx512")


@pytest.mark.slow
def test_a_contest_with_avx2_only(tmp_path):
    if not conditions.llvmlite.binding.get_host_cpu_features().get("avx2"):
        pytest.skip("the processor has no AVX2")
    flags = ["--instructions", "avx2", "--peers", "torch"]
    output, content = content_of("forward", tmp_path / "found.json", *flags)
    assert "ATEN_CPU_CAPABILITY" in output
    settings = content["settings"]
    assert settings["instructions"] == "avx2" and settings["busy"] == 0
    assert settings["environment"]["NUMBA_CPU_NAME"] == "haswell"
    own, *peers = (row["instructions"] for row in content["results"][0]["sides"])
    assert own["numba"] == "haswell without AVX-512" and own.get("openblas", "Haswell") == "Haswell"
    assert all(peer["torch"] == "AVX2" for peer in peers)
    assert "NUMBA_CPU_NAME" not in os.environ


@pytest.mark.slow
def test_shares_of_the_machine_s_ceilings(tmp_path):
    """Every kernel of a step has a time, and none does more than the machine can, a cache's help allowed for."""
    path = tmp_path / "ceilings.json"
    size = [part for part in SMALL if part not in ("--warm-up", "0")]
    done = command("ceilings", *size, "--width", 0.125, "--batch", 8, "--task", "hire", "--json", path)
    assert done.returncode == 0, done.stderr
    content = json.loads(path.read_text())
    rows, kernels = content["rows"], {row["kernel"] for row in content["rows"]}
    assert {"conv_lif_forward", "linear", "adam_step", "lif_forward", "lif_backward"} <= kernels
    assert all(row["seconds"] > 0 and row["bytes"] > 0 for row in rows)
    assert all(0 <= row["product_share"] < 1.5 and row["operations"] <= row["dense_operations"] for row in rows)
    assert 0 < content["at_limit"] < content["step"]
    assert "% of product speed" in done.stdout and "with every kernel at its limit" in done.stdout


def test_a_dense_product_has_the_operations_of_the_field():
    """Two per multiplication: 2·B·H·W·k²·C_in·C_out of a convolution, 2·B·F_in·F_out of a linear layer; all entries are 1."""
    numba, calls = get_backend("numba", threads=1), []
    ceilings.watch(numba, calls)
    x, weight = numba.asarray(np.ones((2, 3, 4, 4, 8))), numba.asarray(np.ones((3, 3, 8, 16)))
    saved = numba.conv2d(x, weight, 1, 1)[1]
    numba.conv2d_backward(saved, numba.asarray(np.ones((2, 3, 4, 4, 16))))
    saved = numba.linear(numba.asarray(np.ones((2, 3, 70))), numba.asarray(np.ones((70, 64))))[1]
    numba.linear_backward(saved, numba.asarray(np.ones((2, 3, 64))))
    convolution, linear = 2 * 2 * 3 * 16 * 9 * 8 * 16, 2 * 2 * 3 * 70 * 64
    expected = [
        ("conv2d", convolution),
        ("conv2d_weight_gradient", convolution),
        ("conv2d_input_gradient", convolution),
        ("linear", linear),
        ("linear_input_gradient", linear),
    ]
    assert [(name, useful, dense) for name, _, _, useful, dense, _ in calls] == [(n, c, c) for n, c in expected]


@pytest.mark.slow
def test_a_checkpoint_is_measured_as_it_is(tmp_path):
    k, model = get_backend("reference"), build("vgg5", 10, (16, 16, 3), width=1 / 16, hidden=16)
    network = Network(model, k, initialise(model, k, 0, True), spiking=True, steps=2)
    checkpoint.save(tmp_path / "snn.npz", network)
    _, content = content_of("forward", tmp_path / "found.json", "--peers", "", "--checkpoint", tmp_path / "snn.npz")
    assert content["settings"]["density"] is None and content["settings"]["model"]["image_shape"] == [16, 16, 3]
    assert content["ratio_to_fastest_peer"] is None


def test_moments_of_16_bits_in_a_checkpoint_are_numbers_for_all_sides(tmp_path):
    k, rng, path = get_backend("reference"), np.random.default_rng(0), tmp_path / "snn.npz"
    model = build("vgg5", image_shape=(16, 16, 3), width=1 / 32, hidden=8)
    images = rng.integers(0, 256, (8, *model.image_shape), np.uint8)
    data = Dataset("random", images, rng.integers(0, 10, 8), tuple("0123456789"), model.mean, model.std)
    network = Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=2)
    train(network, Recipe(1, 4, "adam16", 0.01), data, path=path)
    request = Request(batch=4, checkpoint=path, density=None)
    problem, *_ = Preparation(request, tmp_path / "problem").make()
    for name in ("conv1.weight", "neuron1.threshold"):
        for slot, found in zip(("mean", "square"), problem.moments(name), strict=True):
            saved = checkpoint.load(path).arrays[f"optimiser/{slot}/{name}"]
            expected = moments16.widen(saved, moments16.CUTS[slot]) if name.endswith(".weight") else saved
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.float32 and np.abs(found).max() < 100


@pytest.mark.slow
def test_a_network_is_trained_once(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "cifar"
    folder.mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        pixels = rng.integers(0, 256, (40, 3072), np.uint8)
        (folder / name).write_bytes(np.column_stack([np.arange(40, dtype=np.uint8) % 10, pixels]).tobytes())
    flags = ["--data-dir", folder, "--cache", tmp_path / "kept", "--ann-steps", "2", "--snn-steps", "4", "--peers", ""]
    first, content = content_of("train_step", tmp_path / "found.json", *flags)
    assert "training the SNN" in first and content["settings"]["moments"].startswith("from the checkpoint, after")
    assert content["settings"]["density"] is None and content["settings"]["images"] == "cifar10"
    second, _ = content_of("attack_step", tmp_path / "found.json", *flags)
    assert "training the SNN" not in second


def after_imports(*values):
    """A case that is refused only after torch and the peers were imported."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "arguments, word",
    [
        after_imports(["--model", "vgg4"], "vgg4"),
        (["--density", "-0.1"], "--density"),
        (["--density", "trained"], "--checkpoint"),
        after_imports(["--checkpoint", "README.md"], "README.md"),
        after_imports(["--peers", "norse"], "norse"),
        (["--rounds", "0"], "--rounds"),
        (["--batch", "two"], "two"),
        after_imports(["--width", "-1"], "width"),
        (["--hire", "--ann"], "--hire"),
        (["--instructions", "avx3"], "avx3"),
        (["--busy", "-1"], "--busy"),
        (["--trained-on-all"], "--data-dir"),
        (["--optimiser", "adam8"], "adam8"),
        (["--optimiser", "adam16", "--ann"], "--optimiser"),
        (["--ann", "--peers", "ann,torch"], "--peers from ann"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_wrong_input_is_one_sentence(arguments, word, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert run(train_step.main, arguments) == 2
    said = capsys.readouterr().err
    assert word in said and "Traceback" not in said and len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_wrong_input_ends_with_exit_code_2():
    done = command("forward", "--density", "1.5")
    assert done.returncode == 2 and done.stderr.startswith("benchmarks: --density") and done.stdout == ""


def test_forced_density_holds_for_every_layer():
    k, model = get_backend("reference"), build("resnet12", 10, (16, 16, 3), width=1 / 16)
    network = Network(model, k, initialise(model, k, 0, True), spiking=True, steps=3)
    images = k.asarray(np.random.default_rng(0).random((4, 16, 16, 3)))
    force_density(network, images, 0.15)
    found = {}

    def observe(event, name, array):
        if event == "spikes":
            found[name] = np.mean(k.to_numpy(array))

    network.forward(images, observe=observe)
    assert len(found) == 11 and all(density == pytest.approx(0.15, abs=0.02) for density in found.values())
    with pytest.raises(MinihireError, match="lower --density"):
        force_density(network, images, 0.99)


def test_silent_weights_have_a_denormal_mean_and_a_normal_square():
    mean, square = aged(np.array([0, 1e-4], np.float32), np.array([0, 1e-9], np.float32))
    assert 0 < mean[0] < np.finfo(np.float32).tiny < square[0] < 1e-9
    assert (mean[1], square[1]) == (np.float32(1e-4), np.float32(1e-9))


def test_the_ratio_is_to_the_fastest_spiking_peer_of_any_precision():
    rows = [
        {
            "side": side,
            "task": task,
            "spiking": side != "ann",
            "precision": precision,
            "median_s": s,
            "peak_bytes": 8 * s,
        }
        for side, task, precision, s in (
            ("minihire", "hire", "float32", 2.0),
            ("traditional", "traditional", "float32", 1.0),
            ("a", "hire", "float32", 5.0),
            ("b", "hire", "bf16", 4.0),
            ("c", "hire", "bf16", 6.0),
            ("ann", "hire", "float32", 1.0),
        )
    ]
    found = ratios(rows)
    assert (found["fastest_peer"], found["ratio_to_fastest_peer"]) == ("b", 2.0)
    assert (found["fastest_float32_peer"], found["ratio_to_fastest_float32_peer"]) == ("a", 2.5)
    assert found["ratio_memory_to_fastest_peer"] == 0.5
    assert found["ratios"] == {"a": 2.5, "b": 2.0, "c": 3.0, "ann": 0.5}
    alone = ratios(rows[:2])
    assert alone["ratios"] == {} and alone["fastest_peer"] is alone["ratio_to_fastest_peer"] is None


def test_a_side_that_cannot_be_compiled_is_left_out(monkeypatch):
    """One sentence says so, and the others are measured."""

    class Here:
        """Runs methods in this process, as Remote does in another."""

        def __init__(self, title, threads, factory, peer, *_):
            self.title, self.peer, self.pipe = title, peer, contextlib.nullcontext()
            self.pipe.close = lambda: None

        def begin(self, method):
            """Nothing to start."""

        def result(self):
            if self.peer.compiled:
                raise CannotCompile("compiling it failed: no C++ compiler")
            return {"densities": {}}

        def call(self, method):
            return 1.0 if method == "step" else {"peak_bytes": 1}

        def close(self):
            """Nothing to close."""

    monkeypatch.setattr(contest, "Remote", Here)
    monkeypatch.setattr(contest, "PAUSE", 0)
    peers = {"minihire": MINIHIRE["numba"], "a": PEERS["torch-compiled"], "b": PEERS["torch"]}
    said = []
    rows = contest.contest([Entrant(name, p, "train", None, None) for name, p in peers.items()], 1, 2, 0, said.append)
    assert [row["side"] for row in rows] == ["minihire", "b"]
    assert [line for line in said if "left out" in line] == [
        "  dense PyTorch, compiled is left out: compiling it failed: no C++ compiler"
    ]
    assert said[-1] == "  round 2 of 2: minihire 1.000 s, the others 1.000 to 1.000 s"


def test_a_failed_compilation_is_one_sentence(monkeypatch):
    class Broken:
        def step(self):
            raise RuntimeError("no C++ compiler\nand a long explanation")

    monkeypatch.setattr(Contestant, "make", lambda *_: Broken())
    with pytest.raises(CannotCompile, match="^compiling it failed: RuntimeError: no C\\+\\+ compiler$"):
        Contestant(PEERS["torch-compiled"], "train", None, None, 1).prepare()
    with pytest.raises(RuntimeError, match="^no C\\+\\+ compiler\nand a long explanation$"):
        Contestant(PEERS["torch"], "train", None, None, 1).prepare()


def test_training_on_all_images():
    images = Dataset("random", np.zeros((300, 2, 2, 3), np.uint8), np.zeros(300, int), ("a", "b"), (0,) * 3, (1,) * 3)
    name, (ann, ann_images), (snn, snn_images) = trained.plan(Request(trained_on_all=True), images)
    assert (ann.epochs, ann.learning_rate, snn.epochs, snn.learning_rate) == (8, 0.05, 1, 3e-4)
    assert ann.schedule.kind == snn.schedule.kind == "one-cycle" and ann_images is snn_images is images
    assert name != trained.plan(Request(), images).name


class Fragile:
    """Fails in each way that a side may fail."""

    def uncompiled(self):
        raise CannotCompile("no compiler")

    def wrong(self):
        raise MinihireError("no such thing")

    def broken(self):
        raise ZeroDivisionError

    def dead(self):
        os._exit(3)

    def threads(self):
        return os.environ["OMP_NUM_THREADS"]


def test_errors_of_a_process_are_reported():
    remote = Remote("the test", 3, Fragile)
    try:
        assert remote.call("threads") == "3"
        with pytest.raises(MinihireError, match="no such thing"):
            remote.call("wrong")
        with pytest.raises(CannotCompile, match="no compiler"):
            remote.call("uncompiled")
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            remote.call("broken")
        with pytest.raises(MinihireError, match="exit code 3"):
            remote.call("dead")
    finally:
        remote.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_memory_is_that_of_the_largest_moment():
    before = machine.resident()
    exact = machine.reset_peak()
    block = np.ones(2**27, np.uint8)
    del block
    assert peak_memory() - before >= 2**27 * 0.9
    if exact:
        machine.reset_peak()
        assert peak_memory() - before < 2**27 * 0.9


@pytest.mark.parametrize("module", [ceilings, kernels], ids=lambda module: module.__name__)
def test_ctrl_c_is_one_sentence(module, monkeypatch, capsys):
    name = "prepared" if module is ceilings else "get_backend"
    monkeypatch.setattr(module, name, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(module.main, []) == 130
    assert capsys.readouterr().err == "benchmarks: stopped\n"
