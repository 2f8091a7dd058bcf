"""Bit masks of non-zero entries: how kernels find events.

Up to 64 entries, bytes (spikes, pooled spikes) or floats, are compared with zero at once. The result is an integer with one
bit per entry. Going from one set bit to the next costs nothing for the zeros between them.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backends.numba_cpu.simd.llvm import python_twin

VECTOR_COUNTS = 16, 32, 48, 64  # numbers of entries that are compared by vector instructions; others one by one


def event_mask_python(source, at, count):
    """int64: bit i is set where source[at + i] is not zero (or NaN), i < count, 1 ≤ count ≤ 64; source is flat."""
    mask = sum(1 << i for i in range(count) if source[at + i] != 0)
    return np.int64(mask - (1 << 64) if mask >> 63 else mask)


@python_twin(event_mask_python)
@intrinsic
def event_mask(typingctx, source, at, count):
    """See `event_mask_python`. source: bytes or floats."""
    floats = isinstance(source.dtype, types.Float)

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        first, number = builder.gep(data, [arguments[1]]), ir.IntType(64)
        zero = ir.Constant(data.type.pointee, 0)

        def differs(entries, other):
            compare = builder.fcmp_unordered if floats else builder.icmp_unsigned
            return compare("!=", entries, other)

        one_by_one, done = (builder.append_basic_block(name) for name in ("one_by_one", "done"))
        vector_blocks = {count: builder.append_basic_block(f"vector{count}") for count in VECTOR_COUNTS}
        entry, results = builder.block, []
        cases = builder.switch(arguments[2], one_by_one)
        for count, block in vector_blocks.items():
            cases.add_case(ir.Constant(number, count), block)
            builder.position_at_end(block)
            kind = ir.VectorType(data.type.pointee, count)
            entries = builder.load(builder.bitcast(first, kind.as_pointer()))
            entries.align = source.dtype.bitwidth // 8
            bits = builder.bitcast(differs(entries, ir.Constant(kind, [0] * count)), ir.IntType(count))
            results.append((bits if count == 64 else builder.zext(bits, number), block))
            builder.branch(done)

        builder.position_at_end(one_by_one)
        i, mask = builder.phi(number), builder.phi(number)
        bit = builder.zext(differs(builder.load(builder.gep(first, [i])), zero), number)
        next_mask = builder.or_(mask, builder.shl(bit, i))
        next_i = builder.add(i, ir.Constant(number, 1))
        for phi, updated in ((i, next_i), (mask, next_mask)):
            phi.add_incoming(ir.Constant(number, 0), entry)
            phi.add_incoming(updated, one_by_one)
        builder.cbranch(builder.icmp_signed("<", next_i, arguments[2]), one_by_one, done)
        results.append((next_mask, one_by_one))

        builder.position_at_end(done)
        result = builder.phi(number)
        for value, block in results:
            result.add_incoming(value, block)
        return result

    return types.int64(source, types.int64, types.int64), emit


def lowest_bit_python(mask):
    """The position of the lowest set bit of a mask that is not zero."""
    return np.int64((int(mask) & -int(mask)).bit_length() - 1)


@python_twin(lowest_bit_python)
@intrinsic
def lowest_bit(typingctx, mask):
    """See `lowest_bit_python`."""

    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit
