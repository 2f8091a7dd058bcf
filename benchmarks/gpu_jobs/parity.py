"""Check that the device agrees with the reference backend, and that CUDA graphs are used. Takes half a minute.

python -m benchmarks.gpu_jobs.parity --device cuda --json check.json
"""

import json
import sys

import numpy as np

from backends import get_backend
from benchmarks import machine
from benchmarks.command import add_json, run
from benchmarks.lif import device_name
from minihire.app.flags import Parser
from minihire.attacks import Attacker, pgd
from minihire.data.dataset import Dataset
from minihire.models import build
from minihire.network import Network, initialise
from minihire.report.tables import table
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.training import CraftedNoise, Recipe
from minihire.training.loop import Training

BATCHES = 8
# Allowed differences of a loss of about 2.3 nats. A rounding error can flip a spike, after which small networks diverge
# quickly; so the limits of tf32 and bf16 are wide.
ALLOWED = {"float64": 1e-7, "float32": 0.02, "tf32": 0.5, "bf16": 1.0}
REPLAYED = 1e-5  # allowed difference with a CUDA graph, which launches the same kernels


def losses(k, model: str) -> tuple[list[float], object]:
    """Train BATCHES batches with HIRE, augmentation and dropout. Returns their losses and the `Training`."""
    made = build(model, image_shape=(16, 16, 3), width=0.125, hidden=32)
    weights = initialise(made, k, 1, spiking=True)
    weights |= {n: k.asarray([0.25 if "threshold" in n else 0.5]) for n in weights if not n.endswith("weight")}
    network, rng = Network(made, k, weights, spiking=True, steps=4), np.random.default_rng(0)
    pixels, classes = rng.integers(0, 256, (32, 16, 16, 3), np.uint8), tuple("0123456789")
    data = Dataset("random", pixels, rng.integers(0, 10, 32), classes, made.mean, made.std)
    recipe = Recipe(epochs=9, batch_size=8, learning_rate=2**-10, periods=2, noise=CraftedNoise(2**-6, 2**-6))
    training, found = Training(network, recipe, data, seed=3), []
    for number in range(BATCHES):
        training.epoch, training.batch = divmod(number, len(training.batches))
        before = training.sums["loss"]
        training.train_batch()
        training.drain()
        found.append((training.sums["loss"] - before) / 16)
    return found, training


def attacked(k, network):
    """The adversarial images of the third of three PGD batches."""
    attacker, rng = Attacker(network, pgd(2**-5, 2**-7, 5, random_start=False)), np.random.default_rng(1)
    for _ in range(3):
        images, labels = k.asarray(rng.random((8, 16, 16, 3))), k.asarray(rng.integers(0, 10, 8))
        found = k.to_numpy(attacker(images, labels))
    return found


def compare(device: str) -> list[dict]:
    """Compare losses and attacks with the reference. One row per model, precision and use of CUDA graphs."""
    rows = []
    for model in ("vgg5", "resnet12"):
        expected, training = losses(get_backend("reference", dtype="float64"), model)
        images = attacked(training.network.backend, training.network)
        for precision in ("float64", "float32", "tf32", "bf16"):
            dtype = "float64" if precision == "float64" else "float32"
            place = dict(dtype=dtype, precision="float32" if precision == "float64" else precision)
            eager = None
            for record in (False, True) if device != "cpu" else (False,):
                said, k = [], get_backend("torch", device, record=record, **place)
                k.services.announce(said.append)
                found, training = losses(k, model)
                row = {"model": model, "precision": precision, "recorded": record, "allowed": ALLOWED[precision]}
                row["difference"] = float(np.abs(np.subtract(found, expected)).max())
                if precision == "float64":
                    row["attack_differs"] = bool(np.abs(attacked(k, training.network) - images).max() > 1e-6)
                eager = found if eager is None else eager
                if record:
                    row["recorded_differs"] = float(np.abs(np.subtract(found, eager)).max())
                    recordings = [r for each in training.run_period.values() for r in each.recordings.values()]
                    row["replayed"] = bool(recordings) and all(r.replay is not None for r in recordings)
                    row["said"] = [line for line in said if "graph" in line]
                rows.append(row)
    return rows


def wrong(row: dict) -> bool:
    """Whether a row differs by more than is allowed, or no graph was replayed."""
    same = row["difference"] <= row["allowed"] and row.get("recorded_differs", 0) <= REPLAYED
    return not same or row.get("attack_differs", False) or not row.get("replayed", True)


def main(arguments=None) -> None:
    """Compare, print a table, and write JSON if --json is given. Raises MinihireError if a row is wrong."""
    p = Parser("python -m benchmarks.gpu_jobs.parity", description=__doc__)
    p.add_argument("--device", default="cuda", metavar="DEVICE", help="cuda (default) or cpu")
    add_json(p)
    options = p.parse_args(arguments)
    k = get_backend("torch", options.device)
    rows = compare(options.device)
    content = {"device": device_name(k), "machine": machine.describe(), "parity": rows}
    print(f"{content['device']}; {content['machine']['versions']}; neurons: {k.lif_kernels.__name__}")
    shown = [
        [
            f"{r['model']} {r['precision']}",
            "yes" if r.get("replayed") else "no",
            f"{r['difference']:.1e}",
            f"{r['allowed']:g}",
        ]
        for r in rows
    ]
    print(table(["losses, compared with the reference", "graph replayed", "largest difference", "allowed"], shown))
    for row in rows:
        for line in row.get("said", []):
            print(f"{row['model']} {row['precision']}: {line}")
    if options.json:
        text = json.dumps(content, indent=1)
        write_atomically(options.json, lambda file: file.write(text.encode()))
    if any(map(wrong, rows)):
        raise MinihireError(
            f"the device differs from the reference, or no CUDA graph was used: {[r for r in rows if wrong(r)]}"
        )


if __name__ == "__main__":
    sys.exit(run(main))
