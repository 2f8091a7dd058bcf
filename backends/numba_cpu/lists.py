"""Lists of events: where the entries of an array are that are not zero, and what they are.

From bytes (spikes, pooled spikes) eight entries are looked at at once: their bits, gathered into one number, name a row
of a table that holds the positions of those bits. From floats one by one, without a branch.
"""

import numpy as np
from numba import njit, types
from numba.extending import overload, register_jitable

POSITIONS = np.zeros((256, 8), np.uint16)  # the positions of the bits that are set in 0 … 255
for _mask in range(256):
    _bits = [bit for bit in range(8) if _mask >> bit & 1]
    POSITIONS[_mask, : len(_bits)] = _bits
BITS = np.array([bin(mask).count("1") for mask in range(256)])
ONES, SEVENS = np.uint64(0x0101010101010101), np.uint64(0x7F7F7F7F7F7F7F7F)
GATHER = np.uint64(0x0102040810204080)  # times bytes that are 0 or 1: their bits, in order, in the highest byte
BYTE, SEVEN, TOP = np.uint64(0xFF), np.uint64(7), np.uint64(56)
SLACK = 8  # entries beyond the last that a list must have room for


@register_jitable
def event_mask(word):
    """Bit i is set where byte i of the word is not zero; bytes are at most 128."""
    return np.int64(((((word + SEVENS) >> SEVEN) & ONES) * GATHER) >> TOP)


@register_jitable
def byte_at(word, position):
    """Byte `position` of a word."""
    return np.int64((word >> np.uint64(8 * position)) & BYTE)


def append_events(row, scale, each, position, index, value, n):
    """Append the events of a row of floats, or of words of eight bytes, to a list of n; returns its new length.

    index: `position` + where the entry lies in the row; value: the entry, times scale for bytes (each = 0: not written,
    as all are the same).
    """
    raise NotImplementedError("for compiled code only")


@overload(append_events, inline="always")
def _append_events(row, scale, each, position, index, value, n):
    def from_floats(row, scale, each, position, index, value, n):
        for i in range(len(row)):  # a zero is overwritten by what follows
            index[n] = position + i
            value[n] = row[i]
            n += row[i] != 0
        return n

    def from_words(row, scale, each, position, index, value, n):
        for i in range(len(row)):
            word, place = row[i], np.uint16(position + 8 * i)
            mask = event_mask(word)
            for k in range(8):  # whatever the number of events: the rest is overwritten by what follows
                index[n + k] = POSITIONS[mask, k] + place
            before, n = n, n + BITS[mask]
            if each:
                for e in range(before, n):
                    value[e] = scale * np.float32(byte_at(word, np.int64(index[e]) - np.int64(place)))
        return n

    return from_words if row.dtype == types.uint64 else from_floats


def list_columns(row, scale, each, place, room, index, value, found):
    """Append `place` to the list of every entry of a row (floats or words) that is not zero.

    The list of entry c begins at c·room of index and value and holds found[c] events.
    """
    raise NotImplementedError("for compiled code only")


@overload(list_columns)
def _list_columns(row, scale, each, place, room, index, value, found):
    def from_floats(row, scale, each, place, room, index, value, found):
        for c in range(len(row)):
            at = c * room + found[c]
            index[at] = place
            value[at] = row[c]
            found[c] += row[c] != 0

    def from_words(row, scale, each, place, room, index, value, found):
        for w in range(len(row)):
            mask = event_mask(row[w])
            for k in range(BITS[mask]):
                byte = np.int64(POSITIONS[mask, k])
                c = w * 8 + byte
                at = c * room + found[c]
                index[at] = place
                if each:
                    value[at] = scale * np.float32(byte_at(row[w], byte))
                found[c] += 1

    return from_words if row.dtype == types.uint64 else from_floats


@njit(cache=True)
def value_room(each, count):
    """An array for the values of up to `count` events, or for the one that they share."""
    return np.empty(count + SLACK if each else 1, np.float32)
