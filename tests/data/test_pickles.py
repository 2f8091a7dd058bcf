"""The pickle reader: arrays and containers pass, everything else is refused unrun."""

import collections
import io
import os
import pickle
import struct

import numpy as np
import pytest

from minihire.data import DataError
from minihire.data.pickles import STAND_INS, read_pickle

# What Python 2 and the NumPy of its time wrote for {"data": uint8 [[1, 2], [3, 4]], "labels": [7, 9]}.
PYTHON2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    b"(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    b"K\x00tb\x89U\x04\x01\x02\x03\x04tbU\x06labelsq\x08]q\t(K\x07K\teu."
)


@pytest.fixture
def reading(tmp_path):
    """reading(bytes): what the reader makes of a file of these bytes."""

    def read(data, max_bytes=10**6):
        path = tmp_path / "batch"
        path.write_bytes(data)
        return read_pickle(path, max_bytes)

    return read


@pytest.fixture
def refusal(reading):
    """refusal(bytes): the sentence with which the file is refused."""

    def refuse(data, **options):
        with pytest.raises(DataError) as caught:
            reading(data, **options)
        return str(caught.value)

    return refuse


def test_a_pickle_of_python_2(reading):
    content = reading(PYTHON2)
    assert content["data"].dtype == np.uint8
    assert content["data"].tolist() == [[1, 2], [3, 4]]
    assert content["labels"] == [7, 9]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(reading, protocol, dtype, order):
    array = np.array([[1, 2, 3], [4, 5, 200]], dtype=dtype, order=order)
    written = {"a": array, "n": [1, -70000, 2**40, 1.5, None, True], "t": (1, (2,)), "s": "ü"}
    content = reading(pickle.dumps(written, protocol=protocol))
    assert content["a"].dtype == array.dtype
    np.testing.assert_array_equal(content["a"], array)
    assert content["n"] == [1, -70000, 2**40, 1.5, None, True]
    assert content["t"] == (1, (2,)) and content["s"] == "ü"


def test_arrays_of_protocol_5_come_back_as_they_were(reading):
    read_only, moved = np.arange(6, dtype=np.uint8), np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)
    read_only.flags.writeable = False
    written = {"read-only": read_only, "moved": moved, "part": np.arange(12)[::3]}
    content = reading(pickle.dumps(written, protocol=5))
    for name, array in written.items():
        np.testing.assert_array_equal(content[name], array)


FROM_BUFFER = b"\x80\x05}\x8c\x01acnumpy.core.numeric\n_frombuffer\n"
U1 = b"cnumpy\ndtype\n\x8c\x02u1\x89\x88\x87R"
TWO = b"C\x02ab"


@pytest.mark.parametrize(
    "arguments",
    [
        TWO + U1 + b"K\x03\x85\x8c\x01Ct",  # a shape larger than the bytes
        TWO + U1 + b"K\x02\x85\x8c\x01Xt",  # an unknown order
        TWO + b"\x8c\x02u1K\x02\x85\x8c\x01Ct",  # the name of a dtype
        b"\x8c\x02ab" + U1 + b"K\x02\x85\x8c\x01Ct",  # a string for the bytes
        TWO + U1 + b"K\x02\x85\x8c\x01KK\x05\x85t",  # an axis that is not there
    ],
)
def test_a_forged_array_of_protocol_5_is_refused(refusal, reading, arguments):
    good = TWO + U1 + b"K\x02\x85\x8c\x01Ct"
    assert reading(FROM_BUFFER + b"(" + good + b"Rs.")["a"].tolist() == [97, 98]
    assert "get the official file" in refusal(FROM_BUFFER + b"(" + arguments + b"Rs.")


def test_bytes_outside_of_the_file_are_refused(refusal):
    content = pickle.dumps({"a": pickle.PickleBuffer(b"ab")}, protocol=5, buffer_callback=lambda _: None)
    assert "the opcode NEXT_BUFFER" in refusal(content)
    assert "not a complete pickle" in refusal(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".")


def test_bytes_of_python_3_in_protocol_2(reading):
    assert reading(pickle.dumps({"a": b"\x00\xff"}, protocol=2))["a"] == b"\x00\xff"


class Calls:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_pickle_runs_no_command(refusal, tmp_path):
    mark = tmp_path / "mark"
    said = refusal(pickle.dumps({"data": Calls(os.system, f"touch {mark}")}, protocol=2))
    assert "posix.system" in said or "nt.system" in said
    assert "nothing in the file was run" in said
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "function, arguments",
    [
        (eval, ("1",)),
        (getattr, ("", "join")),
        (bytearray, (2**40,)),
        (np.load, ("x",)),
        (np.frombuffer, (b"12", "u1")),
        (io.open, ("x",)),
        (collections.OrderedDict, ()),
        (complex, (1, 2)),
    ],
)
def test_other_names_are_refused(refusal, protocol, function, arguments):
    assert function.__name__ in refusal(pickle.dumps({"data": Calls(function, *arguments)}, protocol=protocol))


@pytest.mark.parametrize(
    "array", [np.array([{}], object), np.zeros(2, [("a", "u1")]), np.array(["a"]), np.zeros(2, "M8[s]")]
)
def test_arrays_of_anything_but_numbers_are_refused(refusal, array):
    assert "uses the dtype" in refusal(pickle.dumps({"data": array}, protocol=2))


def test_scalars_and_masked_arrays_are_refused(refusal):
    assert "scalar" in refusal(pickle.dumps({"data": np.float64(1)}, protocol=2))
    assert "numpy.ma" in refusal(pickle.dumps({"data": np.ma.array([1])}, protocol=2))


@pytest.mark.parametrize(
    "old, new",
    [
        (b"K\x02K\x02\x86", b"K\x7fK\x7f\x86"),  # a shape larger than the bytes
        (b"U\x02u1", b"U\x02O8"),
        (b"U\x02u1", b"U\x02V4"),
        (b"U\x01|NNN", b"U\x01|NN}"),  # a dtype with fields
        (b"U\x01|NNN", b"U\x01ONNN"),
        (b"cnumpy\nndarray", b"cnumpy\nmatrix"),
        (b"cnumpy\nndarray", b"cnumpy\ndtype"),  # an admitted name in the wrong place
        (b"_reconstruct", b"scalar"),
        (b"\x89U\x04\x01\x02\x03\x04", b"\x89]"),  # a list of objects for the raw bytes
    ],
)
def test_a_forged_array_is_refused(refusal, old, new):
    assert PYTHON2.count(old) == 1
    assert "get the official file" in refusal(PYTHON2.replace(old, new))


def test_every_cut_of_a_file_is_refused(refusal):
    for size in range(len(PYTHON2)):
        assert "get the official file" in refusal(PYTHON2[:size])


def test_every_changed_byte_is_refused_or_read(reading):
    for position in range(len(PYTHON2)):
        for value in (0, 0x28, 0x62, 0x52, 0xFF):
            changed = bytearray(PYTHON2)
            changed[position] = value
            try:
                assert isinstance(reading(bytes(changed)), dict)
            except DataError as error:
                assert "get the official file" in str(error)


@pytest.mark.parametrize(
    "body, opcode",
    [
        (b"\x82\x01.", "EXT1"),
        (b"(cnumpy\ndtype\no.", "OBJ"),
        (b"(inumpy\ndtype\n.", "INST"),
        (b"cnumpy\ndtype\n)\x81.", "NEWOBJ"),
        (b"Pname\n.", "PERSID"),
        (b"L99999L\n.", "LONG"),
        (b"N" + b"r" + struct.pack("<I", 2**31) + b".", "LONG_BINPUT"),  # gigabytes of memo
    ],
)
def test_opcodes_that_are_not_needed_are_refused_with_their_position(refusal, body, opcode):
    assert f"the opcode {opcode} at byte offset" in refusal(b"\x80\x02" + body)


@pytest.mark.parametrize("name", STAND_INS)
@pytest.mark.parametrize("state", [b"}U\x01aK\x01s", b"N}U\x08__call__K\x01s\x86"])
def test_no_stand_in_can_be_changed(refusal, name, state):
    said = refusal(b"\x80\x02c" + "\n".join(name).encode() + b"\n" + state + b"b.")
    assert "a change of a callable's state" in said


def nested(container, depth, width=1):
    """A container of containers, `depth` times. With width 2, each of them contains the next one twice."""
    found = container()
    for _ in range(depth):
        found = container([found] * width)
    return found


@pytest.mark.parametrize("protocol", [2, 4])
def test_containers_nested_so_that_python_crashes_or_never_ends_are_refused(refusal, reading, protocol):
    for value in (nested(tuple, 200), (nested(tuple, 60), [])):
        assert "uses more than 50 tuples inside one another" in refusal(pickle.dumps({"a": value}, protocol))
    for value in (nested(tuple, 20, 2), nested(list, 20, 2)):
        assert "uses more than 10 references to earlier containers" in refusal(pickle.dumps({"a": value}, protocol))
    assert "more than 50 tuples" in refusal(pickle.dumps({nested(tuple, 200): 1}, protocol))
    for value in (nested(tuple, 40), nested(list, 200), nested(tuple, 5, 2)):
        assert reading(pickle.dumps({"a": value}, protocol)) == {"a": value}


@pytest.mark.parametrize("nothing", [b"(u", b"(e", b"Nb"], ids=["SETITEMS", "APPENDS", "BUILD"])
def test_a_change_by_nothing_does_not_hide_that_a_value_is_a_tuple(refusal, nothing):
    assert "more than 50 tuples" in refusal(b"\x80\x02})" + 60 * (nothing + b"\x85") + b"Ns.")


def test_no_codec_but_latin1(refusal):
    said = refusal(b"\x80\x02}U\x01ac_codecs\nencode\nX\x01\x00\x00\x00aU\x03zip\x86Rs.")
    assert "the codec" in said


def test_the_bytes_of_a_string_are_made_once(refusal, reading):
    string = b"X" + (2000).to_bytes(4, "little") + b"s" * 2000
    start, end = b"\x80\x02}U\x01a]c_codecs\nencode\nq\x00" + string + b"U\x06latin1\x86q\x01Ra", b"s."
    assert reading(start + end) == {"a": [b"s" * 2000]}
    assert "the same string many times" in refusal(start + b"h\x00h\x01Ra" * 9 + end)


@pytest.mark.parametrize("content", [[1], 3, "text", None, np.zeros(2, np.uint8)])
def test_a_pickle_of_anything_but_a_dictionary_is_refused(refusal, content):
    assert "is not a complete pickle of a dictionary" in refusal(pickle.dumps(content, protocol=2))


def test_a_key_that_is_no_string_is_refused(refusal):
    assert "a name that is a int" in refusal(pickle.dumps({1: 2}, protocol=2))


def test_a_file_too_large_is_not_read(refusal):
    assert f"has {len(PYTHON2)} bytes; expected at most 100" in refusal(PYTHON2, max_bytes=100)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot read .*nothing"):
        read_pickle(tmp_path / "nothing", 100)
