"""A safe reader for pickles of arrays and plain containers. It never runs code that a file names.

A pickle is a program: it imports callables and calls them. This reader imports nothing. It replaces the few names that a
pickled NumPy array needs with stand-ins defined below, and rejects every other name and every opcode that is not needed.
The stand-ins are instances without attributes, because a pickle could modify a function or class that it can reach.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minihire.data.dataset import DataError
from minihire.runtime.files import open_regular
from minihire.runtime.pickle_nesting import TooNested, check_nesting

# Opcodes of protocols 2 to 5 for plain data, and GLOBAL, REDUCE and BUILD, which can reach only the stand-ins.
# fmt: off
OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
    "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "APPEND", "APPENDS",
    "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL",
    "REDUCE", "BUILD",
))
# fmt: on
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")  # not "O": an object array can contain anything


class Refused(Exception):
    """The pickle uses something that arrays and plain containers do not need."""


class Inert:
    """Base class of stand-ins without attributes and without state, so that a pickle cannot modify them."""

    __slots__ = ()

    def __setstate__(self, state):
        raise Refused("a change of a callable's state")


class ArrayType(Inert):
    """Stand-in for the class numpy.ndarray, which a pickle passes as an argument but never calls."""

    __slots__ = ()


class DType:
    """Stand-in for a numpy.dtype object. `code` is one of DTYPES."""

    __slots__ = ("code",)

    def __init__(self, code):
        self.code = code

    def __setstate__(self, state):
        order = text(state[1])
        if order not in ("|", "<", ">", "=") or any(field is not None for field in state[2:5]):
            raise Refused("a dtype with fields")
        self.code = order + self.code


class Array:
    """Stand-in for an array. `value` is None until the pickle sets the state, and then the NumPy array."""

    __slots__ = ("value",)

    def __init__(self):
        self.value = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, DType):
            raise Refused("an array without a plain dtype")
        self.value = np.frombuffer(raw, np.dtype(dtype.code)).reshape(shape, order="F" if fortran else "C")


class MakeArray(Inert):
    """Stand-in for NumPy's _reconstruct, which creates an empty array whose state is set later."""

    __slots__ = ()

    def __call__(self, subtype, shape, code):
        if not isinstance(subtype, ArrayType):
            raise Refused("an array of an unknown type")
        return Array()


class FromBuffer(Inert):
    """Stand-in for NumPy's _frombuffer, with which protocol 5 writes an array: bytes, dtype, shape and order.

    The order is "C", "F", or "K" with the order of the axes in memory.
    """

    __slots__ = ()

    def __call__(self, raw, dtype, shape, order, axes=None):
        if (
            not isinstance(raw, (bytes, bytearray))
            or not isinstance(dtype, DType)
            or text(order) not in ("C", "F", "K")
        ):
            raise Refused("an array without plain bytes or a plain dtype")
        array, flat = Array(), np.frombuffer(raw, np.dtype(dtype.code))
        if text(order) == "K" and axes is not None:
            array.value = flat.reshape(shape).transpose(axes)
        else:
            array.value = flat.reshape(shape, order="F" if text(order) == "F" else "C")
        return array


class MakeDType(Inert):
    """Stand-in for the class numpy.dtype."""

    __slots__ = ()

    def __call__(self, code, align=False, copy=False):
        if text(code) not in DTYPES:
            raise Refused(f"the dtype {text(code)!r}")
        return DType(text(code))


class Latin1(Inert):
    """Stand-in for codecs.encode, with which Python 3 writes bytes in protocol 2.

    Only latin1 is allowed: a compression codec could expand a small file until the memory is full. For the same reason, `room`
    limits the bytes that one pickle can make: it could encode the same string again and again.
    """

    __slots__ = ("room",)

    def __init__(self, room):
        self.room = room

    def __call__(self, string, codec):
        if not isinstance(string, str) or text(codec) != "latin1":
            raise Refused(f"the codec {text(codec)!r}")
        self.room -= len(string)
        if self.room < 0:
            raise Refused("the same string many times")
        return string.encode("latin1")


STAND_INS = {
    ("numpy", "ndarray"): ArrayType(),
    ("numpy", "dtype"): MakeDType(),
    ("numpy.core.multiarray", "_reconstruct"): MakeArray(),
    ("numpy._core.multiarray", "_reconstruct"): MakeArray(),
    ("numpy.core.numeric", "_frombuffer"): FromBuffer(),
    ("numpy._core.numeric", "_frombuffer"): FromBuffer(),
}


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler of `data` that knows only the names in STAND_INS, and codecs.encode."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data), encoding="bytes")
        self.encode = Latin1(len(data))

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):
            return self.encode
        try:
            return STAND_INS[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


def text(value) -> str:
    """Return a pickled string as str; Python 2 pickled it as bytes. Raises Refused for any other type."""
    if not isinstance(value, (str, bytes)):
        raise Refused(f"a name that is a {type(value).__name__}")
    return value if isinstance(value, str) else value.decode("latin1")


def checked_opcodes(data: bytes) -> Iterator[tuple[Any, Any, int | None]]:
    """The opcodes of a pickle, as pickletools.genops yields them.

    Raises Refused for an opcode outside OPCODES or a memo slot beyond the file's length, which would waste memory.
    """
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name not in OPCODES or (opcode.name == "LONG_BINPUT" and argument > len(data)):
            raise Refused(f"the opcode {opcode.name} at byte offset {position}")
        yield opcode, argument, position


def read_pickle(path: Path, max_bytes: int) -> dict[str, object]:
    """Read a pickled dictionary of arrays and plain containers. Its keys are returned as str.

    Raises DataError for any other pickle and for a file larger than `max_bytes`. No code in the file runs.
    """
    try:
        with open_regular(path) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            size = path.stat().st_size
            raise DataError(f"{path} has {size} bytes; expected at most {max_bytes}: get the official file")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the file and its permissions") from None
    try:
        check_nesting(checked_opcodes(data))
        content = ArrayUnpickler(data).load()
        items = {text(key): value.value if isinstance(value, Array) else value for key, value in content.items()}
    except (Refused, TooNested) as error:
        raise DataError(
            f"{path} uses {error!s:.200}, but a pickle of plain arrays does not need that; "
            "nothing in the file was run: get the official file"
        ) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(
            f"{path} is not a complete pickle of a dictionary ({type(error).__name__}: {error}); get the official file"
        ) from None
    return items
