"""Whether a thread computes with subnormal numbers, those nearer to 0 than 1.2·10⁻³⁸ in float32, or takes them as zeros.

An Intel processor computes with them about ten times as slowly as with other numbers. They appear in training: where the softmax
gives a class 10⁻²⁰, the gradient is as small, and its square, which Adam computes, is subnormal.
"""

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.llvm import python_twin

AS_ZEROS = 0x8040  # bits of the control register MXCSR: subnormal results and subnormal operands are zeros
X86 = binding.get_process_triple().startswith("x86_64")


def _read_control_python():
    """The calling thread's control register for floating point; 0 on processors other than x86."""
    return 0


def _write_control_python(value):
    """Set the calling thread's control register to a value that `_read_control` returned, with or without AS_ZEROS."""


def _with_address(builder, name, value=None):
    """Call an instruction that copies the register to an address in memory, or back. Returns the number at the address."""
    number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    room = builder.alloca(number)
    builder.store(ir.Constant(number, 0) if value is None else value, room)
    if X86:
        function = builder.module.declare_intrinsic(name, (), ir.FunctionType(ir.VoidType(), [byte]))
        builder.call(function, [builder.bitcast(room, byte)])
    return builder.load(room)


@python_twin(_read_control_python)
@intrinsic
def _read_control(typingctx):
    """See `_read_control_python`."""
    return types.int32(), lambda context, builder, signature, arguments: _with_address(builder, "llvm.x86.sse.stmxcsr")


@python_twin(_write_control_python)
@intrinsic
def _write_control(typingctx, value):
    """See `_write_control_python`."""

    def emit(context, builder, signature, arguments):
        _with_address(builder, "llvm.x86.sse.ldmxcsr", arguments[0])
        return context.get_dummy_value()

    return types.void(types.int32), emit


@compiled
def takes_as_zeros():
    """Whether the calling thread takes subnormal numbers as zeros."""
    return (_read_control() & AS_ZEROS) != 0


@compiled
def take_as_zeros(wanted):
    """Whether the calling thread takes subnormal numbers as zeros from now on."""
    control = _read_control()
    _write_control(control | AS_ZEROS if wanted else control & ~AS_ZEROS)
