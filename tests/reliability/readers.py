"""Every reader of files: how to make a small correct example in a folder, and how to read it."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from backends import get_backend
from minihire.attacks import attack_accuracy, fgsm
from minihire.attacks.images import Crafted, load_images, save_images
from minihire.data import cifar, folder, mnist
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.report import page
from minihire.study.results import Results
from minihire.training import checkpoint

k = get_backend("reference")
MODEL = build("vgg5", image_shape=(16, 16, 3), width=1 / 64, hidden=4)
NETWORK = Network(MODEL, k, initialise(MODEL, k, 0, spiking=True), spiking=True, steps=2)
RNG = np.random.default_rng(0)
IMAGES = Dataset(
    "random", RNG.integers(0, 256, (4, 16, 16, 3), np.uint8), np.arange(4), tuple("0123456789"), MODEL.mean, MODEL.std
)
GOLDEN = Path(__file__).parent.parent / "golden"


def _checkpoint(where):
    checkpoint.save(where / "x.npz", NETWORK, extra={"data": checkpoint.describe_data(IMAGES)})


def _answers(where):
    attack_accuracy(NETWORK, IMAGES, fgsm(), path=where / "x.npz", keep=True)


def _adversarial(where):
    images = RNG.random((4, 16, 16, 3), np.float32)
    rounded, classes = np.round(images * 255).astype(np.uint8), np.arange(4)
    save_images(where / "x.npz", Crafted(images, rounded, classes, classes, classes))


def _results(where):
    (where / "results.json").write_bytes((GOLDEN / "run" / "results.json").read_bytes())


def _cifar_binary(where):
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        (where / name).write_bytes(bytes(RNG.integers(0, 10, 3073, np.uint8)) * 2)


def _cifar_python(protocol):
    def make(where):
        for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
            batch = {b"data": RNG.integers(0, 256, (2, 3072), np.uint8), b"labels": [1, 2]}
            (where / name).write_bytes(pickle.dumps(batch, protocol=protocol))

    return make


def _mnist(where):
    for part, count in (("train", 3), ("t10k", 2)):
        images = struct.pack(">4I", 2051, count, 28, 28) + bytes(count * 784)
        labels = struct.pack(">2I", 2049, count) + bytes(count)
        (where / f"{part}-images-idx3-ubyte").write_bytes(images)
        (where / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def _pictures(where):
    for name in ("cat", "dog"):
        (where / name).mkdir()
        for i, kind in enumerate(("png", "jpg", "bmp", "gif")):
            pixels = RNG.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(where / name / f"{i}.{kind}")


def _pt(where):
    import torch

    from minihire.interop import published

    checkpoint.save(where / "x.npz", NETWORK, extra={"data": checkpoint.describe_data(IMAGES)})
    published.write(where / "x.pt", checkpoint.load(where / "x.npz"))
    (where / "x.npz").unlink()
    torch.set_num_threads(1)


def _read_pt(where):
    from minihire.interop import published

    return published.read(where / "x.pt")


READERS = {
    "checkpoint": (_checkpoint, lambda where: checkpoint.load(where / "x.npz").network(k)),
    "answers": (_answers, _answers),
    "adversarial": (_adversarial, lambda where: load_images(where / "x.npz")),
    "results": (_results, lambda where: Results.load(where / "results.json")),
    "report": (_results, lambda where: page.write(where / "report.html", [page.read(where)])),
    "cifar-binary": (_cifar_binary, lambda where: cifar.read("cifar10", where)),
    "cifar-python": (_cifar_python(2), lambda where: cifar.read("cifar10", where)),
    "cifar-python-5": (_cifar_python(5), lambda where: cifar.read("cifar10", where)),
    "mnist": (_mnist, mnist.read),
    "folder": (_pictures, lambda where: folder.read(where, 16)),
    "pt": (_pt, _read_pt),
}
