"""MNIST's idx files, plain and gzipped, whole and damaged."""

import gzip
import struct

import numpy as np
import pytest

from minihire.data import DataError, load, mnist
from minihire.data.sources import MNIST_FILES


def idx(magic, array, *sizes):
    """The bytes of an idx file; `sizes` replace the array's own in the header."""
    sizes = sizes or array.shape
    return struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + array.tobytes()


def contents(train=30, test=10):
    """Images and labels of a small MNIST, and its four files' bytes."""
    rng = np.random.default_rng(0)
    arrays, files = [], {}
    for count, names in ((train, MNIST_FILES[:2]), (test, MNIST_FILES[2:])):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        arrays.append((images, labels))
        files[names[0]], files[names[1]] = idx(2051, images), idx(2049, labels)
    return arrays, files


def write(folder, files, zipped=False, dot="-"):
    """The files in a folder, named as they are or as some copies are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        name = name.replace("-idx", f"{dot}idx")
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data, 1) if zipped else data)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw"])
def test_images_and_labels_come_as_they_are(tmp_path, zipped, dot, below):
    arrays, files = contents()
    write(tmp_path / below, files, zipped, dot)
    for data, (images, labels) in zip(mnist.read(tmp_path), arrays, strict=True):
        assert data.shape == (28, 28, 1) and data.classes == tuple("0123456789")
        assert (data.mean, data.std) == ((0.1307,), (0.3081,))
        np.testing.assert_array_equal(data.images[..., 0], images)
        np.testing.assert_array_equal(data.labels, labels)


def test_load_splits_it(tmp_path):
    write(tmp_path, contents()[1])
    parts = load("mnist", tmp_path, train_limit=20, test_limit=4)
    assert [len(part) for part in (parts.train, parts.heldout, parts.test)] == [20, 3, 4]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "name, change, said",
    [
        (0, lambda data: data[:-1], "announces 30 entries, 23536 bytes in all, but ends at byte offset 23535"),
        (0, lambda data: data + b"\0", "but contains more"),
        (0, lambda data: data[:10], "ends after 10 bytes, within its header of 16"),
        (0, lambda data: b"", "ends after 0 bytes"),
        (0, lambda data: struct.pack(">I", 2049) + data[4:], "magic 2049"),
        (0, lambda data: idx(2051, np.zeros((30, 28 * 28), np.uint8), 30, 56, 14), r"shape \[56, 14\]"),
        (0, lambda data: data[:4] + struct.pack(">I", 60_001) + data[8:], "60001 entries"),
        (2, lambda data: data[:4] + struct.pack(">I", 10_001) + data[8:], "1 to 10000 entries"),
        (0, lambda data: data[:4] + struct.pack(">I", 0) + data[8:16], "0 entries"),
        (0, lambda data: data[:4] + struct.pack(">I", 2**32 - 1) + data[8:], "4294967295 entries"),
        (1, lambda data: data[:8] + b"\0" * 4 + b"\x0a" + data[13:], "label 10 at record 4, byte offset 12"),
        (1, lambda data: idx(2049, np.zeros(29, np.uint8)), "has 30 images, but .* has 29 labels"),
    ],
)
def test_damaged_files_are_refused_with_the_damage_named(tmp_path, zipped, name, change, said):
    files = contents()[1]
    files[MNIST_FILES[name]] = change(files[MNIST_FILES[name]])
    write(tmp_path, files, zipped)
    with pytest.raises(DataError, match=said) as caught:
        mnist.read(tmp_path)
    assert MNIST_FILES[name] in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-9],
        lambda data: data[:200],
        lambda data: b"no gzip at all",
        lambda data: data[:-8] + b"\0" * 8,  # its checksum
    ],
)
def test_a_damaged_gzip_is_refused(tmp_path, change):
    write(tmp_path, contents()[1], zipped=True)
    path = tmp_path / f"{MNIST_FILES[0]}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=f"{MNIST_FILES[0]}.gz"):
        mnist.read(tmp_path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    """50 MB behind a small announced size: refused without taking them into memory."""
    import tracemalloc

    files = contents()[1]
    write(tmp_path, files, zipped=True)
    (tmp_path / f"{MNIST_FILES[0]}.gz").write_bytes(gzip.compress(files[MNIST_FILES[0]] + bytes(50 << 20), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match="but contains more"):
        mnist.read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20


def test_missing_files_are_named_with_both_ways_out(tmp_path):
    with pytest.raises(DataError) as caught:
        mnist.read(tmp_path)
    said = str(caught.value)
    assert f"no MNIST in {tmp_path}" in said and "--download" in said
    assert all(name in said for name in MNIST_FILES)
    assert "https://ossci-datasets.s3.amazonaws.com/mnist/" in said
