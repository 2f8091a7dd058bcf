"""Small JSON files of a cache folder: written whole, checked when read, and named by a hash of their key."""

import hashlib
import json
from pathlib import Path

from minihire.data.dataset import Splits
from minihire.runtime.checksum import checksum, take_checksum
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import read_text, utf8, write_atomically


def read(path: Path, remedy: str, *names: str) -> dict:
    """The content of a note.

    Raises MinihireError if the file is damaged or lacks one of the entries `names`. remedy: the end of the error message, which
    says what happens after the user deleted the file.
    """
    try:
        content = json.loads(read_text(path))
        if not take_checksum(content):
            raise ValueError("its checksum differs")
        if all(name in content for name in names) and isinstance(content.get("seconds", 0), int | float):
            return content
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise MinihireError(f"{path} is damaged: delete it, {remedy}")


def write(path: Path, content: dict) -> None:
    """Write a note with a checksum. Raises ValueError for content that JSON cannot express."""
    as_read = json.loads(json.dumps(content, allow_nan=False))  # with lists for tuples and texts for keys
    text = json.dumps({**content, "checksum": checksum(as_read)}, ensure_ascii=False)
    write_atomically(path, lambda file: file.write(utf8(text)))


def digest(content) -> str:
    """A hash of plain data: 16 hexadecimal digits, independent of the order of dictionary keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(utf8(text), digest_size=8).hexdigest()


def digest_of_images(splits: Splits) -> str:
    """A hash of all training, held-out and test images and labels: 32 hexadecimal digits."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in (splits.train, splits.heldout, splits.test):
        if part is not None:
            hashed.update(part.images)
            hashed.update(part.labels)
    return hashed.hexdigest()
