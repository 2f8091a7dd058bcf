"""Two processes under torchrun give the results of one with twice the batch. Run as a program, this file is one of the two.

python -m torch.distributed.run --nproc-per-node 2 tests/test_ranks.py FOLDER TASK
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from backends import BackendError, get_backend, torchrun_rank  # noqa: E402
from minihire.app import cli  # noqa: E402
from minihire.app import run as run_command  # noqa: E402
from minihire.attacks import attack_accuracy, evaluate, evaluate_robustness, pgd  # noqa: E402
from minihire.data.dataset import Dataset  # noqa: E402
from minihire.models import build  # noqa: E402
from minihire.network import Network, initialise  # noqa: E402
from minihire.runtime import files  # noqa: E402
from minihire.runtime.interrupt import Interrupted, OutOfTime, stop_after  # noqa: E402
from minihire.runtime.progress import Progress  # noqa: E402
from minihire.training import Adversarial, CraftedNoise, GaussianNoise, Recipe, train, training_attack  # noqa: E402
from minihire.training.checkpoint import CheckpointError, load  # noqa: E402
from minihire.training.optimisers import Schedule  # noqa: E402

BATCH = 8  # of both processes together
ONE_CYCLE = Schedule("one-cycle")
HIRE = dict(periods=2, noise=CraftedNoise(0.02, 0.03), schedule=ONE_CYCLE)
CASES = {  # name: (images, settings); of 19 images the last batch has 3, none for rank 1; of 21 it has 5, one for rank 1
    "hire": (19, HIRE),
    "frozen": (21, dict(HIRE, carry_membranes=True, craft_after_update=True, freeze=True, optimiser="sgd")),
    "gaussian": (21, dict(periods=2, noise=GaussianNoise(0.05))),
    "adversarial": (21, dict(periods=2, noise=Adversarial(training_attack(0.05, 2)))),
}
STOPPED_AFTER = 4  # batches; the other process learns of it with the next batch's sum
CLI_RUN = [
    *("run", "--backend", "torch", "--train-limit", "40", "--test-limit", "250", "--width", "0.06", "--hidden", "16"),
    *("--ann-epochs", "2", "--ann-batch-size", "8", "--snn-epochs", "1", "--batch-size", "8", "--steps", "2"),
    *("--methods", "hire", "--iterations", "1", "--calibration-images", "8", "--calibration-steps", "4"),
    "--no-black-box",
]


def images(count, seed=0):
    """Random images [count, 8, 8, 3] around a grey level for each of 4 classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    pixels = np.clip(rng.normal(0, 40, (count, 8, 8, 3)) + 50 * labels[:, None, None, None] + 50, 0, 255)
    return Dataset("random", pixels.astype(np.uint8), labels, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)


def start(k, case, path, batch=None, resume=False, seed=0):
    """Train, 4 epochs of 3 batches, on a backend; `batch`: a process's own; seed: of the images."""
    model = build("vgg5", 4, (8, 8, 3), width=1 / 32, hidden=8)
    parameters = initialise(model, k, 1, spiking=True)
    parameters |= {p: k.asarray([0.5]) for p in parameters if p.endswith("threshold")}
    network = Network(model, k, parameters, spiking=True, steps=4)
    count, settings = CASES[case]
    recipe = Recipe(4, batch or BATCH // k.services.ranks, **{"learning_rate": 0.01, **settings})
    return train(network, recipe, images(count, seed), heldout=images(10, seed=5), path=path, resume=resume)


def all_of(training):
    """Parameters, and the rank's own κ, as NumPy arrays by name."""
    k = training.network.backend
    return {n: k.to_numpy(a) for n, a in {**training.network.parameters, "kappa": training.kappa}.items()}


def attacked(training):
    """Which of 250 images, in three batches, the network classifies correctly under PGD."""
    return attack_accuracy(training.network, images(250, seed=2), pgd(iterations=2))


# ---------------------------------------------------------------- one of the two processes


def work(folder):
    """Train every case; stop a training by Ctrl-C in one process and resume it; check the errors in both; `minihire run`."""
    k = get_backend("torch", dtype="float64", threads=1)
    for case in CASES:
        done = start(k, case, folder / f"{case}.npz")
        np.savez(folder / f"{case}-{k.services.rank}.npz", right=attacked(done), **all_of(done))
    with pytest.MonkeyPatch.context() as patch:  # answers are saved before every batch
        patch.setattr(evaluate, "SAVE_EVERY", 0)
        patch.setattr(evaluate, "WRITE_RATIO", 0)
        suite = evaluate_robustness(done.network, images(250, seed=2), "parity", folder=folder / "suite")
    assert (
        suite.as_dict()["robust"]
        == evaluate_robustness(done.network, images(250, seed=2), "parity").as_dict()["robust"]
    )
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="in epoch 2 after batch 2; saved in"):
        if k.services.rank == 1:
            patch.setattr(Progress, "add", after(STOPPED_AFTER, lambda: signal.raise_signal(signal.SIGINT)))
        start(k, "hire", folder / "stopped.npz")
    if k.services.rank == 0:
        shutil.copy(folder / "stopped.npz", folder / "half.npz")
    start(k, "hire", folder / "stopped.npz", resume=True)
    with pytest.raises(CheckpointError, match="would start training from different images, weights or checkpoints"):
        start(k, "hire", None, seed=k.services.rank)
    with stop_after(1e-9 if k.services.rank == 1 else None), pytest.raises(OutOfTime, match="during pgd"):
        attacked(done)
    assert cli.main([*CLI_RUN, "--out", str(folder / "run")]) == 0


def after(number, action):
    """A Progress.add that does something when it is called for the number-th time."""
    calls, add = [], Progress.add

    def adding(self, *arguments):
        calls.append(1)
        if len(calls) == number:
            action()
        add(self, *arguments)

    return adding


def be_killed(folder):
    """`minihire train` in which rank 1 dies in the second epoch."""
    if torchrun_rank()[0] == 1:
        Progress.add = after(5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    flags = ["--train-limit", "40", "--width", "0.06", "--hidden", "16", "--ann-epochs", "50", "--ann-batch-size", "8"]
    sys.exit(cli.main(["train", "ann", "--backend", "torch", *flags, "--out", str(folder / "ann.npz")]))


def refuse(*_, **__):
    """Replaces the functions that rank 1 must not call."""
    raise AssertionError("rank 1 writes")


# ---------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """launch(task) runs two processes for at most 2 minutes: (their folder, exit code, standard output, standard error)."""

    def start_two(task):
        folder = tmp_path_factory.mktemp(task)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--monitor-interval", "1", __file__, str(folder), task]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        return folder, done.returncode, done.stdout, done.stderr

    return start_two


@pytest.fixture(scope="module")
def worked(launch):
    """(folder, output of rank 0) of two processes that ran `work`."""
    folder, code, said, errors = launch("work")
    assert code == 0, errors
    return folder, said


@pytest.fixture
def k():
    """One process's backend."""
    before = torch.get_num_threads()
    yield get_backend("torch", dtype="float64", threads=1)
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one_with_the_double_batch(worked, k, tmp_path, case):
    folder, _ = worked
    alone = start(k, case, tmp_path / "alone.npz")
    ours, theirs = all_of(alone), [dict(np.load(folder / f"{case}-{rank}.npz")) for rank in (0, 1)]
    assert len(theirs[0]["kappa"]) == len(theirs[1]["kappa"]) == BATCH // 2
    for name in alone.network.parameters:
        assert np.array_equal(theirs[0][name], theirs[1][name]), name
        np.testing.assert_allclose(theirs[0][name], ours[name], rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.concatenate([t["kappa"] for t in theirs]), ours["kappa"], rtol=0, atol=1e-8)
    history = load(folder / f"{case}.npz").meta["training"]["history"]
    assert [row.keys() for row in history] == [row.keys() for row in alone.history]
    for row, own in zip(history, alone.history, strict=True):
        np.testing.assert_allclose(list(row.values()), list(own.values()), rtol=0, atol=1e-8)
    assert alone.optimiser.steps == 24 and np.abs(ours["kappa"]).max() > 0
    right = attacked(alone)
    assert all(np.array_equal(t["right"], right) for t in theirs) and 0 < right.sum() < len(right)


@pytest.mark.slow
def test_a_resumed_training_is_bit_identical(worked):
    folder, _ = worked
    whole, stopped = (load(folder / f"{name}.npz") for name in ("hire", "stopped"))
    assert whole.arrays["kappa"].shape == (BATCH, 8, 8, 3)
    assert whole.arrays.keys() == stopped.arrays.keys() and whole.meta["training"] == stopped.meta["training"]
    for name, array in whole.arrays.items():
        assert array.tobytes() == stopped.arrays[name].tobytes(), name


@pytest.mark.slow
def test_a_training_may_be_resumed_by_another_number_of_processes(worked, k, tmp_path):
    folder, _ = worked
    path = shutil.copy(folder / "half.npz", tmp_path)
    with pytest.raises(CheckpointError, match="trained with other batches, of 8 images over all processes, not of 4: "):
        start(k, "hire", path, batch=4, resume=True)
    done, whole = start(k, "hire", path, resume=True), load(folder / "hire.npz")
    for name, array in done.network.parameters.items():
        np.testing.assert_allclose(k.to_numpy(array), whole.arrays[f"parameter/{name}"], rtol=0, atol=1e-8)


@pytest.mark.slow
def test_only_the_first_process_writes_files_and_prints(worked):
    """In rank 1 the calls that would write are replaced by errors (see the end of this file)."""
    folder, said = worked
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["finished"] and results["machine"]["ranks"] == 2
    assert results["models"]["hire"]["history"][0]["loss"] > 0
    assert {(row["attack"], row["count"]) for row in results["accuracy"]} >= {("none", 250), ("pgd", 250)}
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
    for line in ("── train ann\n", "── train hire\n", "── attack pgd: hire, white box\n", "results.json"):
        assert said.count(line) == 1, line


@pytest.mark.slow
def test_a_run_is_resumed_with_the_same_whole_batch(worked, monkeypatch, capsys):
    folder, _ = worked
    monkeypatch.setattr(run_command, "draw_all", lambda results, folder: [])
    resume = ["run", "--resume", "--out", str(folder / "run"), "--backend", "torch", "--quiet"]
    assert cli.main(resume) == 2
    assert (
        "started with --ann-batch-size 16 over all processes, not with --ann-batch-size 8: resume"
        in capsys.readouterr().err
    )
    assert cli.main([*resume, "--batch-size", "16", "--ann-batch-size", "16"]) == 0


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_in_one_sentence(launch):
    folder, code, _, errors = launch("be_killed")
    assert code != 0
    assert errors.count("minihire: another process of this run has ended") == 1
    assert "resume from the last checkpoint" in errors and "minihire/training" not in errors
    assert load(folder / "ann.npz").meta["training"]["position"]["epoch"] == 1


@pytest.mark.parametrize("name", ["numba", "reference"])
def test_only_torch_works_in_several_processes(monkeypatch, name):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        BackendError, match=f"^the {name} backend works in one process, not in torchrun's 2: choose the torch"
    ):
        get_backend(name)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert (get_backend(name).services.rank, get_backend(name).services.ranks) == (0, 1)


def test_a_gpu_that_all_processes_would_share_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BackendError, match="each of torchrun's processes takes its own GPU: choose the device cuda"):
        get_backend("torch", "cuda:0")


if __name__ == "__main__":
    if torchrun_rank()[0] > 0:
        files.tempfile.mkstemp = run_command.draw_all = refuse
    {"work": work, "be_killed": be_killed}[sys.argv[2]](Path(sys.argv[1]))
