"""Optimiser steps of the Numba backend: a linear layer's weight gradient is computed where it is used."""

import functools
import math

import numpy as np

from backends import moments16
from backends.arrays import OuterProduct
from backends.numba_cpu.kernels import optimisers
from backends.numba_cpu.products import Products


@functools.lru_cache(maxsize=16)
def _adam_scalars(kind, step, rate, first, second, epsilon, low, high):
    """(AdamScalars of the arrays' type, moments16.start of the step). Cached, as most parameters of a step share them."""
    correction = math.sqrt(1 - second**step)
    scalars = rate / (1 - first**step), first, second, 1 - first, 1 - second, epsilon, correction, low, high
    return optimisers.AdamScalars(*(kind(s) for s in scalars)), np.uint32(moments16.start(step))


class Updates(Products):
    """SGD and Adam, in place."""

    def _in_place(self, array):
        """The flat array itself, to be updated."""
        if not array.flags.c_contiguous:
            raise ValueError("an array that an optimiser updates must be C-contiguous")
        return array.reshape(-1)

    def sgd_step(self, parameter, grad, velocity, rate, momentum, decay, low, high):
        scalars = optimisers.SGDScalars(*(self.float.type(s) for s in (rate, momentum, decay, low, high)))
        if isinstance(grad, OuterProduct):
            optimisers.sgd_rows(parameter, self._outer_product_factors(grad), velocity, scalars)
        else:
            optimisers.sgd(self._in_place(parameter), self._flat(grad), self._in_place(velocity), scalars)

    def adam_step(self, parameter, grad, mean, square, largest, rate, decays, epsilon, step, low, high):
        moments16.are_narrow(mean, square, largest)  # the kernels look at the types
        numbers = (float(number) for number in (rate, *decays, epsilon, low, high))
        scalars, start = _adam_scalars(self.float.type, int(step), *numbers)
        if isinstance(grad, OuterProduct):
            moments = optimisers.Moments(mean, square, () if largest is None else (largest,))
            optimisers.adam_rows(parameter, self._outer_product_factors(grad), moments, start, scalars)
        else:
            largest = () if largest is None else (self._in_place(largest),)
            moments = optimisers.Moments(self._in_place(mean), self._in_place(square), largest)
            arrays = self._in_place(parameter), self._flat(grad), moments
            if parameter.size <= optimisers.BLOCK:  # threads would start for longer than they work
                optimisers.adam_block(*arrays, start, scalars)
            else:
                optimisers.adam(*arrays, start, scalars)
