"""Calls every kernel of the Numba backend on small arrays. As a script it saves the results: kernel_calls.py OUT.npz."""

import sys

import numpy as np

from backends.numba_cpu.kernels import (
    convolution,
    density,
    elementwise,
    event_convolution,
    event_linear,
    event_outer_product,
    event_weight_gradient,
    image_gradient,
    lif,
    linear,
    optimisers,
    philox,
    scatter_convolution,
)
from backends.numba_cpu.kernels.convolution import Window
from backends.numba_cpu.kernels.increments import UNRELATED, Increments
from backends.numba_cpu.kernels.lists import EventLists, Events

rng = np.random.default_rng(0)
F = np.float32
T, B, SIDE, C = 2, 3, 4, 16
COUNT = T * B


def dyadic(*shape, density=1.0):
    """Multiples of 1/8 between −1 and 1: their sums and products are exact."""
    return (rng.integers(-8, 9, shape) * (rng.random(shape) < density) / 8).astype(F)


def spikes(*shape):
    """Counts 0 and 1 that mostly stay the same over time."""
    counts = (rng.random(shape) < 0.3).astype(np.uint8)
    counts[1, :2] = counts[0, :2]
    return counts


def convolutions(results):
    """Dense, gathering, scattering, with and without increments and neurons."""
    window, counts = Window(3, 1, 1), spikes(T, B, SIDE, SIDE, C)
    images, weight = counts.reshape(COUNT, SIDE, SIDE, C), dyadic(3, 3, C, C)
    flat, shape = weight.reshape(-1, C), (COUNT, SIDE, SIDE, C)
    grad = dyadic(*shape, density=0.3)
    rows = grad.reshape(COUNT, SIDE * SIDE, C)
    results["dense"] = np.zeros((COUNT, SIDE * SIDE, C), F)
    convolution.forward(images.astype(F), flat, window, SIDE, results["dense"])
    results["dense weights"] = np.zeros((2, 9 * C, C), F)
    convolution.weight_gradient(rows, images.astype(F), window, SIDE, results["dense weights"])
    results["dense input"] = np.zeros(shape, F)
    convolution.input_gradient(rows, flat, window, SIDE, results["dense input"])

    packed = event_convolution.pack_weights(weight, 16, 16, np.empty(weight.size, F))
    results["gather"] = np.zeros(shape, F)
    event_convolution.forward(Events(images, F(1), 0), packed, window, results["gather"])
    results["gather increments"] = np.zeros((T, B, SIDE, SIDE, C), F)
    increments = Increments(counts, F(1), F(1), 0, 1)
    event_convolution.forward_over_time(increments, packed, window, results["gather increments"])

    data = np.empty(weight.size, F)
    scatter_convolution.pack_weights(weight, 16, data)
    packed = scatter_convolution.PackedWeights(data, 16, 1, 1)
    results["scatter"] = np.zeros((T, B, SIDE, SIDE, C), F)
    scatter_convolution.forward(increments, packed, scatter_convolution.NO_NEURONS, results["scatter"])
    neurons = neuron_arrays(B * SIDE * SIDE * C, delayed=False)
    results["scatter and fire"], results["fired"] = np.zeros((T, B, SIDE, SIDE, C), F), neurons.counts
    scatter_convolution.forward(Increments(counts, F(1), *UNRELATED), packed, neurons, results["scatter and fire"])
    dilated = scatter_convolution.PackedWeights(data, 16, 1, 2)
    results["dilated"] = np.zeros((T, B, 8, 8, C), F)
    backwards = Increments(grad.reshape(T, B, SIDE, SIDE, C), F(1), F(0.5), T - 1, -1)
    scatter_convolution.forward(backwards, dilated, scatter_convolution.NO_NEURONS, results["dilated"])

    cut = event_weight_gradient.Blocks(16, 16)
    for stride in (1, 2):
        output = dyadic(COUNT, SIDE // stride, SIDE // stride, C)
        out = np.zeros(event_weight_gradient.layout(3, C, C, cut, COUNT), F)
        event_weight_gradient.weight_gradient(output, Events(images, F(1), 0), Window(3, stride, 1), cut, out)
        results[f"listed weights {stride}"] = out
    out = np.zeros(event_weight_gradient.layout(3, C, C, cut, B), F)
    leaky = grad.reshape(T, B, SIDE, SIDE, C)
    event_weight_gradient.leaky_weight_gradient(leaky, F(0.5), Events(counts, F(1), 0), window, cut, out)
    results["leaky weights"] = out
    few = dyadic(3, 3, 3, C)
    packed_few, out = np.empty((C, 3, image_gradient.LANES), F), np.zeros((COUNT, SIDE, SIDE, 3), F)
    image_gradient.pack_weights(few, packed_few)
    image_gradient.input_gradient(grad, packed_few.reshape(-1), 1, out)
    results["image"] = out
    results["density"] = np.array(density.estimate_density(counts.reshape(-1), -counts[0].size, F(1)))


def linear_layers(results):
    """Dense and by lists, and the products that an optimiser computes."""
    depth, features = 70, 64
    counts, weight = spikes(T, B, depth), dyadic(depth, features)
    grad = dyadic(COUNT, features, density=0.4)
    x = counts.reshape(COUNT, depth)
    results["linear"] = np.zeros((COUNT, features), F)
    linear.forward(x.astype(F), weight, results["linear"])
    results["linear input"] = np.zeros((COUNT, depth), F)
    linear.input_gradient(grad, weight, results["linear input"])
    for name in ("lists", "increments"):
        index = np.empty((2, 64 * COUNT), np.uint16)
        lists = EventLists(index, np.empty(index.shape, F), 1, np.empty((2, COUNT + 1), np.int64))
        results[name] = np.zeros((T, B, features), F)
        if name == "lists":
            event_linear.list_blocks(Events(x, F(1), 1), lists)
            event_linear.product(lists, UNRELATED, weight, False, 64, results[name].reshape(1, COUNT, features))
        else:
            increments = Increments(counts, F(1), F(1), 0, 1)
            event_linear.list_increment_blocks(increments, lists)
            event_linear.product(lists, increments.order, weight.T.copy(), True, 64, results[name])

    panels = np.empty((1, COUNT, 64), F)
    event_outer_product.pack_panels(grad, panels)
    listed = np.empty((features, COUNT), np.uint16), np.empty((features, COUNT), F), np.empty(features, np.int64)
    event_outer_product.list_gradient(grad, *listed)
    forms = {
        "dense": optimisers.Factors(x.astype(F), grad, F(1), 0, linear.FEATURES, features),
        "x": optimisers.Factors(x, panels, F(1), 0, 64, event_outer_product.PART_COLUMNS),
        "gradient": optimisers.Factors(x, listed, F(1), 0, 64, event_outer_product.PART_COLUMNS),
    }
    sgd = optimisers.SGDScalars(F(0.1), F(0.9), F(0.01), F(-1), F(1))
    adam = optimisers.AdamScalars(F(0.1), F(0.9), F(0.99), F(0.1), F(0.01), F(1e-8), F(0.5), F(-1), F(1))
    for name, factors in forms.items():
        results[f"outer {name}"] = np.zeros((depth, features), F)
        optimisers.store_rows(factors, results[f"outer {name}"])
        results[f"sgd {name}"] = weight.copy()
        optimisers.sgd_rows(results[f"sgd {name}"], factors, np.zeros_like(weight), sgd)
        kind = np.uint16 if name == "x" else F
        mean, square = np.zeros((depth, features), kind), np.zeros((depth, features), kind)
        maximum = () if name == "x" else (np.zeros((depth, features), F),)
        results[f"adam {name}"] = weight.copy()
        moments = optimisers.Moments(mean, square, maximum)
        optimisers.adam_rows(results[f"adam {name}"], factors, moments, np.uint32(7), adam)
        results[f"moments {name}"] = mean
    flat, grad = dyadic(4100), dyadic(4100)
    results["sgd"], results["adam"] = flat.copy(), flat.copy()
    optimisers.sgd(results["sgd"], grad, np.zeros_like(flat), sgd)
    optimisers.adam(
        results["adam"], grad, optimisers.Moments(np.zeros_like(flat), np.zeros_like(flat), ()), np.uint32(7), adam
    )


def neuron_arrays(count, delayed):
    """Neurons with a start, a dropout mask and a last state."""
    start, keep = dyadic(count), (rng.random(count) < 0.8).astype(np.uint8)
    state = [np.zeros(count if wanted else 0, F) for wanted in (True, delayed)]
    start_spikes = (rng.random(count if delayed else 0) < 0.5).astype(F)
    leak, threshold, counts = np.full(1, 0.5, F), np.full(1, 0.75, F), np.zeros((T, count), np.uint8)
    return lif.NeuronArrays(start, start_spikes, leak, threshold, delayed, keep, counts, *state)


def neurons(results):
    """Forward and backward, with both resets, every surrogate, static currents and average pools."""
    count = 4 * 4 * 16
    for code, delayed, pooled in (
        (0, False, True),
        (1, True, False),
        (2, False, False),
        (3, True, False),
        (4, False, True),
    ):
        name, arrays = f"neurons {code}", neuron_arrays(count, delayed)
        current, membrane = dyadic(T, count), np.zeros((T, count), F)
        lif.forward(current, membrane, arrays)
        results[name], results[f"{name} end"] = arrays.counts, arrays.end
        static = code == 4
        saved = lif.SavedArrays(current[:1], membrane[:0] if static else membrane, *arrays[:6], F(1.25))
        end = [dyadic(count), dyadic(count if delayed else 0)]
        given = lif.OutputGradients(dyadic(T, count // 4 if pooled else count), *end, True)
        grad = lif.InputGradients(
            np.zeros((1 if static else T, count), F), np.zeros(count, F), np.zeros(count if delayed else 0, F)
        )
        surrogate = lif.Surrogate(code, F(0.5), F(1))
        sums = lif.backward(saved, given, (4, 4, 16) if pooled else (0, 0, 0), surrogate, grad)
        results[f"{name} gradient"], results[f"{name} sums"] = grad.current, np.array(sums)
        results[f"{name} start"] = grad.start


def adaptive(results):
    """The adaptive surrogate, which updates its memory."""
    count = 3 * 700
    membrane, grad = dyadic(count), dyadic(count)
    mean, deviation, out = np.ones(count, F), np.zeros(count, F), np.zeros(count, F)
    constants = lif.AdaptiveConstants(F(0.9), F(0.1), F(2.65), F(1.5), F(1e-4))
    lif.adapt(membrane, grad, mean, deviation, out, np.full(1, 0.75, F), constants)
    results["adaptive"], results["adaptive mean"], results["adaptive deviation"] = out, mean, deviation


def elements(results):
    """Images, pools, ReLU and random numbers."""
    store, count = rng.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8), 4
    index, flip = rng.integers(0, 5, count), rng.integers(0, 2, count).astype(np.uint8)
    results["batch"] = np.zeros((count, 6, 6, 3), F)
    elementwise.image_batch(store, index, rng.integers(0, 5, (count, 2)), flip, 2, F(1 / 255), results["batch"])
    x, keep = dyadic(3, 64), (rng.random(64) < 0.8).astype(np.uint8)
    results["expand"], results["add"] = np.zeros(192, F), np.zeros(192, F)
    elementwise.expand(spikes(2, 96).reshape(-1), F(0.5), results["expand"])
    elementwise.add(x.reshape(-1), x.reshape(-1), F(0.5), results["add"])
    results["relu"], results["relu gradient"] = np.zeros((3, 64), F), np.zeros((3, 64), F)
    elementwise.relu(x, keep, F(1.25), results["relu"])
    elementwise.relu_gradient(dyadic(3, 64), x, keep, F(1.25), results["relu gradient"])
    images = dyadic(2, 4, 4, 3)
    results["pool"], results["unpool"] = np.zeros((2, 2, 2, 3), F), np.zeros((2, 4, 4, 3), F)
    elementwise.avg_pool(images, results["pool"])
    elementwise.avg_pool_gradient(results["pool"], results["unpool"])
    results["sums"] = np.zeros((2, 2, 2, 3), np.uint8)
    elementwise.sum_pool(spikes(2, 4, 4, 3), results["sums"])
    draw = philox.DrawWords(*(np.uint64(n) for n in (1, 2, 3, 4, 5)))
    results["uniform"], results["mask"] = np.zeros(4100, F), np.zeros(2 * philox.LANES, np.uint32)
    philox.uniform(draw, 3, results["uniform"])
    philox.at_least(np.uint64(0), draw, np.uint64(2**23), results["mask"])


if __name__ == "__main__":
    found = {}
    for part in (convolutions, linear_layers, neurons, adaptive, elements):
        part(found)
    np.savez(sys.argv[1], **found)
