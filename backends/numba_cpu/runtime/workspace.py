"""A memory pool for large arrays.

A training step needs the same few hundred megabytes again and again. Memory that comes fresh from the system is cleared page by
page, which can take as long as the arithmetic. So memory is taken from the system in blocks of a few sizes per power of two. A
block whose array is gone is free, and the next array of this size finds it. If there is none, a larger free block is halved until
a half would be too small. Two free halves become one block again (buddy allocation).

The sizes of a network's activations differ mostly by powers of two, so the halves of a block fit them. Without halving, the pool
needs a block for each size and holds a tenth more memory than the arrays.
"""

import threading
from collections import defaultdict, deque
from math import prod

import numpy as np

SMALL = 1 << 17  # bytes; for smaller arrays the C library is fast enough
TINY = 1 << 12  # bytes; below this alignment does not matter
LINE = 64  # bytes of a cache line: arrays begin at one
# Successive blocks start so many bytes further from the start of a page: a store delays loads from the same place of another
# page (4K aliasing). The halves of a block start at the same place of a page, which made no measurable difference to a
# training step.
STAGGER = 17 * LINE
TURN = 64 * STAGGER  # bytes, 17 pages: after 64 blocks, the starts begin again at the start of a page
HUGE = 1 << 21  # bytes of a huge page
ADVISED = 1 << 22  # bytes; NumPy asks the system for huge pages only for allocations of at least this size
# A block is halved for an array only if it is at most so many times as large as the array. Otherwise a small array that lives
# long would keep a large block divided.
MAX_RATIO = 16
# The limit of the memory that is held, as a multiple of the most that was ever in use. It can be exceeded, because only whole
# blocks are given back to the system, not those of which an array uses a part.
SPARE = 1.05


def block_size(size: int, huge: bool) -> int:
    """The size of the block for an array of `size` bytes, rounded up to one of four sizes per power of two.

    With `huge`, it is rounded up to whole huge pages.
    """
    step = HUGE if huge else max(LINE, 1 << (size - 1).bit_length() - 3)
    return size + -size % step


class Block:
    """`size` bytes from `address` on, of the memory `owner`: an array of bytes, or the block of which this is a half.

    used: the number of the last array in it; arrays are numbered in the order in which they were handed out.
    """

    __slots__ = ("address", "kind", "owner", "size", "used")

    def __init__(self, owner: "np.ndarray | Block", address: int, kind: tuple[int, bool]):
        self.owner, self.address, self.kind, self.size, self.used = owner, address, kind, kind[0], 0

    def halves(self) -> list["Block"]:
        """Two blocks in place of this one."""
        size, huge = self.size // 2, self.kind[1]
        return [Block(self, self.address + start, (size, huge)) for start in (0, size)]


def new_block(size: int, huge: bool, number: int) -> Block:
    """A block of memory from the system. The number of its first array decides where in a page it starts."""
    every, place = (HUGE, 0) if huge else (TURN, number % 64 * STAGGER)
    memory = np.empty(max(size + every, ADVISED if huge else 0), np.uint8)
    start = memory.__array_interface__["data"][0]
    return Block(memory, start + (place - start) % every, (size, huge))


class Lease:
    """The base object of an array in a block. It is freed with the last view of the array, and then reports the block as free."""

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
        self.free: dict[tuple[int, bool], dict[int, Block]] = defaultdict(dict)  # by size and address
        self.ended: deque[Block] = deque()  # blocks whose arrays are gone, not yet in `free`
        self.handed_out = 0
        self.held = self.in_use = self.most_in_use = 0  # bytes

    def empty(self, shape, dtype, huge=False) -> np.ndarray:
        """An uninitialised C-contiguous array; a large one begins at a cache line, or with `huge` at a huge page.

        Huge pages are for arrays that are read again and again. Ordinary pages lie anywhere in memory, so that some pages of
        an array can compete for the same places of the second-level cache. This cost up to a third of the speed in about
        every second process.
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
            self._release(block)
        self.handed_out += 1
        block = self._free_block(size, huge) or self._new_block(size, huge)
        block.used = self.handed_out
        self.in_use += block.size
        self.most_in_use = max(self.most_in_use, self.in_use)
        return block

    def _release(self, block) -> None:
        """Add a block to the free ones; if it is a half and the other half is free, add the whole."""
        while isinstance(whole := block.owner, Block):
            other = self.free[block.kind].pop(2 * whole.address + block.size - block.address, None)
            if other is None:
                break
            whole.used = max(block.used, other.used)
            block = whole
        self.free[block.kind][block.address] = block

    def _free_block(self, size, huge) -> Block | None:
        """The smallest free block of at least this size and at most MAX_RATIO times it, halved while a half is large enough."""
        filled = (kind for kind, blocks in self.free.items() if blocks)
        fits = [kind for kind in filled if kind[1] == huge and size <= kind[0] <= MAX_RATIO * size]
        if not fits:
            return None
        _, block = self.free[min(fits)].popitem()
        while (half := block.size // 2) >= size and half == block_size(half, huge):
            block, other = block.halves()
            other.used = block.owner.used
            self.free[other.kind][other.address] = other
        return block

    def _new_block(self, size, huge) -> Block:
        """A block from the system; free blocks are given back first if too much would be held."""
        self._give_back(SPARE * max(self.most_in_use, self.in_use + size) - size)
        try:
            block = new_block(size, huge, self.handed_out)
        except MemoryError:
            self._give_back(0)
            block = new_block(size, huge, self.handed_out)
        self.held += size
        return block

    def _give_back(self, most) -> None:
        """Give free blocks back to the system while more than this is held, those unused for longest first."""
        if self.held > most:
            whole = (b for blocks in self.free.values() for b in blocks.values() if not isinstance(b.owner, Block))
            for block in sorted(whole, key=lambda block: block.used):
                del self.free[block.kind][block.address]
                self.held -= block.size
                if self.held <= most:
                    break
