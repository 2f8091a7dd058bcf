"""Fetching the public data sets: checksums compared, archives unpacked by name, files moved into place last."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from minihire.data.dataset import DataError
from minihire.data.sources import SOURCES, Remote, by_hand

TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 20
LARGEST = 400 << 20  # bytes; the largest archive has 170 MB, the largest file in one 154 MB

Progress = Callable[[int, "int | None"], None]


def show_progress(done: int, total: int | None) -> None:
    """One line on a terminal with the megabytes fetched so far; nothing where errors go to a file."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        of = f" of {total / 1e6:.0f}" if total else ""
        print(f"\r{done / 1e6:.0f}{of} MB", end=end, file=sys.stderr, flush=True)


def download(name: str, data_dir: str | os.PathLike, progress: Progress = show_progress) -> Path:
    """Fetch "cifar10", "cifar100" or "mnist" into its usual folder below `data_dir` and return that folder.

    `progress(bytes so far, bytes in all or None)` is called as they come. Raises DataError without a network, for a
    wrong checksum and for an archive that is not as expected; nothing is left behind then.
    """
    if name not in SOURCES:
        raise DataError(f"there is nothing to download for '{name}'; downloads exist for {', '.join(SOURCES)}")
    source = SOURCES[name]
    target = Path(data_dir) / source.folders[0]
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=target) as scratch:
            for remote in source.remotes:
                fetched = fetch(remote, Path(scratch), by_hand(name, data_dir), progress)
                if fetched.name.endswith(".tar.gz"):
                    unpack(fetched, source.folders[0], source.layouts[0], source.extras)
                    fetched.unlink()
            for path in sorted(Path(scratch).iterdir()):
                os.replace(path, target / path.name)
    except OSError as error:
        raise DataError(
            f"cannot write to {target}: {error.strerror or error}; give a folder with room that you may write to"
        ) from None
    return target


def fetch(remote: Remote, folder: Path, other_way: str, progress: Progress) -> Path:
    """Download one file into `folder` and check its MD5; DataError says `other_way` where the network fails."""
    path = folder / remote.url.rsplit("/", 1)[1]
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with open(path, "wb") as file:
        for block, total in _blocks(remote.url, other_way):
            file.write(block)
            digest.update(block)
            done += len(block)
            if done > LARGEST:
                raise DataError(f"{remote.url} sends more than {LARGEST >> 20} MiB, expected less; {other_way}")
            progress(done, total)
    if total is not None and done != total:
        raise DataError(f"{remote.url} broke off after {done} of {total} bytes; try again, or {other_way}")
    if digest.hexdigest() != remote.md5:
        raise DataError(
            f"{remote.url} sent {done} bytes with MD5 {digest.hexdigest()}, expected {remote.md5}: it was damaged "
            f"or replaced on the way and has been thrown away; try again, or {other_way}"
        )
    return path


def _blocks(url: str, other_way: str):
    """The bytes of a web address, block by block (an empty one last), each with the length announced, or None."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            announced = answer.headers.get("Content-Length") or ""
            total = int(announced) if announced.isdigit() else None
            while True:
                block = answer.read(BLOCK)
                yield block, total
                if not block:
                    return
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise DataError(f"cannot fetch {url} ({reason}); check the network, or {other_way}") from None


def unpack(archive: Path, inside: str, needed: tuple[str, ...], extras: tuple[str, ...]) -> None:
    """Unpack the files `inside`/NAME of a .tar.gz beside it, for the names needed and the extras, and nothing else.

    The names written are ours, never the archive's, so none can lead elsewhere. Raises DataError where one is not a
    regular file, is too large or is missing.
    """
    wanted = {f"{inside}/{name}": name for name in needed + extras}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = wanted.get(member.name.removeprefix("./"))
                if member.size > LARGEST or (name and not member.isreg()):
                    raise DataError(
                        f"{archive.name} holds {member.name[:100]} of {member.size} bytes, type {member.type!r}; "
                        f"expected regular files of at most {LARGEST >> 20} MiB: get the official archive"
                    )
                if name:
                    with open(archive.parent / name, "wb") as file:
                        shutil.copyfileobj(tar.extractfile(member), file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name} is not a whole .tar.gz archive ({error}); get the official one") from None
    missing = [name for name in needed if not (archive.parent / name).is_file()]
    if missing:
        raise DataError(f"{archive.name} lacks {', '.join(missing)} in {inside}; get the official archive")
