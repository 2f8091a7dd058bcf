"""A memory pool for large arrays.

A training step needs the same few hundred megabytes again and again. Memory that comes fresh from the system is cleared page by
page, which can take as long as the arithmetic. So memory is taken from the system in blocks of a few sizes per power of two. A
block whose array is gone goes to the list of free blocks of its size, where the next array of this size finds it. An array whose
list is empty takes a block of up to twice its size.
"""

import threading
from collections import defaultdict, deque
from math import prod

import numpy as np

SMALL = 1 << 17  # bytes; for smaller arrays the C library is fast enough
TINY = 1 << 12  # bytes; below this alignment does not matter
LINE = 64  # bytes of a cache line: arrays begin at one
STAGGER = (
    17 * LINE
)  # between the starts of blocks modulo a page: a store to one address delays loads from the same place of a page
TURN = 64 * STAGGER  # bytes after which these starts repeat
HUGE = 1 << 21  # bytes of a huge page
ADVISED = 1 << 22  # bytes of an allocation from which on NumPy asks the system for huge pages
MAX_RATIO = 2  # of the size of a free block to the size of an array that may take it
SPARE = 1.1  # memory held, at most, as a multiple of the most that was ever in use


def block_size(size: int, huge: bool) -> int:
    """The size of the block for an array of so many bytes: the next quarter of a power of two, or multiple of a huge page."""
    step = HUGE if huge else max(LINE, 1 << (size - 1).bit_length() - 3)
    return size + -size % step


class Block:
    """Memory from the system: `size` bytes from `address` on. used: the number of the last array in it."""

    __slots__ = ("address", "kind", "memory", "size", "used")

    def __init__(self, size: int, huge: bool, number: int):
        every, place = (HUGE, 0) if huge else (TURN, number % 64 * STAGGER)
        self.memory = np.empty(max(size + every, ADVISED if huge else 0), np.uint8)
        start = self.memory.__array_interface__["data"][0]
        self.address = start + (place - start) % every
        self.size, self.kind, self.used = size, (size, huge), number


class Lease:
    """What an array holds of a block. When the last view of the array is gone, the block is reported as free."""

    __slots__ = ("__array_interface__", "block", "ended")

    def __init__(self, shape, dtype, block, ended):
        data = (block.address, False)
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": data}
        self.block, self.ended = block, ended

    def __del__(self):
        self.ended.append(self.block)  # a deque: this may happen at any time, in any thread


class Workspace:
    """Hands out uninitialised arrays; large ones take the memory of earlier arrays."""

    def __init__(self):
        self.lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        """Start anew. Arrays keep their memory, which goes back to the system when they are gone."""
        self.free: dict[tuple[int, bool], list[Block]] = defaultdict(list)
        self.ended: deque[Block] = deque()  # blocks whose arrays are gone, not yet in `free`
        self.handed_out = 0
        self.held = self.in_use = self.most_in_use = 0  # bytes

    def empty(self, shape, dtype, huge=False) -> np.ndarray:
        """An uninitialised C-contiguous array; a large one begins at a cache line, or with `huge` at a huge page.

        Ordinary pages lie anywhere in memory. Of an array that is read again and again, some can then compete for the same
        places of the second-level cache, which costs up to a third of the speed in every other process.
        """
        shape, dtype = tuple(map(int, shape)), np.dtype(dtype)
        size = prod(shape) * dtype.itemsize
        if size < TINY:
            return np.empty(shape, dtype)
        if size < SMALL:
            memory = np.empty(size + LINE, np.uint8)
            return np.ndarray(shape, dtype, memory, -memory.__array_interface__["data"][0] % LINE)
        with self.lock:
            try:
                return np.asarray(Lease(shape, dtype, self._take(block_size(size, huge), huge), self.ended))
            except BaseException:  # such as Ctrl-C half-way through
                self._forget()
                raise

    def _take(self, size, huge) -> Block:
        """A block of this size: a free one, or else a new one."""
        while self.ended:
            block = self.ended.popleft()
            self.in_use -= block.size
            self.free[block.kind].append(block)
        self.handed_out += 1
        block = self._free_block(size, huge) or self._new_block(size, huge)
        block.used = self.handed_out
        self.in_use += block.size
        self.most_in_use = max(self.most_in_use, self.in_use)
        return block

    def _free_block(self, size, huge) -> Block | None:
        """A free block of this size, or else the smallest larger one up to MAX_RATIO times the size."""
        free = self.free.get((size, huge))
        if not free:
            filled = (kind for kind, blocks in self.free.items() if blocks)
            fits = [kind for kind in filled if kind[1] == huge and size < kind[0] <= MAX_RATIO * size]
            free = self.free[min(fits)] if fits else None
        return free.pop() if free else None

    def _new_block(self, size, huge) -> Block:
        """A block from the system; free blocks of other sizes are given back if too much would be held."""
        self._give_back(SPARE * max(self.most_in_use, self.in_use + size) - size)
        try:
            block = Block(size, huge, self.handed_out)
        except MemoryError:
            self._give_back(0)
            block = Block(size, huge, self.handed_out)
        self.held += size
        return block

    def _give_back(self, most) -> None:
        """Give free blocks back to the system while more than this is held, those unused for longest first."""
        if self.held > most:
            for block in sorted((b for blocks in self.free.values() for b in blocks), key=lambda block: block.used):
                self.free[block.kind].remove(block)
                self.held -= block.size
                if self.held <= most:
                    break
