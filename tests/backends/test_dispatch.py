"""Which kernel of the Numba backend runs: the choices, and the diagram in the package's docstring."""

import importlib
import math
import re

import pytest

pytest.importorskip("numba")

import backends.numba_cpu
from backends.numba_cpu import dispatch

SPIKES, GRADIENT, DENSE = 0.1, 0.3, 0.95


def named_kernels():
    """The kernels that the diagram names, as (module, function)."""
    table = backends.numba_cpu.__doc__.partition("-----------")[2]
    found, module = [], None
    for match in re.finditer(r"\b([a-z_]+)\.([a-z_]+)\b|(?<=[ ,])\.([a-z_]+)\b", table):
        if match[1]:
            module, name = match[1], match[2]
        else:
            name = match[3]
        if name != "py":
            found.append((module, name))
    return found


def test_every_kernel_of_the_diagram_exists():
    found = named_kernels()
    assert len(found) > 25
    for module, name in found:
        assert hasattr(importlib.import_module(f"backends.numba_cpu.kernels.{module}"), name), f"{module}.{name}"


def test_the_diagram_names_every_layer_kernel():
    """Those that list, pack and add are steps of others."""
    named = {module for module, _ in named_kernels()}
    assert {
        "scatter_convolution",
        "event_convolution",
        "convolution",
        "image_gradient",
        "event_weight_gradient",
        "event_linear",
        "linear",
        "event_outer_product",
        "optimisers",
        "lif",
        "elementwise",
        "philox",
    } <= named


@pytest.mark.parametrize(
    "density, size, stride, channels, features, wanted",
    [
        (SPIKES, 3, 1, 64, 64, "scatter_convolution"),
        (GRADIENT, 3, 1, 64, 64, "scatter_convolution"),
        (DENSE, 3, 1, 64, 64, "convolution"),
        (DENSE, 3, 1, 16, 64, "scatter_convolution"),  # few channels
        (SPIKES, 3, 1, 64, 12, "convolution"),  # no vector divides 12 outputs
        (SPIKES, 3, 2, 64, 64, "event_convolution"),
        (SPIKES, 1, 1, 64, 64, "event_convolution"),
        (0.7, 1, 1, 64, 64, "convolution"),
        (SPIKES, 1, 2, 64, 64, "event_convolution"),
        (0.2, 1, 2, 64, 64, "convolution"),
        (math.inf, 3, 1, 3, 64, "convolution"),  # float64
    ],
)
def test_convolutions(density, size, stride, channels, features, wanted):
    assert dispatch.convolution(density, size, stride, size // 2, channels, features, 32) == wanted


def test_images_too_wide_for_16_bits_are_dense():
    assert dispatch.convolution(SPIKES, 3, 2, 1, 64, 64, 1021) == "event_convolution"
    assert dispatch.convolution(SPIKES, 3, 2, 1, 64, 64, 1022) == "convolution"


@pytest.mark.parametrize(
    "density, size, stride, channels, features, wanted",
    [
        (SPIKES, 3, 1, 3, 64, "image_gradient"),
        (DENSE, 3, 1, 3, 64, "image_gradient"),
        (SPIKES, 3, 1, 64, 64, "scatter_convolution"),
        (DENSE, 3, 1, 64, 64, "convolution"),
        (SPIKES, 3, 2, 64, 64, "scatter_convolution"),
        (SPIKES, 1, 2, 64, 64, "convolution"),
        (SPIKES, 1, 1, 64, 64, "event_convolution"),
        (math.inf, 3, 1, 3, 64, "convolution"),
    ],
)
def test_input_gradients(density, size, stride, channels, features, wanted):
    assert dispatch.input_gradient(density, size, stride, size // 2, channels, features, 32) == wanted


@pytest.mark.parametrize(
    "density, grad_density, channels, features, wanted",
    [
        (GRADIENT, SPIKES, 64, 64, "leaky_weight_gradient"),
        (SPIKES, GRADIENT, 64, 64, "event_weight_gradient"),
        (SPIKES, math.inf, 64, 64, "event_weight_gradient"),
        (GRADIENT, SPIKES, 3, 64, "event_weight_gradient"),
        (SPIKES, math.inf, 64, 10, "convolution"),
        (math.inf, math.inf, 64, 64, "convolution"),
    ],
)
def test_weight_gradients(density, grad_density, channels, features, wanted):
    image, output = (16, 16, channels), (16, 16, features)
    assert dispatch.weight_gradient(density, grad_density, 3, 1, 1, image, output) == wanted


def test_linear_layers():
    assert dispatch.linear(SPIKES, 512) == dispatch.linear(SPIKES, 64) == "event_linear"
    assert dispatch.linear(SPIKES, 10) == dispatch.linear(DENSE, 512) == dispatch.linear(math.inf, 512) == "linear"
    assert dispatch.outer_product(SPIKES, GRADIENT, 100) == "x_lists"
    assert dispatch.outer_product(GRADIENT, SPIKES, 100) == "gradient_lists"
    assert dispatch.outer_product(GRADIENT, SPIKES, 2**16) == "x_lists"
    assert dispatch.outer_product(DENSE, DENSE, 100) == dispatch.outer_product(math.inf, math.inf, 100) == "linear"
