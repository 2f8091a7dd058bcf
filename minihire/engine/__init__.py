"""A small automatic differentiation engine: a tape of operations with hand-written gradients. Time is an array axis."""

from minihire.engine.tape import Tape, Variable

__all__ = ["Tape", "Variable"]
