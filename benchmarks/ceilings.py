"""Profile of a VGG5 training step: the time of each kernel, and how close it is to the limits of the machine.

    python -m benchmarks.ceilings [--density 0.1] [--json PATH]

The limits are measured first, with the same number of threads: a float32 matrix product (NumPy's BLAS) and a copy of
256 MiB. The useful operations of a product are two per multiplication by a non-zero entry. The bytes of a kernel are the
sizes of all arrays that it must read or write, once each. A kernel that multiplies and moves memory is compared with both
limits, such as the optimiser, which also computes the weight gradient of a linear layer.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import threadpoolctl

from backends import get_backend
from backends.arrays import CurrentGradient, OuterProduct, SpikeTrain
from backends.randomness import Draws
from benchmarks.command import run
from benchmarks.prepare import force_density
from minihire.models import build
from minihire.network import Network, initialise
from minihire.report.tables import table
from minihire.training.optimisers import Adam

BATCH, STEPS = 32, 6


def best_of(function, rounds: int = 7) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def machine_ceilings(threads: int) -> tuple[float, float]:
    """Measure operations per second of a matrix product, and bytes per second (read plus written) of a copy."""
    a, b = (np.random.default_rng(0).standard_normal((2048, 2048), np.float32) for _ in range(2))
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        product = 2 * 2048**3 / best_of(lambda: a @ b)
    source = np.ones(2**26, np.float32)
    target = np.empty_like(source)
    parts = [slice(i * len(source) // threads, (i + 1) * len(source) // threads) for i in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        copy = 2 * source.nbytes / best_of(lambda: list(pool.map(lambda p: np.copyto(target[p], source[p]), parts)))
    return product, copy


def size_of(array) -> int:
    """Bytes of an array, however it is kept."""
    if isinstance(array, SpikeTrain):
        return array.counts.nbytes
    return getattr(getattr(array, "grad", array), "nbytes", 0)


def listed(k, array) -> int:
    """The number of entries in the lists of events of an array.

    Lists of a current's gradient hold its increments. Lists of spikes hold the spikes or their increments, whichever are fewer.
    """
    if isinstance(array, CurrentGradient):
        return k.events(array.grad[:-1] - array.leak * array.grad[1:]) + k.events(array.grad[-1])
    if isinstance(array, SpikeTrain):  # of a batch that is large enough for it, as the one measured here
        counts = array.counts
        return min(k.events(array), k.events(counts[0]) + k.events((counts[1:] != counts[:-1]).astype(counts.dtype)))
    return k.events(array)


def multiplied(k, x, weight) -> int:
    """Useful operations of a product of x with a weight [F_in, F_out] or [k, k, C_in, C_out]."""
    return 2 * listed(k, x) * math.prod(weight.shape[:-2]) * weight.shape[-1]


def cost(k, name: str, arguments, result) -> tuple[float, float] | None:
    """Useful operations and bytes of one call, or None for a kernel that is not measured."""
    if name in ("conv2d", "linear"):
        x, weight = arguments[:2]
        return multiplied(k, x, weight), size_of(x) + weight.nbytes + result[0].nbytes
    if name == "conv_lif_forward":
        (x, weight), (spikes, _, saved, _) = arguments[:2], result
        membranes = size_of(saved.open().membrane)
        return multiplied(k, x, weight), size_of(x) + weight.nbytes + spikes.counts.nbytes + membranes
    if name in ("conv2d_input_gradient", "linear_input_gradient"):
        grad, weight = arguments[:2]
        taps = weight.shape[0] * weight.shape[1] if name == "conv2d_input_gradient" else 1
        return 2 * listed(k, grad) * taps * weight.shape[-2], size_of(grad) + weight.nbytes + result.nbytes
    if name == "conv2d_weight_gradient":
        grad, x = arguments[:2]
        fewer = min(k.events(x) * grad.shape[-1], listed(k, grad) * x.shape[-1])
        return 2 * fewer * arguments[2] ** 2, size_of(grad) + size_of(x) + result.nbytes
    if name == "adam_step":
        parameter, grad = arguments[:2]
        operations = 0
        if isinstance(grad, OuterProduct):
            operations = 2 * min(k.events(grad.x) * grad.shape[1], k.events(grad.grad) * grad.shape[0])
        return operations, (6 if operations else 7) * parameter.nbytes
    if name == "lif_forward":
        spikes, _, saved = result
        return 0, arguments[0].nbytes + spikes.counts.nbytes + size_of(saved.open().membrane)
    if name == "lif_backward":  # membranes, or a static current, are as large as their gradient
        return 0, size_of(arguments[1]) + 2 * size_of(result[0])
    return None


KERNELS = {  # methods of the Numba backend, and their names in the table
    "conv2d": "conv2d",
    "conv_lif_forward": "conv_lif_forward",
    "_conv2d_input_gradient": "conv2d_input_gradient",
    "_conv2d_weight_gradient": "conv2d_weight_gradient",
    "linear": "linear",
    "_product": "linear_input_gradient",  # where `linear` does not call it
    "adam_step": "adam_step",
    "lif_forward": "lif_forward",
    "lif_backward": "lif_backward",
}


def watch(k, calls: list) -> None:
    """Append (name, shape, seconds, operations, bytes) of every kernel that is called from now on, but not by another."""
    running = []
    for method, name in KERNELS.items():

        def timed(*arguments, name=name, kernel=getattr(k, method), **options):
            running.append(name)
            start = time.perf_counter()
            result = kernel(*arguments, **options)
            seconds = time.perf_counter() - start
            running.pop()
            if not running:  # else it is a part of another kernel
                shape = arguments[1].shape if hasattr(arguments[1], "shape") else result[0].shape
                calls.append((name, tuple(shape), seconds, *cost(k, name, arguments, result)))
            return result

        setattr(k, method, timed)


def measure(width: float, density: float, rounds: int) -> tuple[list[dict], int]:
    """Measure the kernels of a training step.

    Returns one row per kernel and shape, with medians over `rounds` steps, and the number of threads.
    """
    k = get_backend("numba")
    model = build("vgg5", width=width, hidden=max(1, round(4096 * width)))
    network = Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=STEPS)
    rng = np.random.default_rng(0)
    images, labels = k.asarray(rng.random((BATCH, *model.image_shape))), k.asarray(rng.integers(0, 10, BATCH))
    force_density(network, images, density)
    optimiser = Adam(network, list(network.parameters))
    found: dict[tuple, list] = {}
    calls: list = []
    watch(k, calls)
    for step in range(2 + rounds):
        calls.clear()
        result = network.gradients(images, labels, draws=Draws(0, step))
        optimiser.step(result.weights, 1e-6)
        if step >= 2:  # two steps to warm up
            for place, (name, shape, *numbers) in enumerate(calls):
                found.setdefault((place, name, shape), []).append(numbers)
    rows = []
    for (_, name, shape), numbers in found.items():
        seconds, operations, moved = (statistics.median(column) for column in zip(*numbers, strict=True))
        rows.append({"kernel": name, "shape": shape, "seconds": seconds, "operations": operations, "bytes": moved})
    return rows, k.threads


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and write JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0, help="factor on channels and hidden sizes (default: 1)")
    parser.add_argument(
        "--density", type=float, default=0.1, help="fraction of neurons that fire per step (default: 0.1)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured steps (default: 5)")
    parser.add_argument("--json", metavar="PATH", help="write all results to this file")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    rows, threads = measure(options.width, options.density, options.rounds)
    product, copy = machine_ceilings(threads)
    print(
        f"VGG5, width {options.width:g}, batch {BATCH}, T = {STEPS}, density {options.density:g}; "
        f"{threads} threads, load average {load:.1f}; "
        f"matrix product {product / 1e9:.0f} Gop/s, copy {copy / 1e9:.1f} GB/s"
    )
    shown = []
    for row in sorted(rows, key=lambda row: -row["seconds"]):
        operations, moved = row["operations"] / row["seconds"], row["bytes"] / row["seconds"]
        row |= {"product_share": operations / product, "copy_share": moved / copy}
        shares = [f"{operations / product:.0%}" if operations else "–", f"{moved / copy:.0%}"]
        if row["seconds"] > 1e-3 or not shown:
            shown.append([row["kernel"], "×".join(map(str, row["shape"])), f"{row['seconds'] * 1e3:.1f}", *shares])
    print(table(["kernel", "shape of its second argument", "ms", "% of product speed", "% of copy speed"], shown))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(
                {"threads": threads, "load": load, "product": product, "copy": copy, "rows": rows}, file, indent=1
            )


if __name__ == "__main__":
    sys.exit(run(main))
