"""A layer of LIF neurons as one operation: T time steps forward, and T steps of BPTT backward.

    m[t] = λ·u[t−1] + I[t]      s[t] = 1[m[t] > v]      u[t] = m[t] − v·s[t]                    (reset "immediate")

Later layers do not feed back into earlier ones. So a layer runs all its time steps before the next layer starts, and it is one
entry on the tape. backends/lif.py has the equations of both resets and both passes. The state is an argument and a result.
"""

import math
from dataclasses import dataclass

from backends.interface import NeuronState
from backends.surrogates import Surrogate, triangle
from minihire.engine.tape import Variable
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError


@dataclass(frozen=True)
class NeuronOptions:
    """Options of all neurons in a network.

    reset: "immediate" (the released models) or "delayed" (equation 1). surrogate: the function that replaces the derivative
    of the spike in the backward pass, by default equation 5. reset_grad: whether gradients also flow through s in the reset
    term v·s. soft: emit the antiderivative of the surrogate instead of spikes, only for gradient checks. initial: the membrane
    u[−1] before the first time step. Raises MinihireError for other values.
    """

    reset: str = "immediate"
    surrogate: Surrogate = triangle()
    reset_grad: bool = False
    soft: bool = False
    initial: float = 0.0

    def __post_init__(self):
        if self.reset not in ("immediate", "delayed"):
            raise MinihireError(f"reset must be 'immediate' or 'delayed', not {self.reset!r}")
        for name in ("reset_grad", "soft"):
            object.__setattr__(self, name, bool(getattr(self, name)))
        object.__setattr__(self, "surrogate", checks.surrogate("the neuron's surrogate", self.surrogate))
        object.__setattr__(self, "initial", checks.number("the initial membrane", self.initial, -math.inf))


def lif(
    tape,
    current,
    leak,
    threshold,
    steps,
    options: NeuronOptions,
    state=None,
    mask=None,
    want_state=True,
    adaptation=None,
):
    """Compute the spikes [T, B, …] and the last state of neurons for a current [T or 1, B, …].

    leak, threshold: Variables of shape [1]. state: last state of the previous chunk, a NeuronState of Variables, or None.
    mask: dropout mask [B, …] or None. want_state: if false, the returned state is None. adaptation: the memory of the adaptive
    surrogate, which the backward pass updates in place. Returns (Variable, NeuronState of Variables or None). Gradients flow
    through current, leak, threshold and both states.
    """
    k, start = tape.backend, _values(state)
    soft = options.surrogate if options.soft else None
    spikes, end, saved = k.lif_forward(
        current.value,
        start,
        leak.value,
        threshold.value,
        steps,
        reset=options.reset,
        mask=mask,
        soft=soft,
        want_state=want_state,
    )
    state_inputs, pullback = _backward(k, saved, options, state, adaptation)
    return _record(tape, spikes, end, [current, leak, threshold, *state_inputs], pullback)


def conv_lif(
    tape, x, w, stride, padding, leak, threshold, steps, options: NeuronOptions,
    state=None, mask=None, want_state=True, adaptation=None,
):  # fmt: skip
    """Compute `ops.conv2d` and then `lif` with one forward kernel, which does not return the current.

    The tape records the convolution and the neurons as two entries, because their backward passes are two kernels.
    Soft spikes are not supported.
    """
    k, grads_wanted = tape.backend, (x.needs_grad, w.needs_grad)
    spikes, end, saved, conv_saved = k.conv_lif_forward(
        x.value,
        w.value,
        stride,
        padding,
        _values(state),
        leak.value,
        threshold.value,
        steps,
        want_weight=w.needs_grad,
        reset=options.reset,
        mask=mask,
        want_state=want_state,
    )
    current = Variable(None)  # no value, but it carries the gradient from the neurons to the convolution
    tape.record([current], [x, w], lambda g: k.conv2d_backward(conv_saved, g, *grads_wanted))
    state_inputs, pullback = _backward(k, saved, options, state, adaptation)
    return _record(tape, spikes, end, [current, leak, threshold, *state_inputs], pullback)


def _values(state):
    """Return the state with each Variable replaced by its array. A state or an entry that is None stays None."""
    return None if state is None else NeuronState(*(None if x is None else x.value for x in state))


def _backward(k, saved, options, state, adaptation):
    """Return the Variables that `state` consists of (0, 1 or 2), and the pullback of the neurons.

    The pullback returns ∂L/∂current, ∂L/∂leak, ∂L/∂threshold, and one gradient for each Variable of the state.
    """
    state_inputs = [x for x in state or () if x is not None]
    count, start_wanted = len(state_inputs), any(x.needs_grad for x in state_inputs)

    def pullback(grad_spikes, *grad_end):
        grad_state = NeuronState(*grad_end) if grad_end else None
        grad_current, grad_start, grad_leak, grad_threshold = k.lif_backward(
            saved, grad_spikes, grad_state, options.surrogate, options.reset_grad, start_wanted, adaptation
        )
        grads_of_state = grad_start[:count] if grad_start else [None] * count
        return grad_current, grad_leak, grad_threshold, *grads_of_state

    return state_inputs, pullback


def _record(tape, spikes, end, inputs, pullback):
    spikes = Variable(spikes)
    last = [Variable(x) for x in end or () if x is not None]
    tape.record([spikes, *last], inputs, pullback)
    return spikes, NeuronState(*last) if last else None
