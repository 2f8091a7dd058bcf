"""The choice of a kernel: pure functions of the shapes and of the density, the fraction of inputs that are not zero.

The time of an event-driven kernel is proportional to the density; the time of a dense kernel is constant. Below the crossover
density the event-driven kernel is faster. `python -m benchmarks.kernels` measures it (table in docs/kernels.md). The
crossover density is lower if each listed event is used less often: with stride s, a tap of a convolution reads only one in s²
pixels.
"""

import math
from typing import Literal

from backends.numba_cpu.kernels import event_convolution, event_linear, event_weight_gradient, image_gradient
from backends.numba_cpu.kernels import scatter_convolution as scatter

# A density is at most 1, or infinite where event-driven kernels are not supported. So with this crossover density, the
# event-driven kernel runs wherever it is supported.
ALWAYS = 2.0
ALMOST_ALWAYS = 0.9
FEW_CHANNELS = 16  # up to so many input channels, dense products are inefficient
MAX_POSITIONS = 2**16  # the entries of a list are 16-bit positions

Convolution = Literal["scatter_convolution", "event_convolution", "convolution"]
WeightGradient = Literal["leaky_weight_gradient", "event_weight_gradient", "convolution"]
InputGradient = Literal["image_gradient", "scatter_convolution", "event_convolution", "convolution"]
Linear = Literal["event_linear", "linear"]
OuterProduct = Literal["gradient_lists", "x_lists", "linear"]


def crossover_density(kernel: str, size: int = 1, stride: int = 1, channels: float = math.inf) -> float:
    """The density above which the dense kernel is faster.

    kernel: "scatter" or "gather" (a convolution of `channels` input channels, or its input gradient), "weights" (its weight
    gradient), each with windows of size × size; "linear" (a linear layer or its input gradient); "update" (an optimiser
    step that computes a linear layer's weight gradient).
    """
    if kernel == "scatter":
        return ALWAYS if channels <= FEW_CHANNELS else ALMOST_ALWAYS
    if kernel in ("linear", "update"):
        return ALMOST_ALWAYS
    if kernel == "gather":
        if size > stride:
            return ALMOST_ALWAYS
        return 0.6 if stride == 1 else 0.15
    if stride == 1 and size > 1:
        return ALWAYS if size == 3 else 0.75
    return 0.5 if size > stride or size == 1 else 0.0


def convolution(
    density: float, size: int, stride: int, padding: int, channels: int, features: int, width: int
) -> Convolution:
    """The kernel of a convolution of images `width` pixels wide, from `channels` to `features` channels."""
    lanes = scatter.lanes_for(features, size, stride, padding)
    if lanes and density < crossover_density("scatter", channels=channels):
        return "scatter_convolution"
    positions = (width + 2 * padding) * event_convolution.block_for(channels, density)
    supported = event_convolution.lanes_for(features) and positions < MAX_POSITIONS
    return "event_convolution" if supported and density < crossover_density("gather", size, stride) else "convolution"


def weight_gradient(
    density: float,
    grad_density: float,
    size: int,
    stride: int,
    padding: int,
    image: tuple[int, int, int],
    output: tuple[int, int, int],
) -> WeightGradient:
    """The kernel of a convolution's weight gradient; image and output: [H, W, C] of its input and output.

    grad_density: the density of the gradient's increments over time (kernels/increments.py). It is infinite if increments
    are not used for this gradient or if the input is not spikes.
    """
    (height, width, channels), (rows, columns, features) = image, output
    border = 2 * (size - 1)
    limit = crossover_density("weights", size)  # for any stride: every tap uses all listed entries of the gradient
    positions = ((rows - 1) * (width + border) + columns - 1) * stride
    supported = event_weight_gradient.lanes_for(channels) and padding < size and positions < MAX_POSITIONS
    if supported and grad_density < min(density, limit):
        return "leaky_weight_gradient"
    positions = (height - 1) // stride * (columns + border) + (width - 1) // stride
    supported = event_weight_gradient.lanes_for(features) and positions < MAX_POSITIONS
    return (
        "event_weight_gradient" if supported and density < crossover_density("weights", size, stride) else "convolution"
    )


def input_gradient(
    density: float, size: int, stride: int, padding: int, channels: int, features: int, width: int
) -> InputGradient:
    """The kernel of the input gradient of a convolution from `channels` to `features` channels; width: of its output.

    density: the density of the output's gradient; infinite in float64.
    """
    if image_gradient.supports(size, stride, padding, channels) and density < math.inf:
        return "image_gradient"
    border = size - 1 - padding
    if stride == 1:
        supported = event_convolution.lanes_for(channels) and density < crossover_density("gather", size)
        return convolution(density, size, 1, border, features, channels, width) if supported else "convolution"
    lanes = scatter.lanes_for(channels, size, 1, border)
    return "scatter_convolution" if lanes and density < crossover_density("scatter") else "convolution"


def linear(density: float, features: int) -> Linear:
    """The kernel of a linear layer with `features` outputs, or of an input gradient with `features` inputs."""
    return "event_linear" if features >= event_linear.BLOCK and density < crossover_density("linear") else "linear"


def outer_product(density: float, grad_density: float, rows: int) -> OuterProduct:
    """How an optimiser step computes xᵀ·grad for factors with `rows` rows: from lists of the gradient, lists of x, or dense.

    Both densities are infinite if x is not spikes.
    """
    if min(density, grad_density) >= crossover_density("update"):
        return "linear"
    return "gradient_lists" if grad_density < density and rows < MAX_POSITIONS else "x_lists"
