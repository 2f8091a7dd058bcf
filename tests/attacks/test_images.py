"""Files of adversarial images: the same answers as an attack, for the network attacked and for others."""

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.attacks import attacked_predictions, pgd
from minihire.attacks.images import Crafted, classify, craft_images, evaluate_images, load_images, save_images
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.encoding import in_8_bits, unit_pixels
from minihire.runtime.errors import MinihireError


@pytest.mark.parametrize("kind", ["ann", "direct", "rate"])
def test_images_from_a_file_give_the_answers_of_the_attack(k, network, data, tmp_path, kind, progress_shown):
    source, other, path = network(k, kind), network(k, kind, seed=2), tmp_path / "pgd.npz"
    crafted = craft_images(source, source, data, pgd(0.05, iterations=3), seed=4, batch_size=5)
    save_images(path, crafted)
    found = load_images(path)
    for written, read in zip(crafted, found, strict=True):
        assert written.dtype == read.dtype and np.array_equal(written, read)
    expected = attacked_predictions([source, other], source, data, pgd(0.05, iterations=3), seed=4)
    assert found.predictions.tolist() == expected[0].tolist()
    for net, classes in zip((source, other), expected, strict=True):
        answers = evaluate_images(net, found, seed=4, batch_size=7)["images"]
        assert answers.tolist() == (classes == data.labels).tolist()
    assert progress_shown["images"] == progress_shown["rounded"] == (12, 12)


def test_rounded_images_are_within_half_a_level(network, data):
    net = network(get_backend("reference"))
    crafted = craft_images(net, net, data, pgd(0.05, iterations=2))
    assert (
        crafted.rounded.dtype == np.uint8 and np.abs(crafted.rounded / 255 - crafted.images).max() <= 0.5 / 255 + 1e-6
    )
    answers = evaluate_images(net, crafted)["rounded"]
    with pytest.raises(MinihireError, match="the batch size is 0: give a whole number of at least 1"):
        evaluate_images(net, crafted, batch_size=0)
    assert answers.tolist() == (crafted.rounded_predictions == crafted.labels).tolist()


def test_other_files_and_other_networks_are_refused(network, data, tmp_path):
    k, path = get_backend("reference"), tmp_path / "x.npz"
    net = network(k)
    good = craft_images(net, net, data, pgd(0.05, iterations=1))
    for change in (
        dict(images=good.images * 2),
        dict(labels=good.labels[:3]),
        dict(rounded=good.images),
        dict(images="x"),
        dict(images=good.images[:0], rounded=good.rounded[:0]),
        dict(images=good.images[:, :0], rounded=good.rounded[:, :0]),  # pictures without pixels
        dict(labels=-good.labels - 1),
        *({name: good.labels.astype(kind)} for name in Crafted._fields[2:] for kind in ("U1", "f4", "bool")),
    ):
        np.savez(path, **good._replace(**change)._asdict())
        with pytest.raises(MinihireError, match="give one that --save-images wrote"):
            load_images(path)
    ragged = good._replace(predictions=good.predictions[:, None])
    np.savez(path, **ragged._asdict())
    with pytest.raises(MinihireError, match="give one that --save-images wrote"):
        load_images(path)
    np.savez(path, more=1, **good._asdict())
    with pytest.raises(MinihireError, match="give one that --save-images wrote"):
        load_images(path)
    save_images(path, good)
    damaged = bytearray(path.read_bytes())
    damaged[400] ^= 1  # a pixel: only the checksum tells
    path.write_bytes(damaged)
    with pytest.raises(MinihireError, match="give one that --save-images wrote"):
        load_images(path)
    path.write_bytes(b"PK no zip")
    with pytest.raises(MinihireError, match="is not a file of adversarial images"):
        load_images(path)
    for other in (network(k, shape=(12, 12, 3)), network(k, classes=3)):
        with pytest.raises(MinihireError, match="give a network for the same data set"):
            evaluate_images(other, good)


def test_a_file_of_another_program_needs_only_images_and_labels(network, data, tmp_path):
    net, path = network(get_backend("reference")), tmp_path / "x.npz"
    good = craft_images(net, net, data, pgd(0.05, iterations=1))
    np.savez(path, images=good.images, labels=good.labels)
    found = load_images(path, foreign=True)
    assert np.array_equal(found.rounded, good.rounded) and found.predictions is None
    expected, answers = evaluate_images(net, good), evaluate_images(net, found)
    assert all(np.array_equal(expected[name], answers[name]) for name in ("images", "rounded"))
    with pytest.raises(MinihireError, match="that --save-images wrote$"):
        load_images(path)  # so that --save-images does not replace it
    for change in (
        dict(images=good.images.astype(np.float64)),
        dict(images=good.images[:, :0]),
        dict(labels=good.labels[:3]),
        dict(labels=good.labels.astype("U1")),
        dict(more=good.labels),
    ):
        np.savez(path, **(dict(images=good.images, labels=good.labels) | change))
        with pytest.raises(MinihireError, match="or one with the arrays images, float32"):
            load_images(path, foreign=True)


def test_rounding_to_8_bits_is_the_inverse_of_the_floats():
    levels = np.arange(256, dtype=np.uint8)
    for offset in (-0.4 / 255, 0.0, 0.4 / 255):
        assert np.array_equal(in_8_bits(np.clip(unit_pixels(levels) + np.float32(offset), 0, 1)), levels)


def test_rounded_images_are_the_floats_that_training_and_accuracy_use(k, network, monkeypatch):
    """All 256 levels, bit by bit."""
    levels, seen = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3), []
    levels = np.concatenate([levels, levels + 64])
    monkeypatch.setattr("minihire.attacks.images.predict", lambda net, images, *rest: seen.append(images))
    classify(network(k), levels, Draws())
    images, _ = Batches(Dataset("x", levels, np.zeros(2, np.int64), tuple("abcd"), (0.5,) * 3, (0.25,) * 3), k, 2).load(
        0, 0
    )
    assert np.array_equal(k.to_numpy(seen[0]), k.to_numpy(images)) and seen[0].dtype == images.dtype
