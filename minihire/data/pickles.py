"""Pickles of arrays and plain containers, read without running anything that the file asks for.

A pickle is a programme: it names callables and calls them. Here no name is ever looked up. The few that a pickled
NumPy array needs get inert stand-ins written below, every other name and every unneeded opcode is refused. The
stand-ins are instances without attributes, since a pickle could also alter a function or class that it can reach.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path

import numpy as np

from minihire.data.dataset import DataError

# Protocols 2 to 4, less all that makes objects of classes but GLOBAL, REDUCE and BUILD, which reach only stand-ins.
# fmt: off
OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES",
    "BINBYTES8", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "APPEND", "APPENDS",
    "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL",
    "REDUCE", "BUILD",
))
# fmt: on
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")  # no "O": objects could be anything


class Refused(Exception):
    """The pickle asks for something that arrays and containers do not need."""


class Inert:
    """Without attributes, and without state that a pickle could set."""

    __slots__ = ()

    def __setstate__(self, state):
        raise Refused("a change of what it may only call")


class ArrayType(Inert):
    """Stands for numpy.ndarray, which pickles only mention."""

    __slots__ = ()


class DType:
    """Stands for a numpy.dtype: one of the plain numbers of DTYPES."""

    __slots__ = ("code",)

    def __init__(self, code):
        self.code = code

    def __setstate__(self, state):
        order = text(state[1])
        if order not in ("|", "<", ">", "=") or any(field is not None for field in state[2:5]):
            raise Refused("a dtype with fields")
        self.code = order + self.code


class Array:
    """Stands for an array until its state comes; `value` is then the array."""

    __slots__ = ("value",)

    def __init__(self):
        self.value = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, DType):
            raise Refused("an array without a plain dtype")
        self.value = np.frombuffer(raw, np.dtype(dtype.code)).reshape(shape, order="F" if fortran else "C")


class MakeArray(Inert):
    """Stands for numpy's _reconstruct, which makes an empty array to be filled from its state."""

    __slots__ = ()

    def __call__(self, subtype, shape, code):
        if not isinstance(subtype, ArrayType):
            raise Refused("an array of a foreign type")
        return Array()


class MakeDType(Inert):
    """Stands for the class numpy.dtype."""

    __slots__ = ()

    def __call__(self, code, align=False, copy=False):
        if text(code) not in DTYPES:
            raise Refused(f"the dtype {text(code)!r}")
        return DType(text(code))


class Latin1(Inert):
    """Stands for codecs.encode, with which Python 3 writes bytes in protocol 2; other codecs could unpack bombs."""

    __slots__ = ()

    def __call__(self, string, codec):
        if not isinstance(string, str) or text(codec) != "latin1":
            raise Refused(f"the codec {codec!r}")
        return string.encode("latin1")


STAND_INS = {
    ("numpy", "ndarray"): ArrayType(),
    ("numpy", "dtype"): MakeDType(),
    ("numpy.core.multiarray", "_reconstruct"): MakeArray(),
    ("numpy._core.multiarray", "_reconstruct"): MakeArray(),
    ("_codecs", "encode"): Latin1(),
}


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler for which only the names in STAND_INS exist."""

    def find_class(self, module, name):
        try:
            return STAND_INS[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


def text(value) -> str:
    """A str from what Python 2 or Python 3 pickled as one."""
    if not isinstance(value, (str, bytes)):
        raise Refused(f"a name that is a {type(value).__name__}")
    return value if isinstance(value, str) else value.decode("latin1")


def check_opcodes(data: bytes) -> None:
    """Refuse opcodes outside OPCODES, and memo slots beyond the file's length, which would only take memory."""
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name not in OPCODES or (opcode.name == "LONG_BINPUT" and argument > len(data)):
            raise Refused(f"the opcode {opcode.name} at byte offset {position}")


def read_pickle(path: Path, largest: int) -> dict[str, object]:
    """The dictionary of arrays and plain containers pickled in a file of at most `largest` bytes, keys as str.

    Raises DataError for any other pickle, without having run any of it.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise DataError(f"{path} has {size} bytes; expected at most {largest}: get the official file")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the file and its permissions") from None
    try:
        check_opcodes(data)
        content = ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
        items = {text(key): value.value if isinstance(value, Array) else value for key, value in content.items()}
    except Refused as error:
        raise DataError(
            f"{path} asks for {error}, which a pickle of plain arrays has no need of; "
            "it was not run: get the official file"
        ) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(
            f"{path} is not a whole pickle of a dictionary ({type(error).__name__}: {error}); get the official file"
        ) from None
    return items
