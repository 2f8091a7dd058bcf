"""Eight spikes in a byte, and back: an eighth of the memory while they wait for the backward pass.

Eight bytes b0 … b7 of 0 and 1 are one 64-bit number, Σ bᵢ·2^(8i). Times Σ 2^(7(8−i)) each bᵢ arrives, without carries, at
bit 56 + i: the highest byte is the eight of them. The way back is a table of the 256 numbers.
"""

import functools

import torch

SPREAD = sum(1 << 7 * (8 - i) for i in range(8))


def packed(counts):
    """uint8 [N, M/8] of 0 and 1 in uint8 [N, M], contiguous; M > 0 and where it begins in memory are multiples of 8."""
    return ((counts.view(torch.int64) * SPREAD) >> 56).to(torch.uint8)


def unpacked(found):
    """uint8 [N, 8·M] of 0 and 1 of what `packed` made, [N, M]."""
    eights = _table().index_select(0, found.reshape(-1).int())
    return eights.view(torch.uint8).view(len(found), -1)


@functools.cache
def _table():
    """The eight bytes of each byte's bits as one number: int64 [256]."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return bits.to(torch.uint8).view(torch.int64).reshape(-1)
