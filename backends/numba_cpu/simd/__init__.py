"""The few operations that Numba cannot express, written as LLVM IR.

Each primitive `name` stands next to `name_python`, a plain-Python function that does the same: read that one first. A test
compares the two. With NUMBA_DISABLE_JIT=1 the Python functions take the primitives' place, so that all kernels run as plain
Python, for a debugger or to measure coverage.

    lanes.py      vectors of 16 numbers with the operators of single ones; load, store, select, square root, bits
    bits.py       a bit mask of the non-zero entries of up to 64 neighbours, and its lowest set bit
    gather.py     add the rows of a matrix that a list names; the sums stay in registers
    scatter.py    add a line of pixels to all outputs of a 3×3 convolution that read it; the sums stay in registers
    memory.py     copy rows, transpose 16×16 blocks, prefetch
    llvm.py       helpers to emit LLVM IR
"""
