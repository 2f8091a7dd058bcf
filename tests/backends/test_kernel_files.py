"""Files of the kernel cache: a damaged one counts as missing."""

from backends.numba_cpu.runtime.kernel_cache import KernelFiles


def damaged(content):
    """Every kind of damage: empty, truncated, bits flipped at the beginning, in the middle and at the end, other content."""
    yield b""
    for length in (1, 32, len(content) // 2, len(content) - 1):
        yield content[:length]
    for at in (0, 40, len(content) // 2, len(content) - 1):
        yield content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
    yield b"\x80\x04not a kernel" * 20


def test_a_damaged_file_counts_as_missing(tmp_path):
    files = KernelFiles(tmp_path, "kernel")
    files.save("key", {"code": list(range(100))})
    whole = files.path("key").read_bytes()
    for number, content in enumerate(damaged(whole)):
        files.path("key").write_bytes(content)
        assert files.load("key") is None, number
        files.save("key", {"code": list(range(100))})
        assert files.load("key") == {"code": list(range(100))}
