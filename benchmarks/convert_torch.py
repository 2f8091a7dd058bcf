"""Train a PyTorch network with BatchNorm, convert it into an SNN, and compare the accuracies.

    python -m benchmarks.convert_torch --data-dir DIR [--network resnet] [--steps 16 32 64] [--weights FILE] [--json PATH]

PyTorch trains the network on CIFAR-10. minihire converts it (`from_torch`, `convert`), and runs ANN and SNN on test images.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from backends import get_backend
from benchmarks.command import add_json, run
from benchmarks.torch_networks import VGG, ResNet
from minihire.analysis.accuracy import accuracy
from minihire.data.loading import load
from minihire.interop import from_torch
from minihire.report.tables import table
from minihire.training import Calibration, convert

ROWS = ("A", 2, "A", 4, 4, "A")
NETWORKS = {
    "vgg": lambda: VGG(12, 10, ROWS, grid=4, hidden=96, pool=nn.AvgPool2d),
    "vgg-max": lambda: VGG(12, 10, ROWS, grid=4, hidden=96, pool=nn.MaxPool2d),
    "resnet": lambda: ResNet(width=8, classes=10, stem=False, size=3),
}
BATCH, RATE, SHIFT = 128, 0.1, 3


def fit(module, data, epochs, seed=0):
    """Train with SGD, one-cycle learning rate, random flips and shifts; the images are normalised before the module."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images, labels = normalised(data), torch.tensor(data.labels)
    batches = len(images) // BATCH
    optimiser = torch.optim.SGD(module.parameters(), RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * batches)
    module.train()
    for epoch in range(epochs):
        start, order = time.perf_counter(), rng.permutation(len(images))
        for i in range(batches):
            index = order[i * BATCH : (i + 1) * BATCH]
            shift = tuple(int(n) for n in rng.integers(-SHIFT, SHIFT + 1, 2))
            batch = torch.roll(images[index], shift, (2, 3))
            batch = batch.flip(3) if rng.random() < 0.5 else batch
            loss = functional.cross_entropy(module(batch), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, {time.perf_counter() - start:.0f} s", file=sys.stderr)


def normalised(data):
    """The images [N, C, H, W], minus the mean, divided by std."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (data.mean, data.std))
    return (torch.tensor(data.images).permute(0, 3, 1, 2) / 255 - mean) / std


def torch_accuracy(module, data):
    """The module's own accuracy in evaluation mode."""
    module.eval()
    with torch.no_grad():
        parts = [module(part).argmax(1) for part in normalised(data).split(250)]
    return float(np.mean(torch.cat(parts).numpy() == data.labels))


def measure(options):
    """The accuracies as plain data."""
    images = load("cifar10", options.data_dir, train_limit=options.train, test_limit=options.skip + options.test)
    test = images.test.take(np.arange(options.skip, options.skip + options.test))
    torch.manual_seed(0)
    module, k = NETWORKS[options.network](), get_backend(options.backend)
    if options.weights and options.weights.exists():
        module.load_state_dict(torch.load(options.weights, weights_only=True))
    else:
        fit(module, images.train, options.epochs)
        if options.weights:
            torch.save(module.state_dict(), options.weights)
    ann = from_torch(module, test, mean=images.train.mean, std=images.train.std, backend=k)
    found = {"network": options.network, "train": len(images.train), "test": len(test), "skipped": options.skip}
    found |= {"torch": torch_accuracy(module, test), "ann": float(accuracy(ann, test).mean()), "snn": {}}
    for steps in options.steps:
        snn = convert(ann, images.train, steps=steps, calibration=Calibration(percentile=options.percentile))
        found["snn"][str(steps)] = float(accuracy(snn, test).mean())
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and write JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="folder with CIFAR-10")
    parser.add_argument("--network", choices=NETWORKS, default="vgg", help="default: vgg, which has average pools")
    parser.add_argument("--train", type=int, default=10_000, metavar="N", help="training images (default: 10,000)")
    parser.add_argument("--test", type=int, default=1000, metavar="N", help="test images (default: 1000)")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first test images (default: 0)")
    parser.add_argument("--epochs", type=int, default=6, metavar="N", help="default: 6")
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 32, 64], metavar="T", help="default: 16 32 64")
    parser.add_argument("--percentile", type=float, default=99.7, help="of the activations (default: 99.7)")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="trained weights; if missing, train and write them"
    )
    parser.add_argument("--backend", default="numba", metavar="NAME", help="default: numba")
    add_json(parser, "write the result to this file")
    options = parser.parse_args(arguments)
    found = measure(options)
    rows = [["PyTorch", "", found["torch"]], ["ANN", "", found["ann"]], *(["SNN", *x] for x in found["snn"].items())]
    print(table(["network", "T", "accuracy, %"], [[name, steps, f"{100 * value:.1f}"] for name, steps, value in rows]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run(main))
