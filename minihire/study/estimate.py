"""Estimate how long a run takes, before the run starts: measure a few steps of each kind on throw-away networks.

The spiking network is converted from an untrained ANN, so its neurons fire at other densities than after training, and other
programs on the machine change the measurement. The progress lines of a run give better estimates.
"""

from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

from backends.interface import Backend
from backends.randomness import Draws
from minihire.analysis.accuracy import BATCH
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset, Splits
from minihire.network import Network
from minihire.study.networks import converted_snn, new_ann
from minihire.study.settings import ANN_METHODS, Config
from minihire.training.loop import Training

WARM_UP, MEASURED = 2, 4  # batches: the first ones compile kernels


class Work(NamedTuple):
    """A part of a run, and the estimate of its time in seconds."""

    name: str
    seconds: float


def estimate(config: Config, backend: Backend, splits: Splits, done=lambda method, seed: False) -> list[Work]:
    """The work of a run, in its order. done(method, seed): whether this network exists already."""
    ann, few = new_ann(config, splits.train, backend, config.seed), splits.train.limit(min(64, len(splits.train)))
    two, steps = few.limit(min(2, len(few))), min(4, config.calibration_steps)
    # fallback_threshold: a layer of an untrained ANN may receive no positive current
    short = replace(config.calibration, images=len(few), steps=steps, fallback_threshold=1.0)
    converted_snn(ann, config, two, config.seed, replace(short, images=len(two)))  # compiles kernels
    start = perf_counter()
    snn = converted_snn(ann, config, few, config.seed, short)
    one_step = (perf_counter() - start) / (short.steps * short.images)
    calibration = min(config.calibration_images, len(splits.train)) * config.calibration_steps * one_step
    networks = {"ann": ann, "converted": snn} | {m: ann if m in ANN_METHODS else snn for m in config.methods}
    training = {m: _training_batch(networks[m], config, m, splits.train) for m in networks if m != "converted"}
    work, seeds = [], (config.seed, config.seed + 1) if config.black_box else (config.seed,)
    for seed in seeds:
        for method in networks:
            second = "" if seed == config.seed else " (second seed)"
            if done(method, seed):
                continue
            if method == "converted":
                work.append(Work(f"convert{second}", calibration))
                continue
            recipe = config.recipe(method)
            batches = -(-len(splits.train) // recipe.batch_size) * recipe.epochs
            work.append(Work(f"train {method}{second}", batches * training[method]))
    gradient = {False: _attacked_batch(ann, splits.test), True: _attacked_batch(snn, splits.test)}
    for attack in config.attacks:
        passes = attack.cost(ann.model.classes).work * -(-len(splits.test) // BATCH)
        crafted = sum(gradient[n.spiking] for n in networks.values())
        transferred = (
            sum(gradient[n.spiking] for m, n in networks.items() if m != "converted") if config.black_box else 0
        )
        work.append(Work(f"attack {attack.name}", passes * (crafted + transferred)))
    return work


def _training_batch(network: Network, config: Config, method: str, data: Dataset) -> float:
    """Seconds of a training batch, the median of a few."""
    training, seconds = Training(network.copy(), config.recipe(method), data, seed=config.seed), []
    for number in range(WARM_UP + MEASURED):  # again from the first batch, where an epoch has fewer
        training.batch, start = number % len(training.batches), perf_counter()
        training.train_batch()
        training.drain()
        seconds.append(perf_counter() - start)
    return sorted(seconds[WARM_UP:])[MEASURED // 2]


def _attacked_batch(network: Network, data: Dataset) -> float:
    """Seconds of one gradient with respect to a batch of images, the second of two."""
    k = network.backend
    images, labels = Batches(data.limit(min(BATCH, len(data))), k, BATCH).load(0, 0)
    for _ in range(2):
        start = perf_counter()
        found = network.gradients(
            images, labels, weights=False, image=True, training=False, scale=1.0, draws=Draws(), keep_state=False
        )
        k.to_numpy(found.image)
        seconds = perf_counter() - start
    return seconds
