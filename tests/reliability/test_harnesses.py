"""Short forms of the reliability harnesses, and proofs that they find faults. docs/reliability.md has the long forms."""

import json
import subprocess

import numpy as np
import pytest
from bounds import Guarded, case, check
from damage import damages
from full_disk import fills
from fuzz import fuzz
from kill import kills
from readers import READERS
from runs import undisturbed

from backends import get_backend
from minihire.runtime.errors import MinihireError


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
        (hang, "more than 2 seconds"),
        (take_memory, "MiB of memory"),
    ],
)
def test_the_fuzzer_finds_planted_faults(read, fault, monkeypatch):
    monkeypatch.setattr("fuzz.SECONDS", 2)
    monkeypatch.setattr("fuzz.MEMORY", 64 << 20)
    reads = []

    def well_at_first(where):
        reads.append(where)
        if len(reads) > 2:
            return read(where)

    monkeypatch.setitem(READERS, "planted", (write_json, well_at_first))
    found = fuzz("planted", 3)
    assert found and fault in found[0]


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
    except (PermissionError, FileNotFoundError):
        pytest.skip("mounting a file system in memory needs Linux and root")
    assert faults == [] and full >= 1


@pytest.mark.slow
def test_kernels_stay_within_their_arrays():
    import random

    k, reference, rng = get_backend("numba", threads=2), get_backend("reference"), random.Random(1)
    k.workspace = Guarded()
    assert [check(case(rng), number, k, reference) for number in range(4)] == [""] * 4


def test_the_guards_see_a_write_outside():
    space = Guarded()
    array = space.empty((3, 5), np.float32)
    array[:] = 1
    assert not space.damaged()
    memory = space.empty((3, 5), np.float32).base
    memory[4096 - 64 + memory.size - 2 * 4096 : memory.size] = 0  # behind the array
    space.memory.append((memory, 0, 0))
    assert space.damaged()
