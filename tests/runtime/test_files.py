"""Files are read only if they are regular; a killed process leaves nothing behind for long."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minihire import Network, attack_accuracy, build, fgsm, get_backend, initialise, load_data
from minihire.app import folders
from minihire.attacks.images import load_images
from minihire.data import cifar, folder, mnist, pickles
from minihire.data.dataset import DataError
from minihire.runtime import files
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import FileError, only_writer, open_regular, require_writable, write_atomically
from minihire.study import notes
from minihire.study.results import Results
from minihire.training import checkpoint

FORMER = ".x.npz.abcd1234.tmp"


def resume_attack(path):
    """Attack a small network, and resume from the answers in a file."""
    k, model = get_backend("reference"), build("vgg5", width=1 / 32, hidden=4)
    network = Network(model, k, initialise(model, k, seed=0))
    attack_accuracy(network, load_data("shapes", test_limit=1).test, fgsm(), path=path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize(
    "read",
    [
        checkpoint.load,
        Results.load,
        lambda path: notes.read(path, "and try again"),
        resume_attack,
        load_images,
        lambda path: pickles.read_pickle(path, 100),
        lambda path: cifar.read_binary(path, "cifar10", 1),
        lambda path: mnist.read_idx(path, 2049, (), 1),
        lambda path: folder.read_image(path),
    ],
)
def test_a_fifo_is_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(MinihireError, match=r"x\.npz"):
        read(tmp_path / "x.npz")


def test_folders_and_devices_are_not_opened(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    if os.path.exists("/dev/zero"):
        (tmp_path / "link").symlink_to("/dev/zero")
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(tmp_path / "link")
        with pytest.raises(DataError, match="not a regular file"):
            folder.read_image(tmp_path / "link")


def test_what_a_killed_process_left_is_removed(tmp_path):
    others = [".x.npz.abcd1234", ".y.npz.abcd1234.tmp", ".x.npz.backup-1.tmp", "x.npz.abcd1234.tmp"]
    for name in (FORMER, *others):
        (tmp_path / name).write_bytes(b"half")
    write_atomically(tmp_path / "x.npz", lambda file: file.write(b"whole"))
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz", *others}
    assert (tmp_path / "x.npz").read_bytes() == b"whole"


@pytest.mark.skipif(os.name == "nt", reason="needs flock")
def test_what_a_living_process_holds_stays(tmp_path):
    script = f"""
import sys, time
from pathlib import Path
from minihire.runtime.files import write_atomically

def write(file):
    file.write(b"other"); file.flush(); print("ready", flush=True); sys.stdin.read()

write_atomically(Path({str(tmp_path)!r}) / "x.npz", write)
"""
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        write_atomically(tmp_path / "x.npz", lambda file: file.write(b"ours"))
        assert len(list(tmp_path.glob(".x.npz.*.tmp"))) == 1
        child.kill()
        child.wait()
        assert len(list(tmp_path.glob(".x.npz.*.tmp"))) == 1
        write_atomically(tmp_path / "x.npz", lambda file: file.write(b"ours again"))
        assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(os.name == "nt", reason="needs flock")
def test_a_path_has_one_writer_at_a_time(tmp_path):
    with only_writer(tmp_path / "new" / "x.npz"):
        refused = pytest.raises(FileError, match="x.npz is being written by another process: wait for it")
        with refused, only_writer(tmp_path / "new" / "x.npz"):
            pass
        with only_writer(tmp_path / "new" / "y.npz"):
            pass
    with only_writer(tmp_path / "new" / "x.npz"):
        pass
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "new" / "x.npz").touch()
    with pytest.raises(FileError, match="exists by now"), only_writer(tmp_path / "new" / "x.npz", new=True):
        pass
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "other" / "x.npz"):
        raise ZeroDivisionError
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="imitates Windows by means of /proc")
def test_a_lock_file_is_deleted_on_windows_too(tmp_path, monkeypatch):
    """There, a file that a process has open cannot be deleted."""

    def unlink(path):
        if any(os.path.realpath(file) == str(path) for file in Path("/proc/self/fd").iterdir()):
            raise PermissionError("the process cannot access the file because it is being used")
        os.unlink(path)

    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "_lock_alone", lambda file: True)
    monkeypatch.setattr(Path, "unlink", unlink)
    with only_writer(tmp_path / "x.npz"):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs flock")
def test_a_lock_whose_file_was_deleted_meanwhile_is_not_held(tmp_path, monkeypatch):
    """A second process would make a new file at the path, and lock that one."""
    lock_alone = files._lock_alone

    def late(file):
        os.unlink(file.name)
        return lock_alone(file)

    monkeypatch.setattr(files, "_lock_alone", late)
    with pytest.raises(FileError, match="another process"), only_writer(tmp_path / "x.npz"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="needs flock")
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with only_writer(tmp_path / "x.npz"), folders.lock(tmp_path):
        pass


def test_a_new_file_replaces_none_that_appeared_meanwhile(tmp_path):
    path = tmp_path / "x.tar.gz"
    write_atomically(path, lambda file: file.write(b"first"), new=True)
    for number in (2, 3):
        with pytest.raises(FileError, match=rf"x\.tar\.gz exists by now, .* written to .*x\.tar-{number}\.gz: rename"):
            write_atomically(path, lambda file, number=number: file.write(b"%d" % number), new=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "x.tar.gz": b"first",
        "x.tar-2.gz": b"2",
        "x.tar-3.gz": b"3",
    }


def test_a_fault_leaves_the_old_file_and_no_other(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"old")

    def write(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match="No space left on device"):
        write_atomically(tmp_path / "x.npz", write)
    with pytest.raises(FileError, match="No space left on device"):
        write_atomically(tmp_path / "new" / "folder" / "x.npz", write)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"] and (tmp_path / "x.npz").read_bytes() == b"old"


def test_trying_whether_a_file_can_be_written_leaves_nothing(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"old")
    for name in ("x.npz", "y.npz", "new/folder/x.npz"):
        require_writable(tmp_path / name)
    for name, reason in (("x.npz/y.npz", "Not a directory|File exists"), (f"{'x' * 250}.npz", "File name too long")):
        with pytest.raises(FileError, match=f"cannot write .*: ({reason}); choose another place"):
            require_writable(tmp_path / name)
    with pytest.raises(FileError, match="not a regular file"):
        require_writable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"] and (tmp_path / "x.npz").read_bytes() == b"old"
