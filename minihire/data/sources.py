"""The public data sets: file names, folders to search, download addresses and checksums."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minihire.data.dataset import DataError


@dataclass(frozen=True)
class Remote:
    """One file to download: its URL and the MD5 of its bytes in hexadecimal."""

    url: str
    md5: str


@dataclass(frozen=True)
class Source:
    """Where a public data set comes from and what its files are called.

    layouts: alternative complete sets of files; in each, the test files come last.
    folders: folders to search below the data folder; a download goes into the first.
    page: the web page named in error messages. remotes: the files to download.
    extras: files with class names, which a download unpacks too if the archive has them.
    """

    title: str
    layouts: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...]
    page: str
    remotes: tuple[Remote, ...]
    extras: tuple[str, ...] = ()


TORONTO = "https://www.cs.toronto.edu/~kriz/"
OSSCI = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # the authors' own server is often down

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)

SOURCES = {
    "cifar10": Source(
        title="CIFAR-10",
        layouts=(
            (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
            (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
        ),
        folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
        page=TORONTO + "cifar.html",
        remotes=(Remote(TORONTO + "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        extras=("batches.meta.txt",),
    ),
    "cifar100": Source(
        title="CIFAR-100",
        layouts=(("train.bin", "test.bin"), ("train", "test")),
        folders=("cifar-100-binary", "cifar-100-python"),
        page=TORONTO + "cifar.html",
        remotes=(Remote(TORONTO + "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),),
        extras=("fine_label_names.txt", "coarse_label_names.txt"),
    ),
    "mnist": Source(
        title="MNIST",
        layouts=tuple(
            tuple(name.replace("-idx", dot + "idx") + end for name in MNIST_FILES)
            for end in ("", ".gz")
            for dot in ("-", ".")
        ),
        folders=("mnist", "MNIST/raw", "raw"),
        page=OSSCI,
        remotes=tuple(Remote(f"{OSSCI}{name}.gz", md5) for name, md5 in zip(MNIST_FILES, MNIST_MD5, strict=True)),
    ),
}


class MissingData(DataError):
    """The folder does not contain the data set. A download can provide it."""


def find_files(name: str, data_dir: str | os.PathLike) -> list[Path]:
    """Paths of a public data set's files, test files last. Searches `data_dir` and the usual folders below it.

    Raises MissingData if files are missing; the message names the folder, the expected files and both ways to get them.
    """
    source = SOURCES[name]
    folders = [Path(data_dir), *(Path(data_dir) / folder for folder in source.folders)]
    partial = ""
    for folder in folders:
        for layout in source.layouts:
            files = [folder / file for file in layout]
            missing = [path.name for path in files if not path.is_file()]
            if not missing:
                return files
            if len(missing) < len(files) and not partial:
                partial = f" ({folder} has some of them but lacks {', '.join(missing)})"
    raise MissingData(
        f"no {source.title} in {data_dir}: expected {', '.join(source.layouts[0])} there or in its folder "
        f"{source.folders[0]}{partial}; "
        f"let them be downloaded (--download or download=True), or {manual_instructions(name, data_dir)}"
    )


def manual_instructions(name: str, data_dir: str | os.PathLike) -> str:
    """How to get a data set without --download. The text ends an error message."""
    source = SOURCES[name]
    files = [remote.url.rsplit("/", 1)[1] for remote in source.remotes]
    if files[0].endswith(".tar.gz"):
        return f"get {files[0]} from {source.page} and unpack it in {data_dir}"
    return f"get {', '.join(files)} from {source.page} and put them in {data_dir}"
