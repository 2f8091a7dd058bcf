"""Bringing floats to where they are needed, by whole vectors: rows of 8 to 64, blocks of 16×16 turned over their diagonal.

As in events.py these are written in LLVM's language; a loop over elements, as Numba compiles it, takes several times as
long. A block is turned over in four rounds: round r exchanges, between rows i and i + 2ʳ, the entries whose column has
bit r set with those whose column has it cleared.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

INT, SIDE = ir.IntType(64), 16


def _address(context, builder, kind, array, at, width):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), ir.VectorType(data.type.pointee, width).as_pointer())


def _exchange(builder, rows, bit):
    """One round: the two rows of each pair (i, i + bit), half of their entries exchanged."""
    number = ir.IntType(32)
    new = list(rows)
    for i in range(SIDE):
        if not i & bit:
            low = [c if not c & bit else SIDE + (c ^ bit) for c in range(SIDE)]
            high = [c ^ bit if not c & bit else SIDE + c for c in range(SIDE)]
            for at, order in ((i, low), (i | bit, high)):
                mask = ir.Constant(ir.VectorType(number, SIDE), order)
                new[at] = builder.shuffle_vector(rows[i], rows[i | bit], mask)
    return new


@njit(cache=True)
def scratch(count):
    """An uninitialised array of so many float32 that begins at a cache line: vectors of 64 bytes then lie in one, not in two."""
    memory = np.empty(count + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + count]


@njit(cache=True)
def copy(source, out):
    """out[:] = source, one axis: written so, Numba would compile, for seconds, what an error would say."""
    for i in range(len(out)):
        out[i] = source[i]


def _row_copier(lanes):
    @intrinsic
    def copy_row(typingctx, out, at, source, start):
        """out[at : at + lanes] = source[start : start + lanes], flat positions."""

        def emit(context, builder, signature, arguments):
            kinds = signature.args
            row = builder.load(_address(context, builder, kinds[2], arguments[2], arguments[3], lanes))
            row.align = 4
            store = builder.store(row, _address(context, builder, kinds[0], arguments[0], arguments[1], lanes))
            store.align = 4
            return context.get_dummy_value()

        return types.void(out, types.intp, source, types.intp), emit

    return copy_row


copy_row, _copy_32, _copy_16, _copy_8 = (_row_copier(lanes) for lanes in (64, 32, 16, 8))


@njit(cache=True, inline="always")
def copy_lanes(lanes, out, at, source, start):
    """The same for 64, 32, 16 or 8 lanes."""
    if lanes == 64:
        copy_row(out, at, source, start)
    elif lanes == 32:
        _copy_32(out, at, source, start)
    elif lanes == 16:
        _copy_16(out, at, source, start)
    else:
        _copy_8(out, at, source, start)


def _emit_prefetch(context, builder, kind, array, at):
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    address = builder.bitcast(builder.gep(context.make_array(kind)(context, builder, array).data, [at]), byte)
    to_read, second_level, data = (ir.Constant(number, n) for n in (0, 2, 1))
    builder.call(
        builder.module.declare_intrinsic("llvm.prefetch", [byte], function), [address, to_read, second_level, data]
    )


@intrinsic
def prefetch(typingctx, arrays, at):
    """Have 64 entries of each array of a tuple, from `at` on, brought to the second-level cache; they may lie beyond its end."""

    def emit(context, builder, signature, arguments):
        for i, kind in enumerate(arrays):
            array, per_line = builder.extract_value(arguments[0], i), 512 // kind.dtype.bitwidth
            for first in range(0, 64, per_line):
                _emit_prefetch(context, builder, kind, array, builder.add(arguments[1], ir.Constant(INT, first)))
        return context.get_dummy_value()

    return types.void(arrays, types.intp), emit


@intrinsic
def transpose16(typingctx, out, at, out_stride, source, start, source_stride):
    """out[at + out_apart·i + j] = source[start + apart·j + i] for i, j < 16, flat positions."""

    def emit(context, builder, signature, arguments):
        kinds, rows = signature.args, []
        for j in range(SIDE):
            place = builder.add(arguments[4], builder.mul(arguments[5], ir.Constant(INT, j)))
            row = builder.load(_address(context, builder, kinds[3], arguments[3], place, SIDE))
            row.align = 4
            rows.append(row)
        for bit in (1, 2, 4, 8):
            rows = _exchange(builder, rows, bit)
        for i, row in enumerate(rows):
            place = builder.add(arguments[1], builder.mul(arguments[2], ir.Constant(INT, i)))
            builder.store(row, _address(context, builder, kinds[0], arguments[0], place, SIDE)).align = 4
        return context.get_dummy_value()

    return types.void(out, types.intp, types.intp, source, types.intp, types.intp), emit
