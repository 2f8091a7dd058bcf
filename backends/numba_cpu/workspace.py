"""Memory for large arrays that is used again: the system's own is handed out page by page, at a price.

A training step needs the same few hundred megabytes again and again; fresh from the system every page of them is first
cleared, which can take as long as the arithmetic. An array is free again when nobody refers to it.

Arrays are asked for fifty times a step, and while they are, one thread works: so what is known of a block is kept.
"""

import math
import sys
import threading

import numpy as np

SMALL = 1 << 17  # bytes; the C library serves these well
TINY = 1 << 12  # bytes, below which it matters to nobody where an array begins
LINE = 64  # arrays begin at a cache line
STAGGER = 17 * LINE  # and no two at the same place of a page: a store to one would hold up loads from the other
HUGE = 1 << 21  # bytes of a huge page: memory without gaps for the second-level cache, whose places go by addresses
ADVISED = 1 << 22  # bytes from which on NumPy asks the system for huge pages
SLACK = 1 << 20  # bytes at most that a block is larger than what it was made for: huge pages make them real memory
SPARE = 1.1  # how much may be held, times the most that was ever in use


class Block:
    """Memory, where it begins, and its bytes."""

    __slots__ = ("address", "memory", "size")

    def __init__(self, size):
        self.memory, self.size = np.empty(size, np.uint8), size
        self.address = self.memory.ctypes.data

    def references(self) -> int:
        """How often the memory is referred to: UNUSED times where no array lies in it."""
        return sys.getrefcount(self.memory)

    def array(self, shape, dtype, start):
        """An array that begins at this byte, and keeps the block from being free."""
        return np.ndarray(shape, dtype, self.memory, start)


UNUSED = Block(1).references()


class Workspace:
    """Hands out uninitialised arrays, large ones from memory that earlier arrays have left."""

    def __init__(self):
        self.lock = threading.Lock()  # nobody else may look for a free block until this one is taken
        self.blocks: list[Block] = []  # the one handed out longest ago first
        self.most_in_use = 0
        self.handed_out = 0

    def empty(self, shape, dtype, huge=False) -> np.ndarray:
        """An uninitialised C-contiguous array; a large one begins at a cache line, or where asked for at a huge page.

        Ordinary pages lie wherever the system has some: of half a megabyte that is read again and again, parts then
        drive each other out of a cache of twice the size, in every other process, at up to a third of the speed.
        """
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size < TINY:
            return np.empty(shape, dtype)
        if size < SMALL:
            block = Block(size + LINE)
            return block.array(shape, dtype, -block.address % LINE)
        if huge:
            size = max(size + HUGE, ADVISED)
        with self.lock:
            block = self._free_block(size)
            if block is None:
                block = Block(size + min(size // 16, SLACK) + 64 * STAGGER + LINE)
                self._drop_spare(block.size)
            self.blocks.append(block)
            self.handed_out += 1
            if huge:
                start = -block.address % HUGE
            else:
                start = -block.address % LINE + self.handed_out % 64 * STAGGER
                start = start if start + size <= block.size else -block.address % LINE
            return block.array(shape, dtype, start)

    def _free_block(self, size):
        """The smallest that is free and neither too small nor far too large, taken out of the list; or None."""
        least, most, best = size + LINE, 2 * size + 64 * STAGGER + LINE, None
        for number, block in enumerate(self.blocks):
            if least <= block.size <= most and block.references() == UNUSED:
                best, most = number, block.size - 1
        return None if best is None else self.blocks.pop(best)

    def _drop_spare(self, size):
        """Before so many bytes come to it, give back what was handed out longest ago while more is held than may be."""
        spare = [block for block in self.blocks if block.references() == UNUSED]
        held = size + sum(block.size for block in self.blocks)
        self.most_in_use = max(self.most_in_use, held - sum(block.size for block in spare))
        for block in spare:
            if held <= SPARE * self.most_in_use:
                break
            held -= block.size
            self.blocks.remove(block)
