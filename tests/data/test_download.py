"""Downloads from a server on this machine: good, damaged, cut short, hostile and absent."""

import gzip
import hashlib
import io
import os
import socket
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from minihire.data import DataError, load
from minihire.data import download as module
from minihire.data.download import download
from minihire.data.sources import MNIST_FILES, SOURCES, Remote
from minihire.runtime.progress import Progress

INSIDE = "cifar-10-batches-bin"
NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def site(monkeypatch):
    """A server on 127.0.0.1: (its address, the dictionary of paths and bytes it serves, the set of paths it cuts short)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pages, cut = {}, set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = pages.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write((data or b"")[: -100 if self.path in cut else None])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", pages, cut
    server.shutdown()
    server.server_close()


def members():
    """The files of a small CIFAR-10 and what else lies in its archive."""
    rng = np.random.default_rng(0)
    files = {}
    for name in NAMES:
        data = rng.integers(0, 256, (4, 3073), dtype=np.uint8)
        data[:, 0] %= 10
        files[f"{INSIDE}/{name}"] = data.tobytes()
    names = "\n".join("abcdefghij").encode()
    return {**files, f"{INSIDE}/batches.meta.txt": names, f"{INSIDE}/readme.html": b"read me"}


def archive(files, *others):
    """A .tar.gz of files and of TarInfo members without content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in others:
            tar.addfile(info)
    return packed.getvalue()


@pytest.fixture
def offer(site, monkeypatch):
    """offer(bytes, md5=theirs): let the table of sources point to these bytes as CIFAR-10's archive."""
    address, pages, _ = site

    def serve(data, md5=None):
        pages["/cifar-10-binary.tar.gz"] = data
        remote = Remote(f"{address}/cifar-10-binary.tar.gz", md5 or hashlib.md5(data).hexdigest())
        monkeypatch.setitem(SOURCES, "cifar10", replace(SOURCES["cifar10"], remotes=(remote,)))

    return serve


def refusal(folder, name="cifar10"):
    """The sentence with which a download fails, having left no file and no new folder behind."""
    before = {*folder.rglob("*")}
    with pytest.raises(DataError) as caught:
        download(name, folder)
    assert {*folder.rglob("*")} == before
    return str(caught.value)


def test_an_archive_is_unpacked_into_its_folder(offer, tmp_path, monkeypatch, progress_shown):
    monkeypatch.setattr(module, "MEGABYTE", 1)
    packed = archive(members())
    offer(packed)
    target = download("cifar10", tmp_path / "new")
    assert target == tmp_path / "new" / INSIDE
    assert sorted(path.name for path in target.iterdir()) == sorted([*NAMES, "batches.meta.txt"])
    assert (target / "test_batch.bin").read_bytes() == members()[f"{INSIDE}/test_batch.bin"]
    assert progress_shown == {"cifar-10-binary.tar.gz": (len(packed), len(packed))}


def test_quiet_downloads_show_nothing(offer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(Progress, "quiet", True)
    offer(archive(members()))
    download("cifar10", tmp_path)
    assert capsys.readouterr() == ("", "")


def test_load_fetches_what_is_missing_once(offer, site, tmp_path):
    offer(archive(members()))
    parts = load("cifar10", tmp_path, download=True)
    assert (len(parts.train), len(parts.heldout), len(parts.test)) == (18, 2, 4)
    assert parts.train.classes == tuple("abcdefghij")
    site[1].clear()
    assert len(load("cifar10", tmp_path, download=True).test) == 4


def test_what_a_killed_download_left_is_deleted_and_a_running_one_is_left_alone(offer, tmp_path):
    offer(archive(members()))
    fcntl = pytest.importorskip("fcntl")
    dead, alive, outside, mine = (
        tmp_path / INSIDE / ".partial-dead_123",
        tmp_path / INSIDE / ".partial-alive_12",
        tmp_path / "outside",
        tmp_path / INSIDE / ".partial-backup",
    )
    for folder in (dead, alive, outside, mine):
        folder.mkdir(parents=True)
        (folder / "data_batch_1.bin").write_bytes(b"half")
    (tmp_path / INSIDE / ".partial-link_123").symlink_to(outside)
    holder = os.open(alive, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    download("cifar10", tmp_path)
    os.close(holder)
    assert not dead.exists() and (alive / "data_batch_1.bin").exists() and (outside / "data_batch_1.bin").exists()
    assert (mine / "data_batch_1.bin").exists()
    assert not list((tmp_path / INSIDE).glob(".partial-[!abl]*"))


def test_nothing_is_downloaded_without_permission(offer, tmp_path):
    offer(archive(members()))
    with pytest.raises(DataError, match="--download"):
        load("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mnist_stays_gzipped(site, monkeypatch, tmp_path):
    address, pages, _ = site
    files = {f"{name}.gz": gzip.compress(name.encode()) for name in MNIST_FILES}
    pages.update({f"/{name}": data for name, data in files.items()})
    remotes = tuple(Remote(f"{address}/{name}", hashlib.md5(data).hexdigest()) for name, data in files.items())
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], remotes=remotes))
    target = download("mnist", tmp_path)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == files
    assert target == tmp_path / "mnist"


def test_a_wrong_checksum_is_refused(offer, tmp_path):
    offer(archive(members()), md5="0" * 32)
    said = refusal(tmp_path)
    assert f"expected {'0' * 32}" in said and "was deleted" in said


def test_a_broken_off_download_is_refused(offer, site, tmp_path):
    offer(archive(members()))
    site[2].add("/cifar-10-binary.tar.gz")
    said = refusal(tmp_path)
    assert " stopped after" in said or "IncompleteRead" in said


def test_a_damaged_set_already_there_survives_a_failed_download(offer, tmp_path):
    offer(archive(members()), md5="0" * 32)
    (tmp_path / INSIDE).mkdir()
    (tmp_path / INSIDE / "test_batch.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match=f"expected {'0' * 32}"):
        download("cifar10", tmp_path)
    assert [path.name for path in (tmp_path / INSIDE).iterdir()] == ["test_batch.bin"]
    assert (tmp_path / INSIDE / "test_batch.bin").read_bytes() == b"mine"


def test_an_archive_cut_short_is_refused(offer, tmp_path):
    whole = archive(members())
    offer(whole[: len(whole) // 2])
    assert "is not a complete .tar.gz archive" in refusal(tmp_path)


@pytest.mark.parametrize(
    "data", [b"<html>gone</html>", gzip.compress(b"no tar" * 500), b""], ids=["page", "no tar", "empty"]
)
def test_a_file_that_is_no_archive_is_refused(offer, tmp_path, data):
    offer(data)
    assert "cifar-10-binary.tar.gz" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name", ["../evil.bin", "/{tmp}/evil.bin", f"{INSIDE}/../../evil.bin", f"../{INSIDE}/test_batch.bin"]
)
def test_names_that_lead_elsewhere_are_not_followed(offer, tmp_path, name):
    offer(archive({name.format(tmp=tmp_path): b"evil", **members()}))
    home = tmp_path / "deep" / "home"
    download("cifar10", home)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {f"deep/home/{INSIDE}/{file}" for file in [*NAMES, "batches.meta.txt"]}
    assert (home / INSIDE / "test_batch.bin").read_bytes() == members()[f"{INSIDE}/test_batch.bin"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_in_the_place_of_files_are_refused(offer, tmp_path, kind):
    files = members()
    del files[f"{INSIDE}/test_batch.bin"]
    info = tarfile.TarInfo(f"{INSIDE}/test_batch.bin")
    info.type, info.linkname = kind, "/etc/passwd"
    offer(archive(files, info))
    assert "expected regular files" in refusal(tmp_path)


def test_a_member_too_large_is_refused(offer, tmp_path, monkeypatch):
    offer(archive({**members(), "bomb": bytes(3 << 20)}))
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    assert "bomb of 3145728 bytes" in refusal(tmp_path)


def test_a_download_too_large_is_broken_off(offer, tmp_path, monkeypatch):
    offer(bytes(3 << 20))
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    assert "sends more than 1 MiB" in refusal(tmp_path)


def test_a_missing_member_is_named(offer, tmp_path):
    files = members()
    del files[f"{INSIDE}/data_batch_2.bin"]
    offer(archive(files))
    assert f"lacks data_batch_2.bin in {INSIDE}" in refusal(tmp_path)


def test_a_missing_page_is_one_sentence(offer, site, tmp_path):
    offer(archive(members()))
    site[1].clear()
    said = refusal(tmp_path)
    assert "Not Found" in said and "get cifar-10-binary.tar.gz from https://www.cs.toronto.edu" in said


def test_a_missing_network_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    remote = Remote(f"http://127.0.0.1:{port}/cifar-10-binary.tar.gz", "0" * 32)
    monkeypatch.setitem(SOURCES, "cifar10", replace(SOURCES["cifar10"], remotes=(remote,)))
    said = refusal(tmp_path)
    assert "refused" in said
    assert (
        f"get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it in {tmp_path}"
        in said
    )


def test_a_folder_that_cannot_be_written_is_one_sentence(offer, tmp_path):
    offer(archive(members()))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write to"):
        download("cifar10", tmp_path / "file")


@pytest.mark.parametrize("name", ["shapes", "folder", "svhn"])
def test_there_is_nothing_to_download_for_others(tmp_path, name):
    with pytest.raises(DataError, match="cannot be downloaded"):
        download(name, tmp_path)


def test_the_table_points_to_the_official_files():
    """As published: a changed character would fetch something else or refuse everything."""
    table = {remote.url.rsplit("/", 1)[1]: remote.md5 for source in SOURCES.values() for remote in source.remotes}
    assert table == {
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    assert all(remote.url.startswith("https://") for source in SOURCES.values() for remote in source.remotes)
