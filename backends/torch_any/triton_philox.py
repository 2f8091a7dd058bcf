"""Philox4x32-10 as one CUDA kernel. See backends/randomness.py."""

import torch
import triton
import triton.language as tl

from backends.randomness import MULTIPLIERS, ROUNDS, WEYL
from backends.torch_any.triton_lif import on_device_of

BLOCK = 256


@triton.jit
def _at_least(word, least):
    """Whether the upper 24 bits of a word are at least `least`: int32 0 or 1."""
    return ((word >> 8).to(tl.int32) >= least).to(tl.int32)


# Triton compiles a kernel again if an integer argument becomes 1 or a multiple of 16. These arguments change with every draw.
@triton.jit(do_not_specialize=["first", "count", "least", "step", "stream", "layer", "k0", "k1"])
def _random_bits(
    out, first, count, least, step, stream, layer, k0, k1, STEP_ON_DEVICE: tl.constexpr, BYTES: tl.constexpr,
    M0: tl.constexpr, M1: tl.constexpr, W0: tl.constexpr, W1: tl.constexpr, ROUNDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = number < count
    c0 = (number + first).to(tl.uint32)
    zero = tl.zeros_like(c0)
    if STEP_ON_DEVICE:
        step = tl.load(step)
    c1, c2, c3 = zero + tl.cast(step, tl.uint32), zero + tl.cast(stream, tl.uint32), zero + tl.cast(layer, tl.uint32)
    a, b = zero + tl.cast(k0, tl.uint32), zero + tl.cast(k1, tl.uint32)
    m0, m1 = tl.full(c0.shape, M0, tl.uint32), tl.full(c0.shape, M1, tl.uint32)
    w0, w1 = tl.full(c0.shape, W0, tl.uint32), tl.full(c0.shape, W1, tl.uint32)
    for _ in tl.static_range(ROUNDS):
        high0, low0 = tl.umulhi(c0, m0), c0 * m0
        high1, low1 = tl.umulhi(c2, m1), c2 * m1
        c0, c1, c2, c3 = high1 ^ c1 ^ a, low1, high0 ^ c3 ^ b, low0
        a, b = a + w0, b + w1
    if BYTES:  # four in a word
        bits = (
            _at_least(c0, least) | _at_least(c1, least) << 8 | _at_least(c2, least) << 16 | _at_least(c3, least) << 24
        )
        tl.store(out + number, bits, inside)
    else:
        tl.store(out + number * 4, c0.to(tl.int64), inside)
        tl.store(out + number * 4 + 1, c1.to(tl.int64), inside)
        tl.store(out + number * 4 + 2, c2.to(tl.int64), inside)
        tl.store(out + number * 4 + 3, c3.to(tl.int64), inside)


def random_bits(first: int, last: int, words, key, device) -> torch.Tensor:
    """The four 32-bit numbers of each counter first … last − 1: int64 [4·(last − first)]. words[0]: int or tensor int64 []."""
    return _fill(first, last, words, key, 0, torch.empty(4 * (last - first), dtype=torch.int64, device=device))


def at_least(first: int, last: int, words, key, least: int, device) -> torch.Tensor:
    """1 where the upper 24 bits of these numbers are at least `least`, else 0: uint8 [4·(last − first)]."""
    return _fill(first, last, words, key, least, torch.empty(last - first, dtype=torch.int32, device=device)).view(
        torch.uint8
    )


def _fill(first, last, words, key, least, out):
    count, on_device = last - first, isinstance(words[0], torch.Tensor)
    if count:
        constants = dict(M0=MULTIPLIERS[0], M1=MULTIPLIERS[1], W0=WEYL[0], W1=WEYL[1], ROUNDS=ROUNDS, BLOCK=BLOCK)
        with on_device_of(out):
            _random_bits[(triton.cdiv(count, BLOCK),)](
                out,
                first,
                count,
                least,
                *words,
                *key,
                STEP_ON_DEVICE=on_device,
                BYTES=out.dtype == torch.int32,
                **constants,
            )
    return out
