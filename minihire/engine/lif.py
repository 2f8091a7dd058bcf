"""The layer of LIF neurons as one operation: T steps forward, T steps of explicit BPTT backward.

    m[t] = λ·u[t−1] + I[t]      s[t] = 1[m[t] > v]      u[t] = m[t] − v·s[t]                    (equations 1 and 2)

There is no feedback between layers, so a layer runs all its steps before the next layer starts: one entry on the tape. The
equations of both passes, and the code that follows them, are in backends/lif.py. State is an argument and a result.
"""

from dataclasses import dataclass

from backends.interface import NeuronState
from backends.surrogates import KINDS, Surrogate, triangle
from minihire.engine.tape import Variable


@dataclass(frozen=True)
class NeuronOptions:
    """How every neuron of a network behaves: reset "immediate" (the released models) or "delayed" (equation 1).

    surrogate: f(z) of the backward pass, equation 5 by default; reset_grad: whether the reset's spike carries it too;
    soft: emit the surrogate's antiderivative in place of spikes, for gradient checks only.
    """

    reset: str = "immediate"
    surrogate: Surrogate = triangle()
    reset_grad: bool = False
    soft: bool = False

    def __post_init__(self):
        kind, height, width = self.surrogate
        if kind not in KINDS or not (height >= 0 and width > 0):
            raise ValueError(
                f"a surrogate is one of {', '.join(KINDS)} with height ≥ 0 and width > 0, not {self.surrogate}"
            )
        if self.reset not in ("immediate", "delayed"):
            raise ValueError(f"reset is 'immediate' or 'delayed', not {self.reset!r}")


def lif(tape, current, leak, threshold, steps, options: NeuronOptions, state=None, mask=None, want_state=True):
    """Spikes [T, B, …] and the last state of neurons driven by a current [T or 1, B, …]: (Variable, state).

    leak, threshold: Variables of shape [1]. state: from the chunk before, a NeuronState of Variables, or None. mask:
    dropout's [B, …] or None. want_state: whether the last state is wanted; otherwise it is None. Gradients flow through
    current, leak, threshold, and the state in and out.
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
    before, pullback = _backward(k, saved, options, state)
    return _record(tape, spikes, end, [current, leak, threshold, *before], pullback)


def conv_lif(
    tape, x, w, stride, padding, leak, threshold, steps, options: NeuronOptions, state=None, mask=None, want_state=True
):
    """Neurons driven by a convolution: as `ops.conv2d`, then `lif`, but nobody sees the current. Not for soft spikes.

    One forward kernel, and two entries on the tape.
    """
    k, wanted = tape.backend, (x.needs_grad, w.needs_grad)
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
    current = Variable(None)
    tape.record([current], [x, w], lambda g: k.conv2d_backward(conv_saved, g, *wanted))
    before, pullback = _backward(k, saved, options, state)
    return _record(tape, spikes, end, [current, leak, threshold, *before], pullback)


def _values(state):
    return None if state is None else NeuronState(*(x and x.value for x in state))


def _backward(k, saved, options, state):
    """The state's Variables, and the pullback of the neurons: (∂L/∂current, ∂L/∂leak, ∂L/∂threshold, *∂L/∂state)."""
    before = [x for x in state or () if x is not None]
    count, start_wanted = len(before), any(x.needs_grad for x in before)

    def pullback(grad_spikes, *grad_end):
        grad_state = NeuronState(*grad_end) if grad_end else None
        grad_current, grad_start, grad_leak, grad_threshold = k.lif_backward(
            saved, grad_spikes, grad_state, options.surrogate, options.reset_grad, start_wanted
        )
        return grad_current, grad_leak, grad_threshold, *(grad_start or [None] * count)[:count]

    return before, pullback


def _record(tape, spikes, end, inputs, pullback):
    spikes, last = Variable(spikes), [Variable(x) for x in end or () if x is not None]
    tape.record([spikes, *last], inputs, pullback)
    return spikes, NeuronState(*last) if last else None
