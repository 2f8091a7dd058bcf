"""The default backend: the reference with its hot kernels compiled by Numba, on as many threads as asked for.

storage.py holds arrays, products.py multiplies, neurons.py fires, updates.py learns; the other files are their kernels.
"""

import os

import numba
import numpy as np

from backends.numba_cpu.neurons import Neurons
from backends.numba_cpu.runtime import threads as threads_runtime
from backends.numba_cpu.runtime.kernel_cache import CompileNotice
from backends.numba_cpu.runtime.workspace import Workspace
from backends.numba_cpu.updates import Updates


class NumbaBackend(Neurons, Updates):
    """Arrays are C-contiguous NumPy arrays and those of arrays.py; what is not overridden here is the reference's.

    The number of threads is Numba's own, one for the whole program: where several backends are made, the last decides.
    """

    name = "numba"

    def __init__(self, dtype: str = "float32", threads: int | None = None):
        super().__init__(dtype, threads or min(os.cpu_count(), numba.config.NUMBA_NUM_THREADS))
        threads_runtime.start(self.threads)
        self.workspace = Workspace()
        self.empty_floats = np.empty(0, self.float)
        self.empty_bytes = np.empty(0, np.uint8)

    def announce(self, say):
        from backends.numba_cpu.runtime import ahead  # not above: `python -m` wants to be the one who imports it

        CompileNotice(say, ahead.start if self.threads > 1 else lambda: None)
