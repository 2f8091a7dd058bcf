"""Lists of events: where the entries of an array are that are not zero, and what they are.

Entries, bytes (spikes, pooled spikes) or floats, are compared with zero up to 64 at a time: the outcome is a number with a
bit for each, and going from one set bit to the next costs nothing for the entries between. The comparison, and the search for
the lowest set bit, are single instructions that Numba has no words for; they are written in LLVM's language (events.py).
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

UNSIGNED = np.uint64  # in an array: of a signed one Numba looks whether it is negative, which took half of the time
WHOLE = 16, 32, 48, 64  # entries that are compared at once


@intrinsic
def event_mask(typingctx, source, at, count):
    """Bit i is set where source[at + i] is not zero, i < count, 1 ≤ count ≤ 64; source is flat, of bytes or floats.

    Counts of WHOLE are loads of that many entries; others are looked at one by one.
    """
    floats = isinstance(source.dtype, types.Float)

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        first, number = builder.gep(data, [arguments[1]]), ir.IntType(64)
        zero = ir.Constant(data.type.pointee, 0)

        def differs(entries, from_what):
            kind = builder.fcmp_unordered if floats else builder.icmp_unsigned
            return kind("!=", entries, from_what)

        one_by_one, done = (builder.append_basic_block(name) for name in ("one_by_one", "done"))
        lanes = {count: builder.append_basic_block(f"lanes{count}") for count in WHOLE}
        begin, lengths = builder.block, []
        cases = builder.switch(arguments[2], one_by_one)
        for count, block in lanes.items():
            cases.add_case(ir.Constant(number, count), block)
            builder.position_at_end(block)
            kind = ir.VectorType(data.type.pointee, count)
            entries = builder.load(builder.bitcast(first, kind.as_pointer()))
            entries.align = source.dtype.bitwidth // 8
            bits = builder.bitcast(differs(entries, ir.Constant(kind, [0] * count)), ir.IntType(count))
            lengths.append((bits if count == 64 else builder.zext(bits, number), block))
            builder.branch(done)

        builder.position_at_end(one_by_one)
        i, mask = builder.phi(number), builder.phi(number)
        bit = builder.zext(differs(builder.load(builder.gep(first, [i])), zero), number)
        more = builder.or_(mask, builder.shl(bit, i))
        next_i = builder.add(i, ir.Constant(number, 1))
        for phi, updated in ((i, next_i), (mask, more)):
            phi.add_incoming(ir.Constant(number, 0), begin)
            phi.add_incoming(updated, one_by_one)
        builder.cbranch(builder.icmp_signed("<", next_i, arguments[2]), one_by_one, done)
        lengths.append((more, one_by_one))

        builder.position_at_end(done)
        result = builder.phi(number)
        for value, block in lengths:
            result.add_incoming(value, block)
        return result

    return types.int64(source, types.int64, types.int64), emit


@intrinsic
def lowest_bit(typingctx, mask):
    """The position of the lowest bit that is set; there is one."""

    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


@njit(cache=True, inline="always")
def append_events(source, at, count, scale, has_values, position, index, value, n):
    """Append the events of source[at : at + count], flat bytes or floats, to a list of n; returns its new length.

    index: `position` + where the entry lies from `at` on; value: the entry times scale (each = 0: not written, as all are
    the same).
    """
    for first in range(0, count, 64):
        mask = event_mask(source, at + first, min(64, count - first))
        while mask != 0:
            c, end = first + lowest_bit(mask), UNSIGNED(n)
            index[end] = position + c
            if has_values:
                value[end] = scale * np.float32(source[UNSIGNED(at + c)])
            n += 1
            mask &= mask - 1
    return n


@njit(cache=True, inline="always")
def list_columns(source, at, count, scale, has_values, place, capacity, index, value, lengths):
    """Append `place` to the list of every entry of source[at : at + count], flat bytes or floats, that is not zero.

    The list of entry c begins at c·room of index and value and holds found[c] events.
    """
    for first in range(0, count, 64):
        mask = event_mask(source, at + first, min(64, count - first))
        while mask != 0:
            c = first + lowest_bit(mask)
            length = lengths[UNSIGNED(c)]
            end = UNSIGNED(c * capacity + length)
            index[end] = place
            if has_values:
                value[end] = scale * np.float32(source[UNSIGNED(at + c)])
            lengths[UNSIGNED(c)] = length + 1
            mask &= mask - 1


@njit(cache=True)
def empty_values(has_values, count):
    """An array for the values of up to `count` events, or for the one that they share."""
    return np.empty(count if has_values else 1, np.float32)
