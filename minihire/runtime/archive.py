"""The one reader of NumPy archives (.npz), and a writer for large ones: checkpoints and the answers of attacks.

Whatever a file declares is checked before memory is used for it: names, sizes, types and shapes of the arrays. The checksum of
each array is checked while it is read, and floating-point numbers must be finite.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minihire.runtime.errors import MinihireError
from minihire.runtime.files import open_regular
from minihire.runtime.terminal import escaped

SPARE_BYTES = 256 << 20  # the arrays of a compressed archive may be larger than the file by this much
MAX_HEADER = 10_000  # bytes of the text that describes an array
MAX_NAME = 1000  # characters of an array's name
# The text that numpy.save writes; it is never evaluated. Types: floating point, integers, booleans and strings.
HEADER = re.compile(
    r"\{'descr': '([<>|=]?(?:f[248]|[iu][1248]|b1|U[1-9][0-9]{0,4}))', 'fortran_order': (True|False), "
    r"'shape': \(((?:[0-9]{1,18}, )*[0-9]{1,18},?|)\), \} *\n?"
)
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


class ArchiveError(MinihireError):
    """An archive that is damaged or that this program did not write. The message gives only the reason, not the file's name."""


def _in_words(error: Exception) -> ArchiveError:
    return ArchiveError(escaped(" ".join(str(error).split())[:80]) or type(error).__name__)


def is_array_name(text: str) -> bool:
    """Whether an archive may contain an array of this name: printable characters without \\, which zip programs turn into /."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and "\\" not in text


def write_arrays(file: BinaryIO, arrays: Iterable[tuple[str, np.ndarray[Any, Any]]]) -> None:
    """Write pairs (name, array) as `numpy.savez` does. Each array is released before the next one is asked for.

    So a generator that copies arrays from a backend needs memory for one copy only, not for all.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
            del array


def read_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """The arrays of an archive, by name.

    wanted(name): whether to read this array. An array that is not wanted needs no memory, and its bytes are not checked.
    Raises OSError if the file cannot be opened, and ArchiveError if it is damaged or declares more bytes than it may.
    """
    with open_regular(path) as file:
        try:
            with checked_zip(file, SPARE_BYTES) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                for name, info in members.items():
                    if not is_array_name(name) or info.filename == name:
                        raise ArchiveError("a member's name is not that of an array")
                return {name: _read_array(archive, name, info) for name, info in members.items() if wanted(name)}
        except DAMAGE as error:
            raise _in_words(error) from error


def checked_zip(file: BinaryIO, spare: int = 0) -> zipfile.ZipFile:
    """Open a zip archive. The declared sizes of its members may sum to at most the size of the file plus `spare` bytes.

    Raises ArchiveError for a larger sum, for two members of the same name, and for a compression other than deflate. Raises
    zipfile.BadZipFile if the file is no zip archive.
    """
    size = file.seek(0, 2)
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if len({info.filename for info in members}) < len(members):
        raise ArchiveError("two members have the same name")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
        raise ArchiveError("it is compressed in a way that this program does not use")
    declared = sum(info.file_size for info in members)
    if declared > size + spare:
        raise ArchiveError(f"its members declare {declared:,} bytes, but the file has {size:,}")
    return archive


def member_names(file: BinaryIO) -> list[str]:
    """The names of a zip archive's members. Raises ArchiveError as `checked_zip` does, and if the file is no archive."""
    try:
        with checked_zip(file, SPARE_BYTES) as archive:
            return archive.namelist()
    except DAMAGE as error:
        raise _in_words(error) from error


def checked_copy(file: BinaryIO) -> io.BytesIO:
    """Copy every member of a zip archive into a new archive in memory, after comparing the member's checksum.

    Two programs may read different contents from the same damaged archive, even if all checksums are right. A program that reads
    the copy gets the contents that were checked here. Raises ArchiveError if a checksum differs, or if the file is no archive.
    """
    copy = io.BytesIO()
    try:
        with checked_zip(file) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as new:
            for info in archive.infolist():
                new.writestr(info.filename, archive.read(info))
    except DAMAGE as error:
        raise _in_words(error) from error
    copy.seek(0)
    return copy


def _read_array(archive, name, info) -> np.ndarray:
    with archive.open(info) as member:
        start = member.read(8)
        length = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(start[6:])
        if start[:6] != b"\x93NUMPY" or length is None:
            raise ArchiveError(f"{name} is no array")
        header = int.from_bytes(member.read(length), "little")
        found = HEADER.fullmatch(member.read(header).decode("latin1")) if header <= MAX_HEADER else None
        if not found:
            raise ArchiveError(f"the type or shape of {name} is not readable")
        dtype, shape = np.dtype(found[1]), tuple(int(side) for side in found[3].split(",") if side.strip())
        count = 1
        for side in shape:
            count *= side
        if 8 + length + header + count * dtype.itemsize != info.file_size:
            raise ArchiveError(f"{name} is {dtype} {list(shape)}, but has {info.file_size:,} bytes")
        array = np.empty(shape, dtype, "F" if found[2] == "True" else "C")
        view = memoryview(array.reshape(-1, order="A").view(np.uint8)) if array.nbytes else memoryview(b"")
        filled = 0
        while filled < len(view):
            read = member.readinto(view[filled : filled + (1 << 20)])
            if not read:
                raise ArchiveError(f"{name} ends early")
            filled += read
        if member.read(1):  # the last read compares the checksum
            raise ArchiveError(f"{name} is longer than declared")
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ArchiveError(f"{name} has values that are not finite")
    return array
