"""Events or dense products: up to which share of non-zero inputs each kernel lists or scatters them.

Measured by `python -m benchmarks.kernels` (docs/performance.md has its table). An event pays by what is done with it: a tap
of a convolution with stride s reads one in s² pixels, and a list is made of all of them.
"""

import math

ALWAYS = 2.0  # densities are 1 at most, and infinite where there are no event-driven kernels
MOSTLY = 0.9
FEW = 16  # input channels, which fill a matrix product badly


def crossover_density(kernel: str, size: int = 1, stride: int = 1, channels: float = math.inf) -> float:
    """The density from which on dense products win. kernel: "scatter", "gather", "weights", "linear" or "update".

    Of a convolution of so many channels, or its input's gradient ("scatter" and "gather"), its weights' ("weights"), with
    windows of size × size; of a linear layer or its input's gradient, and of the optimiser's step with its weights'
    gradient ("update").
    """
    if kernel == "scatter":
        return ALWAYS if channels <= FEW else MOSTLY
    if kernel in ("linear", "update"):
        return MOSTLY
    if kernel == "gather":
        if size > stride:
            return MOSTLY
        return 0.6 if stride == 1 else 0.15
    if stride == 1 and size > 1:
        return ALWAYS if size == 3 else 0.75
    return 0.5 if size > stride or size == 1 else 0.0
