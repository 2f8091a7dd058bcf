"""Import of optional packages."""

import importlib
from types import ModuleType

from minihire.runtime.errors import MinihireError


def require(package: str, purpose: str) -> ModuleType:
    """Import a package. Raises MinihireError if it is not installed. purpose: what needs it, for the message."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MinihireError(f"{purpose} needs the package {package}: pip install {package} ({error})") from error
