"""Image folders: one folder of images per class, read with Pillow.

Either DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*, of which a fifth becomes the test images.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from backends.randomness import Draw, Stream, permutation
from minihire.data.dataset import DataError, Dataset, channel_statistics

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff")
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")  # of 8 bits
LARGEST_SIDE = 1024
LARGEST_TOTAL = 4 * 2**30


def read(data_dir: str | os.PathLike, size: int | None = None) -> tuple[Dataset, Dataset]:
    """Training and test images uint8 [N, H, W, 3], squeezed to size × size if given, sorted by class and file name.

    The fifth of DIR/CLASS/* that becomes the test images is always the same, whatever a run's seed: a network must not
    be tested on what it was trained with. Raises DataError for a missing folder and for a damaged or odd-sized image.
    """
    if size is not None and not 1 <= size <= LARGEST_SIDE:
        raise DataError(f"the image size given is {size}; give --image-size 1 to {LARGEST_SIDE}")
    root = Path(data_dir)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the one that holds a folder of images per class")
    try:
        classes, train, test = _list_images(root)
        train, train_labels = train
        test, test_labels = test
        images = _read_all(train + test, size)
    except OSError as error:
        raise DataError(f"cannot read {error.filename or root}: {error.strerror}; check its permissions") from None
    statistics = channel_statistics(images[: len(train)])
    return (
        Dataset("folder", images[: len(train)], np.array(train_labels, np.int64), classes, *statistics),
        Dataset("folder", images[len(train) :], np.array(test_labels, np.int64), classes, *statistics),
    )


def read_image(path: Path, size: int | None = None) -> np.ndarray:
    """One image as uint8 [H, W, 3], turned upright as its EXIF data say, squeezed to size × size if given.

    Raises DataError naming the file where it is no image, damaged, of more than 8 bits a channel or absurdly large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.mode not in MODES:
                    raise DataError(f"{path} has pixels of mode {image.mode}; give images of 8 bits a channel")
                image = ImageOps.exif_transpose(image).convert("RGB")
                if size is not None and image.size != (size, size):
                    image = image.resize((size, size), Image.Resampling.BILINEAR)
                return np.asarray(image)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types on damaged files
        raise DataError(f"cannot read the image {path}: {error}; replace or remove it") from None


def _list_images(root: Path):
    """Class names, and for training and test the files and their labels, in sorted order."""
    folders = _folders(root)
    names = [folder.name for folder in folders]
    if "train" in names and _folders(root / "train"):
        if "test" not in names:
            raise DataError(
                f"{root} has a folder train but no folder test; add one, or give {root / 'train'} "
                "to have a fifth of its images set aside as test images"
            )
        classes = _class_names(root / "train")
        foreign = sorted({folder.name for folder in _folders(root / "test")} - set(classes))
        if foreign:
            raise DataError(
                f"{root / 'test'} has a class {foreign[0]} that {root / 'train'} lacks; rename or remove it"
            )
        train = [(path, k) for k, name in enumerate(classes) for path in _images(root / "train" / name)]
        test = [(path, k) for k, name in enumerate(classes) for path in _images(root / "test" / name)]
    else:
        classes, train, test = _class_names(root), [], []
        for label, name in enumerate(classes):
            paths = _images(root / name)
            if len(paths) < 2:
                raise DataError(f"{root / name} holds one image; give two or more, some to train and some to test with")
            order = permutation(Draw(0, Stream.SPLIT, 1, label), len(paths))
            chosen = set(order[: max(1, len(paths) // 5)].tolist())
            train += [(path, label) for i, path in enumerate(paths) if i not in chosen]
            test += [(path, label) for i, path in enumerate(paths) if i in chosen]
    return classes, tuple(zip(*train, strict=True)), tuple(zip(*test, strict=True))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(folder.name for folder in _folders(root))
    if len(names) < 2:
        raise DataError(f"{root} holds {len(names)} folders; expected a folder of images for each class, two or more")
    return names


def _images(folder: Path) -> list[Path]:
    """The image files of a class, sorted; files of other kinds and hidden ones are passed over."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give one with images for this class")
    paths = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not paths:
        raise DataError(f"{folder} holds no images ({' '.join(SUFFIXES)}); add some or remove the folder")
    return paths


def _read_all(paths, size: int | None) -> np.ndarray:
    """All images in one array, whose shape the first one sets."""
    first = read_image(paths[0], size)
    if first.nbytes * len(paths) > LARGEST_TOTAL:
        raise DataError(
            f"{len(paths)} images of {first.shape[1]}x{first.shape[0]} pixels as {paths[0]} take more than "
            f"{LARGEST_TOTAL >> 30} GiB; give --image-size"
        )
    images = np.empty((len(paths), *first.shape), np.uint8)
    for i, path in enumerate(paths):
        image = read_image(path, size)
        if image.shape != first.shape:
            raise DataError(
                f"{path} has {image.shape[1]}x{image.shape[0]} pixels but {paths[0]} "
                f"{first.shape[1]}x{first.shape[0]}; give --image-size to bring all to one size"
            )
        images[i] = image
    return images
