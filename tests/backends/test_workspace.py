"""Memory that is used again: never while somebody still refers to it."""

import sys
import threading

import numpy as np
import pytest

from backends.numba_cpu.workspace import ADVISED, HUGE, LINE, SMALL, SPARE, Workspace

COUNT = SMALL // 4  # floats of the smallest array that comes from the workspace


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
    assert all(block.size >= ADVISED for block in workspace.blocks)
    del array, arrays
    workspace.empty((count,), np.float32, huge=True)
    assert len(workspace.blocks) <= 3


def test_memory_is_used_again_once_it_is_free():
    workspace = Workspace()
    first = workspace.empty((2 * COUNT,), np.float32)
    del first
    second = workspace.empty((2 * COUNT - 100,), np.float32)
    assert len(workspace.blocks) == 1
    third = workspace.empty((2 * COUNT,), np.float32)
    assert len(workspace.blocks) == 2 and not np.shares_memory(second, third)


def test_a_view_keeps_its_memory():
    """However far removed: a reshaped slice of a view with another dtype."""
    workspace = Workspace()
    view = workspace.empty((8, COUNT), np.float32)[3:5].view(np.uint8).reshape(-1)[7:]
    view[:] = 9
    other = workspace.empty((8, COUNT), np.float32)
    other[:] = 1
    assert np.all(view == 9)


def test_a_large_block_does_not_serve_a_small_array():
    """It would be missed by the next large one."""
    workspace = Workspace()
    large = workspace.empty((10, COUNT), np.float32)
    del large
    small = workspace.empty((COUNT,), np.float32)
    assert small.base.size < 2 * SMALL + COUNT


def test_what_is_held_stays_near_what_was_needed_at_most():
    workspace, most = Workspace(), 0
    for factor in range(1, 40):
        held = [workspace.empty((factor, COUNT), np.float32) for _ in range(3)]
        most = max(most, sum(array.base.size for array in held))
        del held
    assert sum(block.size for block in workspace.blocks) <= SPARE * most + SMALL * 45


def test_small_arrays_come_from_numpy():
    workspace = Workspace()
    assert workspace.empty((3,), np.float32).base is None and not workspace.blocks


def test_two_threads_never_get_one_block():
    """Each fills what it was given, lets the other run, and finds it as it was."""
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
