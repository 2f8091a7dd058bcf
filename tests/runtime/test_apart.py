"""Calls in a process of their own: results, exceptions, Ctrl-C and a process that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minihire.runtime.apart import call_apart
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import Progress

ROOT = Path(__file__).parents[2]
SCRIPT = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell may have started the tests with SIGINT ignored
from minihire.runtime.apart import call_apart
print("started", flush=True)
try:
    call_apart(time.sleep, 60)
except KeyboardInterrupt:
    print("stopped")
"""


def quiet():
    return Progress.quiet


def refused():
    raise MinihireError("no such thing")


def test_the_result_comes_from_another_process():
    assert call_apart(os.getpid) != os.getpid() and call_apart(max, 3, 5) == 5


@pytest.mark.parametrize("value", [False, True])
def test_it_is_as_quiet_as_this_process(monkeypatch, value):
    monkeypatch.setattr(Progress, "quiet", value)
    assert call_apart(quiet) == value


def test_an_exception_is_raised_here():
    with pytest.raises(MinihireError, match="^no such thing$"):
        call_apart(refused)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_a_killed_process_is_one_sentence():
    with pytest.raises(MinihireError, match="ended with code -9 and no result, probably because memory ran out: free"):
        call_apart(signal.raise_signal, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups")
@pytest.mark.parametrize("seconds", [0.3, 3])
def test_ctrl_c_ends_both_processes_without_a_traceback(seconds):
    """While the new process imports, and while it works."""
    options = dict(env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True, text=True)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    ) as process:
        assert process.stdout.readline() == "started\n"
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert (out, error, process.returncode) == ("stopped\n", "", 0)
