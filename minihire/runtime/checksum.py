"""A checksum for files of JSON."""

import hashlib
import json
from typing import Any


def checksum(content: dict[str, Any]) -> str:
    """A hash of the content, by which a later reader notices a changed character."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
