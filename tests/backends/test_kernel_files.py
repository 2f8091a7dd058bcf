"""Files of the kernel cache: a damaged one counts as missing."""

import pytest

from backends.numba_cpu.runtime.kernel_cache import KernelFiles


@pytest.mark.parametrize(
    "damage", [lambda c: b"", lambda c: c[:-1], lambda c: c[:40], lambda c: c[:-3] + b"\0" + c[-2:]]
)
def test_a_damaged_file_counts_as_missing(tmp_path, damage):
    files = KernelFiles(tmp_path, "kernel")
    files.save("key", {"code": list(range(100))})
    assert files.load("key") == {"code": list(range(100))}
    path = files.path("key")
    path.write_bytes(damage(path.read_bytes()))
    assert files.load("key") is None
    files.save("key", 3)
    assert files.load("key") == 3
