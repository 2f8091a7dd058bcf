"""The tape: operations in the order in which they ran. Read backwards it is already in topological order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backends.interface import Backend


@dataclass(eq=False)
class Variable:
    """A backend array on the tape; `grad` is filled by `Tape.backward` where `needs_grad`."""

    value: Any
    needs_grad: bool = False
    grad: Any = None

    @property
    def shape(self):
        return self.value.shape


@dataclass(eq=False)
class Tape:
    """Records operations that need a gradient and walks them backwards, freeing memory as it goes."""

    backend: Backend
    entries: list = field(default_factory=list)

    def record(self, outputs: list[Variable], inputs: list[Variable], pullback: Callable) -> None:
        """pullback(*∂L/∂outputs) → ∂L/∂inputs; either side may hold None for "no gradient"."""
        for output in outputs:
            output.needs_grad = any(x.needs_grad for x in inputs)
        if outputs[0].needs_grad:
            self.entries.append((outputs, inputs, pullback))

    def backward(self, seeds: list[tuple[Variable, Any]]) -> None:
        """Fill `.grad` of every leaf, given (variable, ∂L/∂variable) pairs. The tape is empty afterwards."""
        for variable, grad in seeds:
            self._collect(variable, grad)
        while self.entries:
            outputs, inputs, pullback = self.entries.pop()
            grads = [output.grad for output in outputs]
            if all(grad is None for grad in grads):
                continue
            for x, grad in zip(inputs, pullback(*grads), strict=True):
                if x.needs_grad:
                    self._collect(x, grad)
            for output in outputs:  # never a leaf: its gradient has done its work
                output.value = output.grad = None

    def _collect(self, variable, grad):
        if grad is not None:
            variable.grad = grad if variable.grad is None else self.backend.add(variable.grad, grad)
