"""Add a line of input pixels to all outputs of a 3×3 convolution that read them, with the sums held in vector registers.

The same idea as gather.py, but no list is needed: every event is used once. Nine sums, or three wider ones, are held at a
time: one for each output pixel in reach. From one input pixel to the next, two of the three columns of sums stay where they
are, one is stored and one is loaded. In LLVM IR:

    line:    sumᵢ₀, sumᵢ₁ ← load out, the columns 0 and 1
    pixel:   x ← phi(0, x + 1), sumᵢ₀ ← phi(…, lastᵢ₁), sumᵢ₁ ← phi(…, lastᵢ₂)
             sumᵢ₂ ← load outᵢ of column x + 2
             next_pixel, unless any bit of masks[x] is set
    events:  bits ← phi(masks[x], rest), sumᵢⱼ ← phi(sumᵢⱼ, newᵢⱼ)
             c ← position of the lowest set bit
             newᵢⱼ ← sumᵢⱼ + scale·source[first + x·pixel_stride + c] · load rows[base + c·TAPS + 3·i + j]
             rest ← bits without its lowest set bit
             events, while rest is not zero
    next_pixel:
             lastᵢⱼ ← phi(sumᵢⱼ, newᵢⱼ)
             outᵢ of column x ← lastᵢ₀
             pixel, while x + 1 < width
    done:    outᵢ of the last two columns ← lastᵢ₁, lastᵢ₂
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.gather import taps_for, taps_held
from backends.numba_cpu.simd.llvm import (
    INT,
    add_product,
    broadcast,
    data_pointers,
    internal_function,
    load_row,
    python_twin,
)

ARRAYS = 0, 3, 5, 9  # which arguments of `add_line` are arrays


def add_line_python(lanes, out, at, line, rows, base, source, first, pixel_stride, scale, masks, width):
    """Add `width` pixels of an input line to out, for taps_for(lanes) taps: i < taps/3 rows, j < 3 columns.

    out[at + i·line + (x + j)·lanes : … + lanes] += scale·source[first + x·pixel_stride + c] · rows[base + c·taps + 3·i + j],
    summed over the channels c whose bit is set in masks[x]. out, rows and source are flat float32 arrays; row r of `rows`
    is rows[r·lanes : (r + 1)·lanes]. lanes: 64, 32, 16 or 8.
    """
    taps = taps_for(lanes)
    for x in range(width):
        for c in range(64):
            if int(masks[x]) >> c & 1:
                entry = np.float32(source[first + x * pixel_stride + c] * scale)
                for k in range(taps):
                    place, row = at + k // 3 * line + (x + k % 3) * lanes, (base + c * taps + k) * lanes
                    out[place : place + lanes] += entry * rows[row : row + lanes]


def _line_adder(lanes, taps):
    vector = ir.VectorType(ir.FloatType(), lanes)
    zero, one = ir.Constant(INT, 0), ir.Constant(INT, 1)
    taps_at = [(k // 3, k % 3) for k in range(taps)]  # row and column

    def write(builder, out, at, line, rows, base, source, first, pixel_stride, scale, masks, width):
        start, pixel, events, next_pixel, done, end = (
            builder.append_basic_block(name) for name in ("line", "pixel", "events", "next_pixel", "done", "end")
        )
        corner = builder.gep(out, [at])
        corners = [builder.gep(corner, [builder.mul(line, ir.Constant(INT, i))]) for i in range(taps // 3)]
        outs = [builder.bitcast(place, vector.as_pointer()) for place in corners]
        rows = builder.gep(builder.bitcast(rows, vector.as_pointer()), [base])
        source = builder.gep(source, [first])

        def place(i, column):
            return builder.gep(outs[i], [column])

        builder.cbranch(builder.icmp_signed(">", width, zero), start, end)

        builder.position_at_end(start)
        loaded = {(i, j): load_row(builder, place(i, ir.Constant(INT, j))) for i in range(taps // 3) for j in range(2)}
        builder.branch(pixel)

        builder.position_at_end(pixel)
        x = builder.phi(INT)
        sums = {key: builder.phi(vector) for key in loaded}
        for i in range(taps // 3):
            sums[i, 2] = load_row(builder, place(i, builder.add(x, ir.Constant(INT, 2))))
        entries = builder.gep(source, [builder.mul(x, pixel_stride)])
        mask = builder.load(builder.gep(masks, [x]))
        builder.cbranch(builder.icmp_signed("!=", mask, zero), events, next_pixel)

        builder.position_at_end(events)
        bits, totals = builder.phi(INT), {key: builder.phi(vector) for key in taps_at}
        channel = builder.cttz(bits, ir.Constant(ir.IntType(1), 1))
        entry = builder.load(builder.gep(entries, [channel]))
        scales = broadcast(builder, builder.fmul(entry, scale), vector)
        row = builder.gep(rows, [builder.mul(channel, ir.Constant(INT, taps))])
        new = {}
        for k, key in enumerate(taps_at):
            weights = load_row(builder, builder.gep(row, [ir.Constant(INT, k)]))
            new[key] = add_product(builder, totals[key], weights, scales)
        rest = builder.and_(bits, builder.sub(bits, one))
        for phi, initial, updated in ((bits, mask, rest), *((totals[key], sums[key], new[key]) for key in taps_at)):
            phi.add_incoming(initial, pixel)
            phi.add_incoming(updated, events)
        builder.cbranch(builder.icmp_signed("!=", rest, zero), events, next_pixel)

        builder.position_at_end(next_pixel)
        last = {key: builder.phi(vector) for key in taps_at}
        for key, phi in last.items():
            phi.add_incoming(sums[key], pixel)
            phi.add_incoming(new[key], events)
        for i in range(taps // 3):
            builder.store(last[i, 0], place(i, x)).align = 4
        next_x = builder.add(x, one)
        x.add_incoming(zero, start)
        x.add_incoming(next_x, next_pixel)
        for i, j in loaded:
            sums[i, j].add_incoming(loaded[i, j], start)
            sums[i, j].add_incoming(last[i, j + 1], next_pixel)
        builder.cbranch(builder.icmp_signed("<", next_x, width), pixel, done)

        builder.position_at_end(done)
        for i, j in loaded:
            builder.store(last[i, j + 1], place(i, builder.add(next_x, ir.Constant(INT, j)))).align = 4
        builder.branch(end)

        builder.position_at_end(end)
        builder.ret_void()

    def emit(context, builder, signature, arguments):
        pointer = data_pointers(context, builder, signature, arguments)
        values = [pointer(i) if i in ARRAYS else argument for i, argument in enumerate(arguments)]
        builder.call(internal_function(builder.module, f"add_line_{lanes}", ir.VoidType(), values, write), values)
        return context.get_dummy_value()

    @intrinsic
    def add_line(typingctx, out, at, line, rows, base, source, first, pixel_stride, scale, masks, width):
        integer = types.intp
        arguments = out, integer, integer, rows, integer, source, integer, integer, types.float32, masks, integer
        return types.void(*arguments), emit

    return add_line


_add_line_8, _add_line_16, _add_line_32, _add_line_64 = (
    _line_adder(lanes, taps_held(lanes)) for lanes in (8, 16, 32, 64)
)


@python_twin(add_line_python)
@compiled(inline="always")
def add_line(lanes, out, at, line, rows, base, source, first, pixel_stride, scale, masks, width):
    """See `add_line_python`."""
    if lanes == 64:
        _add_line_64(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
    elif lanes == 32:
        _add_line_32(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
    elif lanes == 16:
        _add_line_16(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
    else:
        _add_line_8(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
