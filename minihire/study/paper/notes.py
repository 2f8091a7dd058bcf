"""The cache's small files: JSON, written whole, read with suspicion, named by a hash of what they are about."""

import hashlib
import json
from pathlib import Path

from minihire.data.dataset import Splits
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically


def read(path: Path, remedy: str, *names: str) -> dict:
    """A note that has these entries. Raises MinihireError where it is damaged: `remedy` says what follows when it is deleted."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if all(name in content for name in names) and isinstance(content.get("seconds", 0), int | float):
            return content
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    raise MinihireError(f"{path} is damaged: delete it, {remedy}")


def write(path: Path, content: dict) -> None:
    """Write a note; what JSON does not know is a ValueError."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    write_atomically(path, lambda file: file.write(text.encode()))


def digest(content) -> str:
    """16 hexadecimal digits that plain data go by."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def digest_of_images(splits: Splits) -> str:
    """32 hexadecimal digits that images and labels go by, training, held-out and test."""
    found = hashlib.blake2b(digest_size=16)
    for part in (splits.train, splits.heldout, splits.test):
        if part is not None:
            found.update(part.images)
            found.update(part.labels)
    return found.hexdigest()
