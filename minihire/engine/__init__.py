"""Autodiff-lite: a tape of operations, each with its gradient written by hand; time is an axis of the arrays."""

from minihire.engine.tape import Tape, Variable

__all__ = ["Tape", "Variable"]
