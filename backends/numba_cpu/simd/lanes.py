"""Vectors of 16 neighbouring entries of an array; the operators of single numbers work on them.

The compiler does not vectorise a loop over many arrays that also computes sums, because the arrays might overlap. It vectorises
several loops over two or three arrays each, but then every loop reads its arrays from the cache again. With explicit vectors, one
loop is enough:

    zeros = broadcast(zero)
    m = load(u, i, zeros) * leak + load(current, i, zeros)        entries i … i + 15 of each array
    store(u, i, m - where_greater(m, v, v, zeros))

Vectors support + − · / & | ^ << >>; a number among the operands stands for 16 equal ones. Every operation rounds as it does
for single numbers, except `add_product`. `where_greater`, `load_at`, `store_at`, `sqrt`, `float_bits` and `bits_float` accept
single numbers as well, so that the same lines serve the remainder at an array's end.

In compiled code a vector is a value of the Numba type `Lanes`, which LLVM keeps in one or more registers. In the Python twins
it is a NumPy array of 16 entries.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core.cgutils import get_or_insert_function
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, overload, register_model

from backends.numba_cpu.simd import llvm
from backends.numba_cpu.simd.llvm import python_twin

LANES = 16
INDEX = ir.IntType(32)


class Lanes(types.Type):
    """The Numba type of LANES numbers of one type: float32, float64 or an integer."""

    def __init__(self, number):
        self.number = number
        super().__init__(f"{LANES} lanes of {number}")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _vector_type(manager.lookup(kind.number).get_value_type()))


def _vector_type(number):
    return ir.VectorType(number, LANES)


def _broadcast(builder, number):
    return llvm.broadcast(builder, number, _vector_type(number.type))


def _pointer(context, builder, kind, array, at):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


# ---------------------------------------------------------------- making, loading and storing vectors


def broadcast_python(number):
    """The number in every lane."""
    return np.full(LANES, number, np.asarray(number).dtype)


@python_twin(broadcast_python)
@intrinsic
def broadcast(typingctx, number):
    """See `broadcast_python`."""
    if not isinstance(number, (types.Float, types.Integer)):
        raise TypingError(f"lanes hold numbers, not {number}")

    return Lanes(number)(number), lambda context, builder, signature, arguments: _broadcast(builder, arguments[0])


def arange_python(number):
    """The integers number, number + 1, … number + LANES − 1."""
    return np.arange(LANES, dtype=np.asarray(number).dtype) + number


@python_twin(arange_python)
@intrinsic
def arange(typingctx, number):
    """See `arange_python`."""

    def emit(context, builder, signature, arguments):
        return builder.add(
            _broadcast(builder, arguments[0]), ir.Constant(_vector_type(arguments[0].type), list(range(LANES)))
        )

    return Lanes(number)(number), emit


def sum_lanes_python(lanes):
    """The sum of all lanes: one half is added to the other until one number is left, so the order is fixed."""
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


@python_twin(sum_lanes_python)
@intrinsic
def sum_lanes(typingctx, lanes):
    """See `sum_lanes_python`."""

    def emit(context, builder, signature, arguments):
        (vector,), size = arguments, LANES
        while size > 1:
            size //= 2
            halves = []
            for first in (0, size):
                order = ir.Constant(ir.VectorType(INDEX, size), list(range(first, first + size)))
                halves.append(builder.shuffle_vector(vector, vector, order))
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, ir.Constant(INDEX, 0))

    return lanes.number(lanes), emit


def _check(array, lanes):
    if array.dtype not in (lanes.number, types.uint8, types.uint16, types.uint32) or array.layout != "C":
        raise TypingError(
            f"lanes of {lanes.number} need C-contiguous arrays of {lanes.number} or of unsigned integers, not {array}"
        )


def load_python(array, at, like):
    """Entries at … at + LANES − 1 (flat positions) of a C-contiguous array, converted to the type of the vector `like`."""
    return array.reshape(-1)[at : at + LANES].astype(like.dtype)


@python_twin(load_python)
@intrinsic
def load(typingctx, array, at, like):
    """See `load_python`."""
    _check(array, like)
    size = array.dtype.bitwidth // 8

    def emit(context, builder, signature, arguments):
        place = _pointer(context, builder, array, *arguments[:2])
        vector = builder.load(builder.bitcast(place, _vector_type(place.type.pointee).as_pointer()))
        vector.align = size
        if array.dtype == like.number:
            return vector
        convert = builder.uitofp if isinstance(like.number, types.Float) else builder.zext
        return convert(vector, arguments[2].type)

    return like(array, types.intp, like), emit


def store_python(array, at, lanes):
    """Write a vector to flat positions at … at + LANES − 1 of a C-contiguous array. Integer arrays take the lowest bits."""
    array.reshape(-1)[at : at + LANES] = lanes.astype(array.dtype)


@python_twin(store_python)
@intrinsic
def store(typingctx, array, at, lanes):
    """See `store_python`."""
    _check(array, lanes)
    size = array.dtype.bitwidth // 8

    def emit(context, builder, signature, arguments):
        place, vector = _pointer(context, builder, array, *arguments[:2]), arguments[2]
        if array.dtype != lanes.number:
            convert = builder.fptoui if isinstance(lanes.number, types.Float) else builder.trunc
            vector = convert(vector, _vector_type(place.type.pointee))
        builder.store(vector, builder.bitcast(place, vector.type.as_pointer())).align = size
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), emit


# ---------------------------------------------------------------- arithmetic


def add_product_python(sums, lanes, number):
    """sums + lanes · number. Compiled code may round once instead of twice (a fused multiply-add)."""
    return sums + lanes * number


@python_twin(add_product_python)
@intrinsic
def add_product(typingctx, sums, lanes, number):
    """See `add_product_python`."""
    if sums != lanes or number != lanes.number:
        raise TypingError(
            f"add_product needs sums and lanes of one type and a number of the type of one lane, not {sums}, {lanes}, {number}"
        )

    def emit(context, builder, signature, arguments):
        sums, lanes, number = arguments
        return llvm.add_product(builder, sums, lanes, _broadcast(builder, number))

    return sums(sums, lanes, number), emit


@intrinsic
def _where_greater(typingctx, x, limit, a, b):
    def emit(context, builder, signature, arguments):
        x, limit, a, b = arguments
        return builder.select(builder.fcmp_ordered(">", x, limit), a, b)

    return x(x, limit, a, b), emit


@intrinsic
def _sqrt(typingctx, x):
    def emit(context, builder, signature, arguments):
        vector = arguments[0].type
        kind = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}[vector.element]
        call = get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), f"llvm.sqrt.v{LANES}{kind}")
        return builder.call(call, arguments)

    return x(x), emit


@intrinsic
def _float_bits(typingctx, x):
    def emit(context, builder, signature, arguments):
        vector, kind = arguments[0], _vector_type(ir.FloatType())
        return builder.bitcast(vector if vector.type == kind else builder.fptrunc(vector, kind), _vector_type(INDEX))

    return Lanes(types.uint32)(x), emit


@intrinsic
def _bits_float(typingctx, bits, like):
    def emit(context, builder, signature, arguments):
        vector, kind = builder.bitcast(arguments[0], _vector_type(ir.FloatType())), arguments[1].type
        return vector if vector.type == kind else builder.fpext(vector, kind)

    return like(bits, like), emit


# ---------------------------------------------------------------- functions of vectors and of numbers
#
# A function with an `overload` is its own Python twin: plain Python runs its body, compiled code the overload.


def where_greater(x, limit, a, b):
    """a where x > limit, else b."""
    return np.where(x > limit, a, b)[()]


def load_at(array, at, like):
    """LANES entries of a flat array from position `at` on, or the entry there if `like` is a number; of `like`'s type."""
    return load_python(array, at, like) if np.ndim(like) else like.dtype.type(array[at])


def store_at(array, at, x):
    """Write a vector, or a number, to position `at` of a flat array."""
    if np.ndim(x):
        store_python(array, at, x)
    else:
        array[at] = x


def sqrt(x):
    """The square root."""
    return np.sqrt(x)


def float_bits(x):
    """Convert a number, or each lane, to float32 and return its 32 bits as a uint32."""
    return np.asarray(x, np.float32).view(np.uint32)[()]


def bits_float(bits, like):
    """The float32 that has these 32 bits, converted to the type of `like`."""
    return np.asarray(bits, np.uint32).view(np.float32).astype(np.asarray(like).dtype)[()]


def _as_lanes(x):
    raise NotImplementedError("compiled code only: in plain Python NumPy broadcasts numbers")


@overload(_as_lanes, inline="always")
def _(x):
    return (lambda x: x) if isinstance(x, Lanes) else (lambda x: broadcast(x))


@overload(where_greater, inline="always")
def _(x, limit, a, b):
    if any(isinstance(kind, Lanes) for kind in (x, limit, a, b)):
        return lambda x, limit, a, b: _where_greater(_as_lanes(x), _as_lanes(limit), _as_lanes(a), _as_lanes(b))
    return lambda x, limit, a, b: _where_greater(x, limit, a, b)


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
    return (lambda x: _sqrt(x)) if isinstance(x, Lanes) else (lambda x: np.sqrt(x))


@overload(float_bits, inline="always")
def _(x):
    return (lambda x: _float_bits(x)) if isinstance(x, Lanes) else (lambda x: np.float32(x).view(np.uint32))


@overload(bits_float, inline="always")
def _(bits, like):
    if isinstance(bits, Lanes):
        return lambda bits, like: _bits_float(bits, like)
    kind = np.float32 if like == types.float32 else np.float64
    return lambda bits, like: kind(np.uint32(bits).view(np.float32))


# ---------------------------------------------------------------- operators


def _operator(symbol, for_floats, for_integers):
    """Implement a Python operator for vectors. for_floats, for_integers: names of LLVM instructions; None: not supported."""

    @intrinsic
    def operate(typingctx, a, b):
        name = for_floats if isinstance(a.number, types.Float) else for_integers
        if a != b or name is None:
            raise TypingError(f"{symbol.__name__} is not supported for {a} and {b}")

        def emit(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments)

        return a(a, b), emit

    @overload(symbol, inline="always")
    def _(a, b):
        if isinstance(a, Lanes) or isinstance(b, Lanes):
            return lambda a, b: operate(_as_lanes(a), _as_lanes(b))


if not config.DISABLE_JIT:
    _operator(operator.add, "fadd", "add")
    _operator(operator.sub, "fsub", "sub")
    _operator(operator.mul, "fmul", "mul")
    _operator(operator.truediv, "fdiv", None)
    for symbol, instruction in ((operator.and_, "and_"), (operator.or_, "or_"), (operator.xor, "xor")):
        _operator(symbol, None, instruction)
    _operator(operator.lshift, None, "shl")
    _operator(operator.rshift, None, "lshr")  # logical: lanes of integers are unsigned
