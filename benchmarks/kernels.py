"""Crossover density of the Numba backend: below which density are event-driven kernels faster than dense ones?

    python -m benchmarks.kernels [--json PATH]

The two kinds of kernel alternate on the same arrays; the median of several rounds counts. All shapes have 192 images: a
batch of 32 over 6 time steps.
"""

import argparse
import json
import os
import statistics
import sys
import time

import numpy as np

from backends import get_backend
from backends.arrays import SpikeTrain
from backends.numba_cpu import dispatch
from benchmarks.command import add_json, run
from minihire.report.tables import table
from minihire.runtime.files import write_atomically

LAYERS = {  # (image side, input channels, output channels, kernel size, stride), or (inputs, outputs)
    "conv2, VGG5": (16, 64, 128, 3, 1),
    "conv3, VGG5": (16, 128, 128, 3, 1),
    "conv3, VGG5 / 4": (16, 32, 32, 3, 1),
    "conv8, VGG11": (4, 512, 512, 3, 1),
    "block 2, ResNet12": (16, 64, 128, 3, 2),
    "block 2, shortcut": (16, 64, 128, 1, 2),
    "5×5 kernel": (16, 64, 64, 5, 1),
    "linear2, VGG5": (4096, 4096),
}
DENSITIES = (0.03, 0.1, 0.3, 0.6, 0.8, 1.0)
ALWAYS, NEVER = dispatch.ALWAYS, -1.0
STEPS, BATCH = 6, 32


def measure(k, shape: tuple, density: float, rounds: int) -> dict[str, float]:
    """Dense time / event-driven time of the forward pass and both gradients.

    The weight gradient of a linear layer includes the Adam step, because the two are fused.
    """
    rng = np.random.default_rng(0)

    def some(*shape):
        values = rng.standard_normal((STEPS, BATCH, *shape), np.float32)
        values[rng.random(values.shape, np.float32) >= density] = 0
        return values

    if len(shape) == 2:
        x, grad, weight = some(shape[0]), some(shape[1]), rng.standard_normal(shape, np.float32)
        moments = [k.zeros(shape) for _ in range(2)]

        def update():
            _, gradient = k.linear_backward(saved, grad, want_input=False)
            k.adam_step(weight, gradient, *moments, None, 1e-9, (0.9, 0.999), 1e-8, 1, -1e9, 1e9)

        # gradients with respect to a weight that no step has updated
        saved = k.linear(SpikeTrain((x != 0).astype(np.uint8), 1.0, True), weight.copy())[1]
        kernels = {
            "forward": lambda: k.linear(x, weight),
            "weight gradient": update,
            "input gradient": lambda: k.linear_backward(saved, grad, want_weight=False),
        }
    else:
        side, channels, features, size, stride = shape
        out, padding = (side + size // 2 * 2 - size) // stride + 1, size // 2
        x, grad = some(side, side, channels), some(out, out, features)
        weight = rng.standard_normal((size, size, channels, features), np.float32)
        saved = k.conv2d(x, weight, stride, padding)[1]
        kernels = {
            "forward": lambda: k.conv2d(x, weight, stride, padding),
            "weight gradient": lambda: k.conv2d_backward(saved, grad, want_input=False),
            "input gradient": lambda: k.conv2d_backward(saved, grad, want_weight=False),
        }
    limit, ratios = dispatch.crossover_density, {}
    try:
        for name, kernel in kernels.items():
            times = {ALWAYS: [], NEVER: []}
            for _ in range(rounds + 1):  # the first round warms up
                for choice, found in times.items():
                    dispatch.crossover_density = lambda *_, choice=choice, **__: choice
                    start = time.perf_counter()
                    kernel()
                    found.append(time.perf_counter() - start)
            ratios[name] = statistics.median(times[NEVER][1:]) / statistics.median(times[ALWAYS][1:])
    finally:
        dispatch.crossover_density = limit
    return ratios


def main(arguments: list[str] | None = None) -> None:
    """Measure all layers and densities, print a table, and write JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_json(parser)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measured rounds (default: 5)")
    options = parser.parse_args(arguments)
    k, load = get_backend("numba"), os.getloadavg()[0]
    print(f"{k.threads} threads; load average at the start {load:.1f}; values are dense time / event-driven time")
    rows, content = [], []
    for layer, shape in LAYERS.items():
        for density in DENSITIES:
            ratios = measure(k, shape, density, options.rounds)
            rows.append([f"{layer} {shape}", f"{density:.0%}", *(f"{ratio:.2f}" for ratio in ratios.values())])
            content.append({"layer": layer, "shape": shape, "density": density, **ratios})
    print(
        table(["layer (side, channels, size, stride)", "density", "forward", "weight gradient", "input gradient"], rows)
    )
    if options.json:
        text = json.dumps({"threads": k.threads, "load": load, "ratios": content}, indent=1)
        write_atomically(options.json, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    sys.exit(run(main))
