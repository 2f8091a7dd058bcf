"""The primitive of convolutions: add a line of input pixels to all the outputs that read them, with the sums in registers.

    out[at + i·line + (x + j)·LANES : … + LANES] += Σ_c scale·source[first + x·apart + c] · rows[base + c·TAPS + 3·i + j]

for i < TAPS/3, j < 3, over the pixels x of the line and the channels c whose bit is set in masks[x]; rows is [·, LANES].
The same idea as events.py, which see: there one sum waits for itself at every event, here nine sums, or three wider ones,
take turns, and no list is needed, as every event is used once only. Two of the three columns of sums are the next pixel's,
too: they stay where they are, one is done, one more begins. In LLVM's language:

    line:    sumᵢ₀, sumᵢ₁ ← load out, the columns 0 and 1
    pixel:   x ← phi(0, x + 1), sumᵢ₀ ← phi(…, lastᵢ₁), sumᵢ₁ ← phi(…, lastᵢ₂)
             sumᵢ₂ ← load outᵢ of column x + 2
             next, unless any bit of masks[x] is set
    events:  bits ← phi(masks[x], rest), sumᵢⱼ ← phi(sumᵢⱼ, newᵢⱼ)
             c ← position of the lowest bit that is set
             newᵢⱼ ← sumᵢⱼ + scale·source[first + x·apart + c] · load rows[base + c·TAPS + 3·i + j]
             rest ← bits without its lowest
             again, while there are any
    next:    lastᵢⱼ ← phi(sumᵢⱼ, newᵢⱼ)
             outᵢ of column x ← lastᵢ₀
             pixel, while x + 1 < width
    done:    outᵢ of the last two columns ← lastᵢ₁, lastᵢ₂
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from backends.numba_cpu.simd.events import INT, add_product, broadcast, function_of, load_row, pointer_to, taps_for

ARRAYS = 0, 3, 5, 9  # among the arguments


def _line_adder(lanes, taps):
    vector = ir.VectorType(ir.FloatType(), lanes)
    zero, one = ir.Constant(INT, 0), ir.Constant(INT, 1)
    of_tap = [(k // 3, k % 3) for k in range(taps)]  # row and column

    def write(builder, out, at, line, rows, base, source, first, pixel_stride, scale, masks, width):
        start, pixel, events, next_pixel, done, end = (
            builder.append_basic_block(name) for name in ("line", "pixel", "events", "next", "done", "out_of_it")
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
        bits, totals = builder.phi(INT), {key: builder.phi(vector) for key in of_tap}
        channel = builder.cttz(bits, ir.Constant(ir.IntType(1), 1))
        entry = builder.load(builder.gep(entries, [channel]))
        scales = broadcast(builder, builder.fmul(entry, scale), vector)
        row = builder.gep(rows, [builder.mul(channel, ir.Constant(INT, taps))])
        new = {}
        for k, key in enumerate(of_tap):
            weights = load_row(builder, builder.gep(row, [ir.Constant(INT, k)]))
            new[key] = add_product(builder, totals[key], weights, scales)
        rest = builder.and_(bits, builder.sub(bits, one))
        for phi, initial, updated in ((bits, mask, rest), *((totals[key], sums[key], new[key]) for key in of_tap)):
            phi.add_incoming(initial, pixel)
            phi.add_incoming(updated, events)
        builder.cbranch(builder.icmp_signed("!=", rest, zero), events, next_pixel)

        builder.position_at_end(next_pixel)
        last = {key: builder.phi(vector) for key in of_tap}
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
        pointer = pointer_to(context, builder, signature, arguments)
        values = [pointer(i) if i in ARRAYS else argument for i, argument in enumerate(arguments)]
        builder.call(function_of(builder.module, f"add_line_{lanes}", ir.VoidType(), values, write), values)
        return context.get_dummy_value()

    @intrinsic
    def add_line(typingctx, out, at, line, rows, base, source, first, pixel_stride, scale, masks, width):
        integer = types.intp
        arguments = out, integer, integer, rows, integer, source, integer, integer, types.float32, masks, integer
        return types.void(*arguments), emit

    return add_line


_add_line_8, _add_line_16, _add_line_32, _add_line_64 = (_line_adder(n, taps_for.py_func(n)) for n in (8, 16, 32, 64))


@njit(cache=True, inline="always")
def add_line(lanes, out, at, line, rows, base, source, first, pixel_stride, scale, masks, width):
    """The primitive for 64, 32, 16 or 8 lanes and the taps that these have; out, rows and source are flat."""
    if lanes == 64:
        _add_line_64(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
    elif lanes == 32:
        _add_line_32(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
    elif lanes == 16:
        _add_line_16(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
    else:
        _add_line_8(out, at, line, rows, base, source, first, pixel_stride, scale, masks, width)
