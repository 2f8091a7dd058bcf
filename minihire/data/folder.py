"""Reader for folders of images, one folder per class. Pillow decodes the images.

Two layouts are supported: DIR/train/CLASS/* with DIR/test/CLASS/*, or DIR/CLASS/*. In the second, a fifth of each class
becomes the test images. A folder DIR with DIR/test/CLASS/* alone has test images only, for networks that are trained already.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from backends.randomness import Draw, permutation
from minihire.data.dataset import DataError, Dataset, channel_statistics
from minihire.runtime.files import open_regular
from minihire.runtime.progress import counted, say
from minihire.runtime.random_streams import Stream

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # what Pillow may decode, whatever a file's name is
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")  # 8 bits per channel
ARCHIVE_FOLDER = "__MACOSX"  # in archives that macOS wrote: attributes of the files, no images
PARTS = {"train", "test", "val", "valid", "validation"}  # names of folders that hold parts of a data set, not classes
MAX_SIDE = 1024  # pixels
SIDE = 32  # pixels; images of different sizes are resized to it
MAX_TOTAL_BYTES = 4 * 2**30  # of all images in memory


def read(data_dir: str | os.PathLike, size: int | None = None) -> tuple[Dataset, Dataset]:
    """Return training and test images, uint8 [N, H, W, 3], sorted by class and file name.

    size: resize every image to size × size pixels; the aspect ratio is not kept. Default: keep the size that all images have, or
    resize to 32 × 32 if their sizes differ. In the layout DIR/CLASS/* the test images do not depend on the seed of a run, so
    that no network is tested on images that it was trained on. Raises DataError for a missing folder and a damaged image.
    """
    if size is not None and not 1 <= size <= MAX_SIDE:
        raise DataError(f"the image size given is {size}; give --image-size 1 to {MAX_SIDE}")
    root = Path(data_dir)
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file; give a folder that contains a folder of images for each class")
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give a folder that contains a folder of images for each class")
    try:
        classes, train, test = _list_images(root)
        train, train_labels = train
        test, test_labels = test
        images = _read_all(train + test, size)
    except BrokenPipeError:  # of standard output, not of a file
        raise
    except OSError as error:
        raise DataError(f"cannot read {error.filename or root}: {error.strerror}; check its permissions") from None
    statistics = channel_statistics(images[: len(train)] if train else images)
    return (
        Dataset("folder", images[: len(train)], np.array(train_labels, np.int64), classes, *statistics),
        Dataset("folder", images[len(train) :], np.array(test_labels, np.int64), classes, *statistics),
    )


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read one image as uint8 [H, W, 3], rotated as its EXIF data say.

    The background of transparent pixels is white. Of an animation the first frame is read. Of 16 bits per channel the higher 8
    are used. Raises DataError, naming the file, if it is not an image of FORMATS, is damaged or very large, or has pixels of
    another type.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about damaged EXIF data, for example; an image that is read is good enough
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
                grey16 = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
                if image.mode not in MODES and not grey16:
                    raise DataError(
                        f"{path} has pixels of mode {image.mode}; give images with 8 or 16 bits per channel"
                    )
                image = ImageOps.exif_transpose(image)
                if grey16:  # keep the high byte, as Pillow does with 16-bit colours
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                return np.asarray(_on_white(image))
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"the image {path} has too many pixels; make it smaller, or remove it") from None
    except OSError as error:
        unknown = f"it is not an image in one of the formats {', '.join(FORMATS)}"
        reason = unknown if isinstance(error, UnidentifiedImageError) else error.strerror or error
        raise DataError(f"cannot read the image {path}: {reason}; replace or remove it") from None
    except Exception as error:  # Pillow's decoders raise errors of many types on damaged files
        raise DataError(f"cannot read the image {path}: {error}; replace or remove it") from None


def _on_white(image: Image.Image) -> Image.Image:
    """The image in RGB on a white background, as viewers show it: the stored colour of a transparent pixel is arbitrary."""
    if not {"A", "a"} & set(image.getbands()) and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a uint8 image [H, W, 3] to [height, width, 3] by bilinear interpolation. The aspect ratio is not kept."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _list_images(root: Path):
    """Return class names, training (files, labels) and test (files, labels), all in sorted order."""
    folders = _folders(root)
    names = [folder.name for folder in folders]
    if "train" in names and _folders(root / "train"):
        if "test" not in names:
            raise DataError(
                f"{root} has a folder train but no folder test; add one, or give {root / 'train'} "
                "to use a fifth of its images as test images"
            )
        classes = _class_names(root / "train")
        unknown = sorted({folder.name for folder in _folders(root / "test")} - set(classes))
        if unknown:
            raise DataError(
                f"{root / 'test'} has the class {unknown[0]}, but {root / 'train'} does not; rename or remove it"
            )
        train, test = _labelled(root / "train", classes), _labelled(root / "test", classes)
        _say_ignored(
            root, [root / part / name for part in ("train", "test") for name in classes], {*names} - {"train", "test"}
        )
    elif names == ["test"] and len(_folders(root / "test")) > 1:
        classes, train = _class_names(root / "test"), []
        test = _labelled(root / "test", classes)
        _say_ignored(root, [root / "test" / name for name in classes])
    else:
        classes, train, test = _class_names(root), [], []
        _refuse_parts(root, classes)
        for label, name in enumerate(classes):
            paths = _images(root / name)
            if len(paths) < 2:
                raise DataError(
                    f"{root / name} contains one image; give at least two, because a fifth is used for testing"
                )
            order = permutation(Draw(0, Stream.SPLIT, 1, label), len(paths))
            chosen = set(order[: max(1, len(paths) // 5)].tolist())
            train += [(path, label) for i, path in enumerate(paths) if i not in chosen]
            test += [(path, label) for i, path in enumerate(paths) if i in chosen]
        _say_ignored(root, [root / name for name in classes])
    return classes, _columns(train), _columns(test)


def _labelled(root, classes):
    """(file, label) of each image in the folders of the classes."""
    return [(path, label) for label, name in enumerate(classes) for path in _images(root / name)]


def _columns(pairs):
    """(files, labels) of a list of pairs."""
    return tuple(zip(*pairs, strict=True)) or ((), ())


def _refuse_parts(root: Path, names: tuple[str, ...]) -> None:
    """Raise DataError if all folders have names of parts: their images are not sorted into classes."""
    if {name.lower() for name in names} <= PARTS:
        raise DataError(
            f"{root} has only the folders {', '.join(names)}, which are parts of a data set and not classes; name them train "
            f"and test, with a folder of images for each class: {root / 'train' / 'CLASS'} and {root / 'test' / 'CLASS'}"
        )


def _folders(root: Path) -> list[Path]:
    return _by_name(path for path in root.iterdir() if path.is_dir() and not _ignored(path.name))


def _by_name(paths: Iterable[Path]) -> list[Path]:
    """The paths, all of one folder, sorted by name. The order of paths themselves ignores upper and lower case on Windows."""
    return sorted(paths, key=lambda path: path.name)


def _ignored(name: str) -> bool:
    """Whether files and folders of this name are ignored: hidden ones and ARCHIVE_FOLDER."""
    return name.startswith(".") or name == ARCHIVE_FOLDER


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(folder.name for folder in _folders(root))
    for name in names:
        if name != name.encode("utf-8", "replace").decode():  # bytes that are not UTF-8; results.json has the names
            raise DataError(
                f"the name of the folder {root / name} is not valid UTF-8; rename it, because it names a class"
            )
    if len(names) < 2:
        raise DataError(
            f"{root} contains {len(names)} folder{'s' * (len(names) != 1)}; expected at least two, one folder of images for each "
            "class"
        )
    return names


def _say_ignored(root, class_folders, folders=()):
    """Say which files and folders of the class folders are not read, and which `folders` of the root."""
    found = [path for folder in class_folders for path in folder.iterdir() if not _ignored(path.name)]
    found = sorted(path for path in found if path.suffix.lower() not in SUFFIXES)
    for names, reason in (
        (sorted(folders), "only the folders train and test are read"),
        (
            [str(path.relative_to(root)) for path in found],
            f"only files {' '.join(SUFFIXES)} directly in the folder of a class are read",
        ),
    ):
        if names:
            more = ", …" if len(names) > 3 else ""
            say(f"ignored in {root}: {', '.join(names[:3])}{more} ({len(names):,} in all); {reason}")


def _images(folder: Path) -> list[Path]:
    """The image files of a class, sorted. Hidden files and files of other types are ignored."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give one with images for this class")
    paths = _by_name(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not _ignored(path.name))
    if not paths:
        raise DataError(f"{folder} contains no images ({' '.join(SUFFIXES)}); add some or remove the folder")
    return paths


def find_images(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """All image files in a folder and below it; and the folders that cannot be read, with a sentence about each.

    Links to folders are followed, and each folder is read once. Hidden files, hidden folders and ARCHIVE_FOLDER are ignored.
    """
    found: list[Path] = []
    errors: dict[Path, str] = {}

    def note(error: OSError) -> None:
        sentence = f"cannot read the folder {error.filename}: {error.strerror}; check its permissions"
        errors[Path(error.filename)] = sentence

    def is_new(place: Path) -> bool:
        known = len(seen)
        seen.add(os.path.realpath(place))
        return len(seen) > known

    seen = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, onerror=note, followlinks=True):
        # os.walk enters only those that are left
        folders[:] = [name for name in folders if not _ignored(name) and is_new(Path(place, name))]
        paths = [Path(place, name) for name in files if not _ignored(name)]
        found += [path for path in paths if path.suffix.lower() in SUFFIXES]
    return found, errors


def _read_all(paths, size: int | None) -> np.ndarray:
    """Read all images into one array, resized to size × size pixels. None: keep the size that all have, or resize to SIDE."""
    first = read_image(paths[0])
    height, width = (size, size) if size else first.shape[:2]
    too_large = height * width * 3 * len(paths) > MAX_TOTAL_BYTES
    shapes = (read_image(path).shape for path in counted(paths, "reading sizes", len(paths)))
    if too_large and size is None and any(shape != first.shape for shape in shapes):
        return _read_all(paths, SIDE)
    if too_large:
        raise DataError(
            f"{len(paths)} images of {width}x{height} pixels{'' if size else f', the size of {paths[0]},'} take more than "
            f"{MAX_TOTAL_BYTES >> 30} GiB; give a smaller --image-size"
        )
    images, resized = np.empty((len(paths), height, width, 3), np.uint8), 0
    for i, path in enumerate(counted(paths, "reading images", len(paths))):
        image = read_image(path) if i else first
        if size is None and image.shape != first.shape:
            return _read_all(paths, SIDE)
        resized += image.shape != images.shape[1:]
        images[i] = resize(image, height, width)
    if resized:
        say(
            f"images resized to {width}x{height} pixels: {resized:,} of {len(paths):,} "
            "(--image-size N, in Python size=N, chooses another size)"
        )
    return images
