"""Folders of images: both layouts, order, sizes, and images that are none."""

import os
import struct
import sys
import warnings
import zlib
from pathlib import PurePath

import numpy as np
import pytest
from PIL import Image

from minihire.data import DataError, folder, load


def picture(path, level=0, size=(4, 4), mode="RGB", **options):
    """An image file all of one level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (level,) * len(mode) if mode == "RGB" else level).save(path, **options)


def classes(root, counts, first=0):
    """Numbered images of several classes; their levels go on from class to class."""
    level = first
    for name, count in counts.items():
        for i in range(count):
            picture(root / name / f"{i:03}.png", level)
            level += 1


def levels(data):
    return data.images[:, 0, 0, 0].tolist()


@pytest.fixture
def parted(tmp_path):
    """A folder with train and test, two classes."""
    classes(tmp_path / "train", {"b": 2, "a": 3})
    classes(tmp_path / "test", {"a": 1, "b": 2}, first=100)
    return tmp_path


def refusal(*arguments):
    with pytest.raises(DataError) as caught:
        folder.read(*arguments)
    return str(caught.value)


def test_train_and_test_folders_in_sorted_order(parted):
    train, test = folder.read(parted)
    assert train.classes == test.classes == ("a", "b")
    assert levels(train) == [2, 3, 4, 0, 1] and train.labels.tolist() == [0, 0, 0, 1, 1]
    assert levels(test) == [100, 101, 102] and test.labels.tolist() == [0, 1, 1]
    assert train.shape == (4, 4, 3)


def test_the_order_is_the_same_where_paths_ignore_upper_and_lower_case(tmp_path, monkeypatch):
    """As those of Windows do: other classes would have other labels, and other images would be test images."""
    classes(tmp_path, {"b": 10, "C": 10, "a": 10})
    picture(tmp_path / "b" / "A.png", 200)
    picture(tmp_path / "b" / "a.png", 201)
    expected = folder.read(tmp_path)
    monkeypatch.setattr(PurePath, "__lt__", lambda one, other: str(one).lower() < str(other).lower())
    found = folder.read(tmp_path)
    assert found[0].classes == ("C", "a", "b")
    for one, other in zip(expected, found, strict=True):
        assert levels(one) == levels(other) and one.labels.tolist() == other.labels.tolist()


def test_damaged_exif_data_are_no_warning(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 1, "a description"
    picture(tmp_path / "x.jpg", 50, exif=exif.tobytes()[:-20])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder.read_image(tmp_path / "x.jpg").shape == (4, 4, 3)


def test_reading_shows_its_progress(parted, progress_shown):
    folder.read(parted)
    assert progress_shown == {"reading images": (8, 8)}


def test_the_normalisation_is_that_of_the_training_images(parted):
    train, test = folder.read(parted)
    assert train.mean == test.mean == (round(2 / 255, 4),) * 3


def test_a_fifth_of_each_class_becomes_the_test_images(tmp_path):
    classes(tmp_path, {"a": 10, "b": 20, "c": 2})
    train, test = folder.read(tmp_path)
    assert np.bincount(test.labels).tolist() == [2, 4, 1]
    assert np.bincount(train.labels).tolist() == [8, 16, 1]
    assert sorted(levels(train) + levels(test)) == list(range(32))
    assert levels(test) == levels(folder.read(tmp_path)[1])


@pytest.mark.parametrize(
    ("name", "mode"),
    [("x.webp", "RGB"), ("x.ppm", "RGB"), ("x.bmp", "RGB"), ("x.tif", "RGB"), ("x.jpg", "CMYK"), ("x.tiff", "CMYK")],
)
def test_every_format_is_read(tmp_path, name, mode):
    levels = np.random.default_rng(0).integers(0, 256, 3)
    image = Image.new("RGB", (8, 6), tuple(map(int, levels))).convert(mode)
    image.save(tmp_path / name, quality=95)
    found = folder.read_image(tmp_path / name)
    assert found.shape == (6, 8, 3) and found.dtype == np.uint8
    assert np.abs(found - levels).max() <= (5 if name in ("x.webp", "x.jpg") else 0)


def test_no_seed_moves_an_image_from_test_to_training(tmp_path):
    classes(tmp_path, {"a": 10, "b": 10})
    one, two = load("folder", tmp_path, seed=1), load("folder", tmp_path, seed=2)
    assert levels(one.test) == levels(two.test)
    assert sorted(levels(one.heldout) + levels(one.train)) == sorted(levels(two.heldout) + levels(two.train))
    assert levels(one.train) != levels(two.train)


def test_few_images_are_all_used_for_training(tmp_path):
    """By default, a tenth is held out only if these are at least 30."""
    classes(tmp_path, {"a": 100, "b": 80})
    few = load("folder", tmp_path)
    assert (len(few.train), len(few.heldout), len(few.test)) == (144, 0, 36)
    assert len(load("folder", tmp_path, heldout=14).heldout) == 14
    classes(tmp_path, {"c": 196})
    assert [len(part) for part in vars(load("folder", tmp_path)).values()] == [271, 30, 75]


def test_a_limited_test_set_has_all_classes(tmp_path):
    """The files are sorted by class, so the first few alone would be of one."""
    classes(tmp_path, {"a": 60, "b": 60, "c": 60})
    test = load("folder", tmp_path, test_limit=18).test
    assert np.bincount(test.labels, minlength=3).min() >= 2


def test_files_that_are_no_images_are_ignored(parted):
    (parted / "train" / "a" / "notes.txt").write_text("not an image")
    (parted / "train" / "a" / ".hidden.png").write_text("not an image")
    (parted / "train" / ".cache").mkdir()
    for inside in (parted, parted / "train", parted / "test"):
        (inside / "__MACOSX").mkdir()  # in archives that macOS wrote
        (inside / "__MACOSX" / "._0.png").write_text("not an image")
    assert len(folder.read(parted)[0]) == 5


def test_what_is_ignored_is_said(tmp_path, parted, capsys):
    picture(parted / "cats" / "0.png")
    picture(parted / "test" / "b" / "2020" / "0.png")
    (parted / "train" / "a" / "IMG_1.HEIC").write_text("")
    folder.read(parted)
    said = capsys.readouterr().out
    assert f"ignored in {parted}: cats (1 in all); only the folders train and test are read\n" in said
    assert f"ignored in {parted}: test/b/2020, train/a/IMG_1.HEIC (2 in all); only files .png" in said
    folder.read(parted / "train")
    assert f"ignored in {parted / 'train'}: a/IMG_1.HEIC (1 in all)" in capsys.readouterr().out
    (parted / "train" / "a" / "IMG_1.HEIC").unlink()
    folder.read(parted / "train")
    assert "ignored" not in capsys.readouterr().out


def test_kinds_of_images_become_rgb(tmp_path):
    for name, mode in (("grey.png", "L"), ("palette.gif", "P"), ("alpha.png", "LA"), ("mask.BMP", "1")):
        picture(tmp_path / name, 1 if mode == "1" else (7, 9) if mode == "LA" else 7, mode=mode)
        assert folder.read_image(tmp_path / name).shape == (4, 4, 3)
    assert folder.read_image(tmp_path / "grey.png").max() == 7
    assert folder.read_image(tmp_path / "mask.BMP").max() == 255


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_pixels_are_white(tmp_path, mode):
    image = Image.new(mode, (2, 1), 0 if mode == "P" else (0,) * len(mode))  # black, fully transparent
    image.putpixel((1, 0), 1 if mode == "P" else (*(60,) * (len(mode) - 1), 255))
    if mode == "P":
        image.putpalette([0, 0, 0, 60, 60, 60])
    image.save(tmp_path / "logo.png", **({"transparency": 0} if mode == "P" else {}))
    assert folder.read_image(tmp_path / "logo.png")[0, :, 0].tolist() == [255, 60]


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    for name in ("a.gif", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert np.all(folder.read_image(tmp_path / name) == 10)


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "turned.jpg", 50, (8, 4), exif=exif)
    assert folder.read_image(tmp_path / "turned.jpg").shape == (8, 4, 3)


def png16(path, grey):
    """Write a PNG of 2×2 pixels with 16 bits per channel, all 40,000; Pillow cannot write colours of 16 bits."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = (b"\0" + struct.pack(">H", 40_000) * (2 if grey else 6)) * 2
    header = struct.pack(">IIBBBBB", 2, 2, 16, 0 if grey else 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("grey", [True, False])
def test_of_sixteen_bits_the_higher_eight_are_used(tmp_path, grey):
    png16(tmp_path / "deep.png", grey)
    image = folder.read_image(tmp_path / "deep.png")
    assert image.shape == (2, 2, 3) and np.all(image == 40_000 >> 8)


def test_thirty_two_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match="deep.tif has pixels of mode I; give images with 8 or 16 bits"):
        folder.read_image(tmp_path / "deep.tif")


def test_other_formats_are_refused_whatever_the_file_is_called(tmp_path, monkeypatch):
    """Pillow starts Ghostscript for PostScript."""
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png", "ICNS")
    for name in ("a.png", "b.png"):
        with pytest.raises(DataError, match=f"cannot read the image .*{name}"):
            folder.read_image(tmp_path / name)
    assert not started.exists()


def test_images_of_one_size_keep_it(parted, capsys):
    assert folder.read(parted)[0].shape == (4, 4, 3)
    assert capsys.readouterr().out == ""


def test_sizes_that_differ_are_made_equal_and_said(parted, capsys):
    picture(parted / "train" / "b" / "000.png", 0, (5, 4))
    train, test = folder.read(parted)
    assert train.shape == test.shape == (32, 32, 3) and levels(train) == [2, 3, 4, 0, 1]
    assert capsys.readouterr().out.startswith("images resized to 32x32 pixels: 8 of 8 (--image-size N,")
    picture(parted / "test" / "a" / "000.png", 100, (6, 6))
    assert folder.read(parted, 6)[0].shape == (6, 6, 3)
    assert capsys.readouterr().out.startswith("images resized to 6x6 pixels: 7 of 8")


def test_an_image_is_resized_to_height_and_width(tmp_path):
    picture(tmp_path / "wide.png", 9, (80, 20))
    image = folder.resize(folder.read_image(tmp_path / "wide.png"), 10, 16)
    assert image.shape == (10, 16, 3) and np.all(image == 9)


def test_images_are_found_in_folders_below(tmp_path):
    for name in ("b.png", "a/c.JPG", "a/.hidden.png", ".cache/d.png", "__MACOSX/a/f.png", "a/deep/e.png"):
        picture(tmp_path / name, format="PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    found, errors = folder.find_images(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in found} == {"a/c.JPG", "a/deep/e.png", "b.png"}
    assert len(found) == 3 and errors == {}


def test_links_to_folders_are_followed_and_no_folder_is_read_twice(tmp_path):
    picture(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "given").mkdir()
    for name in ("link", "same"):
        (tmp_path / "given" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "given")
    (found,), errors = folder.find_images(tmp_path / "given")
    assert found.name == "a.png" and errors == {}


def test_a_closed_pipe_is_not_a_fault_of_the_folder(tmp_path, monkeypatch):
    def say(*_):
        raise BrokenPipeError

    classes(tmp_path, {"a": 5, "b": 5})
    monkeypatch.setattr(folder, "_read_all", say)
    with pytest.raises(BrokenPipeError):
        folder.read(tmp_path)


@pytest.mark.parametrize("size", [0, -3, 1025])
def test_a_size_out_of_range_is_refused(parted, size):
    assert f"image size given is {size}; give --image-size 1 to 1024" in refusal(parted, size)


def test_a_file_that_is_no_image_is_refused_in_plain_words(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError) as caught:
        folder.read_image(tmp_path / "a.png")
    formats = "PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF"
    assert str(caught.value) == (
        f"cannot read the image {tmp_path / 'a.png'}: it is not an image in one of the formats {formats}; replace or remove it"
    )


@pytest.mark.parametrize("data", [b"", b"no image", None])
def test_an_unreadable_image_is_named(parted, data):
    path = parted / "test" / "a" / "000.png"
    path.write_bytes(path.read_bytes()[:45] if data is None else data)
    assert f"cannot read the image {path}" in refusal(parted)


@pytest.mark.filterwarnings("default")  # or pytest, not the reader, would turn the warning into an error
@pytest.mark.parametrize("limit", [50, 200])
def test_a_decompression_bomb_is_refused(parted, monkeypatch, limit):
    """Pillow warns of images beyond its limit and refuses those twice as large; here both are refused."""
    picture(parted / "train" / "a" / "001.png", 0, (20, 19))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert "001.png has too many pixels; make it smaller, or remove it" in refusal(parted)


def test_images_that_would_fill_the_memory_are_refused(parted, monkeypatch):
    monkeypatch.setattr(folder, "MAX_TOTAL_BYTES", 8 * 48 - 1)
    said = refusal(parted)
    assert "8 images of 4x4 pixels" in said and "--image-size" in said


def test_images_of_several_sizes_are_resized_however_large_the_first_one_is(parted, monkeypatch):
    """They become 32×32 pixels, which fit, although as many images of the first one's size would not."""
    monkeypatch.setattr(folder, "MAX_TOTAL_BYTES", 8 * 32 * 32 * 3)
    picture(parted / "train" / "a" / "000.png", 0, (80, 80))
    assert folder.read(parted)[0].images.shape[1:] == (32, 32, 3)


def test_folders_that_lack_something_are_refused(tmp_path):
    assert f"there is no folder {tmp_path / 'x'}" in refusal(tmp_path / "x")
    assert "contains 0 folders" in refusal(tmp_path)
    classes(tmp_path / "one", {"a": 2})
    assert "contains 1 folder;" in refusal(tmp_path / "one")
    classes(tmp_path / "single", {"a": 2, "b": 1})
    assert f"{tmp_path / 'single' / 'b'} contains one image" in refusal(tmp_path / "single")
    (tmp_path / "one" / "b").mkdir()
    assert f"{tmp_path / 'one' / 'b'} contains no images" in refusal(tmp_path / "one")


def test_train_without_test_is_refused(tmp_path):
    classes(tmp_path / "train", {"a": 2, "b": 2})
    said = refusal(tmp_path)
    assert "no folder test" in said and str(tmp_path / "train") in said
    assert len(folder.read(tmp_path / "train")[0]) == 2


def test_train_and_test_must_have_the_same_classes(parted):
    classes(parted / "test", {"c": 1})
    assert "has the class c, but" in refusal(parted)


def test_a_class_missing_from_test_is_refused(parted):
    (parted / "test" / "a" / "000.png").unlink()
    (parted / "test" / "a").rmdir()
    assert f"there is no folder {parted / 'test' / 'a'}" in refusal(parted)


def test_a_class_may_be_called_train(tmp_path):
    classes(tmp_path, {"car": 5, "train": 5})
    assert folder.read(tmp_path)[0].classes == ("car", "train")


@pytest.mark.parametrize("parts", [("test", "train"), ("Test", "Train"), ("train", "val"), ("test", "train", "val")])
def test_images_without_classes_in_train_and_test_are_refused(tmp_path, parts):
    classes(tmp_path, dict.fromkeys(parts, 5))
    assert refusal(tmp_path) == (
        f"{tmp_path} has only the folders {', '.join(parts)}, which are parts of a data set and not classes; name them train "
        f"and test, with a folder of images for each class: {tmp_path}/train/CLASS and {tmp_path}/test/CLASS"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_a_class_whose_name_is_not_utf8_is_refused(tmp_path):
    classes(tmp_path, {"a": 2, os.fsdecode(b"caf\xe9"): 2})
    assert "is not valid UTF-8; rename it" in refusal(tmp_path)


def test_a_folder_may_have_test_images_only(tmp_path):
    classes(tmp_path / "test", {"a": 2, "b": 1}, first=100)
    (tmp_path / "test" / "b" / "notes.txt").write_text("")
    train, test = folder.read(tmp_path)
    assert len(train) == 0 and train.classes == test.classes == ("a", "b")
    assert levels(test) == [100, 101, 102] and test.labels.tolist() == [0, 0, 1] and train.mean == test.mean
    splits = load("folder", tmp_path)
    assert [len(part) for part in (splits.train, splits.heldout, splits.test)] == [0, 0, 3]
    classes(tmp_path / "cats", {"c": 2})
    assert "cats" in refusal(tmp_path)
