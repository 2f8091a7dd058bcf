"""Train, attack, save, load and analyze in turn for an hour; memory, open files and threads must not grow (Linux):

    python tests/reliability/soak.py --minutes 60

After a warm-up of a tenth of the time, resident memory may grow by 2 % at most, and open files and threads not at all. Prints the
figures now and then; the exit code is 1 if they grew.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from backends import get_backend
from minihire import accuracy, attack_accuracy, build, convert, load_data
from minihire.analysis import measure_activity
from minihire.attacks import fgsm, pgd
from minihire.data.batches import Batches
from minihire.network import Network, initialise
from minihire.runtime.progress import Progress
from minihire.training import Calibration, CraftedNoise, Recipe, checkpoint, train


def figures() -> tuple[int, int, int]:
    """Resident memory in KiB, number of open files, number of threads of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]), len(os.listdir("/proc/self/fd")), int(status["Threads"])


def one_round(k, data, folder: Path, number: int) -> None:
    """Everything once, with a new seed."""
    model = build("vgg5", mean=data.train.mean, std=data.train.std, width=0.125, hidden=64)
    ann = Network(model, k, initialise(model, k, seed=number))
    train(ann, Recipe(epochs=1, optimiser="sgd", learning_rate=0.05), data.train, seed=number, path=folder / "ann.npz")
    snn = convert(checkpoint.load(folder / "ann.npz").network(k), data.train, steps=4, calibration=Calibration(32, 5))
    hire = Recipe(epochs=1, learning_rate=1e-3, periods=2, noise=CraftedNoise(0.013, 0.013))
    train(snn, hire, data.train, seed=number, path=folder / "hire.npz")
    network = checkpoint.load(folder / "hire.npz").network(k)
    accuracy(network, data.test)
    for attack in (fgsm(), pgd(iterations=3)):
        attack_accuracy(network, data.test, attack)
    measure_activity(network, (images for images, _ in Batches(data.test, k, 32)))


def main() -> int:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    Progress.quiet = True
    k, data = get_backend("numba", threads=2), load_data("shapes", train_limit=200, test_limit=64)
    begin, rounds, rows = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - begin < 60 * options.minutes:
            one_round(k, data, Path(folder), rounds)
            rounds += 1
            passed = time.monotonic() - begin
            if passed > 6 * options.minutes:  # the warm-up
                rows.append(figures())
            if rounds % 20 == 1:
                print(f"{passed / 60:5.1f} min, round {rounds}: memory, files, threads {figures()}", flush=True)
    table = np.array(rows)
    tenth = max(1, len(table) // 10)
    first, last = np.median(table[:tenth], axis=0), np.median(table[-tenth:], axis=0)
    grew = last[0] > 1.02 * first[0] or (last[1:] > first[1:]).any()
    print(
        f"{rounds} rounds in {options.minutes:g} min; memory {first[0]:,.0f} -> {last[0]:,.0f} KiB, files {first[1]:.0f} -> "
        f"{last[1]:.0f}, threads {first[2]:.0f} -> {last[2]:.0f}: {'GREW' if grew else 'flat'}"
    )
    return 1 if grew else 0


if __name__ == "__main__":
    sys.exit(main())
