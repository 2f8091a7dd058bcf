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
STEPS, BATCH, SIDE, CHANNELS, OUTPUTS = 2, 8, 4, 64, 64
SHAPE = STEPS, BATCH, SIDE, SIDE, CHANNELS
POOLED = STEPS, BATCH, SIDE // 2, SIDE // 2, CHANNELS
FLAT, HIDDEN = (STEPS, BATCH, SIDE * SIDE * CHANNELS), (STEPS, BATCH, OUTPUTS)


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


class Examples:
    """Small arrays like those of a network, and the calls that several lists share."""

    def __init__(self, k):
        self.k, self.rng, self.one = k, np.random.default_rng(0), k.asarray([1.0])
        self.image, self.current = k.asarray(np.ones((1, BATCH, SIDE, SIDE, 3))), k.zeros((1, *SHAPE[1:]))
        self.first, self.convolution = k.zeros((3, 3, 3, CHANNELS)), k.zeros((3, 3, CHANNELS, CHANNELS))
        self.linear = k.zeros((FLAT[2], OUTPUTS))

    def array(self, shape, density):
        return (self.rng.random(shape) < density).astype(self.k.float)

    def spikes(self, shape, density=0.2):
        return SpikeTrain(self.array(shape, density).astype(np.uint8), 1.0, True)

    def constant_spikes(self, shape):
        train = self.spikes(shape)
        train.counts[1:] = train.counts[0]
        return train

    def leaky_gradient(self, shape, density=0.1):
        return CurrentGradient(self.array(shape, density), self.k.float.type(1))

    def pooled_gradient(self):
        return self.k.avg_pool_backward(self.k.avg_pool(self.k.zeros(SHAPE))[1], self.k.zeros(POOLED))

    def mask(self):
        return self.k.dropout_mask(Draw(0, 0), SHAPE[1:], 0.2)

    def neurons(self):
        """Call lif_forward with a static current; returns the spikes and `saved`."""
        out, _, saved = self.k.lif_forward(self.current, None, self.one, self.one, STEPS, mask=self.mask())
        return out, saved

    def adam(self, weight, grad):
        moments = self.k.zeros(weight.shape), self.k.zeros(weight.shape), None
        self.k.adam_step(weight, grad, *moments, 0, (0.9, 0.999), 1, 1, -1, 1)

    def sgd(self, weight, grad):
        self.k.sgd_step(weight, grad, self.k.zeros(weight.shape), 0, 0.9, 0, -1, 1)


def kernels(k):
    """Calls that together compile all kernels of training and attacks. They begin with the end of an SNN's training step."""
    examples = Examples(k)
    return _backward_calls(k, examples) + _forward_calls(k, examples) + _ann_calls(k, examples)


def _backward_calls(k, examples):
    """The updates and the backward pass of an SNN."""
    convolution, linear, first, image = examples.convolution, examples.linear, examples.first, examples.image
    current, spikes, leaky, adam = examples.current, examples.spikes, examples.leaky_gradient, examples.adam
    return [
        lambda: adam(linear, k._linear_weight_gradient(leaky(HIDDEN, 0.01), spikes(FLAT))),
        lambda: adam(linear, k._linear_weight_gradient(leaky(HIDDEN, 0.5), spikes(FLAT))),
        lambda: adam(convolution, convolution),
        lambda: adam(first, first),
        lambda: k._conv2d_weight_gradient(current, image, 3, 1, 1),
        lambda: k._conv2d_weight_gradient(leaky(SHAPE), spikes(SHAPE, 0.6), 3, 1, 1),
        lambda: k._conv2d_weight_gradient(leaky(SHAPE, 0.6), spikes(SHAPE), 3, 1, 1),
        lambda: k._conv2d_input_gradient(leaky(SHAPE), convolution, SHAPE, 1, 1),
        lambda: k._conv2d_input_gradient(current, first, image.shape, 1, 1),
        lambda: k._product(leaky(HIDDEN), linear, transposed=True),
        lambda: k._product(k.asarray(np.ones((1, BATCH, 10))), k.zeros((OUTPUTS, 10)), transposed=True),
        lambda: k.lif_backward(examples.neurons()[1], examples.pooled_gradient(), None, triangle()),
    ]


def _forward_calls(k, examples):
    """The forward pass of an SNN."""
    one, mask, spikes = examples.one, examples.mask, examples.spikes
    return [
        lambda: k.linear(spikes(FLAT), examples.linear),
        lambda: k.linear(examples.constant_spikes(FLAT), examples.linear),
        lambda: k.conv_lif_forward(spikes(SHAPE), examples.convolution, 1, 1, None, one, one, STEPS, mask=mask()),
        lambda: k.avg_pool(examples.neurons()[0]),
        lambda: k.conv2d(examples.image, examples.first, 1, 1),
        lambda: k.random(Draw(0, 0), (4,)),
    ]


def _ann_calls(k, examples):
    """The other kernels of an ANN."""
    array, linear, current = examples.array, examples.linear, examples.current
    return [
        lambda: examples.sgd(linear, k._linear_weight_gradient(k.zeros(HIDDEN), k.zeros(FLAT))),
        lambda: examples.sgd(examples.first, examples.first),
        lambda: k.relu_backward(k.relu(k.zeros(SHAPE))[1], examples.pooled_gradient()),
        lambda: k._conv2d_weight_gradient(current, array(current.shape, 1.0), 3, 1, 1),
        lambda: k.linear(k.asarray(np.ones(FLAT)), linear),
        lambda: k.linear(array(FLAT, 0.3), linear),
        lambda: k.avg_pool(k.relu(current)[0]),
        lambda: k.conv2d(array(current.shape, 1.0), examples.convolution, 1, 1),
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
