"""Download of the public data sets. Files reach their folder only after their checksums were verified."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

from minihire.data.dataset import DataError
from minihire.data.sources import SOURCES, Remote, manual_instructions
from minihire.runtime.files import new_folder, temporary_folder
from minihire.runtime.progress import Progress

TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 20  # bytes read at once
MAX_BYTES = 400 << 20  # of a download or a file in an archive; the largest known archive has 170 MB
MEGABYTE = 10**6


def download(name: str, data_dir: str | os.PathLike) -> Path:
    """Download "cifar10", "cifar100" or "mnist" into its usual folder below `data_dir` and return that folder.

    Raises DataError if the network fails, a checksum differs, the archive is not as expected, or the folder is not
    writable. No partial file remains after an error; those of a killed download are deleted by the next one.
    """
    if name not in SOURCES:
        raise DataError(f"'{name}' cannot be downloaded; give one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    target = Path(data_dir) / source.folders[0]
    try:
        with new_folder(target), temporary_folder(target, ".partial-") as scratch:
            for remote in source.remotes:
                fetched = fetch(remote, scratch, manual_instructions(name, data_dir))
                if fetched.name.endswith(".tar.gz"):
                    unpack(fetched, source.folders[0], source.layouts[0], source.extras)
                    fetched.unlink()
            for path in sorted(scratch.iterdir()):
                with open(path, "rb+") as file:  # on the disk before it has its name, also after a loss of power
                    os.fsync(file.fileno())
                os.replace(path, target / path.name)
    except OSError as error:
        raise DataError(
            f"cannot write to {target}: {error.strerror or error}; give a writable folder with enough free space"
        ) from None
    return target


def fetch(remote: Remote, folder: Path, instructions: str) -> Path:
    """Download one file into `folder`, verify its MD5 and return its path.

    instructions: how to get the file by hand; error messages end with it. Raises DataError as `download` does.
    """
    path = folder / remote.url.rsplit("/", 1)[1]
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with open(path, "wb") as file, contextlib.ExitStack() as stack:
        for block, total in _blocks(remote.url, instructions):
            if done == 0:  # now the size is known, unless the server does not tell it
                progress = stack.enter_context(Progress(path.name, (total or 0) // MEGABYTE, "MB"))
            file.write(block)
            digest.update(block)
            done += len(block)
            if done > MAX_BYTES:
                raise DataError(f"{remote.url} sends more than {MAX_BYTES >> 20} MiB, expected less; {instructions}")
            progress.add(done // MEGABYTE - progress.count)
    if total is not None and done != total:
        raise DataError(
            f"the download of {remote.url} stopped after {done} of {total} bytes; try again, or {instructions}"
        )
    if digest.hexdigest() != remote.md5:
        raise DataError(
            f"{remote.url} sent {done} bytes with MD5 {digest.hexdigest()}, expected {remote.md5}: the file is damaged "
            f"or not the official one, and was deleted; try again, or {instructions}"
        )
    return path


def _blocks(url: str, instructions: str):
    """Yield (block, total) for a URL: its bytes block by block, and the announced size or None. The last block is empty."""
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
        raise DataError(f"cannot fetch {url} ({reason}); check the network, or {instructions}") from None


def unpack(archive: Path, inside: str, needed: tuple[str, ...], extras: tuple[str, ...]) -> None:
    """Unpack the `needed` and `extras` files from folder `inside` of a .tar.gz, next to the archive.

    Output paths are built from our own names, never from names in the archive, so no file can be written elsewhere.
    Raises DataError if a needed file is missing, or a file is too large or not a regular file.
    """
    wanted = {f"{inside}/{name}": name for name in needed + extras}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = wanted.get(member.name.removeprefix("./"))
                if member.size > MAX_BYTES or (name and not member.isreg()):
                    raise DataError(
                        f"{archive.name} contains {member.name[:100]} of {member.size} bytes, type {member.type!r}; "
                        f"expected regular files of at most {MAX_BYTES >> 20} MiB: get the official archive"
                    )
                if name:
                    with open(archive.parent / name, "wb") as file:
                        shutil.copyfileobj(tar.extractfile(member), file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name} is not a complete .tar.gz archive ({error}); get the official one") from None
    missing = [name for name in needed if not (archive.parent / name).is_file()]
    if missing:
        raise DataError(f"{archive.name} lacks {', '.join(missing)} in {inside}; get the official archive")
