"""The tape: operations in the order in which they ran. Read backwards it is already in topological order.

It keeps gradients, not values: a value lives as long as somebody, such as an operation's pullback, still needs it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backends.interface import Backend


@dataclass(eq=False)
class Slot:
    """Where the gradient of one variable is collected."""

    needs_grad: bool = False
    grad: Any = None


class Variable:
    """A backend array on the tape; `grad` is filled by `Tape.backward` where `needs_grad`."""

    def __init__(self, value: Any, needs_grad: bool = False):
        self.value, self.slot = value, Slot(needs_grad)

    @property
    def needs_grad(self) -> bool:
        """Whether a gradient with respect to it is wanted."""
        return self.slot.needs_grad

    @property
    def grad(self) -> Any:
        """∂L/∂value of a leaf, or None."""
        return self.slot.grad

    @property
    def shape(self):
        """The value's shape."""
        return self.value.shape


@dataclass(eq=False)
class Tape:
    """Records operations that need a gradient and walks them backwards, freeing memory as it goes."""

    backend: Backend
    entries: list = field(default_factory=list)

    def record(self, outputs: list[Variable], inputs: list[Variable], pullback: Callable) -> None:
        """pullback(*∂L/∂outputs) → ∂L/∂inputs; either side may hold None for "no gradient".

        A pullback should hold on to the arrays that it needs and to no Variable.
        """
        needed = any(x.needs_grad for x in inputs)
        for output in outputs:
            output.slot.needs_grad = needed
        if needed:
            self.entries.append(([y.slot for y in outputs], [x.slot for x in inputs], pullback))

    def backward(self, seeds: list[tuple[Variable, Any]]) -> None:
        """Fill `.grad` of every leaf, given (variable, ∂L/∂variable) pairs. The tape is empty afterwards, whatever happens.

        Gradients of several leaves may be one array.
        """
        entries, self.entries = self.entries, []
        for variable, grad in seeds:
            if variable.needs_grad:
                self._collect(variable.slot, grad)
        while entries:
            outputs, inputs, pullback = entries.pop()
            grads = [output.grad for output in outputs]
            for output in outputs:  # never a leaf: from here on only the pullback needs its gradient
                output.grad = None
            if all(grad is None for grad in grads):
                continue
            for x, grad in zip(inputs, pullback(*grads), strict=True):
                if x.needs_grad:
                    self._collect(x, grad)

    def _collect(self, slot, grad):
        if grad is not None:
            slot.grad = grad if slot.grad is None else self.backend.add(slot.grad, grad)
