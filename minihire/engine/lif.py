"""The layer of LIF neurons as one operation: T steps forward, T steps of explicit BPTT backward.

    m[t] = λ·u[t−1] + I[t]      s[t] = 1[m[t] > v]      u[t] = m[t] − v·s[t]                    (equations 1 and 2)

There is no feedback between layers, so a layer runs all its steps before the next layer begins, and its whole life is
this one entry on the tape. The equations of both passes, and the code that follows them, are in backends/lif.py.
State is an argument and a result; nothing is remembered.
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


def lif(
    tape, current, leak, threshold, steps, options: NeuronOptions, state=None, mask=None, reuse=False, want_state=True
):
    """Spikes [T, B, …] and the last state of neurons driven by a current [T or 1, B, …]: (Variable, state).

    leak, threshold: Variables of shape [1]. state: from the chunk before, a NeuronState of Variables, or None; mask:
    dropout's [B, …] or None; reuse: nobody needs the current's values any more; want_state: whether the last state is
    wanted, else None. Gradients flow through current, leak, threshold, and the state in and out.
    """
    k = tape.backend
    start = None if state is None else NeuronState(*(x and x.value for x in state))
    soft = options.surrogate if options.soft else None
    values, end, saved = k.lif_forward(
        current.value,
        start,
        leak.value,
        threshold.value,
        steps,
        reset=options.reset,
        mask=mask,
        soft=soft,
        reuse=reuse,
        want_state=want_state,
    )
    before = [x for x in state or () if x is not None]
    shape, count, start_wanted = values.shape, len(before), any(x.needs_grad for x in before)

    def pullback(grad_spikes, *grad_end):
        if grad_spikes is None:
            grad_spikes = k.zeros(shape)
        if options.surrogate.kind == "rate":
            return k.lif_rate_backward(saved, grad_spikes), None, None, *[None] * count
        grad_state = NeuronState(*grad_end) if grad_end else None
        grad_current, grad_start, grad_leak, grad_threshold = k.lif_backward(
            saved, grad_spikes, grad_state, options.surrogate, options.reset_grad, start_wanted
        )
        return grad_current, grad_leak, grad_threshold, *(grad_start or [None] * count)[:count]

    spikes = Variable(values)
    last = [Variable(x) for x in end or () if x is not None]
    tape.record([spikes, *last], [current, leak, threshold, *before], pullback)
    return spikes, NeuronState(*last) if last else None
