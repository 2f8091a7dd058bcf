"""Kernels as plain functions: a forward kernel without its `saved`, and each gradient as a function of its arguments."""

import numpy as np

from backends import surrogates


def of_its_type(kernel):
    """The same function, which converts NumPy arrays of another floating-point type to the backend's."""

    def call(k, *arguments):
        other = [isinstance(a, np.ndarray) and a.dtype.kind == "f" and a.dtype != k.dtype for a in arguments]
        return kernel(k, *(k.asarray(a) if wrong else a for a, wrong in zip(arguments, other, strict=True)))

    return call


@of_its_type
def conv2d(k, x, weight, stride, padding):
    return k.conv2d(x, weight, stride, padding, want_weight=False)[0]


@of_its_type
def conv2d_input_gradient(k, grad, weight, shape, stride, padding):
    saved = k.conv2d(k.asarray(np.zeros(shape)), weight, stride, padding, want_weight=False)[1]
    return k.conv2d_backward(saved, grad, want_weight=False)[0]


@of_its_type
def conv2d_weight_gradient(k, grad, x, size, stride, padding):
    weight = k.asarray(np.zeros((size, size, x.shape[4], grad.shape[4])))
    return k.conv2d_backward(k.conv2d(x, weight, stride, padding)[1], grad, want_input=False)[1]


@of_its_type
def linear(k, x, weight):
    return k.linear(x, weight, want_weight=False)[0]


@of_its_type
def linear_input_gradient(k, grad, weight):
    x = k.asarray(np.zeros((*grad.shape[:2], weight.shape[0])))
    return k.linear_backward(k.linear(x, weight, want_weight=False)[1], grad, want_weight=False)[0]


@of_its_type
def linear_weight_gradient(k, grad, x):
    weight = k.asarray(np.zeros((x.shape[2], grad.shape[2])))
    return k.linear_backward(k.linear(x, weight)[1], grad, want_input=False)[1]


@of_its_type
def avg_pool(k, x):
    return k.avg_pool(x)[0]


@of_its_type
def avg_pool_gradient(k, grad, shape):
    return k.avg_pool_backward(k.avg_pool(k.asarray(np.zeros(shape)))[1], grad)


@of_its_type
def relu(k, x, mask=None):
    return k.relu(x, mask)[0]


@of_its_type
def relu_gradient(k, grad, x, mask=None):
    return k.relu_backward(k.relu(x, mask)[1], grad)


@of_its_type
def rate_gradient(k, saved, grad_spikes):
    return k.lif_backward(saved, grad_spikes, None, surrogates.rate())[0]
