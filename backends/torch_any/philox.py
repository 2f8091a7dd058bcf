"""The random numbers of backends/randomness.py on torch tensors, bit-identical.

Torch has no unsigned 64-bit product. The int64 product of two 32-bit numbers may overflow, but its bits are correct. A mask
gives the low half; a shift and a mask give the high half.
"""

import torch

from backends.randomness import MULTIPLIERS, ROUNDS, UNIFORM_STEP, WEYL
from backends.torch_any.fused import obstacle

LOW = 0xFFFFFFFF
BLOCK = 1 << 16  # counters per part, so that all words of a part fit in the cache of a CPU


def _philox(counter, words, key):
    c0, (c1, c2, c3), (k0, k1) = counter, words, key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32 & LOW) ^ c1 ^ k0, p1 & LOW, (p0 >> 32 & LOW) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return torch.stack((c0, c1, c2, c3), dim=1).reshape(-1)


def random_bits(draw, count: int, first: int, device) -> torch.Tensor:
    """Numbers first … first + count − 1 of a draw: 32 bits each, as int64 [count]. draw.step: an int or a tensor int64 []."""
    words, key, a, b = _place(draw, count, first)
    if _fused(device):
        from backends.torch_any import triton_philox

        return triton_philox.random_bits(a, b, words, key, device)[first % 4 : first % 4 + count]
    bits = torch.empty((b - a) * 4, dtype=torch.int64, device=device)
    for part, found in _parts(a, b, words, key, device):
        bits[part] = found
    return bits[first % 4 : first % 4 + count]


def _parts(a, b, words, key, device):
    """Yield (slice, numbers) for the counters a … b − 1, in parts of BLOCK counters."""
    for start in range(a, b, BLOCK):
        stop = min(start + BLOCK, b)
        found = _philox(torch.arange(start, stop, device=device), words, key)
        yield slice((start - a) * 4, (stop - a) * 4), found


def _place(draw, count, first):
    """Return the other three counter words, the key, and the first and last + 1 counter of the numbers."""
    words = [n & LOW for n in (draw.step, int(draw.stream), draw.layer)]
    return words, (draw.seed & LOW, draw.seed >> 32 & LOW), first // 4, (first + count + 3) // 4


def _fused(device):
    return obstacle(str(device)) is None


def at_least(draw, count: int, first: int, least: int, device) -> torch.Tensor:
    """1 where the 24 bits that `uniform` uses are at least `least`, else 0: uint8 [count]."""
    words, key, a, b = _place(draw, count, first)
    if _fused(device):
        from backends.torch_any import triton_philox

        enough = triton_philox.at_least(a, b, words, key, least, device)
    else:
        enough = torch.empty((b - a) * 4, dtype=torch.uint8, device=device)
        for part, found in _parts(a, b, words, key, device):
            torch.ge(found, least << 8, out=enough[part].view(torch.bool))
    return enough[first % 4 : first % 4 + count]


def uniform(draw, count: int, first: int, device) -> torch.Tensor:
    """Uniform numbers in [0, 1): float32 [count]."""
    return (random_bits(draw, count, first, device) >> 8).to(torch.float32).mul_(float(UNIFORM_STEP))
