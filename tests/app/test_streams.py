"""Standard streams that are full or closed, Ctrl-C while the program is imported, a folder that hides a package."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import command, plain, results_of, small, write_cifar10

from minihire.app import cli, folders
from minihire.app.streams import GuardedOutput
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import Progress

ROOT = Path(__file__).parents[2]
MINIHIRE = f"{sys.executable} -m minihire"
FULL = (
    "minihire: standard output cannot be written (No space left on device): redirect it elsewhere, or free some space\n"
)
CLOSED = FULL.replace("No space left on device", "it is closed")

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full and a POSIX shell")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("info vgg5 > /dev/full", 2, FULL),
        ("--version > /dev/full", 2, FULL),
        ("info vgg5 >&-", 2, CLOSED),
        ("run --help >&-", 2, CLOSED),
        ("info vgg6 > /dev/full", 2, None),
        ("info vgg6 2>&-", 2, ""),
        ("info vgg6 2> /dev/full", 2, ""),
        ("info vgg6 >&- 2>&-", 2, ""),
        ("info vgg5 --json {place}/x.json 2>&-", 0, ""),
        ("info vgg5 <&-", 0, ""),
    ],
)
def test_streams_that_cannot_be_written(line, code, error, tmp_path):
    done = subprocess.run(
        f"{MINIHIRE} {line.format(place=tmp_path)}", shell=True, cwd=ROOT, env=plain(), capture_output=True, text=True
    )
    assert done.returncode == code and "Traceback" not in done.stderr
    if error is None:
        assert done.stderr.startswith("minihire: there is no model 'vgg6'") and done.stderr.count("\n") == 1
    else:
        assert done.stderr == error


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_ends_with_1():
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "minihire", "info", "vgg5"]
        done = subprocess.run(command, cwd=ROOT, env=plain(), stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_sigterm_while_python_starts_ends_the_process():
    """A shell reports 128 + 15 = 143."""
    process = subprocess.Popen([sys.executable, "-m", "minihire", "info", "vgg5"], cwd=ROOT, env=plain())
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_a_run_behind_a_full_disk_writes_its_results_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Progress, "quiet", False)
    monkeypatch.setattr("minihire.app.run.draw_all", lambda results, folder: [])
    monkeypatch.setattr(sys, "stdout", Full())
    flags = small(write_cifar10(tmp_path / "cifar"), methods="hire", ann_epochs=6)
    arguments = ["run", *flags, "--no-black-box", "--threads", "1", "--out", tmp_path / "run"]
    assert cli.main([str(argument) for argument in arguments]) == 2
    assert capsys.readouterr().err == FULL
    assert results_of(tmp_path / "run")["finished"] and (tmp_path / "run" / "report.html").exists()


def test_a_closed_pipe_still_raises_so_that_work_nobody_reads_ends():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    output = GuardedOutput(Closed())
    with pytest.raises(BrokenPipeError):
        output.write("text")
    assert output.gone


def test_standard_streams_are_those_from_before_afterwards():
    before = sys.stdout, sys.stderr
    assert command("info", "vgg5")[0] == 0
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_ctrl_c_while_the_program_is_imported_is_one_line(delay):
    start = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv = ['minihire', 'info', 'vgg5']\n"
        "import minihire.__main__ as m\n"
        "before = m._hidden_package\n"
        "m._hidden_package = lambda: (print('started', flush=True), before())[1]\n"
        "sys.exit(m.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", start], cwd=ROOT, env=plain(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "started\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, error) == (130, "minihire: stopped; nothing was written yet\n")


def test_a_folder_that_hides_our_package_is_one_sentence(tmp_path):
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "__init__.py").write_text("")
    environment = plain(PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "minihire", "info", "vgg5"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"minihire: {tmp_path / 'backends'} hides the package `backends` of minihire: "
        "start from another folder, or rename it\n"
    )


def test_names_of_files_reach_the_terminal_escaped(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a\nb\x1b]0;title\x07\x9b31m\u202e.npz"
    assert cli.main(["info", name]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "a\\nb\\x1b]0;title\\x07\\x9b31m\\u202e.npz" in said


def test_only_our_own_codes_are_written():
    stream = io.StringIO()
    text = "\x1b[1mbold\x1b[0m\r\x1b[A\tname\x1b[2J\x1b[31;5m\x07\x9b\n"
    assert GuardedOutput(stream).write(text) == len(text)
    assert stream.getvalue() == "\x1b[1mbold\x1b[0m\r\x1b[A\tname\\x1b[2J\\x1b[31;5m\\x07\\x9b\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_as_lock_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(MinihireError, match="not a regular file"), folders.lock(tmp_path):
        pass
