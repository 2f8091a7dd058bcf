"""The process that compiles ahead: it calls every kernel that training and attacks call, with the same types."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from backends import get_backend
from backends.numba_cpu import ahead

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
from minihire.layers import Draws
from minihire.models import build
from minihire.network import Network, initialise
from minihire.training.optimisers import Adam, SGD

k, model, rng = get_backend("numba"), build("vgg5", width=0.25, hidden=64, dropout=0.2), np.random.default_rng(0)
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


def test_all_that_training_and_attacks_call_is_compiled_ahead():
    ahead_of_all, called = kernels_of("from backends.numba_cpu import ahead; ahead.main()"), kernels_of(WORK)
    assert len(called) > 25
    assert sorted(called - ahead_of_all) == []


@pytest.fixture
def started(monkeypatch):
    """What would have been started: the arguments of Popen."""
    found = []

    class Process:
        def __init__(self, command, **options):
            found.append((command, options))

    monkeypatch.setattr(ahead.subprocess, "Popen", Process)
    monkeypatch.setattr(ahead.atexit, "register", lambda *given: found.append(given))
    return found


def test_it_starts_beside_the_program_and_ends_with_it(started, monkeypatch):
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    ahead.start()
    (command, options), (end, _) = started
    assert command == [sys.executable, "-m", "backends.numba_cpu.ahead"]
    assert options["env"]["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT) and end is ahead._end


@pytest.mark.parametrize("missing", ["core", "folder", "python"])
def test_it_does_not_start_where_it_would_be_of_no_use(started, monkeypatch, missing):
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 1 if missing == "core" else 2)
    if missing == "folder":
        monkeypatch.setattr(ahead, "kept_folder", lambda: None)
    if missing == "python":
        monkeypatch.setattr(ahead.sys, "executable", None)
    ahead.start()
    assert started == []


def test_a_system_that_starts_no_process_is_no_error(monkeypatch):
    def refuse(*given, **options):
        raise BlockingIOError("resource temporarily unavailable")

    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(ahead.subprocess, "Popen", refuse)
    ahead.start()


def test_one_thread_means_one_process(monkeypatch):
    """--threads 1 asks for one core: no second process takes another."""
    helpers = []
    monkeypatch.setattr("backends.numba_cpu.CompileNotice", lambda say, help: helpers.append(help))
    get_backend("numba", threads=1).announce(print)
    get_backend("numba", threads=2).announce(print)
    assert helpers[0] is not ahead.start and helpers[1] is ahead.start
    get_backend("numba")
