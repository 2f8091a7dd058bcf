"""The tape adds up the gradients of a variable used twice, computes only what is needed, and frees arrays early."""

import gc
import weakref

import numpy as np
import pytest

from minihire.engine import Tape, Variable, ops
from minihire.engine.lif import NeuronInputs, NeuronOptions, lif
from minihire.runtime.errors import MinihireError


class Spy:
    """A backend that records the arguments of every kernel that is called: calls[name]."""

    def __init__(self, backend):
        self.backend, self.calls = backend, {}

    def __getattr__(self, name):
        attribute = getattr(self.backend, name)
        if not callable(attribute):
            return attribute

        def kernel(*arguments, **options):
            self.calls[name] = arguments
            return attribute(*arguments, **options)

        return kernel


def variable(backend, *shape, needs_grad=True, seed=0):
    return Variable(backend.asarray(np.random.default_rng(seed).integers(-8, 9, shape) / 8), needs_grad)


def ones(backend, x):
    return backend.asarray(np.ones(x.shape))


def test_gradients_of_a_variable_used_twice_add_up(backend):
    """x + x, and a diamond: relu(x) + 2x."""
    tape, x = Tape(backend), variable(backend, 1, 2, 3)
    y = ops.add(tape, ops.relu(tape, x), ops.add(tape, x, x))
    tape.backward([(y, ones(backend, y))])
    np.testing.assert_array_equal(backend.to_numpy(x.grad), 2 + (backend.to_numpy(x.value) > 0))


def test_seeds_of_several_outputs_and_of_a_leaf_add_up(backend):
    tape, x = Tape(backend), variable(backend, 1, 2, 3)
    a, b = ops.clip(tape, x, -9.0, 9.0), ops.add(tape, x, x)
    one = ones(backend, x)
    tape.backward([(a, one), (b, one), (x, one), (a, one)])
    np.testing.assert_array_equal(backend.to_numpy(x.grad), np.full((1, 2, 3), 5))


def test_two_backward_passes_accumulate_in_the_leaves(backend):
    """Chunks of time use this: each has its own tape."""
    x = variable(backend, 1, 2, 3)
    for _ in range(3):
        tape = Tape(backend)
        y = ops.add(tape, x, x)
        tape.backward([(y, ones(backend, y))])
    np.testing.assert_array_equal(backend.to_numpy(x.grad), np.full((1, 2, 3), 6))


def test_an_operation_that_no_seed_reaches_is_skipped(exact):
    spy = Spy(exact)
    tape, x = Tape(spy), variable(exact, 1, 2, 3)
    used, _unused = ops.relu(tape, x), ops.clip(tape, x, 0.0, 1.0)
    tape.backward([(used, ones(exact, used))])
    assert "relu_backward" in spy.calls and "clip_backward" not in spy.calls
    assert x.grad is not None


@pytest.mark.parametrize(
    ("pullback", "says"),
    [
        (lambda g: (g,), "returned a tuple of length 1: let it return 2 gradients, one for each input"),
        (lambda g: g, "returned ndarray: let it return 2 gradients"),
        (lambda g: None, "returned NoneType: let it return 2 gradients"),
        (lambda: (None, None), r"is <lambda>\(\): let it take \(grad1\)"),
        (lambda g, h: (g, h), r"is <lambda>\(g, h\): let it take \(grad1\)"),
    ],
)
def test_a_pullback_that_does_not_return_a_gradient_for_each_input_is_refused(exact, pullback, says):
    tape, x, y = Tape(exact), variable(exact, 2), variable(exact, 2)
    out = Variable(x.value + y.value)
    tape.record([out], [x, y], pullback)
    with pytest.raises(MinihireError, match=f"^the pullback <lambda> {says}"):
        tape.backward([(out, np.ones(2))])


def test_a_type_error_in_a_pullback_is_not_hidden(exact):
    tape, x = Tape(exact), variable(exact, 2)
    tape.record([out := Variable(x.value)], [x], lambda g: (g + "1",))
    with pytest.raises(TypeError):
        tape.backward([(out, np.ones(2))])


def test_nothing_is_recorded_if_nothing_needs_a_gradient(exact):
    tape, x, w = (
        Tape(exact),
        variable(exact, 1, 1, 4, 4, 2, needs_grad=False),
        variable(exact, 3, 3, 2, 2, needs_grad=False),
    )
    y = ops.relu(tape, ops.conv2d(tape, x, w))
    assert not y.needs_grad and not tape.entries


@pytest.mark.parametrize(
    "op, x_shape, w_shape", [(ops.conv2d, (1, 2, 4, 4, 2), (3, 3, 2, 3)), (ops.linear, (1, 2, 5), (5, 3))]
)
@pytest.mark.parametrize("image, weights", [(True, False), (False, True), (True, True)])
def test_only_the_gradients_that_are_needed_are_computed(exact, op, x_shape, w_shape, image, weights):
    """An attack computes no weight gradient, training no gradient of the image."""
    spy = Spy(exact)
    tape, x, w = Tape(spy), variable(exact, *x_shape, needs_grad=image), variable(exact, *w_shape, needs_grad=weights)
    y = op(tape, x, w)
    tape.backward([(y, ones(exact, y))])
    _saved, _grad, want_x, want_weight = spy.calls[f"{op.__name__}_backward"]
    assert want_x == image == (x.grad is not None)
    assert want_weight == weights == (w.grad is not None)


def test_arrays_are_freed_as_soon_as_they_are_not_needed(backend):
    """A current is freed when its neurons have fired; their spikes and saved state when the backward pass has used them."""
    tape, x, w = Tape(backend), variable(backend, 2, 1, 6), variable(backend, 6, 5)
    leak, threshold = (Variable(backend.asarray([value]), True) for value in (0.5, 1.0))
    second = variable(backend, 5, 3)

    def forward():
        current = ops.linear(tape, x, w)
        spikes, state = lif(tape, current, NeuronInputs(leak, threshold, 2, NeuronOptions()))
        arrays = (current.value, getattr(spikes.value, "counts", spikes.value), state.membrane.value)
        return ops.linear(tape, spikes, second), [weakref.ref(array) for array in arrays]

    y, (current, spikes, membrane) = forward()
    gc.collect()
    assert current() is None and spikes() is not None
    saved = weakref.ref(tape.entries[1][2])  # the neurons' pullback, with all that it holds
    tape.backward([(y, ones(backend, y))])
    assert tape.entries == [] and y.grad is None
    leaves = (x, w, leak, threshold, second)
    assert all(leaf.value is not None and leaf.grad.shape == leaf.value.shape for leaf in leaves)
    second.slot.grad = None  # a weight gradient may hold on to its factors
    gc.collect()
    assert saved() is None and spikes() is None and membrane() is None


def test_inputs_are_not_saved_if_no_weight_gradient_is_wanted(exact):
    """An attack saves no inputs of its layers."""
    tape, x, w = Tape(exact), variable(exact, 2, 1, 6), variable(exact, 6, 3, needs_grad=False)

    def forward():
        middle = ops.add(tape, x, x)
        product = ops.linear(tape, middle, w)
        return ops.relu(tape, product), weakref.ref(middle.value), weakref.ref(product.value)

    y, middle, product = forward()
    gc.collect()
    assert middle() is None
    assert product() is None, "a ReLU keeps what it gives, not what it takes"
    tape.backward([(y, ones(exact, y))])
    assert x.grad is not None
