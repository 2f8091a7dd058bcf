"""The reader of NumPy archives: arrays come back as they were; damage and false declarations are refused before use."""

import io
import struct
import tracemalloc
import weakref
import zipfile

import numpy as np
import pytest

from minihire.runtime.archive import ArchiveError, checked_copy, is_array_name, read_arrays, write_arrays

HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"


def npy(descr="<f4", shape="(2,)", data=bytes(8), header=None, version=b"\x01\x00"):
    """The bytes of a .npy file with this header."""
    text = (HEADER.format(descr, shape) if header is None else header).encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def archive(path, **members):
    """Write a zip archive of these bytes."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def write_one_by_one(path, **arrays):
    """`write_arrays` with the arguments of `numpy.savez`."""
    with open(path, "wb") as file:
        write_arrays(file, arrays.items())


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed, write_one_by_one])
def test_arrays_come_back_as_they_were(tmp_path, write):
    arrays = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3),
        "big": np.arange(3, dtype=">f8"),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 4), np.uint16),
        "scalar": np.array(3),
        "text": np.array("κ, of an attack"),
        "a/b.c": np.array([True, False]),
    }
    write(tmp_path / "x.npz", **arrays)
    found = read_arrays(tmp_path / "x.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].flags.f_contiguous == array.flags.f_contiguous
        np.testing.assert_array_equal(found[name], array)


def test_each_array_is_written_and_released_before_the_next_one_is_made():
    made = []

    def arrays():
        for name in "abc":
            assert all(reference() is None for reference in made)
            array = np.arange(9.0)
            made.append(weakref.ref(array))
            yield name, array
            del array

    write_arrays(io.BytesIO(), arrays())
    assert len(made) == 3


def test_an_array_that_is_not_wanted_is_not_read(tmp_path):
    path = archive(tmp_path / "x.npz", good=npy(), bad=npy(data=bytes(7)))
    assert read_arrays(path, wanted=lambda name: name == "good").keys() == {"good"}


FALSE = {
    "a shape of 10^20": npy(shape=f"({10**20},)"),
    "a shape of 2^40": npy(shape=f"({2**40},)"),
    "many large sides": npy(shape=f"({', '.join(['9' * 18] * 30)})"),
    "a negative side": npy(shape="(-2,)"),
    "a shape that is a list": npy(shape="[2]"),
    "fewer bytes": npy(data=bytes(7)),
    "more bytes": npy(data=bytes(9)),
    "objects": npy(descr="|O", data=b""),
    "complex": npy(descr="<c8", shape="(1,)"),
    "fields": npy(header="{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }"),
    "nested": npy(header="(" * 5000),
    "text of no length": npy(descr="<U0", shape="(1000000000000,)", data=b""),
    "many digits": npy(header=HEADER.format("<f4", "(" + "1" * 5000)),
    "code": npy(header="__import__('os').abort()"),
    "a string that is not closed": npy(header="{'descr': '<f4"),
    "a header that is cut": npy()[:40],
    "no header": b"",
    "another magic": b"\x92" + npy()[1:],
    "another version": npy(version=b"\x09\x00"),
    "not a number": npy(data=struct.pack("<2f", 1, np.nan)),
    "infinite": npy(data=struct.pack("<2f", 1, -np.inf)),
}


@pytest.mark.parametrize("content", FALSE.values(), ids=FALSE)
def test_false_declarations_are_refused(tmp_path, content):
    with pytest.raises(ArchiveError) as caught:
        read_arrays(archive(tmp_path / "x.npz", good=npy(), bad=content))
    assert "\n" not in str(caught.value)


def test_every_flipped_bit_is_refused_or_harmless(tmp_path):
    file = io.BytesIO()
    np.savez(file, weight=np.arange(20, dtype=np.float32), meta=np.frombuffer(b"{}", np.uint8))
    content, path = file.getvalue(), tmp_path / "x.npz"
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            found = read_arrays(path)
        except ArchiveError:
            continue
        if found.keys() == {"weight", "meta"}:
            np.testing.assert_array_equal(found["weight"], np.arange(20, dtype=np.float32))
            assert found["meta"].tobytes() == b"{}"


@pytest.mark.parametrize("declared", [True, False])
def test_a_large_member_is_refused_before_it_takes_memory(tmp_path, declared):
    """declared: by the list of members; otherwise the array is larger than its member says."""
    path = tmp_path / "x.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("zeros.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy(shape=f"({(300 << 20) // 4},)", data=b""))
        for _ in range(300 if declared else 1):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="declare" if declared else "zeros is float32"):
        read_arrays(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\u202eb", "a\\b", "a\nb", "", "a" * 1001])
def test_a_name_that_could_deceive_is_refused(tmp_path, name):
    with pytest.raises(ArchiveError, match="a member's name"):
        read_arrays(archive(tmp_path / "x.npz", **{name: npy()}))
    assert not is_array_name(name)


@pytest.mark.parametrize("name", ["größe.weight", "β1", "C:conv", "層", "a" * 1000])
def test_names_in_any_language_are_read(tmp_path, name):
    assert is_array_name(name) and [*read_arrays(archive(tmp_path / "x.npz", **{name: npy()}))] == [name]


def test_two_members_of_the_same_name_are_refused(tmp_path):
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("a.npy", npy())
        file.writestr("a.npy", npy())
    with pytest.raises(ArchiveError, match="the same name"):
        read_arrays(tmp_path / "x.npz")


def test_other_compressions_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.npy", npy())
    with pytest.raises(ArchiveError, match="compressed"):
        read_arrays(tmp_path / "x.npz")


def test_the_checked_copy_has_the_members_whose_checksums_are_right(tmp_path):
    path = archive(tmp_path / "x.zip", a=bytes(100), b=bytes(100))
    with open(path, "rb") as file, zipfile.ZipFile(checked_copy(file)) as copy:
        assert [copy.read(name) for name in copy.namelist()] == [bytes(100)] * 2
    content = bytearray(path.read_bytes())
    content[content.rindex(bytes(100)) + 50] ^= 1
    with pytest.raises(ArchiveError, match=r"Bad CRC-32 for file 'b\.npy'"):
        checked_copy(io.BytesIO(content))
    with pytest.raises(ArchiveError, match="not a zip file"):
        checked_copy(io.BytesIO(b"PK"))


def test_reasons_have_no_control_characters(tmp_path):
    path = archive(tmp_path / "x.zip", **{"a\x1b[2J": bytes(100)})
    content = bytearray(path.read_bytes())
    content[content.rindex(bytes(100)) + 50] ^= 1
    with pytest.raises(ArchiveError) as raised:
        checked_copy(io.BytesIO(content))
    assert "\x1b" not in str(raised.value)
