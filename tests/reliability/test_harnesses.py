"""Short forms of the reliability harnesses, and proofs that they find faults. docs/reliability.md has the long forms."""

import ctypes
import json
import os
import subprocess

import numpy as np
import pytest
from bounds import Guarded, case, check
from damage import damages
from full_disk import NoMount, fills
from fuzz import fuzz
from kill import kills
from readers import READERS
from runs import undisturbed

from backends import get_backend
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_mutated_files_are_read_or_refused(name):
    if name == "pt":
        pytest.importorskip("torch")
    assert fuzz(name, 60) == []


def write_json(where):
    (where / "x.json").write_text('{"a": [1, 2]}')


def read_badly(where):
    json.loads((where / "x.json").read_bytes())  # raises ValueError for damaged files


def run_a_program(where):
    subprocess.run(["true"], check=True)
    raise MinihireError("refused")


def write_elsewhere(where):
    (where.parent / "elsewhere").write_text("")
    raise MinihireError("refused")


def write_by_descriptor(where):
    os.close(os.open(where.parent / "elsewhere", os.O_WRONLY | os.O_CREAT))
    raise MinihireError("refused")


def write_atomically_elsewhere(where):
    write_atomically(where.parent / "elsewhere", lambda file: file.write(b"x"))
    raise MinihireError("refused")


def delete_elsewhere(where):
    (where.parent / "elsewhere").unlink(missing_ok=True)
    raise MinihireError("refused")


def delete_by_descriptor(where):
    descriptor = os.open(where.parent, os.O_RDONLY)
    try:
        os.remove("elsewhere", dir_fd=descriptor)
    except FileNotFoundError as error:
        raise MinihireError("refused") from error
    finally:
        os.close(descriptor)


def make_a_folder_elsewhere(where):
    (where.parent / "elsewhere-folder").mkdir(exist_ok=True)
    raise MinihireError("refused")


def write_inside(where):
    write_atomically(where / "inside", lambda file: file.write(b"x"))
    (where / "folder").mkdir()
    (where / "folder").rename(where / "renamed")
    (where / "renamed").rmdir()
    (where / "inside").unlink()
    raise MinihireError("refused")


def hang(where):
    while True:
        pass


def take_memory(where):
    np.ones(16 << 20, np.float64).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (read_badly, "JSONDecodeError"),
        (run_a_program, "forbidden: subprocess.Popen"),
        (write_elsewhere, "forbidden: open"),
        (write_by_descriptor, "forbidden: open"),
        (write_atomically_elsewhere, "forbidden: "),
        (delete_elsewhere, "forbidden: os.remove"),
        (delete_by_descriptor, "forbidden: os.remove"),
        (make_a_folder_elsewhere, "forbidden: os.mkdir"),
        (write_inside, None),
        (hang, "more than 2 seconds"),
        (take_memory, "MiB of memory"),
    ],
)
def test_the_fuzzer_finds_planted_faults(read, fault, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fuzz.SECONDS", 2)
    monkeypatch.setattr("fuzz.MEMORY", 64 << 20)
    reads = []

    def well_at_first(where):
        reads.append(where)
        if len(reads) > 2:
            return read(where)

    monkeypatch.setitem(READERS, "planted", (write_json, well_at_first))
    found = fuzz("planted", 3)
    assert found == [] if fault is None else found and fault in found[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and seconds of the undisturbed run, with two threads."""
    return undisturbed(tmp_path_factory.mktemp("whole"), 2)


@pytest.mark.slow
def test_killed_runs_resume(whole, tmp_path):
    assert kills(tmp_path, *whole, threads=2, count=1) == []


@pytest.mark.slow
def test_damaged_files_of_a_run_are_named_or_do_no_harm(whole, tmp_path):
    assert damages(tmp_path, *whole, cases=2) == []


@pytest.mark.slow
def test_a_full_disk_loses_nothing(whole, tmp_path):
    try:
        faults, full = fills(tmp_path, whole[0], points=1)
    except NoMount as error:
        pytest.skip(str(error))
    assert faults == [] and full >= 1


@pytest.mark.slow
def test_kernels_stay_within_their_arrays():
    import random

    k, reference, rng = get_backend("numba", threads=2), get_backend("reference"), random.Random(1)
    k.workspace = Guarded()
    assert [check(case(rng), number, k, reference) for number in range(4)] == [""] * 4


@pytest.mark.parametrize(("offset", "found"), [(-1, True), (0, False), (3 * 5 * 4 - 1, False), (3 * 5 * 4, True)])
def test_the_guards_see_a_byte_written_outside(offset, found):
    """offset: from the start of the array, in bytes."""
    space = Guarded()
    array = space.empty((3, 5), np.float32)
    (ctypes.c_char * 1).from_address(array.ctypes.data + offset)[0] = b"x"
    assert space.damaged() == found


def test_a_check_without_arrays_is_an_error():
    with pytest.raises(AssertionError, match="no kernel took an array"):
        Guarded().damaged()
