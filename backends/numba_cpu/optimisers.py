"""Optimiser steps: one sweep over a parameter, its gradient and its moments."""

import numpy as np
from numba import njit, prange

BLOCK = 16384


@njit(parallel=True, cache=True)
def sgd(parameter, grad, velocity, rate, momentum, decay, low, high):
    """See Backend.sgd_step; flat arrays, scalars of the arrays' type."""
    for block in prange((len(parameter) + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        for i in range(first, min(first + BLOCK, len(parameter))):
            velocity[i] = momentum * velocity[i] + (grad[i] + decay * parameter[i])
            parameter[i] = min(max(parameter[i] - rate * velocity[i], low), high)


@njit(parallel=True, cache=True)
def adam(
    parameter,
    grad,
    mean,
    square,
    largest,
    rate,
    first_decay,
    second_decay,
    first_rest,
    second_rest,
    epsilon,
    root_correction,
    low,
    high,
):
    """See Backend.adam_step; flat arrays, largest may be empty, scalars of the arrays' type.

    first_rest = 1 − first_decay, rate is already divided by 1 − first_decay^step, root_correction = √(1 − second_decay^step).
    """
    for block in prange((len(parameter) + BLOCK - 1) // BLOCK):
        begin = np.int64(block) * BLOCK
        for i in range(begin, min(begin + BLOCK, len(parameter))):
            g = grad[i]
            mean[i] = first_decay * mean[i] + first_rest * g
            square[i] = second_decay * square[i] + second_rest * g * g
            top = square[i]
            if len(largest):
                top = max(largest[i], top)
                largest[i] = top
            moved = parameter[i] - rate * mean[i] / (np.sqrt(top) / root_correction + epsilon)
            parameter[i] = min(max(moved, low), high)
