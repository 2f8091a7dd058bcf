"""Primitives that Numba cannot express, written as LLVM IR."""
