"""Sixteen neighbouring numbers as one value: arithmetic on whole vectors, written like arithmetic on numbers.

A loop over many arrays that also adds up sums is not vectorised by the compiler, which must fear that arrays overlap;
split into loops of two or three arrays it is, but then each is a pass through the cache. Here the vector is the programmer's own:

    zeros = spread(zero)
    m = load(u, i, zeros) * leak + load(current, i, zeros)        the numbers i … i + 15 of each array
    store(u, i, m - where_above(m, v, v, zeros))

The functions that choose, take roots and read bits take plain numbers as well, so that the same lines do for what is left at an
array's end.

`Lanes` is a type that Numba compiles like a number, to LLVM's vector of 16, which lies in one or more registers. Numbers among
the operands stand for 16 equal ones. Nothing is rounded otherwise than it would be one by one, but for `add_product`.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, overload, register_model

from backends.numba_cpu.simd import events

LANES = 16
INDEX = ir.IntType(32)


class Lanes(types.Type):
    """LANES numbers of one type: float32, float64, or whole."""

    def __init__(self, number):
        self.number = number
        super().__init__(f"{LANES} lanes of {number}")


@register_model(Lanes)
class _InRegisters(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _vector(manager.lookup(kind.number).get_value_type()))


def _vector(number):
    return ir.VectorType(number, LANES)


def _choose(builder, first, second, order):
    """The entries of two vectors, one after the other, in the given order."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INDEX, len(order)), order))


def _broadcast(builder, number):
    nothing = ir.Constant(_vector(number.type), ir.Undefined)
    lane = builder.insert_element(nothing, number, ir.Constant(INDEX, 0))
    return _choose(builder, lane, nothing, [0] * LANES)


def _pointer(context, builder, kind, array, at):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


@intrinsic
def broadcast(typingctx, number):
    """The number in every lane."""
    if not isinstance(number, (types.Float, types.Integer)):
        raise TypingError(f"lanes hold numbers, not {number}")

    return Lanes(number)(number), lambda context, builder, signature, arguments: _broadcast(builder, arguments[0])


@intrinsic
def arange(typingctx, number):
    """The whole number and those that follow, number … number + LANES − 1."""

    def emit(context, builder, signature, arguments):
        return builder.add(
            _broadcast(builder, arguments[0]), ir.Constant(_vector(arguments[0].type), list(range(LANES)))
        )

    return Lanes(number)(number), emit


@intrinsic
def sum_lanes(typingctx, lanes):
    """The sum of all lanes: one half is added to the other until one number is left."""

    def emit(context, builder, signature, arguments):
        (row,), size = arguments, LANES
        while size > 1:
            size //= 2
            halves = (_choose(builder, row, row, list(range(first, first + size))) for first in (0, size))
            row = builder.fadd(*halves)
        return builder.extract_element(row, ir.Constant(INDEX, 0))

    return lanes.number(lanes), emit


def _check(array, lanes):
    if array.dtype not in (lanes.number, types.uint8, types.uint16, types.uint32) or array.layout != "C":
        raise TypingError(
            f"lanes of {lanes.number} lie in contiguous arrays of such numbers, or whole ones, not in {array}"
        )


@intrinsic
def load(typingctx, array, at, like):
    """The numbers from the flat position `at` of a C-contiguous array, as numbers like those of `like`."""
    _check(array, like)
    size = array.dtype.bitwidth // 8

    def emit(context, builder, signature, arguments):
        place = _pointer(context, builder, array, *arguments[:2])
        row = builder.load(builder.bitcast(place, _vector(place.type.pointee).as_pointer()))
        row.align = size
        if array.dtype == like.number:
            return row
        lengthen = builder.uitofp if isinstance(like.number, types.Float) else builder.zext
        return lengthen(row, arguments[2].type)

    return like(array, types.intp, like), emit


@intrinsic
def store(typingctx, array, at, lanes):
    """The lanes to the flat position `at` of a C-contiguous array, as whole numbers if it is of such, their lowest bits."""
    _check(array, lanes)
    size = array.dtype.bitwidth // 8

    def emit(context, builder, signature, arguments):
        place, row = _pointer(context, builder, array, *arguments[:2]), arguments[2]
        if array.dtype != lanes.number:
            shorten = builder.fptoui if isinstance(lanes.number, types.Float) else builder.trunc
            row = shorten(row, _vector(place.type.pointee))
        builder.store(row, builder.bitcast(place, row.type.as_pointer())).align = size
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), emit


@intrinsic
def add_product(typingctx, sums, lanes, number):
    """sums + lanes · number, which may be rounded once."""
    if sums != lanes or number != lanes.number:
        raise TypingError(f"the product of {lanes} and {number}, added to {sums}")

    def emit(context, builder, signature, arguments):
        sums, lanes, number = arguments
        return events.add_product(builder, sums, lanes, _broadcast(builder, number))

    return sums(sums, lanes, number), emit


@intrinsic
def _select_above(typingctx, x, limit, a, b):
    def emit(context, builder, signature, arguments):
        x, limit, a, b = arguments
        return builder.select(builder.fcmp_ordered(">", x, limit), a, b)

    return x(x, limit, a, b), emit


@intrinsic
def _roots(typingctx, x):
    def emit(context, builder, signature, arguments):
        row = arguments[0].type
        kind = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}[row.element]
        call = get_or_insert_function(builder.module, ir.FunctionType(row, [row]), f"llvm.sqrt.v{LANES}{kind}")
        return builder.call(call, arguments)

    return x(x), emit


@intrinsic
def _bits(typingctx, x):
    def emit(context, builder, signature, arguments):
        row, kind = arguments[0], _vector(ir.FloatType())
        return builder.bitcast(row if row.type == kind else builder.fptrunc(row, kind), _vector(INDEX))

    return Lanes(types.uint32)(x), emit


@intrinsic
def _floats(typingctx, bits, like):
    def emit(context, builder, signature, arguments):
        row, kind = builder.bitcast(arguments[0], _vector(ir.FloatType())), arguments[1].type
        return row if row.type == kind else builder.fpext(row, kind)

    return like(bits, like), emit


def _as_lanes(x):
    raise NotImplementedError("compiled code only")


def where_greater(x, limit, a, b):
    """a where x > limit, else b."""
    raise NotImplementedError("compiled code only")


def load_at(array, at, like):
    """The entries from place `at` of a flat array on, as numbers like those of `like`, or the one there if `like` is one."""
    raise NotImplementedError("compiled code only")


def store_at(array, at, x):
    """Lanes, or a number, to place `at` of a flat array."""
    raise NotImplementedError("compiled code only")


def sqrt(x):
    """The square root."""
    raise NotImplementedError("compiled code only")


def float_bits(x):
    """The 32 bits of a number as a float32, a whole number."""
    raise NotImplementedError("compiled code only")


def bits_float(bits, like):
    """The float32 that has these 32 bits, as a number like `like`."""
    raise NotImplementedError("compiled code only")


@overload(_as_lanes, inline="always")
def _(x):
    return (lambda x: x) if isinstance(x, Lanes) else (lambda x: broadcast(x))


@overload(where_greater, inline="always")
def _(x, limit, a, b):
    if any(isinstance(kind, Lanes) for kind in (x, limit, a, b)):
        return lambda x, limit, a, b: _select_above(_as_lanes(x), _as_lanes(limit), _as_lanes(a), _as_lanes(b))
    return lambda x, limit, a, b: _select_above(x, limit, a, b)


@overload(load_at)
def _(array, at, like):
    if isinstance(like, Lanes):
        return lambda array, at, like: load(array, at, like)
    kind = {types.uint32: np.uint32, types.float32: np.float32, types.float64: np.float64}[like]
    return lambda array, at, like: kind(array[at])


@overload(store_at)
def _(array, at, x):
    if isinstance(x, Lanes):
        return lambda array, at, x: store(array, at, x)

    def assign(array, at, x):
        array[at] = x

    return assign


@overload(sqrt, inline="always")
def _(x):
    return (lambda x: _roots(x)) if isinstance(x, Lanes) else (lambda x: np.sqrt(x))


@overload(float_bits, inline="always")
def _(x):
    return (lambda x: _bits(x)) if isinstance(x, Lanes) else (lambda x: np.float32(x).view(np.uint32))


@overload(bits_float, inline="always")
def _(bits, like):
    if isinstance(bits, Lanes):
        return lambda bits, like: _floats(bits, like)
    kind = np.float32 if like == types.float32 else np.float64
    return lambda bits, like: kind(np.uint32(bits).view(np.float32))


def _operator(symbol, of_floats, of_whole):
    @intrinsic
    def operate(typingctx, a, b):
        name = of_floats if isinstance(a.number, types.Float) else of_whole
        if a != b or name is None:
            raise TypingError(f"{symbol.__name__} of {a} and {b}")

        def emit(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments)

        return a(a, b), emit

    @overload(symbol, inline="always")
    def _(a, b):
        if isinstance(a, Lanes) or isinstance(b, Lanes):
            return lambda a, b: operate(_as_lanes(a), _as_lanes(b))


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", "mul")
_operator(operator.truediv, "fdiv", None)
for symbol, instruction in ((operator.and_, "and_"), (operator.or_, "or_"), (operator.xor, "xor")):
    _operator(symbol, None, instruction)
_operator(operator.lshift, None, "shl")
_operator(operator.rshift, None, "lshr")  # of unsigned numbers
