"""The primitive of narrow convolutions: add one input pixel to all the outputs that read it, with their sums in registers.

    out[at + i·line + j·LANES : … + LANES] += Σ_c scale·source[first + c] · rows[base + c·9 + 3·i + j]      i < TAPS/3, j < 3

over the channels c whose bit is set in `mask`; rows is [·, LANES]. The same idea as events.py, which see, for outputs of 8
to 32 channels: there one sum waits for itself at every event, here nine sums that do not depend on each other take turns,
and no list is needed, as every event is used once only. In LLVM's language:

    some:    sumᵢⱼ₀ ← load outᵢⱼ, if any bit is set
    events:  bits ← phi(mask, rest)
             sumᵢⱼ ← phi(sumᵢⱼ₀, newᵢⱼ)
             c ← position of the lowest bit that is set
             newᵢⱼ ← sumᵢⱼ + scale·source[first + c] · load rows[base + c·9 + 3·i + j]
             rest ← bits without its lowest
             again, while there are any
    stored:  outᵢⱼ ← newᵢⱼ
"""

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from backends.numba_cpu.events import INT, add_product, load_row, pointer_to, spread

# Nine sums of 32 floats fit into 32 registers of 16 floats; where there are 16 of 8, a row of three at a time does.
TAPS = 9 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 3


def _pixel_adder(lanes, taps):
    vector = ir.VectorType(ir.FloatType(), lanes)
    zero, one = ir.Constant(INT, 0), ir.Constant(INT, 1)

    @intrinsic
    def add_pixel(typingctx, out, at, line, rows, base, source, first, scale, mask):
        def emit(context, builder, signature, arguments):
            pointer = pointer_to(context, builder, signature, arguments)
            at, line, base, first, scale, mask = (arguments[i] for i in (1, 2, 4, 6, 7, 8))
            some, events, stored, done = (
                builder.append_basic_block(name) for name in ("some", "events", "stored", "done")
            )
            corners = [builder.add(at, builder.mul(line, ir.Constant(INT, i))) for i in range(taps // 3)]
            places = [builder.add(corner, ir.Constant(INT, j * lanes)) for corner in corners for j in range(3)]
            outs = [builder.bitcast(builder.gep(pointer(0), [place]), vector.as_pointer()) for place in places]
            rows_from = builder.gep(builder.bitcast(pointer(3), vector.as_pointer()), [base])
            entries = builder.gep(pointer(5), [first])
            builder.cbranch(builder.icmp_signed("!=", mask, zero), some, done)

            builder.position_at_end(some)
            before = [load_row(builder, out) for out in outs]
            builder.branch(events)

            builder.position_at_end(events)
            bits, totals = builder.phi(INT), [builder.phi(vector) for _ in outs]
            channel = builder.cttz(bits, ir.Constant(ir.IntType(1), 1))
            entry = builder.load(builder.gep(entries, [channel]))
            entry = context.cast(builder, entry, source.dtype, types.float32)
            scales = spread(builder, builder.fmul(entry, scale), vector)
            row = builder.gep(rows_from, [builder.mul(channel, ir.Constant(INT, 9))])
            new = [
                add_product(builder, total, load_row(builder, builder.gep(row, [ir.Constant(INT, k)])), scales)
                for k, total in enumerate(totals)
            ]
            rest = builder.and_(bits, builder.sub(bits, one))
            for phi, initial, later in ((bits, mask, rest), *zip(totals, before, new, strict=True)):
                phi.add_incoming(initial, some)
                phi.add_incoming(later, events)
            builder.cbranch(builder.icmp_signed("!=", rest, zero), events, stored)

            builder.position_at_end(stored)
            for out, total in zip(outs, new, strict=True):
                builder.store(total, out).align = 4
            builder.branch(done)

            builder.position_at_end(done)
            return context.get_dummy_value()

        integer = types.intp
        arguments = out, integer, integer, rows, integer, source, integer, types.float32, types.int64
        return types.void(*arguments), emit

    return add_pixel


_add_pixel_8, _add_pixel_16, _add_pixel_32 = (_pixel_adder(lanes, TAPS) for lanes in (8, 16, 32))


@njit(cache=True, inline="always")
def add_pixel(lanes, out, at, line, rows, base, source, first, scale, mask):
    """All nine taps, for 32, 16 or 8 lanes; out and rows are flat, base counts rows of LANES."""
    for k in range(0, 9, TAPS):
        corner = at + k // 3 * line
        if lanes == 32:
            _add_pixel_32(out, corner, line, rows, base + k, source, first, scale, mask)
        elif lanes == 16:
            _add_pixel_16(out, corner, line, rows, base + k, source, first, scale, mask)
        else:
            _add_pixel_8(out, corner, line, rows, base + k, source, first, scale, mask)
