"""Memory for large arrays that is used again: the system's own is handed out page by page, at a price.

A training step needs the same few hundred megabytes again and again; fresh from the system every page of them is first
cleared, which can take as long as the arithmetic. An array's memory is free again when nobody refers to it.

Memory comes from the system in chunks. Of a chunk an array takes as much as it needs, from the shortest stretch that is
free and long enough; free neighbours become one stretch again. Arrays are asked for fifty times a step, and while they
are, one thread works: so where there is such a stretch it is found without a look at the others.
"""

import threading
from bisect import bisect_left, insort
from collections import deque
from math import prod

import numpy as np

SMALL = 1 << 17  # bytes; the C library serves these well
TINY = 1 << 12  # bytes, below which it matters to nobody where an array begins
LINE = 64  # arrays begin at a cache line
STAGGER = 17 * LINE  # and no two at the same place of a page: a store to one would hold up loads from the other
TURN = 64 * STAGGER  # bytes after which places come again: 17 pages, as large arrays should be apart in other ways, too
HUGE = 1 << 21  # bytes of a huge page: memory without gaps for the second-level cache, whose places go by addresses
ADVISED = 1 << 22  # bytes from which on NumPy asks the system for huge pages
SPARE = 1.1  # how much may be held, times the most that was ever in use; more, where one array keeps a chunk from going back


class Chunk:
    """Memory from the system: bytes start … stop − 1, at a cache line both. used: the number of the last array in it."""

    __slots__ = ("memory", "start", "stop", "used")

    def __init__(self, size: int):
        self.memory = np.empty(size + 2 * LINE, np.uint8)  # its last bytes stay unused: chunks are never neighbours
        address = self.memory.__array_interface__["data"][0]
        self.start = address + -address % LINE
        self.stop = self.start + size + -size % LINE
        self.used = 0

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.stop - self.start


class Lease:
    """What an array holds of a chunk; where the last view of the array is gone, it says that the stretch is free."""

    __slots__ = ("__array_interface__", "ended", "stretch")

    def __init__(self, address, shape, dtype, stretch, ended):
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}
        self.stretch, self.ended = stretch, ended

    def __del__(self):
        self.ended.append(self.stretch)  # of a deque: at any time, in any thread


class Workspace:
    """Hands out uninitialised arrays, large ones from memory that earlier arrays have left."""

    def __init__(self):
        self.lock = threading.Lock()
        self.handed_out = 0
        self._forget()

    def _forget(self) -> None:
        """Begin anew; arrays keep their memory, which goes back to the system when they are gone."""
        self.chunks: list[Chunk] = []
        self.lengths: list[tuple[int, int]] = []  # (bytes, start) of every free stretch, in order
        self.starts: dict[int, tuple[int, Chunk]] = {}  # where it begins: (where it ends, its chunk)
        self.stops: dict[int, int] = {}  # where it ends: where it begins
        self.ended: deque[tuple[int, int, Chunk]] = deque()  # stretches that arrays have left
        self.held = self.in_use = self.most_in_use = 0  # bytes

    def empty(self, shape, dtype, huge=False) -> np.ndarray:
        """An uninitialised C-contiguous array; a large one begins at a cache line, or where asked for at a huge page.

        Ordinary pages lie wherever the system has some: of half a megabyte that is read again and again, parts then
        drive each other out of a cache of twice the size, in every other process, at up to a third of the speed.
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
                address, stretch = self._cut(size, huge)
                return np.asarray(Lease(address, shape, dtype, stretch, self.ended))
            except BaseException:  # such as Ctrl-C half-way through
                self._forget()
                raise

    def _cut(self, size, huge):
        """(address, stretch) of an array of so many bytes."""
        while self.ended:
            start, stop, chunk = self.ended.popleft()
            self.in_use -= stop - start
            self._add(start, stop, chunk)
        self.handed_out += 1
        every, place = (HUGE, 0) if huge else (TURN, self.handed_out % 64 * STAGGER)
        found = self._find(size, every, place, huge)
        if found is None and not huge:  # better at a place that others have, too, than in one more chunk
            found = self._find(size, LINE, 0, huge)
        if found is None:
            self._make_chunk(max(size + every, ADVISED if huge else 0))
            found = self._find(size, every, place, huge)
        return found[0], self._take(*found, size)

    def _find(self, size, every, place, huge):
        """(address, free stretch) of an array that begins `place` bytes after a multiple of `every`; or None."""
        for i in range(bisect_left(self.lengths, (size, 0)), len(self.lengths)):
            length, start = self.lengths[i]
            address = start + (place - start) % every
            if address + size <= start + length and not (huge and self.starts[start][1].size < ADVISED):
                return address, start
        return None

    def _take(self, address, start, size):
        """The stretch that such an array holds: what is long enough to be of use before and after it stays free."""
        stop, chunk = self._remove(start)
        end = address + size + -size % LINE
        if address - start >= SMALL:
            self._insert(start, address, chunk)
            start = address
        if stop - end >= SMALL:
            self._insert(end, stop, chunk)
            stop = end
        self.in_use += stop - start
        self.most_in_use = max(self.most_in_use, self.in_use)
        chunk.used = self.handed_out
        return start, stop, chunk

    def _add(self, start, stop, chunk):
        """A stretch is free, and one with those beside it."""
        if start in self.stops:
            start = self.stops[start]
            self._remove(start)
        if stop in self.starts:
            stop = self._remove(stop)[0]
        self._insert(start, stop, chunk)

    def _insert(self, start, stop, chunk):
        insort(self.lengths, (stop - start, start))
        self.starts[start], self.stops[stop] = (stop, chunk), start

    def _remove(self, start):
        stop, chunk = self.starts.pop(start)
        del self.stops[stop], self.lengths[bisect_left(self.lengths, (stop - start, start))]
        return stop, chunk

    def _make_chunk(self, size):
        """Get memory from the system."""
        most = max(self.most_in_use, self.in_use + size)
        self._give_back(SPARE * most - size)
        try:
            chunk = Chunk(size)
        except MemoryError:
            self._give_back(0)
            chunk = Chunk(size)
        self.most_in_use = most
        self.chunks.append(chunk)
        self.held += chunk.size
        self._insert(chunk.start, chunk.stop, chunk)

    def _give_back(self, most):
        """While more than this is held, free chunks go back to the system, those unused for longest first."""
        for chunk in sorted(self.chunks, key=lambda chunk: chunk.used):
            if self.held <= most:
                break
            if self.starts.get(chunk.start, (0,))[0] == chunk.stop:
                self._remove(chunk.start)
                self.chunks.remove(chunk)
                self.held -= chunk.size
