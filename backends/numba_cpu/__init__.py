"""The default backend: the reference with its slow kernels compiled by Numba, for any number of threads.

    public methods      storage.py (arrays, random numbers), products.py (convolutions, linear layers, pools),
                        neurons.py (ReLU, LIF), updates.py (SGD, Adam): they check arguments, ask dispatch.py which kernel
                        runs, allocate the result and call the kernel
    kernels/            loops over arrays, one file per family, compiled by Numba
    simd/               the operations that Numba cannot express, in LLVM IR, each next to a plain-Python twin
    runtime/            memory, threads, the cache of compiled kernels, compilation in a second process

To read a kernel, begin with its file's docstring; `NUMBA_DISABLE_JIT=1` runs all of them as plain Python, for a debugger.

Most kernels exist twice. Spikes are mostly zeros, so event-driven kernels visit only the non-zero entries; dense ones multiply
matrices. dispatch.py chooses by shape and by density, the fraction of non-zero entries, which is estimated from a sample at each
call. The event-driven kernels need float32 and numbers of channels that fill a vector (mostly multiples of 16).

    layer                          shape                        density        kernel
    ---------------------------    -------------------------    -----------    ---------------------------------------------
    convolution                    3×3, stride 1                < 0.9 (1)      scatter_convolution.forward (2)
                                   other                        < 0.15…0.9     event_convolution.forward, .forward_over_time
                                   any                          else           convolution.forward
    its input gradient             3×3, stride 1, ≤ 5 channels  any            image_gradient.input_gradient
                                   stride 1                     < 0.9          as a convolution of the gradient
                                   3×3, other strides           < 0.9          scatter_convolution.forward, dilated
                                   any                          else           convolution.input_gradient
    its weight gradient            gradient sparser than input  < 0.5…2        event_weight_gradient.leaky_weight_gradient
                                   input sparser                < 0…2          event_weight_gradient.weight_gradient
                                   any                          else           convolution.weight_gradient
    linear layer                   ≥ 64 outputs                 < 0.9          event_linear.product
                                   any                          else           linear.forward
    its input gradient             ≥ 64 inputs                  < 0.9          event_linear.product, transposed
                                   any                          else           linear.input_gradient
    its weight gradient            ≥ 32 outputs, spikes         < 0.9          optimisers.adam_rows, .sgd_rows (3)
                                   < 32 outputs                 any            linear.forward
    LIF neurons                    any                          any            lif.forward, lif.backward, lif.adapt
    ReLU                           any                          any            elementwise.relu, .relu_gradient
    average pool                   spikes                       any            elementwise.sum_pool
                                   other                        any            elementwise.avg_pool, .avg_pool_gradient
    dropout mask, random numbers   any                          any            philox.at_least, philox.uniform
    optimiser step                 any                          any            optimisers.adam, optimisers.sgd

A range means that the limit depends on the layer (`crossover_density` in dispatch.py): 0 means never, 2 always.

(1) With up to 16 input channels: at every density, because dense products of so few channels are slow. (2) The same kernel also
runs the LIF neurons that receive the convolution's output, while their currents are in the cache. (3) The optimiser step computes
the weight gradient xᵀ·grad block by block. It lists the events of the factor with more zeros (event_outer_product.list_gradient
or .list_x). If neither has enough zeros, it multiplies dense blocks (linear.gradient_rows).

Event-driven kernels may process the increments of an array from one time step to the next instead of its entries
(kernels/increments.py).
"""

import numba
import numpy as np

from backends import processors
from backends.arguments import checked
from backends.numba_cpu.runtime import threads as threads_runtime
from backends.numba_cpu.runtime.kernel_cache import COMPILE_NOTICE
from backends.numba_cpu.runtime.workspace import Workspace
from backends.numba_cpu.updates import Updates
from backends.services import Services


class NumbaServices(Services):
    """Announces compilations, and lets threads take subnormal numbers as zeros."""

    def announce(self, say):
        # Not imported at the top: `python -m backends.numba_cpu.runtime.ahead` warns about a module that was imported before.
        from backends.numba_cpu.runtime import ahead

        COMPILE_NOTICE.use(say, ahead.start if self.backend.threads > 1 else lambda: None)

    def subnormals_as_zeros(self):
        return threads_runtime.subnormals_as_zeros(self.backend.threads)


@threads_runtime.guarded
@checked
class NumbaBackend(Updates):
    """Arrays are C-contiguous NumPy arrays and those of arrays.py; methods that are not overridden here are the reference's.

    threads: by default all cores that this process may use, or fewer if Numba was started for fewer.
    """

    name = "numba"

    def __init__(self, dtype: str = "float32", threads: int | None = None):
        super().__init__(dtype, threads or min(processors.available(), numba.config.NUMBA_NUM_THREADS))
        threads_runtime.start(self.threads)
        self.services = NumbaServices(self)
        self.workspace = Workspace()
        self.empty_floats = np.empty(0, self.float)
        self.empty_bytes = np.empty(0, np.uint8)
