"""Profile of a step of a spiking network: the time of each kernel, and how close it is to the limits of the machine.

    python -m benchmarks.ceilings --data-dir DIR                  a training step of a trained VGG5
    python -m benchmarks.ceilings --task attack --data-dir DIR    one PGD step
    python -m benchmarks.ceilings --density 0.1                   random weights, 10 % of neurons fire

The limits are measured first, with the same number of threads: a float32 matrix product (NumPy's BLAS), the same in bf16 if
PyTorch is installed, and a copy of 256 MiB. The useful operations of a product are two per multiplication by a non-zero entry.
The bytes of a kernel are the sizes of all arrays that it must read or write, once each. A kernel that multiplies and moves
memory is compared with both limits, such as the optimiser, which also computes the weight gradient of a linear layer.

The last line says how fast the step could be: with every kernel at its limit, and the same step with dense products only.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import threadpoolctl

from backends.arrays import CurrentGradient, OuterProduct, SpikeTrain
from backends.processors import affinity
from benchmarks import report
from benchmarks.command import add_json, check_threads, chosen_network, network_flags, prepared, run
from benchmarks.own import Minihire
from minihire.app.flags import Parser
from minihire.report.tables import table
from minihire.runtime.files import write_atomically

TASKS = ("train", "hire", "attack", "forward")


def best_of(function, rounds: int = 7) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def machine_ceilings(threads: int) -> dict:
    """The limits: operations per second of a matrix product, "bf16" (None without PyTorch), and bytes per second of a copy.

    A copy's bytes are those read plus those written.
    """
    a, b = (np.random.default_rng(0).standard_normal((2048, 2048), np.float32) for _ in range(2))
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        product = 2 * 2048**3 / best_of(lambda: a @ b)
    source = np.ones(2**26, np.float32)
    target = np.empty_like(source)
    parts = [slice(i * len(source) // threads, (i + 1) * len(source) // threads) for i in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        copy = 2 * source.nbytes / best_of(lambda: list(pool.map(lambda p: np.copyto(target[p], source[p]), parts)))
    return {"product": product, "bf16": _bf16_product(a, b, threads), "copy": copy}


def _bf16_product(a, b, threads: int) -> float | None:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.from_numpy(x).bfloat16() for x in (a, b))
    return 2 * 2048**3 / best_of(lambda: a @ b)


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


def products(rows, weight, listed_entries: int, per_entry: int) -> tuple[int, int]:
    """(useful, dense) operations of a product: `rows` rows with a weight […, F_in, F_out].

    per_entry: outputs that one listed entry is added to.
    """
    return 2 * listed_entries * per_entry, 2 * rows * math.prod(weight.shape)


def cost(k, name: str, arguments, result) -> tuple[float, float, float]:
    """Useful operations, operations of a dense product, and bytes of one call."""
    if name in ("conv2d", "linear", "conv_lif_forward"):
        x, weight = arguments[:2]
        rows = math.prod((x.shape[0], *result[0].shape[1:-1]))
        operations = products(rows, weight, listed(k, x), math.prod(weight.shape[:-2]) * weight.shape[-1])
        kept = size_of(result[2].open().membrane) if name == "conv_lif_forward" else 0
        return *operations, size_of(x) + weight.nbytes + size_of(result[0]) + kept
    if name in ("conv2d_input_gradient", "linear_input_gradient"):
        grad, weight = arguments[:2]
        inputs = math.prod(weight.shape[:-1]) if name == "conv2d_input_gradient" else weight.shape[0]
        operations = products(math.prod(grad.shape[:-1]), weight, listed(k, grad), inputs)
        return *operations, size_of(grad) + weight.nbytes + result.nbytes
    if name == "conv2d_weight_gradient":
        grad, x, size = arguments[:3]
        fewer = min(k.events(x) * grad.shape[-1], listed(k, grad) * x.shape[-1])
        dense = 2 * math.prod(grad.shape) * size**2 * x.shape[-1]
        return 2 * fewer * size**2, dense, size_of(grad) + size_of(x) + result.nbytes
    if name == "adam_step":
        parameter, grad = arguments[:2]
        if not isinstance(grad, OuterProduct):
            return 0, 0, 7 * parameter.nbytes
        rows = math.prod(grad.grad.shape[:-1])
        fewer = min(k.events(grad.x) * grad.shape[1], k.events(grad.grad) * grad.shape[0])
        return 2 * fewer, 2 * rows * math.prod(grad.shape), 6 * parameter.nbytes
    if name == "lif_forward":
        spikes, _, saved = result
        return 0, 0, arguments[0].nbytes + spikes.counts.nbytes + size_of(saved.open().membrane)
    # lif_backward: membranes, or a static current, are as large as their gradient
    return 0, 0, size_of(arguments[1]) + 2 * size_of(result[0])


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


def measure(side: Minihire, rounds: int) -> tuple[list[dict], float]:
    """The kernels of a step, one row per call and shape with medians over `rounds` steps, and the seconds of the whole step."""
    found: dict[tuple, list] = {}
    calls: list = []
    for _ in range(2):
        side.step()  # to warm up
    whole = []
    for _ in range(rounds):
        start = time.perf_counter()
        side.step()
        whole.append(time.perf_counter() - start)
    watch(side.k, calls)
    for _ in range(rounds):
        calls.clear()
        side.step()
        for place, (name, shape, *numbers) in enumerate(calls):
            found.setdefault((place, name, shape), []).append(numbers)
    rows = []
    for (_, name, shape), numbers in found.items():
        seconds, *costs = (statistics.median(column) for column in zip(*numbers, strict=True))
        keys = ("operations", "dense_operations", "bytes")
        rows.append({"kernel": name, "shape": shape, "seconds": seconds, **dict(zip(keys, costs, strict=True))})
    return rows, statistics.median(whole)


def limits(rows: list[dict], seconds: float, machine: dict) -> dict:
    """Seconds of the step with every kernel at its limit, and of its products alone if they were dense (float32, bf16)."""
    at_limit = sum(max(row["operations"] / machine["product"], row["bytes"] / machine["copy"]) for row in rows)
    dense = sum(row["dense_operations"] for row in rows)
    bf16 = dense / machine["bf16"] if machine["bf16"] else None
    return {"step": seconds, "at_limit": at_limit, "dense": dense / machine["product"], "dense_bf16": bf16}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and write JSON if --json is given."""
    parser = Parser(
        "python -m benchmarks.ceilings", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    network_flags(parser)
    parser.add_argument("--task", choices=TASKS, default="train", help="the step to profile (default: train)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measured steps (default: 5)")
    parser.add_argument("--threads", type=int, metavar="N", help="number of threads (default: all cores)")
    add_json(parser)
    options = parser.parse_args(arguments)
    threads = options.threads or affinity()
    check_threads([threads])
    request, load = chosen_network(options, options.task), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="minihire-benchmark-") as folder:
        problem, _, about = prepared(request, Path(folder))
        side = Minihire(problem, options.task, threads)
        densities = side.densities()
        rows, seconds = measure(side, options.rounds)
    machine = machine_ceilings(threads)
    found = limits(rows, seconds, machine)
    print("\n".join(summary(about, options.task, threads, load, densities, machine)))
    print(shares(rows, machine))
    print(verdict(found))
    if options.json:
        about |= {"task": options.task, "threads": threads, "load": load, "densities": densities}
        text = json.dumps({**about, **machine, **found, "rows": rows}, indent=1)
        write_atomically(options.json, lambda file: file.write(text.encode()))


def summary(about, task, threads, load, densities, machine) -> list[str]:
    """What was measured, and the limits of the machine."""
    model, bf16 = about["model"], machine["bf16"]
    fired = ", ".join(f"{density:.0%}" for density in densities.values())
    return [
        f"{task}: {model['name']}, width {model['width']:g}, batch {about['batch']}, T = {about['steps']}; "
        f"neurons fire in {fired} of the steps; {report.threads(threads)}, load average {load:.1f}",
        f"limits: float32 product {machine['product'] / 1e9:.0f} Gop/s, "
        + (f"bf16 product {bf16 / 1e9:.0f} Gop/s, " if bf16 else "")
        + f"copy {machine['copy'] / 1e9:.1f} GB/s",
    ]


def shares(rows: list[dict], machine: dict) -> str:
    """The table of the kernels that take more than a millisecond; each row gets its shares of the limits."""
    shown = []
    for row in sorted(rows, key=lambda row: -row["seconds"]):
        operations, moved = row["operations"] / row["seconds"], row["bytes"] / row["seconds"]
        row |= {"product_share": operations / machine["product"], "copy_share": moved / machine["copy"]}
        useful = f"{row['operations'] / row['dense_operations']:.0%}" if row["operations"] else "–"
        product = f"{row['product_share']:.0%}" if row["operations"] else "–"
        if row["seconds"] > 1e-3 or not shown:
            shape = "×".join(map(str, row["shape"]))
            shown.append(
                [row["kernel"], shape, f"{row['seconds'] * 1e3:.1f}", useful, product, f"{row['copy_share']:.0%}"]
            )
    columns = ["kernel", "shape of its second argument", "ms", "useful", "% of product speed", "% of copy speed"]
    return table(columns, shown)


def verdict(found: dict) -> str:
    """The whole step beside its limits, in two sentences."""
    milli = {name: f"{seconds * 1e3:.3g} ms" for name, seconds in found.items() if seconds is not None}
    bf16 = f", in bf16 {milli['dense_bf16']}" if "dense_bf16" in milli else ""
    return (
        f"The step takes {milli['step']}; with every kernel at its limit it would take {milli['at_limit']}. "
        f"Dense products alone would take {milli['dense']} in float32{bf16}."
    )


if __name__ == "__main__":
    sys.exit(run(main))
