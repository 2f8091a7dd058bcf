"""Pack CIFAR-10 into lossless WebP images: 100 MB instead of 184, for machines with a limit on transfers.

python -m benchmarks.gpu_jobs.pack DATA_DIR PACKED [--part-size 55]      write folders PACKED/part0, PACKED/part1, …
python -m benchmarks.gpu_jobs.pack --unpack PACKED DATA_DIR              restore the files of CIFAR-10

PACKED may contain the parts as folders or all their files directly. --part-size is in MiB.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.command import run
from minihire.app.flags import Parser
from minihire.data import cifar
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically

SHEET = (50, 100)  # rows and columns of images in one WebP file
BATCH = 10_000  # images per file of CIFAR-10
SIDE = 32


def pack(folder: Path, packed: Path, size: int) -> None:
    """Write CIFAR-10 from `folder` as sheets into parts of at most `size` bytes each, below `packed`."""
    part, free = -1, 0
    for split, images in zip(("train", "test"), cifar.read("cifar10", folder), strict=True):
        each = SHEET[0] * SHEET[1]
        pieces = [(f"{split}_labels.bin", images.labels.astype(np.uint8).tobytes())]
        for number in range(-(-len(images) // each)):
            pieces.append((f"{split}_{number}.webp", sheet(images.images[number * each : (number + 1) * each])))
        for name, content in pieces:
            if len(content) > free:
                part, free = part + 1, size
                (packed / f"part{part}").mkdir(parents=True, exist_ok=True)
            (packed / f"part{part}" / name).write_bytes(content)
            free -= len(content)
            print(f"part{part}/{name}: {len(content):,} bytes")


def sheet(images: np.ndarray) -> bytes:
    """The bytes of a WebP file with images uint8 [n, 32, 32, 3] in a grid; unused places are black."""
    rows, columns = SHEET
    grid = np.zeros((rows * columns, SIDE, SIDE, 3), np.uint8)
    grid[: len(images)] = images
    picture = grid.reshape(rows, columns, SIDE, SIDE, 3).swapaxes(1, 2).reshape(rows * SIDE, columns * SIDE, 3)
    Image.fromarray(picture).save(file := io.BytesIO(), "webp", lossless=True, quality=80, method=4)
    return file.getvalue()


def unpack(packed: Path, folder: Path) -> None:
    """Write CIFAR-10's binary files from the sheets in `packed`. Raises MinihireError if a sheet is missing."""
    target = folder / "cifar-10-batches-bin"
    for split in ("train", "test"):
        labels = [*packed.glob(f"{split}_labels.bin"), *packed.glob(f"part*/{split}_labels.bin")]
        sheets = {
            int(p.stem.split("_")[1]): p for pattern in ("", "part*/") for p in packed.glob(f"{pattern}{split}_*.webp")
        }
        if not labels or sorted(sheets) != list(range(len(sheets))):
            raise MinihireError(
                f"{packed} does not contain all sheets of CIFAR-10's {split} images: copy every part there"
            )
        numbers = np.frombuffer(labels[0].read_bytes(), np.uint8)
        pixels = np.concatenate([images(sheets[i]) for i in range(len(sheets))])
        if len(pixels) < len(numbers):
            raise MinihireError(
                f"{packed} has only {len(pixels)} of {len(numbers)} {split} images: copy every part there"
            )
        records = np.concatenate([numbers[:, None], pixels[: len(numbers)]], axis=1)
        names = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
        for number, name in enumerate(names):
            each = BATCH if split == "test" or len(records) == 5 * BATCH else -(-len(records) // len(names))
            batch = records[number * each : (number + 1) * each].tobytes()
            write_atomically(target / name, lambda file, batch=batch: file.write(batch))
    text = "\n".join(cifar.CLASSES["cifar10"]) + "\n"
    write_atomically(target / "batches.meta.txt", lambda file: file.write(text.encode()))


def images(path: Path) -> np.ndarray:
    """A sheet's images in the order of CIFAR-10's files: uint8 [n, 3072], reds first."""
    try:
        picture = np.asarray(Image.open(path).convert("RGB"))
    except (OSError, ValueError) as error:  # Pillow's error for an unknown format is an OSError
        raise MinihireError(f"{path} is damaged: copy it again") from error
    rows, columns = (n // SIDE for n in picture.shape[:2])
    return picture.reshape(rows, SIDE, columns, SIDE, 3).transpose(0, 2, 4, 1, 3).reshape(rows * columns, cifar.PIXELS)


def main(arguments=None) -> None:
    """Pack or unpack."""
    p = Parser("python -m benchmarks.gpu_jobs.pack", description=__doc__)
    p.add_argument("source", type=Path, metavar="FROM")
    p.add_argument("target", type=Path, metavar="TO")
    p.add_argument("--unpack", action="store_true", help="from sheets to CIFAR-10's binary files")
    p.add_argument("--part-size", type=int, default=55, metavar="MIB", help="largest part when packing (default: 55)")
    options = p.parse_args(arguments)
    if options.part_size < 10:
        raise MinihireError("--part-size must be 10 or more, because a sheet has about 8 MiB")
    if options.unpack:
        unpack(options.source, options.target)
    else:
        pack(options.source, options.target, options.part_size << 20)


if __name__ == "__main__":
    sys.exit(run(main))
