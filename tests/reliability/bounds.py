"""Run networks of odd shapes on the Numba backend with guarded memory, and compare them with the reference:

    python tests/reliability/bounds.py --cases 300            guard bytes around every array that kernels write to
    python tests/reliability/bounds.py --cases 20 --checked   Numba's own bounds checks as well, compiled anew: slow

Each case computes all gradients of a batch and updates the weights. A fault is a changed guard byte, an index out of bounds, or a
gradient that differs from the reference. Numba's checks do not see the LLVM primitives; the guards do, and their Python twins run
in tests/backends/test_primitives.py. Prints a line for each fault and a tally; the exit code is 1 if there was a fault.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile

import numpy as np

from backends import get_backend
from backends.numba_cpu.runtime.workspace import Workspace
from backends.randomness import Draws
from minihire.engine.lif import NeuronOptions
from minihire.models import build
from minihire.network import Network, initialise
from minihire.training.optimisers import OPTIMISERS

GUARD, BYTE = 4096, 0xA5


class Guarded(Workspace):
    """A workspace whose arrays lie between guard bytes, in memory of their own."""

    def __init__(self):
        super().__init__()
        self.memory: list[
            tuple[np.ndarray, int, int]
        ] = []  # with the first byte of the array, and the first one behind it

    def empty(self, shape, dtype, huge=False):
        shape, dtype = tuple(map(int, shape)), np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        memory = np.full(size + 2 * GUARD + 64, BYTE, np.uint8)
        start = GUARD + -(memory.__array_interface__["data"][0] + GUARD) % 64
        self.memory.append((memory, start, start + size))
        return np.ndarray(shape, dtype, memory, start)

    def damaged(self) -> bool:
        """Whether a guard byte has changed. Forgets all arrays. Without any array, nothing was checked: an AssertionError."""
        assert self.memory, "no kernel took an array from the workspace"
        found = any((m[:a] != BYTE).any() or (m[b:] != BYTE).any() for m, a, b in self.memory)
        self.memory.clear()
        return found


def case(rng: random.Random) -> dict:
    """Random settings: odd sizes of images, channels, batches and hidden layers, two resets, several densities."""
    name = rng.choice(("vgg5", "vgg5", "vgg9", "resnet12"))
    side = (rng.choice((8, 12, 16, 20)), rng.choice((8, 12, 16, 24))) if name == "vgg5" else (32, 32)
    return {
        "name": name,
        "shape": (*side, rng.choice((1, 2, 3, 5))),
        "width": rng.choice((1 / 64, 1 / 16, 0.11, 0.2, 0.25)) if name == "vgg5" else rng.choice((1 / 64, 0.05, 0.1)),
        "hidden": rng.randrange(1, 70),
        "classes": rng.choice((2, 3, 10, 17)),
        "batch": rng.randrange(1, 10),
        "steps": rng.randrange(1, 8),
        "threshold": rng.choice((0.02, 0.1, 0.3, 1.0)),
        "reset": rng.choice(("immediate", "delayed")),
        "optimiser": rng.choice(("adam", "adam16", "sgd", "amsgrad")),
    }


def gradients(k, settings: dict, seed: int):
    """Gradients of all weights and of the images, after an update of the weights: {name: array}."""
    model = build(
        settings["name"], settings["classes"], settings["shape"], width=settings["width"], hidden=settings["hidden"]
    )
    weights = initialise(model, k, seed, spiking=True)
    weights |= {n: k.asarray([settings["threshold"]]) for n in weights if n.endswith("threshold")}
    neuron = NeuronOptions(reset=settings["reset"])
    network = Network(model, k, weights, spiking=True, steps=settings["steps"], neuron=neuron)
    rng = np.random.default_rng(seed)
    images = k.asarray(rng.integers(0, 256, (settings["batch"], *settings["shape"])) / 256)
    labels = k.asarray(rng.integers(0, settings["classes"], settings["batch"]))
    options = dict(weights=True, image=True, training=True, scale=1.0, draws=Draws(seed), keep_state=False)
    found = network.gradients(images, labels, **options)
    arrays = {"image": k.to_numpy(found.image)} | {n: k.to_numpy(g) for n, g in found.weights.items()}
    found = network.gradients(images, labels, **options)  # gradients that no `to_numpy` has opened, as in a training
    optimiser = OPTIMISERS[settings["optimiser"]](network, list(network.parameters))
    optimiser.steps = 1
    optimiser.apply(found.weights, 0.01, 1)
    return arrays


def check(settings: dict, seed: int, k, reference) -> str:
    """The fault of one case in words; "" if there is none."""
    mine, theirs = gradients(k, settings, seed), gradients(reference, settings, seed)
    if k.workspace.damaged():
        return "a kernel wrote outside its array"
    for name, expected in theirs.items():
        scale = np.abs(expected).max() + 1e-6
        if not np.abs(mine[name] - expected).max() <= 1e-3 * scale:
            return f"the gradient of {name} differs by {np.abs(mine[name] - expected).max() / scale:.1e} of its largest entry"
    return ""


def main() -> int:
    """Run the cases from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checked", action="store_true")
    options = parser.parse_args()
    if options.checked and os.environ.get("NUMBA_BOUNDSCHECK") != "1":
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "MINIHIRE_CACHE_DIR": cache}
            return subprocess.run([sys.executable, *sys.argv], env=environment).returncode
    k, reference, rng, faults = (
        get_backend("numba", threads=2),
        get_backend("reference"),
        random.Random(options.seed),
        0,
    )
    k.workspace = Guarded()
    for number in range(options.cases):
        settings = case(rng)
        try:
            fault = check(settings, number, k, reference)
        except IndexError as error:
            fault = f"IndexError: {error}"
        if fault:
            faults += 1
            print(f"case {number}, {settings}: {fault}", flush=True)
    print(f"{options.cases} cases, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
