"""Speed of the Torch backend's neuron compared with its memory bound.

The memory bound is the time to read each input once and to write each output once, at the speed of a large copy.

python -m benchmarks.lif --device cuda        fused and plain kernels
python -m benchmarks.lif                      plain kernels on the CPU
"""

import contextlib
import json
import statistics
import sys
import time

import numpy as np

from backends import BackendError, get_backend
from backends.surrogates import triangle
from benchmarks.command import add_json, run
from minihire.app.flags import Parser
from minihire.report.tables import table
from minihire.runtime.files import write_atomically

LAYERS = {  # of VGG5: (neurons per image, whether the current is the same at all steps)
    "conv1": (32 * 32 * 64, True),
    "conv2": (16 * 16 * 128, False),
    "linear1": (4096, False),
}
FLOAT, BYTE = 4, 1  # bytes
REPEATED = 10  # calls in one CUDA graph


def floor(steps: int, count: int, static: bool) -> tuple[int, int]:
    """Bytes that (forward, backward) must move: currents, membranes, spikes, gradients, and the last state.

    count: neurons of the whole batch. static: whether the current is the same at all steps.
    """
    current, spikes = (1 if static else steps) * count * FLOAT, steps * count * BYTE
    membrane = 0 if static else steps * count * FLOAT
    state = count * FLOAT
    forward = current + membrane + spikes + state
    backward = (current if static else membrane) + steps * count * FLOAT + current + state
    return forward, backward


def seconds(k, action, rounds: int, prepare=lambda: (), recordable: bool = True) -> float:
    """Median seconds of one call of `action(*prepare())`. On a CPU, `prepare` is not timed; on a GPU it is.

    On a GPU, ten calls are recorded in a CUDA graph and replayed, so that launches do not count. Actions that are not
    `recordable` are timed one by one, with a synchronisation after each.
    """
    import torch

    cuda, times = k.device.startswith("cuda"), 1
    wait = (lambda: torch.cuda.synchronize(k.device)) if cuda else lambda: None
    action(*prepare())
    if cuda:
        from backends.torch_any import graphs

        whole, prepare = (lambda action=action, prepare=prepare: action(*prepare())), lambda: ()
        whole()
        action = whole
        if recordable:
            with contextlib.suppress(RuntimeError, BackendError):  # such as too little memory
                action, _ = graphs.record(lambda: [whole() for _ in range(REPEATED)], k.device)
                times = REPEATED
    found = []
    for _ in range(1 + rounds):
        arguments = prepare()
        wait()
        start = time.perf_counter()
        action(*arguments)
        wait()
        found.append((time.perf_counter() - start) / times)
    return statistics.median(found[1:])


def copy_rate(k, rounds: int, size: int = 2**26) -> float:
    """Bytes per second, read plus written, of a copy of `size` floats."""
    source, target = k.zeros((size,)), k.zeros((size,))
    return 2 * FLOAT * size / seconds(k, lambda: target.copy_(source), rounds)


def measure(k, name: str, kernels, batch: int, steps: int, rounds: int, rate: float) -> dict:
    """Time the forward and backward pass of one layer. kernels: the module with the kernels.

    rate: bytes per second of a copy. "share_of_floor" is the memory bound divided by the time.
    """
    size, static = LAYERS[name]
    count, rng = batch * size, np.random.default_rng(0)
    k.lif_kernels = kernels
    current = k.asarray(rng.normal(size=(1 if static else steps, batch, size)).astype(np.float32))
    grad = k.asarray(rng.normal(size=(steps, batch, size)).astype(np.float32))
    leak, threshold = k.asarray([0.9]), k.asarray([0.5])

    def forward():
        return k.lif_forward(current, None, leak, threshold, steps)[2]

    def backward(saved):
        return k.lif_backward(saved, grad, None, triangle())

    from backends.torch_any import lif

    recordable = kernels is not lif  # the plain kernels read values on the host
    alone = seconds(k, forward, rounds, recordable=recordable)
    after = seconds(k, backward, rounds, lambda: (forward(),), recordable)  # a backward pass uses up its `saved`
    times = alone, after - alone if k.device.startswith("cuda") else after
    shares = [moved / rate / taken for moved, taken in zip(floor(steps, count, static), times, strict=True)]
    kernels_name = kernels.__name__.rsplit(".", 1)[1]
    return {"layer": name, "kernels": kernels_name, "batch": batch, "seconds": times, "share_of_floor": shares}


def main(arguments=None) -> None:
    """Measure every layer with all kernels of the device, print a table, and write JSON if --json is given."""
    p = Parser("python -m benchmarks.lif", description=__doc__)
    p.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default) or cuda")
    p.add_argument("--batch", type=int, nargs="+", default=[32, 256], metavar="N", help="images (default: 32 256)")
    p.add_argument("--steps", type=int, default=6, metavar="T", help="time steps (default: 6)")
    p.add_argument("--rounds", type=int, default=20, metavar="N", help="measured rounds (default: 20)")
    add_json(p)
    options = p.parse_args(arguments)
    k = get_backend("torch", options.device)
    from backends.torch_any import lif

    chosen = [lif] if k.lif_kernels is lif else [k.lif_kernels, lif]
    rate = copy_rate(k, options.rounds)
    rows = [
        measure(k, name, kernels, batch, options.steps, options.rounds, rate)
        for batch in options.batch
        for name in LAYERS
        for kernels in chosen
    ]
    print(f"{device_name(k)}; T = {options.steps}; copy {rate / 1e9:,.0f} GB/s")
    shown = [
        [r["layer"], str(r["batch"]), r["kernels"], *(f"{t * 1e6:,.0f}" for t in r["seconds"])]
        + [f"{share:.0%}" for share in r["share_of_floor"]]
        for r in rows
    ]
    print(
        table(
            ["layer", "batch", "kernels", "forward µs", "backward µs", "forward, of bound", "backward, of bound"], shown
        )
    )
    if options.json:
        content = {"device": device_name(k), "steps": options.steps, "copy_bytes_per_s": rate, "rows": rows}
        write_atomically(options.json, lambda file: file.write(json.dumps(content, indent=1).encode()))


def device_name(k) -> str:
    """The name of the GPU, or "CPU" and the number of threads."""
    import torch

    return torch.cuda.get_device_name(k.device) if k.device != "cpu" else f"CPU, {k.threads} threads"


if __name__ == "__main__":
    sys.exit(run(main))
