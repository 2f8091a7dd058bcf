"""Copying rows of 8 to 64 floats, transposing blocks of 16×16, prefetching, and aligned scratch arrays.

These functions move whole vectors. A loop over single elements, as Numba compiles it, takes several times as long.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.llvm import INT, python_twin, vector_address

SIDE = 16  # of a block that is transposed


@compiled
def scratch(count):
    """An uninitialised float32 array of this length that begins at a cache line: a 64-byte vector never spans two lines."""
    memory = np.empty(count + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + count]


@compiled
def copy(source, out):
    """out[:] = source, one axis. For a slice assignment Numba would compile an error message for other lengths, for seconds."""
    for i in range(len(out)):
        out[i] = source[i]


def copy_row_python(lanes, out, at, source, start):
    """out[at : at + lanes] = source[start : start + lanes]; flat float32 arrays, 64, 32, 16 or 8 lanes."""
    out[at : at + lanes] = source[start : start + lanes]


def _row_copier(lanes):
    @intrinsic
    def copy_row(typingctx, out, at, source, start):
        def emit(context, builder, signature, arguments):
            kinds = signature.args
            row = builder.load(vector_address(context, builder, kinds[2], arguments[2], arguments[3], lanes))
            row.align = 4
            store = builder.store(row, vector_address(context, builder, kinds[0], arguments[0], arguments[1], lanes))
            store.align = 4
            return context.get_dummy_value()

        return types.void(out, types.intp, source, types.intp), emit

    return copy_row


_copy_row_64, _copy_row_32, _copy_row_16, _copy_row_8 = (_row_copier(lanes) for lanes in (64, 32, 16, 8))


@python_twin(copy_row_python)
@compiled(inline="always")
def copy_row(lanes, out, at, source, start):
    """See `copy_row_python`."""
    if lanes == 64:
        _copy_row_64(out, at, source, start)
    elif lanes == 32:
        _copy_row_32(out, at, source, start)
    elif lanes == 16:
        _copy_row_16(out, at, source, start)
    else:
        _copy_row_8(out, at, source, start)


def prefetch_python(arrays, at):
    """Load entries at … at + 63 of each flat array of a tuple into the second-level cache; has no effect on values.

    The entries may lie beyond an array's end.
    """


def _emit_prefetch(context, builder, kind, array, at):
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    address = builder.bitcast(builder.gep(context.make_array(kind)(context, builder, array).data, [at]), byte)
    to_read, second_level, data = (ir.Constant(number, n) for n in (0, 2, 1))
    builder.call(
        builder.module.declare_intrinsic("llvm.prefetch", [byte], function), [address, to_read, second_level, data]
    )


@python_twin(prefetch_python)
@intrinsic
def prefetch(typingctx, arrays, at):
    """See `prefetch_python`."""

    def emit(context, builder, signature, arguments):
        for i, kind in enumerate(arrays):
            array, per_line = builder.extract_value(arguments[0], i), 512 // kind.dtype.bitwidth
            for first in range(0, 64, per_line):
                _emit_prefetch(context, builder, kind, array, builder.add(arguments[1], ir.Constant(INT, first)))
        return context.get_dummy_value()

    return types.void(arrays, types.intp), emit


def transpose16_python(out, at, out_stride, source, start, source_stride):
    """out[at + out_stride·i + j] = source[start + source_stride·j + i] for i, j < 16; flat arrays."""
    for i in range(SIDE):
        for j in range(SIDE):
            out[at + out_stride * i + j] = source[start + source_stride * j + i]


def _exchange(builder, rows, bit):
    """One of four rounds of a transposition: between rows i and i + bit, exchange the entries off the diagonal.

    These are the entries of row i whose column has this bit set, and those of row i + bit whose column has it cleared.
    """
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


@python_twin(transpose16_python)
@intrinsic
def transpose16(typingctx, out, at, out_stride, source, start, source_stride):
    """See `transpose16_python`."""

    def emit(context, builder, signature, arguments):
        kinds, rows = signature.args, []
        for j in range(SIDE):
            place = builder.add(arguments[4], builder.mul(arguments[5], ir.Constant(INT, j)))
            row = builder.load(vector_address(context, builder, kinds[3], arguments[3], place, SIDE))
            row.align = 4
            rows.append(row)
        for bit in (1, 2, 4, 8):
            rows = _exchange(builder, rows, bit)
        for i, row in enumerate(rows):
            place = builder.add(arguments[1], builder.mul(arguments[2], ir.Constant(INT, i)))
            builder.store(row, vector_address(context, builder, kinds[0], arguments[0], place, SIDE)).align = 4
        return context.get_dummy_value()

    return types.void(out, types.intp, types.intp, source, types.intp, types.intp), emit
