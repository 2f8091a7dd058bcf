"""CIFAR readers, on tiny files of both layouts and, where there is one, on the real data set."""

import os
import pickle

import numpy as np
import pytest

from minihire.data import DataError, cifar, load

BINARY10 = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def records(count, kinds, seed):
    """Pixels [count, 3072] and labels [count, kinds], valid for both data sets."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, 10, (count, kinds), dtype=np.uint8)


def write_binary(folder, names, kinds, count=20):
    """Random records in every file; returns all pixels and last labels in order."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [records(count, kinds, seed) for seed in range(len(names))]
    for name, (pixels, labels) in zip(names, made, strict=True):
        np.concatenate([labels, pixels], axis=1).tofile(folder / name)
    return np.concatenate([p for p, _ in made]), np.concatenate([labels[:, -1] for _, labels in made])


def write_python(folder, names, key, protocol=2, count=20):
    """The same as pickles, as Python 2 wrote them: keys and names of bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [records(count, 1, seed) for seed in range(len(names))]
    for name, (pixels, labels) in zip(names, made, strict=True):
        content = {
            b"batch_label": name.encode(),
            key: labels[:, 0].tolist(),
            b"data": pixels,
            b"filenames": [b"x.png"] * count,
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    return np.concatenate([p for p, _ in made]), np.concatenate([labels[:, 0] for _, labels in made])


@pytest.fixture
def binary10(tmp_path):
    """A folder with a small CIFAR-10 of 5 × 20 training and 20 test images."""
    write_binary(tmp_path, BINARY10, 1)
    return tmp_path


def agrees(train, test, pixels, labels):
    """Every image at its place, with its colours in the last axis."""
    assert train.images.dtype == np.uint8 and train.images.flags.c_contiguous
    images = np.concatenate([train.images, test.images])
    np.testing.assert_array_equal(images, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels)


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10_binary(tmp_path, below):
    pixels, labels = write_binary(tmp_path / below, BINARY10, 1)
    train, test = cifar.read("cifar10", tmp_path)
    assert (len(train), len(test)) == (100, 20)
    agrees(train, test, pixels, labels)
    assert train.classes == test.classes == cifar.CLASSES["cifar10"]
    assert train.mean == (0.4914, 0.4822, 0.4465) and train.std == (0.2023, 0.1994, 0.2010)


def test_cifar100_binary_takes_the_fine_labels(tmp_path):
    pixels, labels = write_binary(tmp_path / "cifar-100-binary", ["train.bin", "test.bin"], 2)
    train, test = cifar.read("cifar100", tmp_path)
    agrees(train, test, pixels, labels)
    assert len(train.classes) == 100 and train.classes[99] == "worm"
    assert train.mean == (0.5071, 0.4867, 0.4408) and train.std == (0.2675, 0.2565, 0.2761)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cifar10_python(tmp_path, protocol):
    names = [name.removesuffix(".bin") for name in BINARY10]
    pixels, labels = write_python(tmp_path / "cifar-10-batches-py", names, b"labels", protocol)
    agrees(*cifar.read("cifar10", tmp_path), pixels, labels)


def test_cifar100_python(tmp_path):
    pixels, labels = write_python(tmp_path / "cifar-100-python", ["train", "test"], b"fine_labels")
    agrees(*cifar.read("cifar100", tmp_path), pixels, labels)


def test_the_built_in_names_are_sorted_and_distinct():
    """Both official lists are alphabetical."""
    for name, count in (("cifar10", 10), ("cifar100", 100)):
        assert len(set(cifar.CLASSES[name])) == count
        assert list(cifar.CLASSES[name]) == sorted(cifar.CLASSES[name])


def test_names_come_from_the_text_file_beside_the_data(binary10):
    (binary10 / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    assert cifar.read("cifar10", binary10)[0].classes == tuple("abcdefghij")
    (binary10 / "batches.meta.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"batches.meta.txt names 2 classes; CIFAR-10 has 10"):
        cifar.read("cifar10", binary10)


def test_names_come_from_the_pickle_beside_the_data(tmp_path):
    write_python(tmp_path, ["train", "test"], b"fine_labels")
    names = [b"n%d" % i for i in range(100)]
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, protocol=2))
    assert cifar.read("cifar100", tmp_path)[0].classes[:2] == ("n0", "n1")
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": 3}, protocol=2))
    with pytest.raises(DataError, match="no list of names under 'fine_label_names'"):
        cifar.read("cifar100", tmp_path)


def spoil(path, offset, value):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(bytes([value]))


def refusal(name, folder):
    with pytest.raises(DataError) as caught:
        cifar.read(name, folder)
    return str(caught.value)


def test_a_wrong_label_is_named_with_its_byte(binary10):
    spoil(binary10 / "data_batch_3.bin", 17 * 3073, 11)
    said = refusal("cifar10", binary10)
    assert "data_batch_3.bin has label 11 at record 17, byte offset 52241; expected a label from 0 to 9" in said


@pytest.mark.parametrize("column, label, bound", [(0, 20, 19), (1, 100, 99)])
def test_a_wrong_coarse_or_fine_label_is_named_with_its_byte(tmp_path, column, label, bound):
    write_binary(tmp_path, ["train.bin", "test.bin"], 2)
    spoil(tmp_path / "test.bin", 4 * 3074 + column, label)
    said = refusal("cifar100", tmp_path)
    assert f"label {label} at record 4, byte offset {4 * 3074 + column}; expected a label from 0 to {bound}" in said


def test_the_largest_labels_are_right(tmp_path):
    write_binary(tmp_path, ["train.bin", "test.bin"], 2)
    spoil(tmp_path / "test.bin", 0, 19)
    spoil(tmp_path / "test.bin", 1, 99)
    assert cifar.read("cifar100", tmp_path)[1].labels[0] == 99


@pytest.mark.parametrize("size, said", [(6151, "record 2 at byte offset 6146 ends after 5 bytes"), (0, "0 bytes")])
def test_a_file_cut_short_is_refused(binary10, size, said):
    os.truncate(binary10 / "test_batch.bin", size)
    assert said in refusal("cifar10", binary10)


def test_a_file_with_more_than_the_official_records_is_refused(binary10):
    with open(binary10 / "test_batch.bin", "r+b") as file:
        file.truncate(10_001 * 3073)
    said = refusal("cifar10", binary10)
    assert "test_batch.bin has 30733073 bytes, more than 10000 records (30730000 bytes)" in said


def test_a_missing_file_is_named(binary10):
    (binary10 / "data_batch_4.bin").unlink()
    said = refusal("cifar10", binary10)
    assert f"no CIFAR-10 in {binary10}" in said
    assert "lacks data_batch_4.bin)" in said
    assert "--download" in said and "https://www.cs.toronto.edu/~kriz/cifar.html" in said


def python_batch(folder, **content):
    """A CIFAR-100 in pickles whose test file is as given."""
    write_python(folder, ["train", "test"], b"fine_labels")
    (folder / "test").write_bytes(pickle.dumps(content, protocol=4))


GOOD = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "content, said",
    [
        ({"data": GOOD, "fine_labels": [0]}, "2 images and 1 labels under 'fine_labels'"),
        ({"data": GOOD, "labels": [0, 1]}, "labels of type NoneType under 'fine_labels'"),
        ({"data": GOOD, "fine_labels": [0, 100]}, "label 100 at record 1; expected a label from 0 to 99"),
        ({"data": GOOD, "fine_labels": [-1, 0]}, "label -1 at record 0"),
        ({"data": GOOD, "fine_labels": [True, 0]}, "label True at record 0"),
        ({"data": GOOD, "fine_labels": [0, "x"]}, "label x at record 1"),
        ({"data": GOOD[:, 1:], "fine_labels": [0, 1]}, "'data' of .* is uint8 \\[2, 3071\\]"),
        ({"data": GOOD.astype(np.float32), "fine_labels": [0, 1]}, "is float32"),
        ({"data": [1], "fine_labels": [0]}, "is list; expected uint8"),
        ({"data": GOOD[:0], "fine_labels": []}, "0 images and 0 labels"),
    ],
)
def test_a_pickle_with_wrong_content_is_refused(tmp_path, content, said):
    python_batch(tmp_path, **content)
    with pytest.raises(DataError, match=said):
        cifar.read("cifar100", tmp_path)


def test_labels_may_be_an_array(tmp_path):
    python_batch(tmp_path, data=GOOD, fine_labels=np.array([3, 4]))
    assert cifar.read("cifar100", tmp_path)[1].labels.tolist() == [3, 4]


@pytest.mark.slow
def test_the_real_data_set():
    folder = os.environ.get("MINIHIRE_CIFAR10")
    if not folder:
        pytest.skip("MINIHIRE_CIFAR10 is not set to the folder of the real CIFAR-10")
    parts = load("cifar10", folder)
    assert [len(part) for part in (parts.train, parts.heldout, parts.test)] == [45_000, 5_000, 10_000]
    labels = np.concatenate([parts.train.labels, parts.heldout.labels])
    assert np.bincount(labels).tolist() == [5000] * 10
    assert np.bincount(parts.test.labels).tolist() == [1000] * 10
    mean = (parts.train.images.mean((0, 1, 2)) * 45 + parts.heldout.images.mean((0, 1, 2)) * 5) / 50 / 255
    np.testing.assert_allclose(mean, parts.train.mean, atol=1e-4)
    ships, deer = (
        parts.test.images[parts.test.labels == parts.test.classes.index(c)].mean((0, 1, 2)) for c in ("ship", "deer")
    )
    assert ships[2] > ships[0] and deer[2] < deer[0]  # the sea is blue: channels are in the order red, green, blue


@pytest.mark.slow
def test_the_real_cifar100():
    folder = os.environ.get("MINIHIRE_CIFAR100")
    if not folder:
        pytest.skip("MINIHIRE_CIFAR100 is not set to the folder of the real CIFAR-100")
    parts = load("cifar100", folder)
    assert [len(part) for part in (parts.train, parts.heldout, parts.test)] == [45_000, 5_000, 10_000]
    labels = np.concatenate([parts.train.labels, parts.heldout.labels])
    assert np.bincount(labels).tolist() == [500] * 100
    assert np.bincount(parts.test.labels).tolist() == [100] * 100
    mean = (parts.train.images.mean((0, 1, 2)) * 45 + parts.heldout.images.mean((0, 1, 2)) * 5) / 50 / 255
    np.testing.assert_allclose(mean, parts.train.mean, atol=1e-3)
    assert parts.test.classes[:2] == ("apple", "aquarium_fish") and parts.test.classes[-1] == "worm"
