"""Optimiser steps of the Numba backend. The step of a linear layer also computes the weight gradient, part by part."""

import functools
import math

import numpy as np

from backends import moments16
from backends.arrays import OuterProduct
from backends.numba_cpu.kernels import optimisers
from backends.numba_cpu.neurons import Neurons


@functools.lru_cache(maxsize=16)
def _adam_scalars(kind, step, rate, first, second, epsilon, low, high):
    """(AdamScalars of the arrays' type, moments16.start of the step). Cached, as most parameters of a step share them."""
    correction = math.sqrt(1 - second**step)
    scalars = rate / (1 - first**step), first, second, 1 - first, 1 - second, epsilon, correction, low, high
    return optimisers.AdamScalars(*(kind(s) for s in scalars)), np.uint32(moments16.start(step))


class Updates(Neurons):
    """SGD and Adam, in place."""

    def _in_place(self, array):
        """The flat array itself, to be updated."""
        if not array.flags.c_contiguous:
            raise ValueError("an array that an optimiser updates must be C-contiguous")
        return array.reshape(-1)

    def sgd_step(self, parameter, grad, velocity, learning_rate, momentum, decay, low, high):
        self.versions.updated(parameter)
        scalars = optimisers.SGDScalars(*(self.float.type(s) for s in (learning_rate, momentum, decay, low, high)))
        if isinstance(grad, OuterProduct):
            optimisers.sgd_rows(parameter, self._outer_product_factors(grad), velocity, scalars)
        else:
            optimisers.sgd(self._in_place(parameter), self._flat(grad), self._in_place(velocity), scalars)

    def adam_step(self, parameter, grad, mean, square, max_square, learning_rate, decays, epsilon, step, low, high):
        self.versions.updated(parameter)
        moments16.are_narrow(mean, square, max_square)  # the kernels look at the types
        numbers = (float(number) for number in (learning_rate, *decays, epsilon, low, high))
        scalars, start = _adam_scalars(self.float.type, int(step), *numbers)
        if isinstance(grad, OuterProduct):
            moments = optimisers.Moments(mean, square, () if max_square is None else (max_square,))
            optimisers.adam_rows(parameter, self._outer_product_factors(grad), moments, start, scalars)
        else:
            max_square = () if max_square is None else (self._in_place(max_square),)
            moments = optimisers.Moments(self._in_place(mean), self._in_place(square), max_square)
            arrays = self._in_place(parameter), self._flat(grad), moments
            if parameter.size <= optimisers.BLOCK:  # threads would start for longer than they work
                optimisers.adam_block(*arrays, start, scalars)
            else:
                optimisers.adam(*arrays, start, scalars)
