"""What the contract promises for every kernel: arguments stay as they are, results never change, old saved state is refused."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import BackendError
from backends.interface import Adaptation, Backend, NeuronState
from backends.randomness import Draw
from backends.surrogates import adaptive, rate, triangle

SHAPE = (3, 8, 4, 4, 16)  # large enough for the event-driven kernels of the Numba backend
VIEWS = {"reshape", "rows", "repeat_time"}
IN_PLACE = {"write_rows", "sgd_step", "adam_step"}
METHODS = {name for name, value in vars(Backend).items() if callable(value) and not name.startswith("_")}
STORAGE = {"asarray", "to_numpy", "zeros", "reshape", "rows", "write_rows"}  # all other methods are numerical
NO_ARRAYS = {"zeros", "random", "dropout_mask"}


class Calls:
    """One call of every kernel, as (name, function, arguments, positions that the function updates in place)."""

    def __init__(self, k, seed=0):
        self.k, self.rng = k, np.random.default_rng(seed)

    def array(self, *shape):
        return self.k.asarray(self.rng.integers(-8, 9, shape) / 8)

    def spikes(self, *shape):
        """Spikes as neurons emit them."""
        k = self.k
        wanted = k.asarray((self.rng.random(shape) < 0.3).astype(float))
        return k.lif_forward(wanted, None, k.asarray([0.0]), k.asarray([0.5]), shape[0])[0]

    def neurons(self, shape=SHAPE, **options):
        """The saved state of neurons."""
        k = self.k
        return k.lif_forward(self.array(*shape), None, k.asarray([0.5]), k.asarray([0.25]), shape[0], **options)[2]

    def gradient(self, shape=SHAPE):
        """The gradient of a current, as neurons return it."""
        return self.k.lif_backward(self.neurons(shape), self.array(*shape), None, triangle())[0]

    def arrays(self):
        k, images = self.k, np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
        yield "asarray", k.asarray, [np.ones((2, 3))], ()
        yield "asarray", k.asarray, [images.copy()], ()
        for make in (self.array, self.spikes, lambda *shape: self.gradient()):
            yield "to_numpy", k.to_numpy, [make(*SHAPE)], ()
            yield "asarray", k.asarray, [make(*SHAPE)], ()
            yield "events", k.events, [make(*SHAPE)], ()
            yield "top_k", lambda x: k.top_k(x, 5), [make(*SHAPE)], ()
            yield "reshape", lambda x: k.reshape(x, (3, 8, 256)), [make(*SHAPE)], ()
            yield "rows", lambda x: k.rows(x, 1, 2), [make(*SHAPE)], ()
            yield "sum_time", k.sum_time, [make(*SHAPE)], ()
            yield "add", k.add, [make(*SHAPE), self.array(*SHAPE)], ()
            yield "clip", lambda x: k.clip(x, -0.25, 0.5)[0], [make(*SHAPE)], ()
            clipped = k.clip(make(*SHAPE), 0.0, 1.0)[1]
            yield "clip_backward", lambda g, saved=clipped: k.clip_backward(saved, g), [self.array(*SHAPE)], ()
            yield "scale_shift", lambda x: k.scale_shift(x, (2.0,) * 16, (1.0,) * 16), [make(*SHAPE)], ()
        yield "repeat_time", lambda x: k.repeat_time(x, 3), [self.array(1, *SHAPE[1:])], ()
        yield "write_rows", lambda a, v: k.write_rows(a, 1, v), [self.array(4, 3), self.array(2, 3)], (0,)
        yield "rate_code", lambda x: k.rate_code(Draw(0, 7), x, 0, 3), [k.asarray(self.rng.random((8, 4, 4, 3)))], ()
        crop = [np.array([0, 1]), np.array([[1, 0], [0, 2]]), np.array([0, 1])]
        yield "image_batch", lambda s, *crop: k.image_batch(s, *crop, 1), [k.asarray(images), *crop], ()
        x, g, c = (self.array(8, 4, 4, 3) for _ in range(3))
        yield "sign_step", lambda x, g, c: k.sign_step(x, g, 0.125, 0.0, 1.0, c, 0.25), [x, g, c], ()
        yield "scale_to_norm", lambda x: k.scale_to_norm(x, 1), [x], ()
        yield "scale_to_norm", lambda x: k.scale_to_norm(x, 2, 0.5), [x], ()
        yield "scale_to_norm", lambda x: k.scale_to_norm(x, math.inf), [x], ()
        labels = k.asarray(np.arange(3))
        yield "cross_entropy", lambda z, y: k.cross_entropy(z, y, 1.0), [self.array(3, 5), labels], ()

    def images(self):
        """Kernels that treat each image differently."""
        k, x, y, each = self.k, self.array(8, 4, 4, 3), self.array(8, 4, 4, 3), self.array(8)
        yield "multiply", k.multiply, [x, y], ()
        yield "multiply", k.multiply, [x, each], ()
        yield "multiply", k.multiply, [self.spikes(8, 4, 4, 3), y], ()
        yield "greater", k.greater, [x, y], ()
        yield "greater", lambda x: k.greater(x, 0.25), [each], ()
        yield "select", k.select, [each, x, y], ()
        yield "select", k.select, [each, self.array(8), self.array(8)], ()
        yield "power", lambda x: k.power(x, 0.5), [k.asarray(self.rng.random((8, 4)))], ()
        logits, labels, targets = self.array(4, 5), k.asarray(np.arange(4)), k.asarray(np.arange(4)[::-1])
        for kind in ("margin", "zero-one", "dlr"):
            yield "logit_loss", lambda z, y, kind=kind: k.logit_loss(z, y, kind), [logits, labels], ()
        yield "logit_loss", lambda z, y, t: k.logit_loss(z, y, "dlr-targeted", t), [logits, labels, targets], ()

    def products(self):
        k, kernel = self.k, (3, 3, 16, 16)
        for make in (self.array, self.spikes):
            yield "conv2d", lambda x, w: k.conv2d(x, w, 1, 1)[0], [make(*SHAPE), self.array(*kernel)], ()
            for grad in (self.array(*SHAPE), self.gradient()):
                saved = k.conv2d(make(*SHAPE), self.array(*kernel), 1, 1)[1]
                yield "conv2d_backward", lambda g, s=saved: k.conv2d_backward(s, g), [grad], ()
            for features in (10, 96):
                yield "linear", lambda x, w: k.linear(x, w)[0], [make(3, 8, 256), self.array(256, features)], ()
                saved = k.linear(make(3, 8, 256), self.array(256, features))[1]
                backward = lambda g, s=saved: k.linear_backward(s, g, want_weight=False)  # that one may be a handle
                yield "linear_backward", backward, [self.gradient((3, 8, features))], ()
            yield "avg_pool", lambda x: k.avg_pool(x)[0], [make(*SHAPE)], ()
            saved = k.avg_pool(make(*SHAPE))[1]
            for grad in (self.array(3, 8, 2, 2, 16), self.gradient((3, 8, 2, 2, 16))):
                yield "avg_pool_backward", lambda g, s=saved: k.avg_pool_backward(s, g), [grad], ()

    def activations(self):
        k, mask = self.k, lambda: self.k.dropout_mask(Draw(0, 5), SHAPE[1:], 0.25)
        yield "relu", lambda x, m: k.relu(x, m)[0], [self.array(*SHAPE), mask()], ()
        saved = k.relu(self.array(*SHAPE))[1]
        yield "relu_backward", lambda g: k.relu_backward(saved, g), [self.array(*SHAPE)], ()
        for reset in ("immediate", "delayed"):

            def neurons(reset=reset):
                spikes = self.array(*SHAPE[1:]) if reset == "delayed" else None
                return [self.array(*SHAPE[1:]), spikes, k.asarray([0.5]), k.asarray([0.25]), mask()]

            for shape in (SHAPE, (1, *SHAPE[1:])):

                def forward(x, m, s, leak, v, mask, reset=reset):
                    return k.lif_forward(x, NeuronState(m, s), leak, v, 3, reset=reset, mask=mask)[:2]

                yield "lif_forward", forward, [self.array(*shape), *neurons()], ()
            for make in (self.array, self.spikes):

                def driven(x, w, m, s, leak, v, mask, reset=reset):
                    return k.conv_lif_forward(x, w, 1, 1, NeuronState(m, s), leak, v, 3, reset=reset, mask=mask)[:2]

                yield "conv_lif_forward", driven, [make(*SHAPE), self.array(3, 3, 16, 16), *neurons()], ()

            def backward(g, m, s, reset=reset, seed=self.rng.integers(99)):
                saved = Calls(k, seed).neurons(reset=reset)
                return k.lif_backward(saved, g, NeuronState(m, s), triangle(), s is not None)

            yield "lif_backward", backward, [self.array(*SHAPE), *neurons()[:2]], ()
            pooled = k.avg_pool_backward(k.avg_pool(self.array(*SHAPE))[1], self.array(3, 8, 2, 2, 16))
            yield "lif_backward", backward, [pooled, *neurons()[:2]], ()
        yield "lif_backward", lambda g: k.lif_backward(self.neurons(), g, None, rate())[0], [self.array(*SHAPE)], ()

        def adaptive_backward(g, mean, deviation):
            memory = Adaptation(mean, deviation)
            return k.lif_backward(self.neurons(), g, None, adaptive(), adaptation=memory)[0]

        memory = [k.asarray(self.rng.random(SHAPE)) for _ in range(2)]
        yield "lif_backward", adaptive_backward, [self.array(*SHAPE), *memory], (1, 2)

    def optimisers(self):
        k = self.k
        p, g, u = (self.array(40) for _ in range(3))
        yield "sgd_step", lambda p, g, u: k.sgd_step(p, g, u, 0.1, 0.9, 0.1, -9.0, 9.0), [p, g, u], (0, 2)
        square, most = (k.asarray(np.full(40, value)) for value in (0.5, 0.0))

        def adam(p, g, m, s, most):
            k.adam_step(p, g, m, s, most, 0.1, (0.9, 0.99), 1e-8, 3, -9.0, 9.0)

        yield "adam_step", adam, [self.array(40), g, self.array(40), square, most], (0, 2, 3, 4)

    def all(self):
        for part in (self.arrays, self.images, self.products, self.activations, self.optimisers):
            yield from part()


def flattened(result):
    """The arrays of a result."""
    if isinstance(result, NeuronState) or type(result) in (tuple, list):
        return [array for part in result for array in flattened(part)]
    return [] if result is None else [result]


def values(k, result):
    return [np.array(a) if np.isscalar(a) else np.array(k.to_numpy(a)) for a in flattened(result)]


def overwrite(array):
    """Fill the memory of an array: of a NumPy array or tensor, or of all those in another kind of array."""
    if array is None or np.isscalar(array):
        return
    if isinstance(array, tuple):
        for part in array:
            if not isinstance(part, str | float | int | tuple):
                overwrite(part)
    elif getattr(array, "ndim", 0) or not isinstance(array, np.generic):
        array[...] = 3


def test_no_kernel_is_left_out(backend):
    """Every public method is called here, or returns nothing that depends on an array."""
    assert {name for name, *_ in Calls(backend).all()} | NO_ARRAYS == METHODS


def test_the_contract_stays_small():
    """What is not a kernel belongs in backends/services.py."""
    control_flow = {
        "multiply",
        "greater",
        "select",
        "power",
        "logit_loss",
    }  # of an attack, image by image, on the device
    assert control_flow < METHODS
    assert len(METHODS - control_flow) <= 34 and len(METHODS - control_flow - STORAGE) <= 28


def test_messages_name_no_flag_of_the_command_line():
    """The backends know nothing of the programs that use them."""
    files = sorted(Path(backends.__file__).parent.rglob("*.py"))
    literals = [
        (file.name, node.lineno, node.value)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(files) > 20 and not [found for found in literals if re.search(r"--[a-z]", found[2])]


def test_kernels_change_nothing_but_what_they_say(backend):
    for name, kernel, arguments, updated in Calls(backend).all():
        before = values(backend, arguments)
        kernel(*arguments)
        given = [argument for argument in arguments if argument is not None]
        for i, (argument, old) in enumerate(zip(given, before, strict=True)):
            same = np.array_equal(values(backend, [argument])[0], old)
            written = any(argument is arguments[j] for j in updated)
            assert same != written, f"{name}: argument {i} was {'left alone' if same else 'changed'}"


def test_a_returned_value_never_changes(backend):
    """Whatever is then written into the arguments. Views are the exception that the contract names."""
    checked = set()
    for name, kernel, arguments, updated in Calls(backend).all():
        result = kernel(*arguments)
        if updated:
            continue
        before = values(backend, result)
        for argument in arguments:
            overwrite(argument)
        for old, new in zip(before, values(backend, result), strict=True):
            assert np.array_equal(old, new) != (name in VIEWS), name
        checked.add(name)
    assert len(checked) >= 20


def test_writing_into_what_to_numpy_returned_changes_nothing(backend):
    calls = Calls(backend)
    for x in (calls.array(*SHAPE), calls.spikes(*SHAPE), calls.gradient(), backend.asarray(np.arange(9))):
        before = values(backend, x)[0]
        found = backend.to_numpy(x)
        if found.flags.writeable:
            found[...] = 7
        np.testing.assert_array_equal(values(backend, x)[0], before)


def test_asarray_may_share_only_what_nobody_can_write_to(backend):
    for pixels in (np.arange(12, dtype=np.uint8), np.arange(12.0)):
        frozen = pixels.copy()
        frozen.flags.writeable = False
        for given in (pixels, pixels[:], frozen, frozen[:]):
            x = backend.asarray(given)
            pixels[3] += 1
            assert backend.to_numpy(x)[3] == given[3] - (given[3] != 3) and not (given.flags.writeable and given is x)


def saved_states(k):
    """(name, weights, backward) of every kernel whose saved state depends on weights."""
    calls = Calls(k)
    leak, threshold, grad = k.asarray([0.5]), k.asarray([0.25]), calls.array(*SHAPE)
    kernel, matrix, x = calls.array(3, 3, 16, 16), calls.array(256, 96), calls.spikes(*SHAPE)
    saved = k.conv2d(x, kernel, 1, 1)[1]
    yield "conv2d", [kernel], lambda s=saved: k.conv2d_backward(s, grad)
    saved = k.linear(k.reshape(x, (3, 8, 256)), matrix)[1]
    yield "linear", [matrix], lambda s=saved: k.linear_backward(s, calls.array(3, 8, 96))
    for weight in (leak, threshold):
        saved = k.lif_forward(calls.array(*SHAPE), None, leak, threshold, 3)[2]
        yield "lif_forward", [weight], lambda s=saved: k.lif_backward(s, grad, None, triangle())
    _, _, saved, conv_saved = k.conv_lif_forward(x, kernel, 1, 1, None, leak, threshold, 3)
    yield "neurons after a convolution", [leak], lambda s=saved: k.lif_backward(s, grad, None, triangle())
    yield "convolution before neurons", [kernel], lambda s=conv_saved: k.conv2d_backward(s, grad)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_saved_state_is_refused_after_an_update_of_its_weights(backend, rule):
    k = backend
    for name, weights, backward in saved_states(k):
        for weight in weights:
            one, two, grad = (k.asarray(np.zeros(tuple(weight.shape))) for _ in range(3))
            if rule == "sgd":
                k.sgd_step(weight, grad, one, 0.1, 0.9, 0.1, -9.0, 9.0)
            else:
                k.adam_step(weight, grad, one, two, None, 0.1, (0.9, 0.99), 1e-8, 1, -9.0, 9.0)
        with pytest.raises(BackendError, match="weights were updated after this forward pass"):
            backward()
            pytest.fail(name)


def test_saved_state_survives_an_update_of_other_weights(backend):
    for name, _, backward in saved_states(backend):
        other, grad, velocity = (backend.asarray(np.zeros((2, 2))) for _ in range(3))
        backend.sgd_step(other, grad, velocity, 0.1, 0.9, 0.1, -9.0, 9.0)
        assert flattened(backward()), name


def test_neurons_go_back_once(backend):
    calls = Calls(backend)
    saved, grad = calls.neurons(), calls.array(*SHAPE)
    backend.lif_backward(saved, grad, None, triangle())
    with pytest.raises(BackendError, match="used by a backward pass already"):
        backend.lif_backward(saved, grad, None, triangle())


def test_no_gradient_of_spikes_means_zeros(backend):
    calls = Calls(backend)
    end = NeuronState(calls.array(*SHAPE[1:]))
    found = [
        backend.lif_backward(Calls(backend, 1).neurons(), grad, end, triangle())
        for grad in (None, backend.asarray(np.zeros(SHAPE)))
    ]
    for got, expected in zip(*(values(backend, result) for result in found), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_an_array_that_is_gone_leaves_no_count(backend):
    parameter, grad, velocity = (backend.asarray(np.zeros(5)) for _ in range(3))
    before = len(backend.versions.counts)
    backend.sgd_step(parameter, grad, velocity, 0.1, 0.9, 0.1, -9.0, 9.0)
    assert len(backend.versions.counts) == before + 1 and backend.versions.of(parameter) == 1
    del parameter
    assert len(backend.versions.counts) == before
