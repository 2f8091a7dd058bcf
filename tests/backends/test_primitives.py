"""The LLVM primitives of the Numba backend against their plain-Python twins, and all kernels run as plain Python.

Numbers are small multiples of powers of two, so sums and products are exact and the two must be equal.
"""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
from backends.numba_cpu import kernels, simd
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd import bits, gather, lanes, memory, scatter

ROOT = Path(__file__).parents[2]
FLOATS, WHOLE = (np.float32, np.float64), (np.uint32, np.uint64)
UNUSUAL = np.array(
    [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-45, 3.0e38, -(2.0**-126), 0.1, 7, -7, 2**24, 0.5, -0.25]
)
rng = np.random.default_rng(0)


def dyadic(*shape):
    """Multiples of 1/8 between −4 and 4, a third of them zero."""
    return (rng.integers(-32, 33, shape) * (rng.random(shape) < 0.67) / 8).astype(np.float32)


def same(a, b):
    """Equal type and bits, but for the sign and payload of NaN."""
    assert np.asarray(a).dtype == np.asarray(b).dtype
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@compiled
def mask_and_bit(source, at, count):
    mask = bits.event_mask(source, at, count)
    return mask, bits.lowest_bit(mask) if mask != 0 else np.int64(-1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 31, 32, 48, 63, 64])
def test_event_masks(dtype, count):
    for density in (0, 0.05, 0.5, 1):
        source = (rng.random(200) < density).astype(dtype)
        if dtype != np.uint8 and density:
            source[:64:7] = np.nan  # not zero, so an event
            source[1:64:9] = -0.0  # zero
        for at in (0, 1, 67):
            mask, bit = mask_and_bit(source, at, count)
            wanted = bits.event_mask_python(source, at, count)
            assert mask == wanted and type(wanted) is np.int64
            assert bit == (bits.lowest_bit_python(wanted) if wanted else -1)


@compiled
def gathered(width, out, at, rows, base, index, value, has_values, first, last):
    if width == 128:  # as kernels do it: each width in a branch of its own
        gather.add_rows(128, out, at, rows, base, index, value, has_values, first, last)
    elif width == 64:
        gather.add_rows(64, out, at, rows, base, index, value, has_values, first, last)
    else:
        gather.add_rows(width, out, at, rows, base, index, value, has_values, first, last)


@pytest.mark.parametrize("width", [16, 32, 64, 128])
@pytest.mark.parametrize("has_values", [0, 1])
def test_rows_are_gathered(width, has_values):
    rows, index = dyadic(40 * width), rng.integers(0, 30, 24).astype(np.uint16)
    value = dyadic(24 if has_values else 1)
    for first, last in ((0, 24), (3, 4), (5, 5), (7, 2), (1, 20)):
        a = dyadic(3 * width)
        b = a.copy()
        gathered(width, a, 5, rows, 4, index, value, has_values, first, last)
        gather.add_rows_python(width, b, 5, rows, 4, index, value, has_values, first, last)
        same(a, b)


@compiled
def gathered_taps(width, out, at, rows, base, index, value, has_values, first, last, tap_stride, line):
    gather.add_taps(width, out, at, rows, base, index, value, has_values, first, last, tap_stride, line)


@pytest.mark.parametrize("width", [16, 32])
def test_taps_are_gathered(width):
    rows, index, value = dyadic(80 * width), rng.integers(0, 40, 9).astype(np.uint16), dyadic(9)
    for first, last in ((0, 9), (4, 5), (3, 3)):
        a = dyadic(9 * 2 * width + 3)
        b = a.copy()
        gathered_taps(width, a, 3, rows, 30, index, value, 1, first, last, 2 * width, 7)
        gather.add_taps_python(width, b, 3, rows, 30, index, value, 1, first, last, 2 * width, 7)
        same(a, b)


@compiled
def scattered(width, out, at, line, rows, base, source, first, pixel_stride, scale, masks, pixels):
    scatter.add_line(width, out, at, line, rows, base, source, first, pixel_stride, scale, masks, pixels)


@pytest.mark.parametrize("width", [8, 16, 32, *([64] if gather.HAS_AVX512 else [])])
@pytest.mark.parametrize("pixels", [0, 1, 2, 7])
def test_lines_are_scattered(width, pixels):
    channels, taps = 64, gather.taps_for(width)
    rows, source = dyadic((channels * taps + 3) * width), dyadic(pixels * 70 + 80)
    masks = np.array([bits.event_mask_python(source, 2 + x * 70, channels) for x in range(pixels)], np.int64)
    if pixels > 1:
        masks[1] = 0
    line = (pixels + 2) * width
    a = dyadic(taps // 3 * line + 5)
    b = a.copy()
    scattered(width, a, 5, line, rows, 2, source, 2, 70, np.float32(0.5), masks, pixels)
    scatter.add_line_python(width, b, 5, line, rows, 2, source, 2, 70, np.float32(0.5), masks, pixels)
    same(a, b)


@compiled
def moved(out, at, stride, source, start, source_stride):
    memory.transpose16(out, at, stride, source, start, source_stride)
    memory.prefetch((out, source), 10**6)  # far beyond the ends: no fault


@compiled
def copied(width, out, at, source, start):
    memory.copy_row(width, out, at, source, start)


def test_blocks_are_transposed_and_rows_copied():
    source = dyadic(16 * 21 + 40)
    a = dyadic(16 * 19 + 9)
    b = a.copy()
    moved(a, 4, 19, source, 7, 21)
    memory.transpose16_python(b, 4, 19, source, 7, 21)
    memory.prefetch_python((b, source), 10**6)
    same(a, b)
    for width in (8, 16, 32, 64):
        copied(width, a, 3, source, 5)
        memory.copy_row_python(width, b, 3, source, 5)
        same(a, b)


@compiled
def through_vectors(numbers, out, number):
    """Everything that lanes.py does with floats; out [9, 16]."""
    x = lanes.load(numbers, 0, lanes.broadcast(number))
    y = lanes.broadcast(number)
    lanes.store(out, 0, x + y)
    lanes.store(out, 16, x - y)
    lanes.store(out, 32, x * number)
    lanes.store(out, 48, number / x)
    lanes.store(out, 64, lanes.where_greater(x, y, y, x))
    lanes.store(out, 80, lanes.sqrt(x))
    lanes.store(out, 96, lanes.bits_float(lanes.float_bits(x), y))
    lanes.store(out, 112, lanes.add_product(y, x, number))
    lanes.store_at(out, 128, lanes.load_at(numbers, 0, y))
    lanes.store_at(out, 129, lanes.load_at(numbers, 2, number))
    return lanes.sum_lanes(x)


def through_arrays(numbers, out, number):
    """The same with the Python twins: NumPy arrays have the operators."""
    x, y = lanes.load_python(numbers, 0, lanes.broadcast_python(number)), lanes.broadcast_python(number)
    for i, result in enumerate(
        (
            x + y,
            x - y,
            x * number,
            number / x,
            lanes.where_greater(x, y, y, x),
            lanes.sqrt(x),
            lanes.bits_float(lanes.float_bits(x), y),
            lanes.add_product_python(y, x, number),
            lanes.load_at(numbers, 0, y),
        )
    ):
        lanes.store_python(out, 16 * i, result)
    lanes.store_at(out, 129, lanes.load_at(numbers, 2, number))
    return lanes.sum_lanes_python(x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
def test_vectors_of_floats(dtype):
    for numbers in (dyadic(16).astype(dtype), UNUSUAL.astype(dtype), np.arange(1, 17, dtype=dtype) / 3):
        a, b = np.zeros(150, dtype), np.zeros(150, dtype)
        same(dtype(through_vectors(numbers, a, dtype(0.5))), dtype(through_arrays(numbers, b, dtype(0.5))))
        same(a, b)


@pytest.mark.parametrize("dtype", WHOLE)
def test_vectors_of_integers(dtype):
    one, number = dtype(1), dtype(np.iinfo(dtype).max - 3)
    a, small_a = np.zeros(48, dtype), rng.integers(0, 8, 16).astype(np.uint8)
    b, small_b = a.copy(), small_a.copy()

    @compiled
    def through_vectors(number, one, out, small):
        x, y = lanes.arange(number), lanes.broadcast(number)
        lanes.store(out, 0, (x + y) ^ (x << one))
        lanes.store(out, 16, (x - y) * x | y)
        lanes.store(out, 32, (x & y) >> lanes.load(small, 0, y))
        lanes.store(small, 0, x)

    through_vectors(number, one, a, small_a)
    x, y = lanes.arange_python(number), lanes.broadcast_python(number)
    lanes.store_python(b, 0, (x + y) ^ (x << one))
    lanes.store_python(b, 16, (x - y) * x | y)
    lanes.store_python(b, 32, (x & y) >> lanes.load_python(small_b, 0, y))
    lanes.store_python(small_b, 0, x)
    same(a, b)
    same(small_a, small_b)


def test_every_primitive_stands_next_to_its_twin():
    """A public function of simd/ that plain Python cannot run is named in this file, and so is its twin."""
    source = Path(__file__).read_text()
    twins = 0
    for info in pkgutil.iter_modules(simd.__path__):
        module = importlib.import_module(f"{simd.__name__}.{info.name}")
        tree = ast.parse(Path(module.__file__).read_text())
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            decorators = {getattr(d, "id", getattr(getattr(d, "func", None), "id", None)) for d in node.decorator_list}
            assert "intrinsic" not in decorators or "python_twin" in decorators, node.name
            if "python_twin" in decorators:
                twin = getattr(module, f"{node.name}_python")
                assert twin.__doc__ and f"{node.name}_python" in source, node.name
                twins += 1
    assert twins >= 14


@pytest.mark.slow
def test_all_kernels_run_as_plain_python(tmp_path):
    """With NUMBA_DISABLE_JIT=1, for a debugger or for coverage; numbers are those of the compiled kernels, up to rounding."""
    results = []
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": str(ROOT)}
        out = tmp_path / f"{disabled}.npz"
        command = [
            sys.executable,
            "-W",
            "ignore::RuntimeWarning",
            str(Path(__file__).with_name("kernel_calls.py")),
            str(out),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(dict(np.load(out)))
    machine_code, plain = results
    assert machine_code.keys() == plain.keys() and len(machine_code) > 25
    for name, array in machine_code.items():
        assert np.any(array != 0), name
        np.testing.assert_allclose(plain[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_calls_name_every_kernel():
    source, missing = Path(__file__).with_name("kernel_calls.py").read_text(), []
    for info in pkgutil.iter_modules(kernels.__path__):
        module = importlib.import_module(f"{kernels.__name__}.{info.name}")
        for name, value in vars(module).items():
            if getattr(value, "targetoptions", {}).get("parallel") and f"{info.name}.{name}(" not in source:
                missing.append(f"{info.name}.{name}")
    assert missing == []
