"""Memory for large arrays that is used again: the system's own is handed out page by page, at a price.

A training step needs the same few hundred megabytes again and again; fresh from the system every page of them is first
cleared, which can take as long as the arithmetic. An array is free again when nobody refers to it.
"""

import math
import sys
import threading

import numpy as np

SMALL = 1 << 17  # bytes; the C library serves these well
LINE = 64  # arrays begin at a cache line
STAGGER = 17 * LINE  # and no two at the same place of a page: a store to one would hold up loads from the other
HUGE = 1 << 21  # bytes of a huge page: memory without gaps for the second-level cache, whose places go by addresses
ADVISED = 1 << 22  # bytes from which on NumPy asks the system for huge pages
SLACK = 1 << 20  # bytes at most that a block is larger than what it was made for: huge pages make them real memory
SPARE = 1.1  # how much may be held, times the most that was ever in use


class Workspace:
    """Hands out uninitialised arrays, large ones from memory that earlier arrays have left."""

    def __init__(self):
        self.lock = threading.Lock()  # nobody else may look for a free block until this one is taken
        self.blocks: list[np.ndarray] = []  # the one handed out longest ago first
        self.most_in_use = 0
        self.handed_out = 0

    def empty(self, shape, dtype, huge=False) -> np.ndarray:
        """An uninitialised C-contiguous array; a large one begins at a cache line, or where asked for at a huge page.

        Ordinary pages lie wherever the system has some: of half a megabyte that is read again and again, parts then
        drive each other out of a cache of twice the size, in every other process, at up to a third of the speed.
        """
        dtype, shape = np.dtype(dtype), tuple(int(n) for n in shape)
        length = size = math.prod(shape) * dtype.itemsize
        if size < SMALL:
            return np.empty(shape, dtype)
        if huge:
            size = max(size + HUGE, ADVISED)
        with self.lock:
            block = self._free_block(size)
            if block is None:
                block = np.empty(size + min(size // 16, SLACK) + 64 * STAGGER + LINE, np.uint8)
                self.blocks.append(block)
                self._drop_spare(block)
            self.handed_out += 1
        if huge:
            start = -block.ctypes.data % HUGE
        else:
            start = -block.ctypes.data % LINE + self.handed_out % 64 * STAGGER
            start = start if start + size <= block.size else -block.ctypes.data % LINE
        return block[start : start + length].view(dtype).reshape(shape)

    def _free_block(self, size):
        fitting = [i for i in self._idle() if size + LINE <= self.blocks[i].size <= 2 * size + 64 * STAGGER + LINE]
        if not fitting:
            return None
        block = self.blocks.pop(min(fitting, key=lambda i: self.blocks[i].size))
        self.blocks.append(block)
        return block

    def _idle(self):
        return [i for i in range(len(self.blocks)) if sys.getrefcount(self.blocks[i]) == UNUSED]

    def _drop_spare(self, newest):
        idle = {i for i in self._idle() if self.blocks[i] is not newest}
        held = sum(block.size for block in self.blocks)
        self.most_in_use = max(self.most_in_use, held - sum(self.blocks[i].size for i in idle))
        for i in sorted(idle):
            if held <= SPARE * self.most_in_use:
                break
            held -= self.blocks[i].size
            self.blocks[i] = None
        self.blocks = [block for block in self.blocks if block is not None]


def _count_of_unused():
    blocks = [np.empty(1, np.uint8)]
    return next(sys.getrefcount(blocks[i]) for i in range(1))


UNUSED = _count_of_unused()
