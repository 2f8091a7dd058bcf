"""Lists of events: where the entries of an array are that are not zero, and what they are.

Entries, bytes (spikes, pooled spikes) or floats, are compared with zero 64 at a time: the outcome is a number with a bit
for each, and going from one set bit to the next costs nothing for the entries between. The comparison, and the search for
the lowest set bit, are single instructions that Numba has no words for; they are written in LLVM's language (events.py).
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, register_jitable

INT = ir.IntType(64)


def _mask_of(lanes):
    @intrinsic
    def mask(typingctx, source, at):
        """Bit i is set where source[at + i] is not zero, i < lanes; source is flat, of bytes or floats."""

        def emit(context, builder, signature, arguments):
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            kind = ir.VectorType(data.type.pointee, lanes)
            entries = builder.load(builder.bitcast(builder.gep(data, [arguments[1]]), kind.as_pointer()))
            if isinstance(source.dtype, types.Float):
                entries.align = source.dtype.bitwidth // 8
                found = builder.fcmp_unordered("!=", entries, ir.Constant(kind, [0.0] * lanes))
            else:
                entries.align = 1
                found = builder.icmp_unsigned("!=", entries, ir.Constant(kind, [0] * lanes))
            bits = builder.bitcast(found, ir.IntType(lanes))
            return bits if lanes == 64 else builder.zext(bits, INT)

        return types.int64(source, types.intp), emit

    return mask


_mask_of_64, _mask_of_16 = _mask_of(64), _mask_of(16)


@intrinsic
def lowest_bit(typingctx, mask):
    """The position of the lowest bit that is set; there is one."""

    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


@register_jitable
def event_mask(source, at, count):
    """Bit i is set where source[at + i] is not zero, i < count ≤ 64."""
    if count == 64:
        return _mask_of_64(source, at)
    mask, i = 0, 0
    while i + 16 <= count:
        mask |= _mask_of_16(source, at + i) << i
        i += 16
    while i < count:
        mask |= np.int64(source[at + i] != 0) << i
        i += 1
    return mask


@njit(cache=True, inline="always")
def append_events(source, at, count, scale, each, position, index, value, n):
    """Append the events of source[at : at + count], flat bytes or floats, to a list of n; returns its new length.

    index: `position` + where the entry lies from `at` on; value: the entry times scale (each = 0: not written, as all are
    the same).
    """
    for first in range(0, count, 64):
        mask = event_mask(source, at + first, min(64, count - first))
        while mask != 0:
            c = first + lowest_bit(mask)
            index[n] = position + c
            if each:
                value[n] = scale * np.float32(source[at + c])
            n += 1
            mask &= mask - 1
    return n


@njit(cache=True, inline="always")
def list_columns(source, at, count, scale, each, place, room, index, value, found):
    """Append `place` to the list of every entry of source[at : at + count], flat bytes or floats, that is not zero.

    The list of entry c begins at c·room of index and value and holds found[c] events.
    """
    for first in range(0, count, 64):
        mask = event_mask(source, at + first, min(64, count - first))
        while mask != 0:
            c = first + lowest_bit(mask)
            end = c * room + found[c]
            index[end] = place
            if each:
                value[end] = scale * np.float32(source[at + c])
            found[c] += 1
            mask &= mask - 1


@njit(cache=True)
def value_room(each, count):
    """An array for the values of up to `count` events, or for the one that they share."""
    return np.empty(count if each else 1, np.float32)
