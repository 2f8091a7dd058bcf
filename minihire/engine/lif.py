"""A layer of LIF neurons as one operation: T time steps forward, and T steps of BPTT backward.

    m[t] = λ·u[t−1] + I[t]      s[t] = 1[m[t] > v]      u[t] = m[t] − v·s[t]                    (reset "immediate")

Later layers do not feed back into earlier ones. So a layer runs all its time steps before the next layer starts, and it is one
entry on the tape. backends/lif.py has the equations of both resets and both passes. The state is an argument and a result.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from backends.interface import Adaptation, NeuronState
from backends.surrogates import TABLE, Surrogate, triangle
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

    @classmethod
    def require(cls, options: object) -> None:
        """Raise MinihireError for what is not NeuronOptions."""
        if not isinstance(options, cls):
            raise MinihireError(f"the neurons' options are {options!r}: give NeuronOptions, of minihire.engine.lif")

    def __post_init__(self):
        if self.reset not in ("immediate", "delayed"):
            raise MinihireError(f"reset must be 'immediate' or 'delayed', not {self.reset!r}")
        for name in ("reset_grad", "soft"):
            object.__setattr__(self, name, bool(getattr(self, name)))
        object.__setattr__(self, "surrogate", checks.surrogate("the neuron's surrogate", self.surrogate))
        if self.soft and self.surrogate.kind not in TABLE:
            raise MinihireError(
                f"soft spikes need a surrogate with an antiderivative ({', '.join(TABLE)}), not {self.surrogate.kind!r}"
            )
        object.__setattr__(self, "initial", checks.number("the initial membrane", self.initial, -math.inf))


class NeuronInputs(NamedTuple):
    """The inputs of a layer of neurons, besides its current.

    leak, threshold: Variables of shape [1]. steps: T. state: last state of the previous chunk, a NeuronState of Variables, or
    None. mask: dropout mask [B, …] or None. want_state: whether to return the last state. adaptation: the memory of the adaptive
    surrogate, which the backward pass updates in place, or None.
    """

    leak: Variable
    threshold: Variable
    steps: int
    options: NeuronOptions
    state: NeuronState | None = None
    mask: Any = None
    want_state: bool = True
    adaptation: Adaptation | None = None

    def positional(self) -> tuple[Any, ...]:
        """The arguments state, leak, threshold and steps of a forward kernel."""
        start = None if self.state is None else self.state.map(lambda variable: variable.value)
        return start, self.leak.value, self.threshold.value, self.steps

    def named(self) -> dict[str, Any]:
        """The arguments of a forward kernel that have names."""
        return {"reset": self.options.reset, "mask": self.mask, "want_state": self.want_state}


def lif(tape, current: Variable, inputs: NeuronInputs):
    """Compute the spikes [T, B, …] and the last state of neurons for a current [T or 1, B, …].

    Returns (Variable, NeuronState of Variables or None). Gradients flow through current, leak, threshold and both states.
    """
    soft = inputs.options.surrogate if inputs.options.soft else None
    spikes, end, saved = tape.backend.lif_forward(current.value, *inputs.positional(), **inputs.named(), soft=soft)
    return _record(tape, current, inputs, spikes, end, saved)


def conv_lif(tape, x: Variable, w: Variable, stride: int, padding: int, inputs: NeuronInputs):
    """Compute `ops.conv2d` and then `lif` with one forward kernel, which does not return the current.

    The tape records the convolution and the neurons as two entries, because their backward passes are two kernels.
    Soft spikes are not supported.
    """
    k, wanted = tape.backend, (x.needs_grad, w.needs_grad)
    convolution = x.value, w.value, stride, padding
    spikes, end, saved, conv_saved = k.conv_lif_forward(
        *convolution, *inputs.positional(), **inputs.named(), want_weight=w.needs_grad
    )
    current = Variable(None)  # no value, but it carries the gradient from the neurons to the convolution
    tape.record([current], [x, w], lambda g: k.conv2d_backward(conv_saved, g, *wanted))
    return _record(tape, current, inputs, spikes, end, saved)


def _record(tape, current, inputs, spikes, end, saved):
    """Record the neurons. Returns their results as Variables: the spikes, and the last state or None."""
    # The pullback refers to these values alone: `inputs` and its Variables would keep arrays in memory.
    k, options, adaptation = tape.backend, inputs.options, inputs.adaptation
    start = [x for x in inputs.state or () if x is not None]
    count, start_wanted = len(start), any(x.needs_grad for x in start)

    def pullback(grad_spikes, *grad_end):
        grad_state = NeuronState(*grad_end) if grad_end else None
        grad_current, grad_start, grad_leak, grad_threshold = k.lif_backward(
            saved, grad_spikes, grad_state, options.surrogate, options.reset_grad, start_wanted, adaptation
        )
        grads_of_state = grad_start[:count] if grad_start else [None] * count
        return grad_current, grad_leak, grad_threshold, *grads_of_state

    out, last = Variable(spikes), [Variable(x) for x in end or () if x is not None]
    tape.record([out, *last], [current, inputs.leak, inputs.threshold, *start], pullback)
    return out, NeuronState(*last) if last else None
