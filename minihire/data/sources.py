"""The public data sets: their files' names, where to find them on disk, and where they come from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minihire.data.dataset import DataError


@dataclass(frozen=True)
class Remote:
    """One file to fetch: its address and the MD5 of its bytes in hexadecimal."""

    url: str
    md5: str


@dataclass(frozen=True)
class Source:
    """A public data set: the sets of files that make it complete (test files last), folders they may lie in below
    the one given (the first is where a download goes), its page, its remote files, and class names worth unpacking.
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
    """The folder does not hold the data set; a download may help."""


def find(name: str, data_dir: str | os.PathLike) -> list[Path]:
    """The files of a public data set, test files last, in `data_dir` or a usual folder below it.

    Raises MissingData naming the folder, the files expected and both ways to get them.
    """
    source = SOURCES[name]
    places = [Path(data_dir), *(Path(data_dir) / folder for folder in source.folders)]
    partial = ""
    for place in places:
        for layout in source.layouts:
            files = [place / file for file in layout]
            lacking = [path.name for path in files if not path.is_file()]
            if not lacking:
                return files
            if len(lacking) < len(files) and not partial:
                partial = f" ({place} has some of them but lacks {', '.join(lacking)})"
    raise MissingData(
        f"no {source.title} in {data_dir}: expected {', '.join(source.layouts[0])} there or in its folder "
        f"{source.folders[0]}{partial}; give --download to fetch them, or {by_hand(name, data_dir)}"
    )


def by_hand(name: str, data_dir: str | os.PathLike) -> str:
    """The way to get a data set without --download, as the end of a sentence."""
    source = SOURCES[name]
    files = [remote.url.rsplit("/", 1)[1] for remote in source.remotes]
    if files[0].endswith(".tar.gz"):
        return f"get {files[0]} from {source.page} and unpack it in {data_dir}"
    return f"get {', '.join(files)} from {source.page} and put them in {data_dir}"
