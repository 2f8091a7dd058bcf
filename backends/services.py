"""Services of a backend: everything that is not a kernel, such as its processes, its memory and its messages."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from backends.interface import Backend


class Services:
    """The services of one backend. The methods here are the defaults, for a backend on the CPU in one process.

    asynchronous: kernels return before their work is done, and reading a value waits for it. rank, ranks: this process is
    number `rank` of `ranks` that work together, each on its own share of a batch.
    """

    asynchronous: bool = False
    rank: int = 0
    ranks: int = 1

    def __init__(self, backend: Backend):
        self.backend = backend

    def announce(self, say) -> None:
        """From now on call say(line) before slow work that is done once, such as compiling kernels. Default: never."""

    def subnormals_as_zeros(self) -> contextlib.AbstractContextManager[None]:
        """A context in which kernels may take subnormal numbers (below 1.2·10⁻³⁸ in float32) as zeros, if that is faster.

        Training uses it; crafted noise then stays as it is in pixels with such a gradient. Attacks do not use it, because for
        them the sign of a gradient counts, however small it is. Default: no change.
        """
        return contextlib.nullcontext()

    def device_memory(self) -> int | None:
        """The most bytes that were in use on the device since `reset_device_memory`; None where the device is the CPU."""
        return None

    def reset_device_memory(self) -> None:
        """Let `device_memory` count from now on."""

    def are_finite(self, arrays) -> bool:
        """Whether every entry of every array is finite."""
        return all(math.isfinite(self.backend.to_numpy(array).sum(dtype=np.float64)) for array in arrays)

    def sum_over_ranks(self, arrays: list) -> list:
        """Each array's sum over all ranks, the same bits on every rank. Every rank waits here for all others.

        arrays: floating point backend arrays, weight gradients (handles included) and NumPy arrays of numbers. Sums of NumPy
        arrays are NumPy arrays with the precision of `dtype`. Every rank passes the same shapes. Default, for one rank: the
        arrays themselves. Raises BackendError if another rank has ended.
        """
        return arrays

    def wait_for_all_ranks(self) -> None:
        """Return when every rank has called this. Then all of them have done what comes before the call."""
        self.sum_over_ranks([np.ones(1)])

    def captured(self, function):
        """A version of `function` that may record its kernels once and replay them, which is faster.

        Its arguments and results are arrays, numbers (int and float) and None, also in tuples, dictionaries and NeuronStates.
        Nothing but the arrays, their shapes and these numbers may change from call to call. The function does not read the
        values of arrays (`events`, `to_numpy`). It may only add and multiply its numbers, and pass them to kernels
        (a draw's step, an optimiser's learning rate and step). What it returns is valid until the next call. A captured
        function that another one calls becomes part of the other's recording. Default: the function itself.
        """
        return function

    def fetch_async(self, array):
        """A function that returns the present values of the array as a NumPy array. Only calling that function waits for them."""
        values = self.backend.to_numpy(array)
        return lambda: values
