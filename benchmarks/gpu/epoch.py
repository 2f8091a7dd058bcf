"""Times of whole VGG5 epochs on CIFAR-10, with the complete training loop: data, augmentation, dropout, CUDA graphs."""

import time

from benchmarks.gpu.cells import Settings
from benchmarks.gpu.measure import DENSITY
from benchmarks.prepare import force_density
from minihire import data
from minihire.network import Network, initialise
from minihire.runtime.progress import Progress
from minihire.study.networks import build_model
from minihire.study.settings import preset
from minihire.training.loop import Training

METHODS = ("traditional", "hire")
WARM_UP = 5  # batches


def timed(settings: Settings, batch: int, folder) -> list[dict]:
    """Time one epoch over all training images: one row per method and precision, without float32 unless quick."""
    tiny = dict(width=1 / 16, hidden=16, train_limit=64) if settings.quick else {}
    config = preset("vgg5-cifar10", batch_size=batch, data_dir=str(folder), **tiny)
    train = data.load("cifar10", folder, seed=0, train_limit=config.train_limit).train
    rows = []
    for precision in [p for p in settings.precisions if p != "float32" or settings.quick]:
        for method in METHODS:
            k = settings.backend(precision)
            model = build_model(config, train)
            network = Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=config.steps)
            force_density(network, k.asarray(train.images[:4].astype("float32") / 255), DENSITY)
            training = Training(network, config.recipe(method), train, seed=0)
            for batch_number in range(min(WARM_UP, len(training.batches))):
                training.batch = batch_number
                training.train_batch()
            training.drain()
            training.batch, training.sums = 0, dict.fromkeys(training.sums, 0)
            start = time.perf_counter()
            with Progress(f"{method}, {precision}, batch {batch}", len(train)) as progress:
                training.train_epoch(progress)
            taken = time.perf_counter() - start
            rows.append(
                {
                    "method": method,
                    "precision": precision,
                    "batch": batch,
                    "images": len(train),
                    "steps": config.steps,
                    "periods": config.recipe(method).periods,
                    "seconds": taken,
                    "images_per_s": len(train) / taken,
                }
            )
    return rows
