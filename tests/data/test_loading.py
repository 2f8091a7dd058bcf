"""load(): names, defaults, limits, and the promise that held-out and test images stay what they are."""

import inspect

import numpy as np
import pytest

from minihire.data import NAMES, DataError, Splits, load
from minihire.data.loading import READERS
from minihire.runtime.errors import MinihireError


def keys(data):
    return [image.tobytes() for image in data.images]


def write_cifar(folder, count):
    """A CIFAR-10 with `count` training images, all different."""
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        data = rng.integers(0, 256, (count // 5, 3073), dtype=np.uint8)
        data[:, 0] %= 10
        data.tofile(folder / name)
    return folder


def test_shapes_by_default():
    parts = load("shapes")
    assert isinstance(parts, Splits)
    assert [len(part) for part in (parts.train, parts.heldout, parts.test)] == [4500, 500, 1000]
    assert {part.name for part in (parts.train, parts.heldout, parts.test)} == {"shapes"}


def test_parts_share_no_image():
    parts = load("shapes")
    assert len(set(keys(parts.train)) | set(keys(parts.heldout)) | set(keys(parts.test))) == 6000


@pytest.mark.parametrize("limit", [1, 100, 4500, 4501, 6000])
def test_the_held_out_images_do_not_depend_on_the_limit(limit):
    whole, some = load("shapes"), load("shapes", train_limit=limit)
    assert len(some.train) == limit
    assert keys(some.heldout) == keys(whole.heldout)
    shared = min(limit, 4500)
    assert keys(some.train)[:shared] == keys(whole.train)[:shared]
    assert not set(keys(some.train)) & set(keys(whole.heldout))
    assert len(set(keys(some.train))) == limit


@pytest.mark.parametrize("limit", [10, 1000, 1300])
def test_test_images_are_nested(limit):
    more = load("shapes", test_limit=1300).test
    assert keys(load("shapes", test_limit=limit).test) == keys(more)[:limit]


def test_the_seed_chooses_the_held_out_images_and_leaves_the_test_images():
    one, two = load("shapes", seed=1), load("shapes", seed=2)
    assert keys(one.test) == keys(two.test)
    assert keys(one.heldout) != keys(two.heldout)
    assert set(keys(one.heldout)) | set(keys(one.train)) == set(keys(two.heldout)) | set(keys(two.train))


def test_files_are_split_and_limited_alike(tmp_path):
    write_cifar(tmp_path, 100)
    whole = load("cifar10", tmp_path)
    assert [len(part) for part in (whole.train, whole.heldout, whole.test)] == [90, 10, 20]
    some = load("cifar10", tmp_path, train_limit=30, test_limit=8)
    assert keys(some.heldout) == keys(whole.heldout)
    assert keys(some.train) == keys(whole.train)[:30]
    assert set(keys(some.test)) < set(keys(whole.test))
    assert keys(load("cifar10", tmp_path, test_limit=5, seed=9).test) == keys(some.test)[:5]
    assert [len(part) for part in vars(load("cifar10", tmp_path, heldout=0)).values()] == [100, 0, 20]


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("svhn", {}, "no data set 'svhn'; choose one of shapes, cifar10, cifar100, mnist, folder"),
        ("cifar10", {}, "^'cifar10' is read from a folder, but none was given; give the folder of its files"),
        ("folder", {"size": 32}, "'folder' is read from a folder"),
        ("shapes", {"download": True}, "'shapes' cannot be downloaded"),
        ("shapes", {"size": 16}, "an image size was given, but the images of 'shapes' have a fixed size"),
        (
            "shapes",
            {"data_dir": "/some/dir"},
            "^'shapes' is drawn, not read, but the folder /some/dir was given; leave it out",
        ),
        ("shapes", {"train_limit": 0}, "^0 training images of shapes were requested; give 1 to 199500$"),
        (
            "shapes",
            {"train_limit": -1, "heldout": 7},
            "^-1 training images of shapes were requested; give 1 to 199993$",
        ),
        ("shapes", {"train_limit": 199_501}, "^199501 training images of shapes were requested; give 1 to 199500$"),
        ("shapes", {"test_limit": 0}, "^0 test images of shapes were requested; give 1 to 200000$"),
        ("shapes", {"heldout": 5000}, "^5000 held-out images"),
        ("shapes", {"heldout": -1}, "^-1 held-out images"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(name, options, said):
    with pytest.raises(DataError, match=said):
        load(name, **options)


@pytest.mark.parametrize("option", ["seed", "heldout", "train_limit", "test_limit", "size"])
def test_what_is_no_whole_number_is_refused(option, tmp_path):
    name, folder = ("folder", tmp_path) if option == "size" else ("shapes", None)
    with pytest.raises(MinihireError, match=f"^(the )?{option} is '5': give a whole number$"):
        load(name, folder, **{option: "5"})


PART = load("shapes", train_limit=10, test_limit=2).test


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (
            lambda folder: None,
            "^the reader 'mine' returned NoneType; let it return two Datasets, for training and for test$",
        ),
        (lambda folder: PART, "^the reader 'mine' returned Dataset; "),
        (lambda folder: Splits(PART, PART, PART), "^the reader 'mine' returned Splits; "),
        (lambda folder: (PART, PART, PART), r"^the reader 'mine' returned \(Dataset, Dataset, Dataset\); "),
        (lambda folder: ((PART.images, PART.labels),) * 2, r"^the reader 'mine' returned \(tuple, tuple\); "),
        (lambda: (PART, PART), r"^the reader 'mine' of READERS is <lambda>\(\): let it take \(data_dir\)$"),
        (3, r"^the reader 'mine' of READERS is 3: give a function that takes \(data_dir\)$"),
    ],
)
def test_a_wrong_reader_is_refused_in_one_sentence(monkeypatch, tmp_path, reader, said):
    monkeypatch.setitem(READERS, "mine", reader)
    with pytest.raises(MinihireError, match=said):
        load("mine", tmp_path)


@pytest.mark.parametrize(
    "option, count", [("train_limit", 91), ("train_limit", 0), ("test_limit", 21), ("test_limit", -1)]
)
def test_limits_beyond_the_files_are_refused(tmp_path, option, count):
    most = 90 if option == "train_limit" else 20
    with pytest.raises(DataError, match=f"^{count} images of cifar10 .* give 1 to {most}$"):
        load("cifar10", write_cifar(tmp_path, 100), **{option: count})


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_a_missing_folder_is_named(tmp_path, name):
    with pytest.raises(DataError) as caught:
        load(name, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "--download" in str(caught.value) and "https://" in str(caught.value)


def test_every_error_is_one_sentence_on_one_line(tmp_path):
    for name in NAMES[1:]:
        with pytest.raises(DataError) as caught:
            load(name, tmp_path)
        said = str(caught.value)
        assert "\n" not in said and not said.endswith(".") and ". " not in said


def test_load_has_the_documented_signature():
    assert (
        str(inspect.signature(load))
        .replace("'", "")
        .startswith(
            "(name: str, data_dir: str | os.PathLike[str] | None = None, *, seed: int = 0, heldout: int | None = None, "
            "train_limit: int | None = None, test_limit: int | None = None, download: bool = False, size: int | None = None"
        )
    )
