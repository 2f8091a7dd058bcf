"""The one primitive of event-driven kernels: add the rows that a list names, with the sum held in vector registers.

    out[at : at + LANES] += Σ_e value[e] · rows[base + index[e]]          e = first … last − 1,   rows [·, LANES]

In plain Python this would be a loop over events around a loop over lanes; compiled as such, the sum goes to memory and
back at every event. A compiler keeps it in registers if it is one value of type "vector of LANES floats". Numba cannot
say that, LLVM, the language that Numba compiles to, can: the loop below is written in it, instruction by instruction.

    start:   sum₀ ← load out                      phi: a value that depends on where one comes from, here
    events:  e   ← phi(first, e + 1)              the first time round or from the end of the loop
             sum ← phi(sum₀, new)
             new ← sum + value[e] · load rows[base + index[e]]
             again while e + 1 < last
    done:    store new (or sum₀ if there was no event)

Multiplication and addition may be fused into one instruction ("contract"), which skips a rounding.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

INT = ir.IntType(64)


def _row_adder(lanes):
    vector = ir.VectorType(ir.FloatType(), lanes)
    nothing = ir.Constant(vector, ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)

    def emit(context, builder, signature, arguments):
        def pointer(i):
            return context.make_array(signature.args[i])(context, builder, arguments[i]).data

        def load_row(address):
            row = builder.load(address)
            row.align = 4  # a multiple of 4 bytes is all that we promise
            return row

        at, base, first, last = (arguments[i] for i in (1, 3, 6, 7))
        out = builder.bitcast(builder.gep(pointer(0), [at]), vector.as_pointer())
        rows = builder.gep(builder.bitcast(pointer(2), vector.as_pointer()), [base])
        index, value = pointer(4), pointer(5)

        start, events, done = builder.block, builder.append_basic_block("events"), builder.append_basic_block("done")
        before = load_row(out)
        builder.cbranch(builder.icmp_signed("<", first, last), events, done)

        builder.position_at_end(events)
        event, total = builder.phi(INT), builder.phi(vector)
        row = load_row(builder.gep(rows, [builder.zext(builder.load(builder.gep(index, [event])), INT)]))
        weight = builder.insert_element(nothing, builder.load(builder.gep(value, [event])), ir.Constant(INT, 0))
        weights = builder.shuffle_vector(weight, nothing, first_lane)
        product = builder.fmul(row, weights, flags=("contract",))
        new = builder.fadd(total, product, flags=("contract",))
        following = builder.add(event, ir.Constant(INT, 1))
        for phi, initial, later in ((event, first, following), (total, before, new)):
            phi.add_incoming(initial, start)
            phi.add_incoming(later, events)
        builder.cbranch(builder.icmp_signed("<", following, last), events, done)

        builder.position_at_end(done)
        result = builder.phi(vector)
        result.add_incoming(before, start)
        result.add_incoming(new, events)
        builder.store(result, out).align = 4
        return context.get_dummy_value()

    @intrinsic
    def add_rows(typingctx, out, at, rows, base, index, value, first, last):
        return types.void(out, types.intp, rows, types.intp, index, value, types.intp, types.intp), emit

    return add_rows


add_rows_16, add_rows_32, add_rows_64 = (_row_adder(lanes) for lanes in (16, 32, 64))
