"""The conditions of a contest: environment variables of all its processes, and busy processes beside it."""

import contextlib
import multiprocessing
import os

import llvmlite.binding
import numpy as np

from minihire.runtime.errors import MinihireError

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# Makes glibc keep freed memory for the next step, on every side. Otherwise each 4 KiB page would cost a page fault in every
# step, up to a tenth of a dense step's time. A tuned installation of PyTorch avoids these page faults, too.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36), "MALLOC_TOP_PAD_": str(2**26)}
# torch.compile compiles in the side's own process, because several sides compile at the same time.
COMPILER = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
INSTRUCTIONS = ("native", "avx512", "avx2")
# the features of the first processors with AVX2, for LLVM
HASWELL = (
    "+64bit,+cmov,+cx8,+cx16,+fxsr,+mmx,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+crc32,+popcnt,+sahf,+movbe,+xsave,+xsaveopt,"
    "+pclmul,+aes,+rdrnd,+fsgsbase,+invpcid,+avx,+avx2,+f16c,+fma,+bmi,+bmi2,+lzcnt"
)


@contextlib.contextmanager
def environment(values: dict[str, str]):
    """Context manager: set environment variables, for processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def instruction_limits(name: str) -> dict[str, str]:
    """The environment variables that limit all libraries to an instruction set. name: one of INSTRUCTIONS.

    Libraries read these variables when they are loaded. "native" has no limits; "avx512" excludes AMX, the matrix products of
    server processors, which only PyTorch in bf16 uses. Raises MinihireError if the processor lacks the instruction set.
    """
    if name == "native":
        return {}
    needed = {"avx512": "avx512f", "avx2": "avx2"}[name]
    if not llvmlite.binding.get_host_cpu_features().get(needed):
        raise MinihireError(f"--instructions {name} needs a processor with {needed.upper()}: omit it")
    if name == "avx512":
        return {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
    core = (np._core if hasattr(np, "_core") else np.core)._multiarray_umath
    beyond = [f for f in core.__cpu_dispatch__ if f.startswith(("AVX512", "X86_V4")) and core.__cpu_features__.get(f)]
    return {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": HASWELL,
        "NPY_DISABLE_CPU_FEATURES": " ".join(beyond),
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "TORCHINDUCTOR_CPP_MARCH": "haswell",
    }


@contextlib.contextmanager
def busy(count: int):
    """Context manager: `count` processes that each keep a core busy."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spin, args=(os.getpid(),), daemon=True) for _ in range(count)]
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            if process.pid:
                process.terminate()
                process.join()


def _spin(parent):
    while os.getppid() == parent:  # so that it ends if the benchmark is killed
        for _ in range(10**6):
            pass
