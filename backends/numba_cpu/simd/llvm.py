"""Helpers to emit LLVM IR, and the switch from primitives to their Python twins."""

from llvmlite import ir
from numba import config

INT = ir.IntType(64)


def python_twin(twin):
    """Decorator of a primitive. With NUMBA_DISABLE_JIT=1 its name stands for `twin`, which does the same in plain Python."""
    return lambda primitive: twin if config.DISABLE_JIT else primitive


def data_pointers(context, builder, signature, arguments):
    """pointer(i): the address of the data of argument i, an array."""
    return lambda i: context.make_array(signature.args[i])(context, builder, arguments[i]).data


def vector_address(context, builder, kind, array, at, width):
    """The address of entry `at` of an array of this Numba type, as a pointer to a vector of `width` entries."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), ir.VectorType(data.type.pointee, width).as_pointer())


def internal_function(module, name, result, values, write):
    """A function of the LLVM module with arguments like `values`; `write(builder, *arguments)` emits its body, once.

    It is not inlined: LLVM would otherwise compile its loops again for every caller and every constant argument.
    """
    if name not in module.globals:
        function = ir.Function(module, ir.FunctionType(result, [value.type for value in values]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        write(ir.IRBuilder(function.append_basic_block()), *function.args)
    return module.globals[name]


def load_row(builder, address):
    """The vector at an address that is a multiple of 4 bytes."""
    row = builder.load(address)
    row.align = 4
    return row


def broadcast(builder, number, vector):
    """A vector of this type with the number in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    all_lane_0 = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    lane = builder.insert_element(undefined, number, ir.Constant(INT, 0))
    return builder.shuffle_vector(lane, undefined, all_lane_0)


def add_product(builder, total, row, scales):
    """total + row · scales. "contract" allows a fused multiply-add, which rounds once instead of twice."""
    product = builder.fmul(row, scales, flags=("contract",))
    return builder.fadd(total, product, flags=("contract",))
