"""A check of pickles, before they are loaded, for containers nested so that Python crashes or does not end.

Python computes the hash and the text of nested containers by recursion in C. A tuple that is nested a million times overflows
the C stack, which kills the process. Tuples such as t = (t, t), made forty times, take hours to visit, and Ctrl-C does not stop
it. A file needs only a few hundred bytes for that.
"""

import pickletools
from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 50  # tuples inside one another
MAX_REUSED = 10  # n uses of containers that exist already multiply the elements to visit by at most e^(n/e), here 40
FEW = 8  # a tuple of at most so many atoms, such as the shape of an array, may be used again without limit
# The check represents a container by the number of tuples inside one another, 0 if it is no tuple; and by negative numbers
ATOM = -1  # a value that contains no other value
SHORT = -3  # a tuple of at most FEW atoms
MAKES_ATOMS = -2  # one of FUNCTIONS, whose results are atoms
FUNCTIONS = frozenset(
    ("_codecs encode", "numpy dtype", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter")
)
# Names of types in pickletools.
TYPES_OF_ATOMS = ("int", "int_or_bool", "bool", "float", "None", "str", "bytes", "bytes_or_str", "bytearray")
SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
CHANGES = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")  # change an object that stays on the stack
PUTS = ("BINPUT", "LONG_BINPUT", "MEMOIZE")
GETS = ("BINGET", "LONG_BINGET")
PUSH_ATOMS = frozenset(
    opcode.name
    for opcode in pickletools.opcodes
    if not opcode.stack_before and [made.name in TYPES_OF_ATOMS for made in opcode.stack_after] == [True]
)


class TooNested(Exception):
    """A pickle with deeply nested tuples, or with containers that occur again and again."""


def check_nesting(opcodes: Iterable[tuple[Any, Any, Any]]) -> None:
    """Raise TooNested for more than MAX_DEPTH tuples inside one another and for more than MAX_REUSED uses of old containers.

    opcodes: those of one pickle, as pickletools.genops yields them. Raises LookupError for a damaged pickle.
    """
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[int, int] = {}
    reused = 0
    for opcode, argument, _ in opcodes:
        name = opcode.name
        if name in PUSH_ATOMS:
            stack.append(ATOM)
        elif name in PUTS:
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in GETS:
            stack.append(memo[argument])
            reused += stack[-1] >= 0
            if reused > MAX_REUSED:
                raise TooNested(f"more than {MAX_REUSED} references to earlier containers")
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE" or name in SIZES:
            start = marks.pop() if name == "TUPLE" else len(stack) - SIZES[name]
            parts = stack[start:]
            depth = 1 + max([0, *parts])
            if depth > MAX_DEPTH:
                raise TooNested(f"more than {MAX_DEPTH} tuples inside one another")
            stack[start:] = [SHORT if len(parts) <= FEW and {*parts} <= {ATOM} else depth]
        elif name == "GLOBAL":
            stack.append(MAKES_ATOMS if argument in FUNCTIONS else ATOM)
        else:
            _apply(opcode, stack, marks)


def _apply(opcode, stack, marks):
    """Pop what any other opcode takes from the stack, and push what it makes."""
    taken, makes = opcode.stack_before, opcode.stack_after
    if pickletools.markobject in taken:
        del stack[marks.pop() :]
        taken = taken[: taken.index(pickletools.markobject)]
    if opcode.name in CHANGES:
        taken, makes = taken[1:], ()
    start = len(stack) - len(taken)
    if start < 0:
        raise IndexError(f"{opcode.name} without an operand")
    call_for_atom = opcode.name == "REDUCE" and stack[start] == MAKES_ATOMS
    atom = call_for_atom or opcode.name in ("STACK_GLOBAL", "BINPERSID")  # BINPERSID: the bytes of a tensor
    stack[start:] = [ATOM if atom else 0 for _ in makes]
