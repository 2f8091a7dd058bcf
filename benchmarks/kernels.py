"""Event-driven against dense convolution kernels of the Numba backend, over density: where is the crossover?

    python -m benchmarks.kernels [--json PATH]

Both sides in turn on the same arrays, medians of several rounds; T·B = 192 images, as of a batch of 32 over 6 steps.
"""

import argparse
import json
import os
import statistics
import sys
import time

import numpy as np

from backends import get_backend
from backends.numba_cpu import products
from benchmarks.command import run
from minihire.report.tables import table

LAYERS = {
    "conv2, VGG5": (16, 64, 128),
    "conv3, VGG5": (16, 128, 128),
    "conv3, VGG5 / 4": (16, 32, 32),
    "conv8, VGG11": (4, 512, 512),
}
DENSITIES = (0.03, 0.1, 0.2, 0.3, 0.45, 0.6)
ALWAYS, NEVER = 2.0, -1.0


def measure(k, side: int, channels: int, features: int, density: float, rounds: int) -> dict[str, float]:
    """Dense time over event-driven time of the forward pass and both gradients."""
    rng = np.random.default_rng(0)
    x = (rng.random((6, 32, side, side, channels)) < density).astype(np.float32)
    weight = rng.standard_normal((3, 3, channels, features), np.float32)
    grad = rng.standard_normal((6, 32, side, side, features), np.float32) * (
        rng.random((6, 32, side, side, features)) < density
    )
    grad = grad.astype(np.float32)
    kernels = {
        "forward": lambda: k.conv2d(x, weight, 1, 1),
        "weight gradient": lambda: k.conv2d_weight_gradient(grad, x, 3, 1, 1),
        "input gradient": lambda: k.conv2d_input_gradient(grad, weight, x.shape, 1, 1),
    }
    before, ratios = products.EVENT_DENSITY, {}
    try:
        for name, kernel in kernels.items():
            times = {ALWAYS: [], NEVER: []}
            for _ in range(rounds + 1):  # the first round warms up
                for choice, found in times.items():
                    products.EVENT_DENSITY = choice
                    start = time.perf_counter()
                    kernel()
                    found.append(time.perf_counter() - start)
            ratios[name] = statistics.median(times[NEVER][1:]) / statistics.median(times[ALWAYS][1:])
    finally:
        products.EVENT_DENSITY = before
    return ratios


def main(arguments: list[str] | None = None) -> None:
    """Print the table and, if asked, write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    k, load = get_backend("numba"), os.getloadavg()[0]
    print(f"{k.threads} threads; load of the machine at the start {load:.1f}; dense time / event-driven time")
    rows, content = [], []
    for layer, shape in LAYERS.items():
        for density in DENSITIES:
            ratios = measure(k, *shape, density, options.rounds)
            rows.append([f"{layer} {shape}", f"{density:.0%}", *(f"{ratio:.2f}" for ratio in ratios.values())])
            content.append({"layer": layer, "shape": shape, "density": density, **ratios})
    print(table(["layer (side, C_in, C_out)", "density", "forward", "weight gradient", "input gradient"], rows))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"threads": k.threads, "load": load, "ratios": content}, file, indent=1)


if __name__ == "__main__":
    sys.exit(run(main))
