"""Compile kernels in a second process while the program compiles others.

A first run compiles about fifty kernels. Each takes a second or more, and Numba compiles one at a time. The program needs them in
the order of a training step. The second process calls them in the opposite order, on small arrays. This writes them to the kernel
cache, from which the program loads them. The results of the calls are discarded.

The calls are listed by hand, because a step of a small network would compile the kernels in the order of the program, and
`backends` cannot import the network. `test_all_that_training_and_attacks_call_is_compiled_ahead` in tests/backends/test_ahead.py
fails if training or an attack calls a kernel, or uses argument types, that the list lacks.

    python -m backends.numba_cpu.runtime.ahead         compile all kernels, as the second process does
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from backends import processors
from backends.arrays import CurrentGradient, SpikeTrain
from backends.numba_cpu.runtime.kernel_cache import persistent_folder
from backends.randomness import Draw
from backends.surrogates import triangle

CACHE_FOLDER = persistent_folder()  # read once: the environment may change after the program's kernels were loaded
PROGRAM = f"""
import sys
sys.path[0] = {str(Path(__file__).parents[3])!r}  # not the folder in which the user happens to be
from backends.numba_cpu.runtime import ahead
ahead.main(as_helper=True)
"""
# The smallest sizes for which dispatch chooses the same kernels as in a real network
STEPS, BATCH, SIDE, CHANNELS = 2, 8, 4, 64


def start() -> None:
    """Start the process if there is a core for it and its results can be cached. It ends when the program ends, in any way."""
    if not (sys.executable and CACHE_FOLDER and processors.available() > 1) or getattr(sys, "frozen", False):
        return
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"MINIHIRE_CACHE_DIR": str(CACHE_FOLDER.parents[1])},
            stdin=subprocess.PIPE,  # closed when the program ends
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # the program then compiles everything itself
        return
    started.append(process)


started: list[subprocess.Popen] = []  # referenced here so that their pipes stay open


def _exit_when_closed(pipe):
    """End the process when the other end of the pipe is closed. A kernel file that is half-written is compiled again."""
    pipe.read()
    os._exit(0)


def kernels(k):
    """Calls that together compile all kernels of training and attacks. They begin with the end of an SNN's training step."""
    shape, flat = (STEPS, BATCH, SIDE, SIDE, CHANNELS), (STEPS, BATCH, SIDE * SIDE * CHANNELS)
    rng = np.random.default_rng(0)

    def array(shape, density):
        return (rng.random(shape) < density).astype(k.float)

    def spikes(shape, density=0.2):
        return SpikeTrain(array(shape, density).astype(np.uint8), 1.0, True)

    def constant_spikes(shape):
        train = spikes(shape)
        train.counts[1:] = train.counts[0]
        return train

    def leaky_gradient(shape, density=0.1):
        return CurrentGradient(array(shape, density), k.float.type(1))

    convolution, linear = k.zeros((3, 3, CHANNELS, CHANNELS)), k.zeros((flat[2], 64))
    first, image = k.zeros((3, 3, 3, CHANNELS)), k.asarray(np.ones((1, BATCH, SIDE, SIDE, 3)))
    one, hidden = k.asarray([1.0]), (STEPS, BATCH, 64)
    current = k.zeros((1, *shape[1:]))

    def adam(weight, grad):
        k.adam_step(weight, grad, k.zeros(weight.shape), k.zeros(weight.shape), None, 0, (0.9, 0.999), 1, 1, -1, 1)

    def sgd(weight, grad):
        k.sgd_step(weight, grad, k.zeros(weight.shape), 0, 0.9, 0, -1, 1)

    def pooled_gradient():
        return k.avg_pool_backward(k.avg_pool(k.zeros(shape))[1], k.zeros(pooled))

    def neurons(current, forward=True):
        mask = k.dropout_mask(draw, shape[1:], 0.2)
        out, _, saved = k.lif_forward(current, None, one, one, STEPS, mask=mask)
        return out if forward else k.lif_backward(saved, pooled_gradient(), None, triangle())

    draw, pooled = Draw(0, 0), (STEPS, BATCH, SIDE // 2, SIDE // 2, CHANNELS)
    return [
        lambda: adam(linear, k._linear_weight_gradient(leaky_gradient(hidden, 0.01), spikes(flat))),
        lambda: adam(linear, k._linear_weight_gradient(leaky_gradient(hidden, 0.5), spikes(flat))),
        lambda: adam(convolution, convolution),
        lambda: adam(first, first),
        lambda: k._conv2d_weight_gradient(current, image, 3, 1, 1),
        lambda: k._conv2d_weight_gradient(leaky_gradient(shape), spikes(shape, 0.6), 3, 1, 1),
        lambda: k._conv2d_weight_gradient(leaky_gradient(shape, 0.6), spikes(shape), 3, 1, 1),
        lambda: k._conv2d_input_gradient(leaky_gradient(shape), convolution, shape, 1, 1),
        lambda: k._conv2d_input_gradient(current, first, image.shape, 1, 1),
        lambda: k._product(leaky_gradient(hidden), linear, transposed=True),
        lambda: k._product(k.asarray(np.ones((1, BATCH, 10))), k.zeros((64, 10)), transposed=True),
        lambda: neurons(current, forward=False),
        lambda: k.linear(spikes(flat), linear),
        lambda: k.linear(constant_spikes(flat), linear),
        lambda: k.conv_lif_forward(
            spikes(shape), convolution, 1, 1, None, one, one, STEPS, mask=k.dropout_mask(draw, shape[1:], 0.2)
        ),
        lambda: k.avg_pool(neurons(current)),
        lambda: k.conv2d(image, first, 1, 1),
        lambda: k.random(draw, (4,)),
        # the other kernels of an ANN
        lambda: sgd(linear, k._linear_weight_gradient(k.zeros(hidden), k.zeros(flat))),
        lambda: sgd(first, first),
        lambda: k.relu_backward(k.relu(k.zeros(shape))[1], pooled_gradient()),
        lambda: k._conv2d_weight_gradient(current, array((1, *shape[1:]), 1.0), 3, 1, 1),
        lambda: k.linear(k.asarray(np.ones(flat)), linear),
        lambda: k.linear(array(flat, 0.3), linear),
        lambda: k.avg_pool(k.relu(current)[0]),
        lambda: k.conv2d(array((1, *shape[1:]), 1.0), convolution, 1, 1),
    ]


def main(as_helper: bool = False) -> None:
    """Compile all kernels. as_helper: at lower priority, and only until the program ends, which closes the standard input."""
    from backends.numba_cpu import NumbaBackend

    if as_helper:
        threading.Thread(target=_exit_when_closed, args=(sys.stdin.buffer,), daemon=True).start()
        if hasattr(os, "nice"):
            os.nice(5)
    for call in kernels(NumbaBackend(threads=1)):
        call()


if __name__ == "__main__":
    main()
