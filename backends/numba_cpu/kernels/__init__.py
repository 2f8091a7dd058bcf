"""The kernels of the Numba backend: one file for each family."""
