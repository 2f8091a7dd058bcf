"""Several threads of Python, Numba's layer that serves only one of them, and forked children: each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends import get_backend

numba = pytest.importorskip("numba")
from backends.numba_cpu.simd import subnormals  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
ADD = """
import os, sys, threading
import numpy as np
from backends import BackendError, get_backend
k = get_backend("numba", threads=2)
x = k.asarray(np.ones((4, 8, 16, 16, 16)))
"""


def fresh_process(code, **environment):
    """Run code in a new interpreter: (exit status, its output)."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", ADD + code], env=environment, capture_output=True, text=True, timeout=240
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_threads_of_python_may_call_at_once(layer):
    """Without a lock, Numba's layer "workqueue" aborts the process."""
    code = """
def work():
    for _ in range(200):
        k.add(x, x)
workers = [threading.Thread(target=work) for _ in range(3)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
import numba
print(numba.threading_layer())
"""
    status, said = fresh_process(code, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in said:
        pytest.skip(f"this Numba has no layer {layer}")
    assert (status, said.strip()) == (0, layer)


def test_every_thread_of_python_has_its_backend_s_number_of_threads():
    """Numba's own setting holds for the thread of Python that made it."""
    code = """
import numba
one, found = get_backend("numba", threads=1), []
def work(backend):
    backend.add(x, x)
    found.append(numba.get_num_threads())
for backend in (one, k, one):
    worker = threading.Thread(target=work, args=[backend])
    worker.start()
    worker.join()
    work(backend)
print(found)
"""
    assert fresh_process(code) == (0, "[1, 1, 2, 2, 1, 1]\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("use", ["k.add(x, x)", "get_backend('numba')", "k.asarray([1.0])"])
def test_a_forked_child_says_what_to_do(use):
    """OpenMP would end it by a signal."""
    code = f"""
k.add(x, x)
sys.stdout.flush()
child = os.fork()
if not child:
    try:
        {use}
    except BackendError as error:
        print(error, flush=True)
        os._exit(7)
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
k.add(x, x)
print(status)
"""
    status, said = fresh_process(code, NUMBA_THREADING_LAYER="omp")
    if "No threading layer could be loaded" in said:
        pytest.skip("this Numba has no OpenMP")
    message, number = said.splitlines()
    assert (status, number) == (0, "7")
    assert message.startswith("this process was forked from one that had started the numba backend's OpenMP threads")
    assert 'multiprocessing.get_context("spawn")' in message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_may_use_the_backend_where_there_is_no_openmp():
    code = """
k.add(x, x)
child = os.fork()
if not child:
    os._exit(int(k.to_numpy(k.add(x, x))[0, 0, 0, 0, 0]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert fresh_process(code, NUMBA_THREADING_LAYER="workqueue") == (0, "2\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_may_use_the_reference():
    code = """
k.add(x, x)
child = os.fork()
if not child:
    plain = get_backend("reference")
    os._exit(int(plain.add(plain.asarray([1.0]), plain.asarray([2.0]))[0]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert fresh_process(code) == (0, "3\n")


# ---------------------------------------------------------------- subnormal numbers


def smallest_square(k):
    """The second moments of Adam after a gradient of 1e-20: 1e-43, which is subnormal. All threads compute a part."""
    weight, mean, square = (k.zeros((256, 256)) for _ in range(3))
    k.adam_step(weight, k.asarray(np.full((256, 256), 1e-20)), mean, square, None, 1e-3, (0.9, 0.999), 1e-8, 1, -1, 1)
    return square


has_control_register = pytest.mark.skipif(
    not subnormals.X86 or numba.config.DISABLE_JIT, reason="x86 processors have the control register"
)


@has_control_register
@pytest.mark.parametrize("threads", [1, 2])
def test_all_threads_take_subnormal_numbers_as_zeros_only_inside_the_context(threads):
    k = get_backend("numba", threads=threads)
    assert np.all(smallest_square(k) > 0)
    with k.services.subnormals_as_zeros():
        assert np.all(smallest_square(k) == 0) and np.float32(1e-30) * np.float32(1e-10) == 0
        with k.services.subnormals_as_zeros():
            pass
        assert np.all(smallest_square(k) == 0)
    assert np.all(smallest_square(k) > 0) and np.float32(1e-30) * np.float32(1e-10) > 0
    with pytest.raises(KeyboardInterrupt), k.services.subnormals_as_zeros():
        raise KeyboardInterrupt
    assert np.all(smallest_square(k) > 0)


@has_control_register
@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_threads_that_start_inside_the_context_compute_with_subnormal_numbers_after_it(layer):
    """A new thread inherits the setting of the thread that starts it."""
    code = """
weight, mean, square = (k.zeros((256, 256)) for _ in range(3))
gradient = np.full((256, 256), 1e-20, np.float32)
with k.services.subnormals_as_zeros():
    pass
k.adam_step(weight, gradient, mean, square, None, 1e-3, (0.9, 0.999), 1e-8, 1, -1, 1)
print(np.all(square > 0))
"""
    status, said = fresh_process(code, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in said:
        pytest.skip(f"this Numba has no layer {layer}")
    assert (status, said) == (0, "True\n")
