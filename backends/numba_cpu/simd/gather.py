"""Add the rows of a matrix that a list of events names, with the sums held in vector registers.

Linear layers, weight gradients and gathering convolutions are built on `add_rows` and `add_taps`. Numba would write the sums
to memory and read them back at every event. LLVM keeps a value of type "vector of LANES floats" in registers, so the loop is
written in LLVM IR:

                go to any_event if first < last, else to done
    any_event:  sum₀ ← load out
    test:       e    ← phi(first, e + 1)          phi(a, b): a after any_event, b after events
                sum  ← phi(sum₀, new)
                go to events if e + 1 ≤ last, else to stored
    events:     new  ← sum + value[e] · load rows[base + index[e]]
                go to test
    stored:     out  ← sum
    done:

`add_taps` holds three or nine sums at once. An addition to a sum must wait for the previous addition to the same sum; meanwhile
the processor adds to the other sums.

The test e + 1 ≤ last can overflow, so LLVM cannot know the number of rounds beforehand and does not unroll the loop. On lists
of 6 to 24 events an unrolled loop with its remainder was slower. (`last` must have 64 bits. If it had fewer, LLVM would know
that e + 1 cannot overflow.)
"""

from llvmlite import ir
from numba import config, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.llvm import INT, add_product, broadcast, data_pointers, load_row, python_twin

# What Numba compiles for: this processor, or what the user chose instead with NUMBA_CPU_FEATURES
FEATURES = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
HAS_AVX512 = "+avx512f" in FEATURES.split(",")  # 32 registers of 16 floats, else 16 of 8 or fewer


def three_taps_fit(lanes: int) -> bool:
    """Whether the vector registers hold three sums of so many lanes."""
    return lanes <= 32 or HAS_AVX512


def taps_held(lanes: int) -> int:
    """How many sums `add_taps` and scatter.py hold in registers: nine with AVX-512 and at most 32 lanes, else three."""
    return 9 if HAS_AVX512 and lanes <= 32 else 3


taps_for = compiled(taps_held)  # the same for kernels


def add_rows_python(lanes, out, at, rows, base, index, value, has_values, first, last):
    """out[at : at + lanes] += Σ_e value[e] · rows[base + index[e]], e = first … last − 1.

    out and rows are flat float32 arrays; row r of `rows` is rows[r·lanes : (r + 1)·lanes]. lanes: 16, 32, 64 or 128.
    has_values: 1 if every event has its own value; 0 if all have value[0].
    """
    for e in range(first, last):
        row = (base + int(index[e])) * lanes
        out[at : at + lanes] += value[e * has_values] * rows[row : row + lanes]


def add_taps_python(lanes, out, at, rows, base, index, value, has_values, first, last, tap_stride, line):
    """`add_rows` for taps_for(lanes) taps of a 3×3 window at once, lanes 16 or 32; `line`: rows of the matrix per image row.

    Tap k adds rows[base − k//3·line − k%3 + index[e]] to out[at + k·tap_stride : … + lanes].
    """
    for k in range(taps_for(lanes)):
        shifted = base - k // 3 * line - k % 3
        add_rows_python(lanes, out, at + k * tap_stride, rows, shifted, index, value, has_values, first, last)


def _row_adder(lanes, taps):
    vector = ir.VectorType(ir.FloatType(), lanes)

    def emit(context, builder, signature, arguments):
        pointer = data_pointers(context, builder, signature, arguments)
        at, base, has_values, first, last = (arguments[i] for i in (1, 3, 6, 7, 8))
        tap_stride, line = arguments[9:] or 2 * [ir.Constant(INT, 0)]
        places = [builder.add(at, builder.mul(tap_stride, ir.Constant(INT, k))) for k in range(taps)]
        outs = [builder.bitcast(builder.gep(pointer(0), [place]), vector.as_pointer()) for place in places]
        rows = builder.bitcast(pointer(2), vector.as_pointer())
        bases = [builder.sub(base, builder.mul(line, ir.Constant(INT, i))) for i in range((taps + 2) // 3)]
        index, value = pointer(4), pointer(5)

        any_event, test, events, stored, done = (
            builder.append_basic_block(name) for name in ("any_event", "test", "events", "stored", "done")
        )
        builder.cbranch(builder.icmp_signed("<", first, last), any_event, done)

        builder.position_at_end(any_event)
        loaded = [load_row(builder, out) for out in outs]
        builder.branch(test)

        builder.position_at_end(test)
        event, totals = builder.phi(INT), [builder.phi(vector) for _ in outs]
        next_event = builder.add(event, ir.Constant(INT, 1))
        builder.cbranch(builder.icmp_signed("<=", next_event, last), events, stored)

        builder.position_at_end(events)
        offset = builder.zext(builder.load(builder.gep(index, [event])), INT)
        first_rows = [builder.gep(rows, [builder.add(start, offset)]) for start in bases]
        scale = builder.load(builder.gep(value, [builder.mul(event, has_values)]))
        scales = broadcast(builder, scale, vector)
        new = [
            add_product(
                builder, total, load_row(builder, builder.gep(first_rows[k // 3], [ir.Constant(INT, -(k % 3))])), scales
            )
            for k, total in enumerate(totals)
        ]
        for phi, initial, updated in ((event, first, next_event), *zip(totals, loaded, new, strict=True)):
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


_add_rows_16, _add_rows_32, _add_rows_64, _add_rows_128 = (_row_adder(lanes, 1) for lanes in (16, 32, 64, 128))
_add_taps_16, _add_taps_32 = (_row_adder(lanes, taps_held(lanes)) for lanes in (16, 32))


@python_twin(add_rows_python)
@compiled(inline="always")
def add_rows(lanes, out, at, rows, base, index, value, has_values, first, last):
    """See `add_rows_python`."""
    if lanes == 128:
        _add_rows_128(out, at, rows, base, index, value, has_values, first, last)
    elif lanes == 64:
        _add_rows_64(out, at, rows, base, index, value, has_values, first, last)
    elif lanes == 32:
        _add_rows_32(out, at, rows, base, index, value, has_values, first, last)
    else:
        _add_rows_16(out, at, rows, base, index, value, has_values, first, last)


@python_twin(add_taps_python)
@compiled(inline="always")
def add_taps(lanes, out, at, rows, base, index, value, has_values, first, last, tap_stride, line):
    """See `add_taps_python`."""
    if lanes == 32:
        _add_taps_32(out, at, rows, base, index, value, has_values, first, last, tap_stride, line)
    else:
        _add_taps_16(out, at, rows, base, index, value, has_values, first, last, tap_stride, line)
