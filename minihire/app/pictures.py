"""Image files and folders as the input of a command. It notes why one cannot be read, and reads the others."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minihire.data.dataset import DataError
from minihire.data.folder import SUFFIXES, find_images, read_image, resize
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import counted, say

GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue, as in Pillow


class Pictures(NamedTuple):
    """The files that were given. images: uint8 [N, H, W, C], those of the N readable files, in the order of `paths`."""

    paths: list[Path]  # the files, and the folders that cannot be read
    images: np.ndarray
    errors: dict[Path, str]  # of the other paths: why they cannot be read

    def rows(self, found: list[dict]) -> list[dict]:
        """One row for each path. found: the results of the readable ones; the others have an "error" instead."""
        results = iter(found)
        return [
            {"image": str(path)} | ({"error": self.errors[path]} if path in self.errors else next(results))
            for path in self.paths
        ]


def open_pictures(given: list[Path], shape: tuple[int, int, int]) -> Pictures:
    """Read the given image files, and those in the given folders, as images of this shape (H, W, C). C is 3, or 1 for grey.

    Says how many of them were resized. Raises MinihireError for a path that does not exist, and for a folder without images.
    """
    (paths, errors), images, resized = list_files(given), [], 0
    height, width, channels = shape
    if channels not in (1, 3):
        raise MinihireError(
            f"this network needs {channels} channels, image files have 1 or 3: call network.predict in Python"
        )
    readable = [path for path in paths if path not in errors]
    for path in counted(readable, "reading images", len(readable)):
        try:
            image = read_image(path)
        except DataError as error:
            errors[path] = str(error)
            continue
        resized += image.shape[:2] != (height, width)
        image = resize(image, height, width)
        images.append(image if channels == 3 else np.round(image @ GREY)[..., None].astype(np.uint8))
    if resized:
        size = f"{width}x{height} pixels, the size that the network needs"
        say(f"images resized to {size}: {resized:,} of {len(images):,}")
    return Pictures(paths, np.stack(images) if images else np.empty((0, *shape), np.uint8), errors)


def list_files(given: list[Path]) -> tuple[list[Path], dict[Path, str]]:
    """The image files that were given and those in folders that were given, each once; and sentences about unreadable folders.

    Such a folder is among the paths, too. Raises MinihireError for a path that does not exist, and for a folder without images.
    """
    found: list[Path] = []
    errors: dict[Path, str] = {}
    for path in given:
        if not _exists(path):
            raise MinihireError(f"there is no file or folder {path}: give image files, or folders of them")
        inside, unreadable = find_images(path) if os.path.isdir(path) else ([path], {})
        if not inside and not unreadable:
            raise MinihireError(f"the folder {path} contains no images ({' '.join(SUFFIXES)}): give another one")
        found += sorted([*inside, *unreadable])
        errors |= unreadable
    return list(dict.fromkeys(found)), errors


def _exists(path):
    """Whether a path exists. Also True if its folder cannot be read: then reading the path will say so."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True
