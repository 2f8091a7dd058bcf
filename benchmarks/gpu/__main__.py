"""Benchmark on one GPU: speed and memory of training, HIRE, attack and inference, for minihire and other libraries.

python -m benchmarks.gpu --json gpu.json [--data-dir DIR] [--minutes 5]      measure a GPU, the most important cells first
python -m benchmarks.gpu --device cpu --quick                                test the command: tiny networks, two rounds

A cell is a model, a batch size, a precision and a task. The libraries of a cell take turns. If one fails, for example
because of too little memory, the table says why. The JSON file is written after every cell. With --data-dir (CIFAR-10),
whole epochs of VGG5 are timed as well.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.command import add_json, run
from benchmarks.gpu import summary
from benchmarks.gpu.cells import BATCHES, MODELS, Cell, Settings, planned
from minihire.app.flags import Parser, minutes
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically

PRECISIONS = ("tf32", "bf16", "float32")


def main(arguments=None) -> dict:
    """Measure as many cells as the time allows, print tables, write JSON, and return its content."""
    options = _parser().parse_args(arguments)
    settings = _settings(options)
    import torch

    if settings.device != "cpu" and not torch.cuda.is_available():
        raise MinihireError("no CUDA device was found: give --device cpu --quick to test the command")
    return Measurement(settings, options).run()


class Measurement:
    """The results so far, and the file that stores them."""

    def __init__(self, settings: Settings, options):
        from benchmarks.lif import device_name

        self.settings, self.options, self.start = settings, options, time.monotonic()
        self.backend = settings.backend()
        self.content = {
            "device": device_name(self.backend),
            "machine": machine.describe(),
            "settings": settings.describe(),
            "cells": [],
            "kernels": None,
            "epochs": [],
            "left_out": [],
            "finished": False,
        }

    def run(self) -> dict:
        """Run all jobs, the most important first."""
        print(f"{self.content['device']}; {self.content['machine']['versions']}")
        jobs = [(cell.rank, str(cell), lambda cell=cell: self.cell(cell)) for cell in planned(self.settings)]
        jobs += [(0.5, "kernels", self.kernels)]
        jobs += [
            (1.5, f"epoch, batch {batch}", lambda batch=batch: self.epoch(batch)) for batch in self.settings.epochs
        ]
        for _, name, job in sorted(jobs, key=lambda job: job[0]):
            if self.options.minutes and time.monotonic() - self.start > 60 * self.options.minutes:
                self.content["left_out"].append(name)
                continue
            job()
            self.save()
        self.content["finished"] = True
        self.save()
        print("\n" + summary.text(self.content))
        return self.content

    def save(self) -> None:
        """Write the JSON file atomically."""
        self.content["summary"] = summary.figures(self.content)
        self.content["seconds"] = time.monotonic() - self.start
        if self.options.json:
            text = json.dumps(self.content, indent=1)
            write_atomically(self.options.json, lambda file: file.write(text.encode()))

    def cell(self, cell: Cell) -> None:
        """Measure one cell and print its table."""
        from benchmarks.gpu.measure import measured

        found = {**cell._asdict(), "sides": measured(cell, self.settings)}
        self.content["cells"].append(found)
        print("\n" + summary.cell_table(found), flush=True)

    def kernels(self) -> None:
        """Measure the neuron and Adam, compared with their memory bounds."""
        from benchmarks.gpu.kernels import adam, neurons

        self.content["kernels"] = {"lif": neurons(self.settings), "adam": adam(self.settings)}
        print("\n" + summary.kernel_tables(self.content["kernels"]), flush=True)

    def epoch(self, batch: int) -> None:
        """Time whole epochs of VGG5 in the training loop."""
        from benchmarks.gpu.epoch import timed

        found = timed(self.settings, batch, self.options.data_dir)
        self.content["epochs"] += found
        print("\n" + summary.epoch_table(found), flush=True)


def _parser():
    p = Parser("python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_json(p, "write all results to this file, after every cell")
    p.add_argument("--device", default="cuda", metavar="DEVICE", help="cuda (default) or cpu")
    p.add_argument("--quick", action="store_true", help="tiny networks and few rounds, to test the command")
    p.add_argument("--minutes", type=minutes, metavar="M", help="start no new cell after M minutes")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with CIFAR-10: also time whole epochs of VGG5")
    p.add_argument("--models", default=",".join(MODELS), metavar="NAMES", help=f"models (default: {','.join(MODELS)})")
    p.add_argument(
        "--batches", type=int, nargs="+", default=list(BATCHES), metavar="N", help="images per batch (default: 32 256)"
    )
    p.add_argument(
        "--precisions", default=",".join(PRECISIONS), metavar="NAMES", help="precisions (default: tf32,bf16,float32)"
    )
    p.add_argument("--rounds", type=int, default=7, metavar="N", help="measured rounds per cell (default: 7)")
    p.add_argument("--compile", action="store_true", help="also measure torch.compile (takes a minute per cell)")
    return p


def _settings(options) -> Settings:
    models, precisions = (tuple(filter(None, text.split(","))) for text in (options.models, options.precisions))
    for given, known, flag in ((models, MODELS, "--models"), (precisions, PRECISIONS, "--precisions")):
        if not given or not set(given) <= set(known):
            raise MinihireError(f"{flag} must be one or more of {', '.join(known)}, not {','.join(given)}")
    if min(options.batches) < 1 or options.rounds < 1:
        raise MinihireError("--batches and --rounds must be 1 or more")
    if options.device == "cpu" and not options.quick:
        raise MinihireError(
            "on a CPU give --quick; to measure a CPU, use benchmarks.train_step, attack_step and forward"
        )
    if options.quick:
        return Settings(options.device, (models[0],), (options.batches[0] if options.batches[0] < 8 else 2,),
                        precisions, 2, True, options.compile, bool(options.data_dir))  # fmt: skip
    return Settings(
        options.device, models, tuple(options.batches), precisions, options.rounds, False, options.compile,
        bool(options.data_dir),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
