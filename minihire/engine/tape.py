"""The tape: a list of operations in the order in which they ran. Its reverse is a topological order for the backward pass.

The tape stores gradients, not values. A value stays in memory only while a variable or a pullback refers to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backends.interface import Backend
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError


@dataclass(eq=False)
class Slot:
    """Accumulator for the gradient of one variable."""

    needs_grad: bool = False
    grad: Any = None


class Variable:
    """A backend array on the tape. `Tape.backward` sets `grad` if `needs_grad` is true."""

    def __init__(self, value: Any, needs_grad: bool = False):
        self.value, self.slot = value, Slot(needs_grad)

    @property
    def needs_grad(self) -> bool:
        """Whether the gradient with respect to this variable is needed."""
        return self.slot.needs_grad

    @property
    def grad(self) -> Any:
        """∂L/∂value of a leaf, or None before `Tape.backward`."""
        return self.slot.grad

    @property
    def shape(self):
        """The shape of the value."""
        return self.value.shape


@dataclass(eq=False)
class Tape:
    """Records the operations that need a gradient, and runs the backward pass, which frees memory as it proceeds."""

    backend: Backend
    entries: list = field(default_factory=list)

    def record(self, outputs: list[Variable], inputs: list[Variable], pullback: Callable) -> None:
        """Append an operation, if an input needs a gradient.

        pullback takes ∂L/∂output for each output and returns ∂L/∂input for each input. None stands for zero: it receives
        None for an output that does not influence the loss, and may return None for an input. A pullback should refer only
        to the arrays that it needs, not to Variables: a Variable keeps its value in memory.
        """
        needed = any(x.needs_grad for x in inputs)
        for output in outputs:
            output.slot.needs_grad = needed
        if needed:
            self.entries.append(([y.slot for y in outputs], [x.slot for x in inputs], pullback))

    def backward(self, seeds: list[tuple[Variable, Any]]) -> None:
        """Set `.grad` of every leaf, given (variable, ∂L/∂variable) pairs. The tape is empty afterwards, also after an error.

        The gradients of different leaves may be the same array.
        """
        entries, self.entries = self.entries, []
        for variable, grad in seeds:
            if variable.needs_grad:
                self._collect(variable.slot, grad)
        while entries:
            outputs, inputs, pullback = entries.pop()
            grads = [output.grad for output in outputs]
            for output in outputs:  # an output is not a leaf, so only the pullback still needs its gradient
                output.grad = None
            if all(grad is None for grad in grads):
                continue
            found = _gradients(pullback, grads, len(inputs))
            for x, grad in zip(inputs, found, strict=True):
                if x.needs_grad:
                    self._collect(x, grad)

    def _collect(self, slot, grad):
        if grad is not None:
            slot.grad = grad if slot.grad is None else self.backend.add(slot.grad, grad)


def _gradients(pullback, grads, count):
    """What a pullback returns. Raises MinihireError if it takes other arguments, or does not return `count` gradients."""
    name = f"the pullback {getattr(pullback, '__qualname__', pullback)}"
    try:
        found = pullback(*grads)
    except TypeError:
        checks.callable_with(name, pullback, *(f"grad{n}" for n in range(1, len(grads) + 1)))
        raise
    if not isinstance(found, tuple | list) or len(found) != count:
        given = (
            f"a {type(found).__name__} of length {len(found)}"
            if isinstance(found, tuple | list)
            else type(found).__name__
        )
        expected = "(grad,)" if count == 1 else f"{count} gradients"
        raise MinihireError(f"{name} returned {given}: let it return {expected}, one for each input")
    return found
