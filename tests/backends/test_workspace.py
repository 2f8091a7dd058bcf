"""The memory pool: memory is used again, but never while an array still refers to it."""

import itertools
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.numba_cpu.runtime.workspace import HUGE, LINE, MAX_RATIO, SMALL, SPARE, TINY, TURN, Workspace, block_size

COUNT = SMALL // 4  # floats of the smallest array that comes from the pool


def free_blocks(workspace):
    """All blocks that no array holds."""
    workspace.empty((SMALL,), np.uint8)  # collects the blocks whose arrays are gone
    return [block for blocks in workspace.free.values() for block in blocks.values()]


@given(st.integers(SMALL, 1 << 40), st.booleans())
def test_blocks_are_a_little_larger_than_their_arrays(size, huge):
    block = block_size(size, huge)
    assert size <= block <= (size + HUGE if huge else 1.25 * size) and block % LINE == 0
    assert block_size(block, huge) == block and (not huge or block % HUGE == 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.uint16])
def test_arrays_are_writable_contiguous_and_begin_at_a_cache_line(dtype):
    workspace = Workspace()
    arrays = [workspace.empty((5, COUNT), dtype) for _ in range(70)]
    for number, array in enumerate(arrays):
        assert array.dtype == dtype and array.shape == (5, COUNT) and array.flags.c_contiguous
        assert array.ctypes.data % LINE == 0
        array[...] = number
    assert all(np.all(array == number) for number, array in enumerate(arrays))


@pytest.mark.parametrize("count", [COUNT, 3 * HUGE // 4, 5 * HUGE // 4 + 1])
def test_an_array_in_huge_pages_begins_with_one_and_is_memory_like_any_other(count):
    workspace = Workspace()
    arrays = [workspace.empty((count,), np.float32, huge=True) for _ in range(3)]
    for number, array in enumerate(arrays):
        assert array.shape == (count,) and array.ctypes.data % HUGE == 0
        array[...] = number
    assert all(np.all(array == number) for number, array in enumerate(arrays))
    held = workspace.held
    del array, arrays
    workspace.empty((count,), np.float32, huge=True)
    assert workspace.held == held


def test_memory_is_used_again_once_it_is_free():
    workspace = Workspace()
    first = workspace.empty((2 * COUNT,), np.float32)
    place = first.ctypes.data
    del first
    second = workspace.empty((2 * COUNT - 100,), np.float32)
    assert second.ctypes.data == place
    third = workspace.empty((2 * COUNT,), np.float32)
    assert not np.shares_memory(second, third) and third.ctypes.data != place


def test_a_free_block_is_halved_for_smaller_arrays_and_joined_again():
    workspace = Workspace()
    first = workspace.empty((8, COUNT), np.float32)
    place, held = first.ctypes.data, workspace.held
    del first
    parts = [workspace.empty((rows, COUNT), np.float32) for rows in (4, 2, 1, 1)]
    assert workspace.held == held
    assert sorted(part.ctypes.data - place for part in parts) == [0, 4 * SMALL, 6 * SMALL, 7 * SMALL]
    del parts
    assert workspace.empty((8, COUNT), np.float32).ctypes.data == place


def test_no_block_is_halved_for_an_array_much_smaller_than_it():
    """It could be in use for long, and the other half of little use."""
    workspace = Workspace()
    place = workspace.empty((2 * MAX_RATIO, COUNT), np.float32).ctypes.data
    small = workspace.empty((COUNT,), np.float32)
    assert not place <= small.ctypes.data < place + 2 * MAX_RATIO * SMALL


def test_phases_that_need_other_sizes_hold_no_more_than_one_of_them():
    """Forward and backward pass need activations whose sizes differ by powers of two."""
    workspace = Workspace()
    for _ in range(3):
        for rows in (24, 12, 6, 3):
            arrays = [workspace.empty((rows, COUNT), np.float32) for _ in range(48 // rows)]
            del arrays
    assert workspace.held == 48 * SMALL


def test_arrays_of_one_size_begin_at_different_places_of_a_page():
    """A store delays loads from the same place of another page."""
    workspace = Workspace()
    arrays = [workspace.empty((COUNT,), np.float32) for _ in range(60)]
    assert len({array.ctypes.data % 4096 for array in arrays}) == 60


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60 * SMALL), st.booleans(), st.integers(0, 5)), min_size=1, max_size=60))
def test_arrays_never_overlap_and_no_byte_is_lost(requests):
    """For any order of requests and releases; each array keeps what was written to its ends."""
    workspace, arrays = Workspace(), []
    for number, (size, huge, gone) in enumerate(requests):
        array = workspace.empty((size,), np.uint8, huge=huge)
        array[:1], array[-1:] = number, number
        arrays.append((number, array))
        del array
        if gone < len(arrays):
            del arrays[gone]
    assert all((a[:1] == n).all() and (a[-1:] == n).all() for n, a in arrays)
    ranges = sorted((a.ctypes.data, a.ctypes.data + a.size) for _, a in arrays if a.size)
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ranges))
    large = sum(a.size for _, a in arrays if a.size >= SMALL)
    free = sum(block.size for block in free_blocks(workspace))
    assert large <= workspace.in_use <= workspace.held
    arrays.clear()
    blocks = free_blocks(workspace)
    assert sum(block.size for block in blocks) + 2 * SMALL >= workspace.held >= free
    assert all(block.kind == (block.size, block.kind[1]) for block in blocks)


@pytest.mark.parametrize("sizes", [(9, 4, 6, 2, 8, 3, 7), (1, 30, 2, 20, 3, 10), (5, 5, 5)])
def test_a_step_like_the_ones_before_allocates_no_memory(sizes):
    """Arrays of many sizes, a few of them in use at a time: after a few steps the pool has all blocks."""
    workspace, held = Workspace(), []
    for _ in range(40):
        arrays = []
        for size in sizes:
            arrays.append(workspace.empty((size, COUNT), np.float32))
            del arrays[:-2]
        held.append(workspace.held)
    assert held[20] == held[-1]


def test_a_view_keeps_its_memory():
    """Also an indirect one: a reshaped slice of a view with another dtype."""
    workspace = Workspace()
    view = workspace.empty((8, COUNT), np.float32)[3:5].view(np.uint8).reshape(-1)[7:]
    view[:] = 9
    other = workspace.empty((8, COUNT), np.float32)
    other[:] = 1
    assert np.all(view == 9)


def test_memory_that_is_held_stays_near_the_peak_that_was_needed():
    workspace = Workspace()
    for factor in range(1, 40):
        held = [workspace.empty((factor, COUNT), np.float32) for _ in range(3)]
        del held
    assert workspace.held <= SPARE * workspace.most_in_use
    assert workspace.most_in_use <= 3 * 1.25 * 2 * 39 * SMALL


def test_memory_that_is_held_is_counted_when_arrays_keep_halves_of_blocks():
    """Half of a block cannot go back to the system."""
    tracemalloc.start()
    try:
        workspace, kept = Workspace(), []
        for factor in range(2, 40):
            arrays = [workspace.empty((factor, COUNT), np.float32) for _ in range(3)]
            del arrays
            if factor < 16:
                kept.append(workspace.empty((factor // 2, COUNT), np.float32))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= workspace.held + 100 * TURN


def test_a_request_that_fails_changes_nothing():
    workspace = Workspace()
    kept = workspace.empty((COUNT,), np.float32)
    kept[:] = 7
    with pytest.raises(MemoryError):
        workspace.empty((1 << 58,), np.uint8)
    assert workspace.most_in_use < 1 << 40
    others = [workspace.empty((np.int32(3), COUNT), np.float32) for _ in range(4)]
    for other in others:
        other[:] = 1
    assert np.all(kept == 7)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("where", ["_take", "_new_block", "_give_back"])
def test_an_interruption_leaves_a_workspace_that_works(monkeypatch, where, late):
    """Before or after any of its methods; arrays that were handed out keep their content."""
    method = getattr(Workspace, where)

    def interrupted(self, *arguments):
        if late:
            method(self, *arguments)
        raise KeyboardInterrupt

    workspace = Workspace()
    kept, gone = (workspace.empty((9, COUNT), np.float32) for _ in range(2))
    kept[:] = 7
    del gone
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Workspace, where, interrupted)
        workspace.empty((30, COUNT), np.float32)
    arrays = [workspace.empty((9, COUNT), np.float32) for _ in range(3)]
    for array in arrays:
        array[:] = 1
    assert np.all(kept == 7) and workspace.in_use <= workspace.held


def test_small_arrays_come_from_numpy():
    workspace = Workspace()
    assert workspace.empty((3,), np.float32).base is None
    assert workspace.empty((TINY,), np.float32).ctypes.data % LINE == 0 and workspace.held == 0


def test_threads_never_get_the_same_memory():
    """Each thread fills its array, lets the others run, and finds the array unchanged."""
    workspace, wrong, finished, before = Workspace(), [], [], sys.getswitchinterval()

    def work(number):
        for round_ in range(300):
            array = workspace.empty((40_000 + round_ % 7 * 500,), np.float32)
            array[:] = number
            if not (array == number).all():
                wrong.append(number)
        finished.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong and len(finished) == 4
