"""`minihire train`, `convert` and `attack`: views of a study whose networks come from checkpoint files.

`minihire analyze` needs no study: it measures one network with networks.activity_and_energy.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from minihire.attacks import Attack, Robustness, evaluate_robustness
from minihire.data.dataset import Dataset, Splits
from minihire.network import Network
from minihire.study.settings import Config
from minihire.study.spec import NetworkSpec
from minihire.study.stores import Files
from minihire.study.study import Study
from minihire.training.callbacks import Callback
from minihire.training.loop import Training


def train_one(
    config: Config,
    method: str,
    splits: Splits,
    backend,
    out: Path,
    start: Network | None = None,
    callbacks: Sequence[Callback] = (),
    seen: Collection[str] = (),
) -> tuple[Network, Training]:
    """Train one network and write the checkpoint `out`, or resume the training from that checkpoint.

    start: the converted SNN that `method` starts from; None for "ann". callbacks and seen: see `training.train`. The Training has
    history and warnings.
    """
    spec, files = NetworkSpec(config, method, config.seed), Files(out)
    given = {spec.start: start} if start else None
    network = Study(backend, files, splits, given, callbacks=callbacks, seen=seen).network(spec)
    return network, files.training


def convert_one(
    config: Config, ann: Network, splits: Splits, backend, out: Path, seen: Collection[str] = ()
) -> Network:
    """Convert an ANN with the settings of the configuration, and write the SNN to the checkpoint `out`. seen: see `train`."""
    spec = NetworkSpec(config, "converted", config.seed)
    return Study(backend, Files(out), splits, {spec.start: ann}, seen=seen).network(spec)


def attack_one(
    config: Config,
    attacks: list[Attack],
    target: Network,
    source: Network | None,
    splits: Splits,
    backend,
    scores: Path | None = None,
) -> tuple[dict[str, np.ndarray], Files]:
    """Answers of `target` to clean images and to each attack: ({"clean" or attack's name: bool [N]}, files).

    source: the network that the images are crafted on, None for the attacked one (white box). scores: the JSON file that the
    caller will write the scores to. The answers of each attack are stored in the same folder, so that an interrupted call can
    resume. Call files.clear() to delete them when the scores are written.
    """
    attacked, files = NetworkSpec(config, "target", config.seed), Files(scores=scores)
    crafted_on = attacked._replace(method="source") if source else attacked
    study = Study(backend, files, splits, {attacked: target, crafted_on: source or target})
    found = {"clean": study.answers(attacked, samples=max((attack.samples for attack in attacks), default=1))}
    for attack in attacks:
        found[attack.name] = study.answers(attacked, attack, crafted_on)
    return found, files


def robustness_of(
    config: Config,
    suite: str,
    budget: str,
    target: Network,
    sources: Sequence[tuple[str, Network]],
    data: Dataset,
    samples: int = 1,
    attacks: Sequence[Attack] = (),
    scores: Path | None = None,
) -> tuple[Robustness, Path | None]:
    """The result of a suite of attacks, and the folder with its state. Arguments: see `evaluate_robustness`.

    scores: the JSON file that the caller will write the result to; None: no state is kept. The state is in a folder beside it, so
    that an interrupted call can resume. The caller deletes the state (`suite_state.forget`) when the result is written.
    """
    folder = scores and scores.with_name(f"{scores.stem}.suite")
    options = dict(budget=budget, sources=sources, samples=samples, attacks=attacks, seed=config.seed, folder=folder)
    return evaluate_robustness(target, data, suite, epsilon=config.epsilon, **options), folder
