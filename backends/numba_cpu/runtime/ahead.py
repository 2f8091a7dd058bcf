"""Compiling kernels in a second process while the program compiles others and gets to work.

A first run needs half a hundred kernels, a second each or more, and Numba compiles one at a time. The program meets them
in the order of a training step; the process started here calls them in the opposite order, on small arrays, and leaves
them in the kernel cache, where the program finds them when it gets there. Its results are thrown away.

    python -m backends.numba_cpu.runtime.ahead         compiles all, as the process does
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from backends.arrays import CurrentGradient, SpikeTrain
from backends.numba_cpu.runtime.kernel_cache import persistent_folder
from backends.randomness import Draw, Stream
from backends.surrogates import triangle

CACHE_FOLDER = persistent_folder()  # as the program's kernels found it; it may go elsewhere later
PROGRAM = f"""
import sys
sys.path[0] = {str(Path(__file__).parents[3])!r}  # not the folder in which the user happens to be
from backends.numba_cpu.runtime import ahead
ahead.main(beside=True)
"""
STEPS, BATCH, SIDE, CHANNELS = 2, 8, 4, 64  # as few as make the kernels of a real network's shapes the right ones


def start() -> None:
    """Start the process, if there is a core for it and what it compiles is kept. It ends with the program, however that ends."""
    if not (sys.executable and CACHE_FOLDER and (os.cpu_count() or 1) > 1) or getattr(sys, "frozen", False):
        return
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"MINIHIRE_CACHE_DIR": str(CACHE_FOLDER.parents[1])},
            stdin=subprocess.PIPE,  # closed when the program ends
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # the program compiles all by itself
        return
    started.append(process)


started: list[subprocess.Popen] = []  # kept, so that their pipes stay open


def _end_with(pipe):
    """End the process when the other end of the pipe is closed. A kernel file that is half-written is compiled again."""
    pipe.read()
    os._exit(0)


def kernels(k):
    """Calls that together compile what training and attacks need, the last of a spiking network's step first."""
    shape, flat = (STEPS, BATCH, SIDE, SIDE, CHANNELS), (STEPS, BATCH, SIDE * SIDE * CHANNELS)
    rng = np.random.default_rng(0)

    def some(shape, density):
        return (rng.random(shape) < density).astype(k.float)

    def spikes(shape, density=0.2):
        return SpikeTrain(some(shape, density).astype(np.uint8), 1.0, True)

    def staying(shape):
        train = spikes(shape)
        train.counts[1:] = train.counts[0]
        return train

    def leaking(shape, density=0.1):
        return CurrentGradient(some(shape, density), k.float.type(1))

    convolution, linear = k.zeros((3, 3, CHANNELS, CHANNELS)), k.zeros((flat[2], 64))
    first, image = k.zeros((3, 3, 3, CHANNELS)), k.asarray(np.ones((1, BATCH, SIDE, SIDE, 3)))
    one, hidden = k.asarray([1.0]), (STEPS, BATCH, 64)
    current = k.zeros((1, *shape[1:]))

    def adam(weight, grad):
        k.adam_step(weight, grad, k.zeros(weight.shape), k.zeros(weight.shape), None, 0, (0.9, 0.999), 1, 1, -1, 1)

    def sgd(weight, grad):
        k.sgd_step(weight, grad, k.zeros(weight.shape), 0, 0.9, 0, -1, 1)

    def neurons(current, forward=True):
        mask = k.dropout_mask(draw, shape[1:], 0.2)
        out, _, saved = k.lif_forward(current, None, one, one, STEPS, mask=mask)
        return out if forward else k.lif_backward(saved, k.avg_pool_backward(shape, k.zeros(pooled)), None, triangle())

    draw, pooled = Draw(0, 0, Stream(0), 0), (STEPS, BATCH, SIDE // 2, SIDE // 2, CHANNELS)
    return [
        lambda: adam(linear, k._linear_weight_gradient(leaking(hidden, 0.01), spikes(flat))),
        lambda: adam(linear, k._linear_weight_gradient(leaking(hidden, 0.5), spikes(flat))),
        lambda: adam(convolution, convolution),
        lambda: adam(first, first),
        lambda: k._conv2d_weight_gradient(current, image, 3, 1, 1),
        lambda: k._conv2d_weight_gradient(leaking(shape), spikes(shape, 0.6), 3, 1, 1),
        lambda: k._conv2d_weight_gradient(leaking(shape, 0.6), spikes(shape), 3, 1, 1),
        lambda: k._conv2d_input_gradient(leaking(shape), convolution, shape, 1, 1),
        lambda: k._conv2d_input_gradient(current, first, image.shape, 1, 1),
        lambda: k._product(leaking(hidden), linear, transposed=True),
        lambda: k._product(k.asarray(np.ones((1, BATCH, 10))), k.zeros((64, 10)), transposed=True),
        lambda: neurons(current, forward=False),
        lambda: k.linear(spikes(flat), linear),
        lambda: k.linear(staying(flat), linear),
        lambda: k.conv_lif_forward(
            spikes(shape), convolution, 1, 1, None, one, one, STEPS, mask=k.dropout_mask(draw, shape[1:], 0.2)
        ),
        lambda: k.avg_pool(neurons(current)),
        lambda: k.conv2d(image, first, 1, 1),
        lambda: k.uniform(draw, (4,)),
        # what an ANN needs besides
        lambda: sgd(linear, k._linear_weight_gradient(k.zeros(hidden), k.zeros(flat))),
        lambda: sgd(first, first),
        lambda: k.relu_backward((k.zeros(shape), None), k.avg_pool_backward(shape, k.zeros(pooled))),
        lambda: k._conv2d_weight_gradient(current, some((1, *shape[1:]), 1.0), 3, 1, 1),
        lambda: k.linear(k.asarray(np.ones(flat)), linear),
        lambda: k.linear(some(flat, 0.3), linear),
        lambda: k.avg_pool(k.relu(current)[0]),
        lambda: k.conv2d(some((1, *shape[1:]), 1.0), convolution, 1, 1),
    ]


def main(beside: bool = False) -> None:
    """Compile everything; beside a program, whose end closes the standard input, behind it and no longer than it lives."""
    from backends.numba_cpu import NumbaBackend

    if beside:
        threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
        if hasattr(os, "nice"):
            os.nice(5)
    for call in kernels(NumbaBackend(threads=1)):
        call()


if __name__ == "__main__":
    main()
