"""The kernels of the Numba backend, one file for each family; the package's docstring says which runs when.

Kernels do not check their arguments: numba_cpu's public methods do. Arrays are C-contiguous; "flat" means one axis. A parallel
kernel has an outer loop of tasks (`prange`) that write disjoint outputs, and the number of tasks depends on shapes alone, so
results are the same for any number of threads. Arguments that belong together travel in named tuples, defined beside the kernels.

Two habits of Numba explain unusual lines. `np.int64(task)`: an unsigned loop variable would make every sum with a signed number
a float. `np.int64(1)` as an argument: for a plain 1 Numba compiles the callee once more, for this constant.
"""
