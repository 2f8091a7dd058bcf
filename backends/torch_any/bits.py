"""Packing of eight spikes into a byte. It saves 7/8 of the memory of spikes that are stored for the backward pass.

Eight bytes b0 … b7, each 0 or 1, form the 64-bit number Σ bᵢ·2^(8i). Multiplied by Σ 2^(7(8−i)), every bᵢ moves to bit 56 + i
without carries, so the highest byte contains all eight. Unpacking looks up a table of 256 entries.
"""

import functools

import torch

SPREAD = sum(1 << 7 * (8 - i) for i in range(8))


def packed(counts):
    """Pack uint8 [N, M] of 0 and 1 into uint8 [N, M/8].

    The tensor must be contiguous, and M > 0 and its offset in memory must be multiples of 8.
    """
    return ((counts.view(torch.int64) * SPREAD) >> 56).to(torch.uint8)


def unpacked(found):
    """Unpack the result of `packed`: uint8 [N, M] to uint8 [N, 8·M] of 0 and 1."""
    eights = _table().index_select(0, found.reshape(-1).int())
    return eights.view(torch.uint8).view(len(found), -1)


@functools.cache
def _table():
    """For each byte, its eight bits as eight bytes in one number: int64 [256]."""
    bits = torch.arange(256, device="cpu")[:, None] >> torch.arange(8, device="cpu") & 1
    return bits.to(torch.uint8).view(torch.int64).reshape(-1)
