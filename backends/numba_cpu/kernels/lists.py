"""Lists of events: the positions and values of the non-zero entries of an array."""

from typing import Any, NamedTuple

import numpy as np

from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.bits import event_mask, lowest_bit

# The type of array positions. For a signed one Numba tests whether it is negative, which took half of the time.
UNSIGNED = np.uint64


class Events(NamedTuple):
    """An array whose non-zero entries are to be listed; its entries are array · factor."""

    array: Any  # floats, or counts (spikes, pooled spikes): uint8
    factor: Any  # float32
    has_values: int  # 1: every event has its own value; 0: all have the same, `factor`


class EventLists(NamedTuple):
    """Lists one after the other: list i has the entries start[i] … start[i + 1] − 1."""

    index: Any  # uint16: positions
    value: Any  # float32, as long as index; or of length 1 if all events have the same value
    has_values: int
    start: Any  # int64


class ColumnLists(NamedTuple):
    """Lists of one capacity: list c has the entries c·capacity … c·capacity + lengths[c] − 1."""

    index: Any  # uint16: positions
    value: Any  # as in EventLists
    has_values: int
    lengths: Any  # int64
    capacity: int


@compiled(inline="always")
def append_events(source, at, count, scale, has_values, position, index, value, n):
    """Append the events of source[at : at + count], flat bytes or floats, to a list of n; returns its new length.

    index: `position` + the entry's distance from `at`; value: the entry times scale (has_values = 0: not written).
    """
    for first in range(0, count, 64):
        mask = event_mask(source, at + first, min(64, count - first))
        while mask != 0:
            c, end = first + lowest_bit(mask), UNSIGNED(n)
            index[end] = position + c
            if has_values:
                value[end] = scale * np.float32(source[UNSIGNED(at + c)])
            n += 1
            mask &= mask - 1
    return n


@compiled(inline="always")
def append_to_columns(source, at, count, scale, position, has_values, capacity, index, value, lengths):
    """Append `position` to the list of every non-zero entry of source[at : at + count], flat bytes or floats.

    Entry c has list c; see ColumnLists. Its value is the entry times scale (has_values = 0: not written).
    """
    for first in range(0, count, 64):
        mask = event_mask(source, at + first, min(64, count - first))
        while mask != 0:
            c = first + lowest_bit(mask)
            length = lengths[UNSIGNED(c)]
            end = UNSIGNED(c * capacity + length)
            index[end] = position
            if has_values:
                value[end] = scale * np.float32(source[UNSIGNED(at + c)])
            lengths[UNSIGNED(c)] = length + 1
            mask &= mask - 1


@compiled
def empty_values(has_values, count):
    """An array for the values of up to `count` events, or for the single value that all share."""
    return np.empty(count if has_values else 1, np.float32)
