"""Memory, threads, the compilation cache and ahead-of-time compilation of the Numba backend."""
