"""What tests of runs share: commands in this process, a small CIFAR-10 on disk, comparisons of results and checkpoints."""

import contextlib
import io

import numpy as np

from minihire.app import cli
from minihire.training.checkpoint import load


def write_cifar10(folder, train=9, test=20):
    """The six binary files of CIFAR-10 with few records each; classes differ in brightness."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in [*((f"data_batch_{i}.bin", train) for i in range(1, 6)), ("test_batch.bin", test)]:
        labels = rng.integers(0, 10, count)
        pixels = np.clip(rng.normal(0, 20, (count, 3072)) + 25 * labels[:, None] + 15, 0, 255)
        (folder / name).write_bytes(np.column_stack([labels, pixels]).astype(np.uint8).tobytes())
    return folder


def command(*arguments):
    """(exit code, what it printed) of a command in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = cli.main([str(argument) for argument in arguments])
    return code, out.getvalue()


def scores(results):
    """{(model, access, attack): number of correct answers}."""
    return {(row["model"], row["access"], row["attack"]): row["correct"] for row in results["accuracy"]}


def weights(path):
    """A checkpoint's parameters as bytes."""
    return {name: a.tobytes() for name, a in load(path).arrays.items() if name.startswith("parameter/")}


def found(results):
    """The results without time, memory and the machine."""
    return {key: value for key, value in results.items() if key not in ("phases", "machine", "checksum")}


def same_as(expected, out, results):
    """Assert that results and the weights of all checkpoints are equal. expected: (folder, results)."""
    assert found(results) == found(expected[1])
    for path in (expected[0] / "models").rglob("*.npz"):
        assert weights(out / path.relative_to(expected[0])) == weights(path)
