"""The primitive of lists: add the rows that a list names, with the sums held in vector registers.

    out[at + k·apart : … + LANES] += Σ_e value[e·each] · rows[base − k//3·line − k%3 + index[e]]     e = first … last − 1

for k < TAPS; rows is [·, LANES]; each is 1 where every event has its own value and 0 where all have the same. Nine sums at
once, or three, serve the taps of a convolution kernel, or of a row of it, which read neighbouring pixels of an image: a sum
waits for itself at every event, others meanwhile take their turn.

In plain Python this would be a loop over events around a loop over lanes; compiled as such, the sum goes to memory and
back at every event. A compiler keeps it in registers if it is one value of type "vector of LANES floats". Numba cannot
say that, LLVM, the language that Numba compiles to, can: the loop below is written in it, instruction by instruction.

    some:    sum₀ ← load out, if there is an event  phi: a value that depends on where one comes from, here
    test:    e   ← phi(first, e + 1)              the first time round or from the end of the loop
             sum ← phi(sum₀, new)
             stored, unless e + 1 ≤ last
    events:  new ← sum + value[e·each] · load rows[base + index[e]]
             test
    stored:  out ← sum

The test stands before the loop and may overflow: so LLVM cannot tell the number of rounds beforehand, and does not make
four of one, with a loop for the one to three that remain: on random lists of 6 to 24 that took longer.
(It can where `last` comes from fewer than 64 bits.)

Multiplication and addition may be fused into one instruction ("contract"), which skips a rounding.
"""

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

INT = ir.IntType(64)


def pointer_to(context, builder, signature, arguments):
    """pointer(i): where the data of argument i, an array, begin."""
    return lambda i: context.make_array(signature.args[i])(context, builder, arguments[i]).data


def function_of(module, name, result, values, write):
    """A function of the module that takes such values and does what write(builder, *arguments) says: written once.

    It is not made part of its callers, each of whose loops LLVM would compile once for every choice that does not change in it.
    """
    if name not in module.globals:
        function = ir.Function(module, ir.FunctionType(result, [value.type for value in values]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        write(ir.IRBuilder(function.append_basic_block()), *function.args)
    return module.globals[name]


def load_row(builder, address):
    """The vector at an address."""
    row = builder.load(address)
    row.align = 4  # a multiple of 4 bytes is all that we promise
    return row


def broadcast(builder, number, vector):
    """A vector of this type, each of whose lanes is the number."""
    nothing = ir.Constant(vector, ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    lane = builder.insert_element(nothing, number, ir.Constant(INT, 0))
    return builder.shuffle_vector(lane, nothing, first_lane)


def add_product(builder, total, row, scales):
    """total + row · scales, which may be rounded once."""
    product = builder.fmul(row, scales, flags=("contract",))
    return builder.fadd(total, product, flags=("contract",))


def _row_adder(lanes, taps):
    vector = ir.VectorType(ir.FloatType(), lanes)

    def emit(context, builder, signature, arguments):
        pointer = pointer_to(context, builder, signature, arguments)
        at, base, has_values, first, last = (arguments[i] for i in (1, 3, 6, 7, 8))
        tap_stride, line = arguments[9:] or 2 * [ir.Constant(INT, 0)]
        places = [builder.add(at, builder.mul(tap_stride, ir.Constant(INT, k))) for k in range(taps)]
        outs = [builder.bitcast(builder.gep(pointer(0), [place]), vector.as_pointer()) for place in places]
        rows = builder.bitcast(pointer(2), vector.as_pointer())
        lines = [builder.sub(base, builder.mul(line, ir.Constant(INT, i))) for i in range((taps + 2) // 3)]
        index, value = pointer(4), pointer(5)

        any_event, test, events, stored, done = (
            builder.append_basic_block(name) for name in ("some", "test", "events", "stored", "done")
        )
        builder.cbranch(builder.icmp_signed("<", first, last), any_event, done)

        builder.position_at_end(any_event)
        before = [load_row(builder, out) for out in outs]
        builder.branch(test)

        builder.position_at_end(test)
        event, totals = builder.phi(INT), [builder.phi(vector) for _ in outs]
        next_event = builder.add(event, ir.Constant(INT, 1))
        builder.cbranch(builder.icmp_signed("<=", next_event, last), events, stored)

        builder.position_at_end(events)
        named = builder.zext(builder.load(builder.gep(index, [event])), INT)
        begins = [builder.gep(rows, [builder.add(begin, named)]) for begin in lines]
        scale = builder.load(builder.gep(value, [builder.mul(event, has_values)]))
        scales = broadcast(builder, scale, vector)
        new = [
            add_product(
                builder, total, load_row(builder, builder.gep(begins[k // 3], [ir.Constant(INT, -(k % 3))])), scales
            )
            for k, total in enumerate(totals)
        ]
        for phi, initial, updated in ((event, first, next_event), *zip(totals, before, new, strict=True)):
            phi.add_incoming(initial, any_event)
            phi.add_incoming(updated, events)
        builder.branch(test)

        builder.position_at_end(stored)
        for out, total in zip(outs, totals, strict=True):
            builder.store(total, out).align = 4
        builder.branch(done)

        builder.position_at_end(done)
        return context.get_dummy_value()

    integer = types.intp

    @intrinsic
    def add_rows(typingctx, out, at, rows, base, index, value, has_values, first, last):
        return types.void(out, integer, rows, integer, index, value, integer, integer, integer), emit

    @intrinsic
    def add_taps(typingctx, out, at, rows, base, index, value, has_values, first, last, tap_stride, line):
        return types.void(out, integer, rows, integer, index, value, *5 * (integer,)), emit

    return add_rows if taps == 1 else add_taps


HAS_AVX512 = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))  # 32 of 16 floats, not 16 of 8


def three_taps_fit(lanes: int) -> bool:
    """Whether the registers hold the sums of three taps."""
    return lanes <= 32 or HAS_AVX512


@njit(cache=True)
def taps_for(lanes):
    """The taps whose sums the registers hold at once: nine of 32 lanes; of 64, or where there are fewer registers, three."""
    return 9 if HAS_AVX512 and lanes <= 32 else 3


add_rows_16, add_rows_32, add_rows_64, add_rows_128 = (_row_adder(lanes, 1) for lanes in (16, 32, 64, 128))
_add_taps_16, _add_taps_32 = (_row_adder(lanes, taps_for.py_func(lanes)) for lanes in (16, 32))


@njit(cache=True, inline="always")
def add_rows(lanes, out, at, rows, base, index, value, has_values, first, last):
    """The primitive with one tap, for lanes 64, 32 or 16."""
    if lanes == 64:
        add_rows_64(out, at, rows, base, index, value, has_values, first, last)
    elif lanes == 32:
        add_rows_32(out, at, rows, base, index, value, has_values, first, last)
    else:
        add_rows_16(out, at, rows, base, index, value, has_values, first, last)


@njit(cache=True, inline="always")
def add_taps(lanes, out, at, rows, base, index, value, has_values, first, last, tap_stride, line):
    """The primitive with as many taps as the registers hold, for lanes 32 or 16."""
    if lanes == 32:
        _add_taps_32(out, at, rows, base, index, value, has_values, first, last, tap_stride, line)
    else:
        _add_taps_16(out, at, rows, base, index, value, has_values, first, last, tap_stride, line)
