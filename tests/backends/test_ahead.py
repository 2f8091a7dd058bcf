"""The process that compiles ahead: it calls every kernel that training and attacks call, with the same types."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("numba")

from backends import get_backend
from backends.numba_cpu.runtime import ahead, kernel_cache

ROOT = Path(__file__).parents[2]
SEEN = """
import json, sys
from numba.core.dispatcher import Dispatcher
modules = [m for name, m in sys.modules.items() if name.startswith("backends.numba_cpu.")]
kernels = {f for m in modules for f in vars(m).values() if isinstance(f, Dispatcher) and f.targetoptions.get("parallel")}
print(json.dumps([f"{f.py_func.__module__}.{f.__name__}{s}" for f in kernels for s in f.signatures]))
"""
WORK = """
import numpy as np
from backends import get_backend
from minihire.attacks import Attack, Attacker
from backends.randomness import Draws
from minihire.models import build
from minihire.network import Network, initialise
from minihire.training.optimisers import Adam, SGD

k, model, rng = get_backend("numba"), build("vgg5", width=WIDTH, hidden=64, dropout=0.2), np.random.default_rng(0)
images, labels = k.asarray(rng.random((8, 32, 32, 3))), k.asarray(rng.integers(0, 10, 8))
for spiking, optimiser in ((False, SGD), (True, Adam)):
    network = Network(model, k, initialise(model, k, 0, spiking), spiking=spiking, steps=3)
    update = optimiser(network, list(network.parameters))
    for step in range(2):
        update.step(network.gradients(images, labels, draws=Draws(0, step)).weights, 1e-4)
    Attacker(network, Attack("pgd", 8 / 255, 2 / 255, 2))(images, labels)
"""


def kernels_of(program):
    """Kernels and types that a program calls, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program + SEEN], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.slow
def test_all_that_training_and_attacks_call_is_compiled_ahead():
    ahead_of_all = kernels_of("from backends.numba_cpu.runtime import ahead; ahead.main()")
    for width in ("0.25", "1"):  # narrow and wide convolutions
        called = kernels_of(WORK.replace("WIDTH", width))
        assert len(called) > 25
        assert sorted(called - ahead_of_all) == []


@pytest.fixture
def started(monkeypatch):
    """The arguments of every Popen call, in place of starting the process."""
    found = []
    monkeypatch.setattr(ahead.subprocess, "Popen", lambda command, **options: found.append((command, options)))
    monkeypatch.setattr(ahead, "started", [])
    monkeypatch.setattr(ahead.processors, "available", lambda: 2)
    return found


def test_it_compiles_into_the_program_s_own_folder(started, monkeypatch):
    monkeypatch.setenv("MINIHIRE_CACHE_DIR", "somewhere/else")  # since the program started
    ahead.start()
    ((command, options),) = started
    assert command == [sys.executable, "-c", ahead.PROGRAM] and len(ahead.started) == 1
    folder = Path(options["env"]["MINIHIRE_CACHE_DIR"], "minihire", ahead.CACHE_FOLDER.name)
    assert folder == ahead.CACHE_FOLDER and folder.is_absolute()


RUNS_IT = """
import sys
from backends.numba_cpu.runtime import ahead
ahead.start()
print(ahead.started[0].pid, flush=True)
sys.stdin.read()
"""


def runs(process):
    """Whether a process is running, not a zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL") or (os.cpu_count() or 1) < 2, reason="needs SIGKILL and two cores")
def test_it_ends_with_the_program_however_that_ends(tmp_path):
    """It also ignores modules of the same names in the working directory."""
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "__init__.py").write_text("open('astray', 'w')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MINIHIRE_CACHE_DIR": str(tmp_path / "cache")}
    program = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[0] = {str(ROOT)!r}\n{RUNS_IT}"],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    helper = int(program.stdout.readline())
    time.sleep(3)  # by now it has imported what it needs
    assert runs(helper)
    program.kill()
    program.wait()
    for _ in range(100):
        if not runs(helper):
            break
        time.sleep(0.2)
    else:
        os.kill(helper, signal.SIGKILL)
        raise AssertionError("the process outlived the program by 20 seconds")
    assert not (tmp_path / "astray").exists()


@pytest.mark.slow
def test_several_writers_of_one_kernel_leave_a_cache_that_works(tmp_path):
    """Programs that start at once and compile the same function for the same and for other types."""
    source = tmp_path / "kernel.py"
    source.write_text(
        "from backends.numba_cpu.runtime.kernel_cache import compiled\n\n\n@compiled\ndef double(x):\n    return x + x\n"
    )
    work = "import kernel\nfor x in (1, {0}): assert kernel.double(x) == 2 * x\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    environment["MINIHIRE_CACHE_DIR"] = str(tmp_path / "kept")
    for _ in range(2):  # cold, then from the cache
        programs = [
            subprocess.Popen([sys.executable, "-c", work.format(number)], env=environment)
            for number in ("1", "1.5", "2j")
        ]
        assert [program.wait() for program in programs] == [0, 0, 0]
    assert len(list(tmp_path.glob("kept/**/*.nbc"))) == 3


@pytest.mark.parametrize("missing", ["core", "folder", "python"])
def test_it_does_not_start_with_one_core_or_without_a_cache_folder_or_python(started, monkeypatch, missing):
    monkeypatch.setattr(ahead.processors, "available", lambda: 1 if missing == "core" else 2)
    if missing == "folder":
        monkeypatch.setattr(ahead, "CACHE_FOLDER", None)
    if missing == "python":
        monkeypatch.setattr(ahead.sys, "executable", None)
    ahead.start()
    assert started == []


def test_a_system_that_starts_no_process_is_no_error(monkeypatch):
    def refuse(*given, **options):
        raise BlockingIOError("resource temporarily unavailable")

    monkeypatch.setattr(ahead.processors, "available", lambda: 2)
    monkeypatch.setattr(ahead.subprocess, "Popen", refuse)
    monkeypatch.setattr(ahead, "started", [])
    ahead.start()
    assert ahead.started == []


def test_one_thread_means_one_process(monkeypatch):
    """With --threads 1 the program uses one core, so no second process is started."""
    helpers = []
    monkeypatch.setattr("backends.numba_cpu.COMPILE_NOTICE.use", lambda say, help: helpers.append(help))
    get_backend("numba", threads=1).services.announce(print)
    get_backend("numba", threads=2).services.announce(print)
    assert helpers[0] is not ahead.start and helpers[1] is ahead.start
    get_backend("numba")


def test_every_call_of_announce_replaces_the_one_before(monkeypatch):
    """One listener per process, one notice, and one helper process."""
    registered, said, notice = [], [], kernel_cache.CompileNotice()
    monkeypatch.setattr(kernel_cache.event, "register", lambda kind, listener: registered.append(listener))
    monkeypatch.setattr("backends.numba_cpu.COMPILE_NOTICE", notice)
    monkeypatch.setattr(ahead, "start", lambda: said.append("helper"))
    for name in ("first", "second", "third"):
        get_backend("numba", threads=2).services.announce(lambda line, name=name: said.append(name))
    assert registered == [notice]
    notice.on_start(None)
    notice.on_start(None)
    assert said == ["third", "helper"]
    get_backend("numba")
