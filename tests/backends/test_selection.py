"""Choosing a backend, the contract that every backend keeps, and the cache of compiled kernels."""

import ast
import importlib
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import BackendError, get_backend
from backends.interface import Backend

ROOT = Path(__file__).parent.parent.parent
ABSTRACT = sorted(Backend.__abstractmethods__)


@pytest.fixture
def numba():
    """The threads that Numba uses are the process's own: put them back for the tests to come."""
    library = pytest.importorskip("numba")
    before = library.get_num_threads()
    yield library
    library.set_num_threads(before)


def fresh_process(code, **environment):
    """Run code in a new interpreter under other environment variables: its output."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    return done.stdout.strip() + done.stderr.strip()


# ---------------------------------------------------------------- selection


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"name": "numpy"}, "there is no backend 'numpy': choose "),
        ({"name": "reference", "device": "cuda:7"}, "not on 'cuda:7'"),
        ({"name": "numba", "device": "tpu"}, "not on 'tpu'"),
        ({"name": "reference", "dtype": "float16"}, "no dtype 'float16': choose float32 or float64"),
        ({"name": "reference", "threads": 0}, "threads must be"),
        ({"name": "numba", "threads": -2}, "threads must be"),
        ({"name": "numba", "threads": 1025}, "threads must be"),
    ],
)
def test_unavailable_backends_devices_and_precisions_are_refused_in_one_sentence(arguments, says):
    with pytest.raises(BackendError) as error:
        get_backend(**arguments)
    assert says in str(error.value)
    assert "\n" not in str(error.value) and ". " not in str(error.value)


@pytest.mark.slow
def test_more_threads_than_numba_was_started_for_are_refused_and_leave_it_working():
    """The same kind of error, and Numba, which reads its environment again before it compiles, still compiles."""
    pytest.importorskip("numba")
    said = fresh_process(
        """
import numba
from backends import BackendError, get_backend
get_backend("numba", threads=1).relu(get_backend("numba").zeros((1, 2, 3)))
try:
    get_backend("numba", threads=3)
except BackendError as error:
    print(error)
print(numba.njit(parallel=True)(lambda n: n + 1)(1))
""",
        NUMBA_NUM_THREADS="2",
    )
    assert said.splitlines() == [
        "Numba was started for at most 2 threads, not 3: set NUMBA_NUM_THREADS=3 before starting",
        "2",
    ]


@pytest.mark.slow
def test_threads_beyond_the_machine_s_are_refused_in_the_same_way_or_given():
    """Without NUMBA_NUM_THREADS: more threads than cores can be had by a process that has not yet loaded Numba."""
    pytest.importorskip("numba")
    import_first = """
import os
os.environ.pop("NUMBA_NUM_THREADS", None)
{first}
from backends import BackendError, get_backend
many = (os.cpu_count() or 1) + 1
try:
    print(get_backend("numba", threads=many).threads == many)
except BackendError as error:
    print("at most" in str(error))
import numba
print(numba.njit(parallel=True)(lambda n: n + 1)(1))
"""
    for first in ("", "import numba; numba.njit(parallel=True)(lambda n: n + 1)(1); numba.set_num_threads(1)"):
        assert fresh_process(import_first.format(first=first)).splitlines() == ["True", "2"], first


def test_a_backend_whose_library_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(backends.BACKENDS, "abacus", ("abacus_of_no_such_name", "Abacus", "pip install abacus"))
    with pytest.raises(
        BackendError, match="abacus backend needs abacus_of_no_such_name, which is not installed: pip install abacus"
    ):
        get_backend("abacus")


@pytest.mark.parametrize("name", ["backends.reference", "minihire.of_no_such_name"])
def test_an_import_error_of_this_project_is_not_reported_as_a_missing_library(monkeypatch, name):
    monkeypatch.setitem(backends.BACKENDS, "abacus", (name, "Abacus", "pip install abacus"))
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=name):
        get_backend("abacus")


def test_a_missing_module_of_the_torch_backend_is_not_reported_as_a_missing_library():
    pytest.importorskip("torch")
    code = """import sys, backends
sys.modules["backends.torch_any.graphs"] = None
try:
    backends.get_backend("torch")
except ImportError as error:
    print(error.name)"""
    assert fresh_process(code) == "backends.torch_any.graphs"


def test_the_environment_chooses_unless_a_name_is_given(monkeypatch):
    monkeypatch.setenv("MINIHIRE_BACKEND", "reference")
    assert get_backend().name == "reference"
    assert get_backend("numba").name == "numba"
    monkeypatch.setenv("MINIHIRE_BACKEND", "slide rule")
    with pytest.raises(BackendError, match="no backend 'slide rule'"):
        get_backend()
    monkeypatch.delenv("MINIHIRE_BACKEND")
    assert get_backend().name == backends.DEFAULT == "numba"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_backend_describes_itself(numba, dtype):
    for name, threads in (("reference", 3), ("numba", 1)):
        b = get_backend(name, dtype=dtype, threads=threads)
        assert (b.name, b.device, b.dtype, b.threads) == (name, "cpu", dtype, threads)
        assert b.to_numpy(b.zeros((2,))).dtype == np.dtype(dtype)
    assert numba.get_num_threads() == 1
    assert get_backend("numba").threads >= 1


@pytest.mark.slow
def test_the_default_is_as_many_threads_as_numba_was_started_for():
    """Not as many as the machine has: a job may have been given fewer cores, or NUMBA_NUM_THREADS."""
    said = fresh_process("from backends import get_backend; print(get_backend('numba').threads)", NUMBA_NUM_THREADS="1")
    assert said.splitlines()[-1] == "1"


@pytest.mark.slow
def test_the_reference_needs_no_numba():
    """Nor does `import backends` load a compiler."""
    said = fresh_process("import sys, backends; backends.get_backend('reference'); print('numba' in sys.modules)")
    assert said == "False"


# ---------------------------------------------------------------- the contract


def concrete():
    """The class of every backend whose package is installed here."""
    installed = [row for row in backends.BACKENDS.values() if importlib.util.find_spec(row[2].split()[-1])]
    return [getattr(importlib.import_module(module), cls) for module, cls, _ in installed]


@pytest.mark.parametrize("cls", concrete(), ids=lambda cls: cls.__name__)
def test_every_backend_has_the_contract_s_kernels_with_its_signatures(cls):
    assert not cls.__abstractmethods__
    for kernel in ABSTRACT:
        declared, own = inspect.signature(getattr(Backend, kernel)), inspect.signature(getattr(cls, kernel))
        strip = lambda signature: [(p.name, p.kind, p.default) for p in signature.parameters.values()]
        assert strip(own) == strip(declared), kernel
    public = {name for name, value in inspect.getmembers(cls, callable) if not name.startswith("_")}
    choices = {"conv_lif_forward", "top_k"}
    assert public == {*ABSTRACT, *choices}, "a kernel that the contract does not name"


def test_every_kernel_of_the_contract_has_a_docstring():
    assert len(ABSTRACT) > 25
    for kernel in ABSTRACT:
        assert len(inspect.getdoc(getattr(Backend, kernel))) > 10, kernel


# ---------------------------------------------------------------- the cache of compiled kernels


@pytest.fixture
def kernel_cache():
    pytest.importorskip("numba")
    return importlib.import_module("backends.numba_cpu.runtime.kernel_cache")


def test_the_fingerprint_follows_the_code_of_every_kernel_source(kernel_cache, tmp_path):
    """Also that of a helper, which Numba's own check does not see. Comments, docstrings and the folder do not count."""
    shutil.copytree(kernel_cache.BACKENDS, tmp_path / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    copy = tmp_path / "backends"
    before = kernel_cache.fingerprint(copy)
    assert before == kernel_cache.fingerprint()
    sources = [copy / name for name in kernel_cache.SOURCES]
    files = [file for path in sources for file in ([path] if path.suffix else sorted(path.rglob("*.py")))]
    assert len(files) > 20
    for source in files:
        text = source.read_text()
        source.write_text(text.replace('"""', '"""Changed. ', 1) + "\n# changed\n")
        assert kernel_cache.fingerprint(copy) == before, source.name
        source.write_text(text + "\nCHANGED = 1\n")
        assert kernel_cache.fingerprint(copy) != before, source.name
        source.write_text(text)
    (copy / "numba_cpu" / "kernels" / "lif.py").rename(copy / "numba_cpu" / "kernels" / "neuron.py")
    assert kernel_cache.fingerprint(copy) != before


def test_kernels_import_nothing_that_the_fingerprint_does_not_see(kernel_cache):
    """Constants of an imported module are compiled in. kernel_cache.py itself compiles and is not compiled."""
    modules = {name.removesuffix(".py").replace("/", ".") for name in kernel_cache.SOURCES}
    for name in kernel_cache.SOURCES[:2]:
        for file in (kernel_cache.BACKENDS / name).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("backends"):
                    names = [node.module] if node.module != "backends" else [f"backends.{n.name}" for n in node.names]
                    for module in (name.removeprefix("backends.") for name in names):
                        known = module.startswith(tuple(modules)) or module == "numba_cpu.runtime.kernel_cache"
                        assert known, f"{file.name} imports {module}"


def test_the_fingerprint_follows_the_versions(kernel_cache, monkeypatch):
    before = kernel_cache.fingerprint()
    monkeypatch.setattr(kernel_cache.numba, "__version__", "0.0")
    assert kernel_cache.fingerprint() != before


def test_the_cache_lies_where_the_environment_says(kernel_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIHIRE_CACHE_DIR", str(tmp_path / "here"))
    folder = kernel_cache.cache_folder()
    assert folder.is_dir() and (tmp_path / "here") in folder.parents
    monkeypatch.delenv("MINIHIRE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert (tmp_path / "there") in kernel_cache.cache_folder().parents


def test_kernels_of_other_versions_go_when_nobody_used_them_for_a_month(kernel_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIHIRE_CACHE_DIR", str(tmp_path))
    mine, names = kernel_cache.cache_folder(), ("kernels-old", "kernels-recent", "something-else")
    others = [mine.parent / name for name in names]
    for folder, days in ((mine, 50), *zip(others, (31, 29, 50), strict=True)):
        folder.mkdir(exist_ok=True)
        (folder / "kernel").write_text("code")
        os.utime(folder, (time.time() - days * 24 * 3600,) * 2)
    assert kernel_cache.cache_folder() == mine and (mine / "kernel").exists()
    assert [folder.exists() for folder in others] == [False, True, True]
    assert mine.stat().st_mtime > others[1].stat().st_mtime


def test_an_unusable_folder_gives_a_temporary_one(kernel_cache, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MINIHIRE_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = kernel_cache.cache_folder()
    assert folder.parent == tmp_path
    (folder / "writable").write_text("yes")


def test_a_read_only_folder_gives_a_temporary_one(kernel_cache, monkeypatch, tmp_path):
    """A folder that exists and cannot be written, whoever runs the test."""
    monkeypatch.setenv("MINIHIRE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(kernel_cache.tempfile, "TemporaryFile", refuse)
    folder = kernel_cache.cache_folder()
    assert folder.parent == tmp_path and folder.is_dir()


def test_a_user_without_a_home_gives_a_temporary_folder(kernel_cache, monkeypatch, tmp_path):
    """A container may run under a user that has none: Path.home() raises RuntimeError."""
    for name in ("MINIHIRE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kernel_cache.Path, "home", staticmethod(homeless))
    assert kernel_cache.cache_folder().parent == tmp_path


SQUARE = """
from numba.core.dispatcher import Dispatcher
from backends.numba_cpu.runtime.kernel_cache import compiled

@compiled
def square(x):
    return x * x

for number in (3, 1.5):
    assert square(number) == number * number
print(sum(square.stats.cache_misses.values()))
"""


@pytest.fixture
def square(tmp_path):
    """Run a program with a kernel for two types; returns how many it compiled, and where the cache is."""
    pytest.importorskip("numba")
    (tmp_path / "program.py").write_text(SQUARE)
    environment = {**os.environ, "MINIHIRE_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}

    def run():
        command = [sys.executable, str(tmp_path / "program.py")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    return run, tmp_path / "cache"


@pytest.mark.slow
def test_a_damaged_kernel_file_is_compiled_and_written_again(square):
    run, cache = square
    assert run() == 2 and run() == 0
    files = sorted(cache.rglob("*.nbc"))
    assert len(files) == 2 and sorted(f for f in cache.rglob("*") if f.is_file()) == files
    good = files[0].read_bytes()
    for content in (b"", good[:-1]):
        files[0].write_bytes(content)
        assert run() == 1 and run() == 0
        assert len(files[0].read_bytes()) > len(content)
    for file in files:
        file.unlink()
        file.mkdir()  # a file that can be neither read nor written
    assert run() == 2


def test_a_cache_that_cannot_be_written_any_more_is_no_error(kernel_cache, tmp_path):
    stored = kernel_cache.KernelFiles(tmp_path / "gone", "kernel")
    stored.save("key", 1)
    assert stored.load("key") is None
    stored.flush()


@pytest.mark.slow
def test_compiling_is_announced_once_and_not_at_all_with_a_warm_cache(tmp_path):
    """In a process of its own, with an empty cache: two kernels, one line; with the cache that it leaves, none."""
    pytest.importorskip("numba")
    program = """
from backends import get_backend
k, said = get_backend("numba"), []
k.services.announce(said.append)
x = k.asarray([[1.0, -1.0]])
out, saved = k.relu(x)
k.relu_backward(saved, out)
print(len(said), *said)
"""
    environment = {**os.environ, "MINIHIRE_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    first, second = (
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stdout.startswith("1 compiling kernels") and second.stdout.strip() == "0"
