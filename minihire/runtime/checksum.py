"""A checksum for files of JSON."""

import hashlib
import json
from typing import Any


def checksum(content: dict[str, Any]) -> str:
    """A hash of the content, by which a later reader notices a changed character."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def take_checksum(content: dict[str, Any]) -> bool:
    """Remove the entry "checksum". Whether it is right; files of earlier versions have none, which counts as right."""
    return content.pop("checksum", None) in (None, checksum(content))
