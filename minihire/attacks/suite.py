"""The evaluation of robustness: many attacks on one network. An image is robust only if it withstands all of them.

    found = evaluate_robustness(network, images, "strong", epsilon=2 / 255)
    found.robust, found.established        bool [N], and whether images are left and no red flag is up

"parity" is what the paper measures: FGSM and PGD-7 through the network's own surrogate. "strong" adds uniform noise, the
surrogate ensemble (members.py) with PGD-20 and Auto-PGD, targeted Auto-PGD, SA-PGD, Square, and images crafted on other networks.
Both are cascades: an attack runs only on the images that have withstood all attacks before it. red_flags.py then looks for signs
that the accuracy left is due to weak attacks, not to a robust network.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from minihire.analysis.accuracy import accuracy
from minihire.analysis.statistics import Score
from minihire.attacks.apgd import apgd
from minihire.attacks.curves import curve_attacks, curves
from minihire.attacks.evaluate import attack_accuracy
from minihire.attacks.gradient import Attack, attack_identity, fgsm, pgd, require_attack
from minihire.attacks.members import MEMBERS, Member, has_own_neurons
from minihire.attacks.noise import uniform_noise
from minihire.attacks.pace import Pace
from minihire.attacks.probes import Probes
from minihire.attacks.red_flags import flag_attacks, red_flags
from minihire.attacks.sa_pgd import sa_pgd
from minihire.attacks.square import square
from minihire.attacks.suite_state import State
from minihire.attacks.targets import NEEDED
from minihire.data.dataset import Dataset
from minihire.data.identity import identity
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import say

SUITES, BUDGETS = ("parity", "strong"), ("small", "full")
PGD_STEPS, APGD_STEPS, RESTARTS, QUERIES = 20, 100, 5, {"small": 1000, "full": 5000}
# On HIRE's VGG5 at ε = 2/255, 400 steps alone left 50 of 200 images. The suite without them had left 57.
SA_PGD_STEPS = (100, 400)


class Stage(NamedTuple):
    """One attack of a suite.

    source: the network to craft images on. run: number of the restart, which changes the start. kind: "white box", "transfer" or
    "square"; the red flags compare the last two with the first.
    """

    name: str
    source: Network
    attack: Attack
    run: int = 0
    kind: str = "white box"

    @property
    def label(self) -> str:
        """The name in results and messages."""
        return f"{self.name}, restart {self.run}" if self.run else self.name


# (stage, numbers of the images that are left) → bool [N], whether each withstands; False for the others
Withstand = Callable[[Stage, np.ndarray], np.ndarray]


@dataclass
class Robustness:
    """What a suite found.

    epsilon: ε in pixels of [0, 1]. clean, robust: bool [N], whether an image is classified correctly, and whether it also
    withstood every attack. stages: a row for each attack that ran: name, images attacked, images left, gradient evaluations and
    queries (forward passes). flags: rows of `red_flags`. transfer: names of the other networks that images were crafted on.
    curves: what `curves.curves` returns; empty unless the budget is "full". transfer_needed: False if sources were given, but no
    image was left for them.
    """

    suite: str
    budget: str
    epsilon: float
    clean: np.ndarray
    robust: np.ndarray
    stages: list[dict[str, Any]] = field(default_factory=list)
    flags: list[dict[str, Any]] = field(default_factory=list)
    transfer: list[str] = field(default_factory=list)
    seconds: float = 0.0
    curves: dict[str, Any] = field(default_factory=dict)
    transfer_needed: bool = True

    @property
    def established(self) -> bool:
        """Whether images withstood the strong suite, its red flags were evaluated, and none is up."""
        up = any(flag["up"] for flag in self.flags)
        return self.suite == "strong" and bool(self.flags) and not up and bool(self.robust.any())

    def as_dict(self) -> dict[str, Any]:
        """The entry of a results file."""
        count = len(self.robust)
        return {
            "suite": self.suite,
            "budget": self.budget,
            "epsilon": self.epsilon,
            "clean": Score(int(self.clean.sum()), count).as_dict(),
            "robust": Score(int(self.robust.sum()), count).as_dict(),
            "stages": self.stages,
            "gradients": sum(row["gradients"] for row in self.stages),
            "queries": sum(row["queries"] for row in self.stages),
            "transfer": self.transfer or ("not run" if self.transfer_needed else "not needed"),
            "flags": self.flags,
            "curves": self.curves,
            "established": self.established,
            "seconds": self.seconds,
        }


def stages(
    network: Network,
    suite: str,
    budget: str,
    epsilon: float,
    sources: Sequence[tuple[str, Network]],
    samples: int,
    members: Sequence[Member] | None = None,
) -> list[Stage]:
    """The attacks of a suite in their order: cheap and strong ones first, so that few images are left for the others."""
    found = [Stage("fgsm", network, fgsm(epsilon)), Stage("pgd-7", network, pgd(epsilon, 0.01, 7))]
    if suite == "strong":
        found += _strong_stages(network, budget, epsilon, sources, members)
    return [stage._replace(attack=stage.attack.changed(samples=samples)) for stage in found]


def _strong_stages(network, budget, epsilon, sources, members):
    """The attacks of the strong suite after FGSM and PGD-7. Arguments: see `stages`."""
    found = [Stage("noise", network, uniform_noise(epsilon))]
    own = has_own_neurons(network)  # a red flag says what is then left out
    ensemble = MEMBERS if members is None else members
    if own:
        ensemble = [member for member in ensemble if member.surrogate.kind != "rate"]
    named = [(member.name, member.source(network)) for member in ensemble] if network.spiking else []
    through = [*named[:1], ("own", network), *named[1:]]
    if network.spiking and not own:
        # before the ensemble: of all attacks, it fooled most images of a trained VGG5 at ε = 2/255
        whole = network.view(time_chunk=None)  # the adaptive surrogate needs all time steps at once
        found += [Stage(f"sa-pgd-{steps}", whole, sa_pgd(epsilon, steps)) for steps in SA_PGD_STEPS]
        if budget == "full":
            found += _more_of_sa_pgd(whole, epsilon)
    targeted = network.model.classes >= NEEDED["dlr-targeted"]
    for name, source in through:
        attack = pgd(epsilon, epsilon / 4, PGD_STEPS)
        found += [Stage(f"pgd-{PGD_STEPS} {name}", source, attack, run) for run in range(RESTARTS)]
        found.append(Stage(f"apgd-{APGD_STEPS} {name}", source, apgd(epsilon, APGD_STEPS)))
        if targeted and (name == "own" or budget == "full"):
            attack = apgd(epsilon, APGD_STEPS, loss="dlr-targeted")
            found.append(Stage(f"apgd-targeted-{APGD_STEPS} {name}", source, attack))
    if network.spiking and budget == "full":
        found += _other_time_steps(network, named, epsilon)
    for name, source in sources:
        found += [stage._replace(kind="transfer") for stage in _transfers(name, source, budget, epsilon)]
    found.append(Stage(f"square-{QUERIES[budget]}", network, square(epsilon, QUERIES[budget]), kind="square"))
    return found


def _transfers(name, source, budget, epsilon):
    """The attacks with images that are crafted on another network."""
    found = [Stage(f"transfer pgd-{PGD_STEPS} {name}", source, pgd(epsilon, epsilon / 4, PGD_STEPS))]
    found.append(Stage(f"transfer apgd-{APGD_STEPS} {name}", source, apgd(epsilon, APGD_STEPS)))
    if budget == "full" and source.spiking and not has_own_neurons(source):
        few = SA_PGD_STEPS[0]
        found.append(Stage(f"transfer sa-pgd-{few} {name}", source.view(time_chunk=None), sa_pgd(epsilon, few)))
    return found


def _more_of_sa_pgd(network: Network, epsilon: float) -> list[Stage]:
    """SA-PGD once more with most steps: from another start, and with another loss."""
    steps = SA_PGD_STEPS[-1]
    found = [Stage(f"sa-pgd-{steps}", network, sa_pgd(epsilon, steps), 1)]
    if network.model.classes >= NEEDED["dlr"]:
        found.append(Stage(f"sa-pgd-{steps} dlr", network, sa_pgd(epsilon, steps, loss="dlr")))
    return found


def _other_time_steps(network: Network, members: list[tuple[str, Network]], epsilon: float) -> list[Stage]:
    """Auto-PGD on the same weights with half and twice the time steps. HIRE crafts its noise with T/N steps."""
    attack = apgd(epsilon, APGD_STEPS)
    chosen = [steps for steps in (network.steps // 2, 2 * network.steps) if steps]
    spiking = [(name, source) for name, source in members if source.spiking]  # not the ReLU network, which has no T
    return [
        Stage(f"apgd-{APGD_STEPS} {name}, T = {steps}", source.view(steps=steps), attack)
        for name, source in spiking[:1]
        for steps in chosen
    ]


def evaluate_robustness(
    network: Network,
    data: Dataset,
    suite: str = "strong",
    *,
    epsilon: float = 8 / 255,
    budget: str = "small",
    sources: Sequence[tuple[str, Network]] = (),
    samples: int = 1,
    seed: int = 0,
    flags: bool = True,
    members: Sequence[Member] | None = None,
    attacks: Sequence[Attack] = (),
    folder: Path | None = None,
    about: str = "",
) -> Robustness:
    """Attack a network with a whole suite, on all images of `data`.

    suite: one of SUITES. budget: of the strong suite, one of BUDGETS; "full" adds targeted Auto-PGD through every member of the
    ensemble, SA-PGD from a second start, with the DLR loss and on the sources, Auto-PGD with half and twice the time steps, 5,000
    queries of Square instead of 1,000, and the curves of curves.py. epsilon: ε in pixels of [0, 1]. sources: (name, network)
    pairs to craft images on for the transfer attacks of the strong suite. samples: of a network with random spikes, draws per
    gradient and evaluation. flags: whether to evaluate the red flags of the strong suite, and the curves. members: the surrogate
    ensemble, by default all MEMBERS; fewer of them save time where gradients are expensive.
    attacks: further attacks with the same ε, such as your own; they run last, on the images that withstood all others.
    folder: keeps the state, so that the same call resumes after an interruption. The state identifies network, sources and
    images. about: further text that has to be the same when the evaluation resumes.

    Raises MinihireError for an unknown suite or budget, two sources, members or attacks of the same name, an attack named
    "clean", attacks with another ε, sources and data with other image shapes or numbers of classes than the network's, and a
    state that is damaged or belongs to another evaluation.

    >>> from minihire import Network, build, evaluate_robustness, get_backend, initialise, load_data
    >>> k, images, model = get_backend("reference"), load_data("shapes", test_limit=4), build("vgg5", width=1 / 16, hidden=16)
    >>> network = Network(model, k, initialise(model, k, seed=0))
    >>> found = evaluate_robustness(network, images.test, "parity", epsilon=8 / 255)
    >>> found.robust.shape, found.established
    ((4,), False)
    """
    sources, attacks = checks.several("the sources", sources), checks.several("the attacks", attacks, Attack)
    members = None if members is None else checks.several("the members", members, Member)
    folder = None if folder is None else checks.path("the folder", folder)
    _check(network, data, suite, budget, sources)
    # spikes that are not random need one draw
    samples = samples if network.random or any(source.random for _, source in sources) else 1
    todo = stages(network, suite, budget, epsilon, sources, samples, members)
    todo += _further(network, attacks, float(epsilon))
    _refuse_equal_names(todo)
    names = [name for name, _ in sources]
    key = {"suite": suite, "budget": budget, "epsilon": float(epsilon), "sources": names, "samples": samples}
    if members is not None:
        key["members"] = [repr(member) for member in members]
    if attacks:
        key["attacks"] = [attack_identity(attack) for attack in attacks]
    if folder is not None:
        key["identity"] = [identity(each, data) for each in (network, *(source for _, source in sources))]
    key |= {"images": len(data), "seed": checks.whole("the seed", seed, None), "about": about}
    state = State(folder, key, network.backend.services)
    clean = state.once("clean", partial(accuracy, network, data, seed=seed, samples=samples))
    found = Robustness(suite, budget, float(epsilon), clean, clean.copy())
    probes = Probes(network, data, samples=samples, seed=seed, state=state)
    pace = Pace(network.model.classes, len(probes.images))
    flagging = [attack for _, attack in flag_attacks(network, epsilon).values()] if suite == "strong" and flags else []
    drawing = curve_attacks(epsilon) if flagging and budget == "full" else []
    flagging, drawing = ([attack.changed(samples=samples) for attack in each] for each in (flagging, drawing))
    _cascade(found, todo, partial(_withstand, network, data, seed, state), pace, flagging + drawing)
    ran = {row["name"] for row in found.stages}
    found.transfer = [name for name in names if f"transfer pgd-{PGD_STEPS} {name}" in ran]
    found.transfer_needed = bool(found.transfer) or not names or suite == "parity"
    if flagging:
        found.flags = red_flags(probes, found, epsilon)
        _report_flags(found, pace.left(probes=drawing) if drawing else "")
    if drawing:
        found.curves = curves(probes, clean, epsilon)
    found.seconds = state.seconds
    return found


def _check(network, data, suite, budget, sources):
    """Raise MinihireError for arguments of `evaluate_robustness` that are unknown or do not fit together."""
    if suite not in SUITES or budget not in BUDGETS:
        raise MinihireError(
            f"a suite is {' or '.join(SUITES)} and a budget {' or '.join(BUDGETS)}, not {suite!r} and {budget!r}"
        )
    checks.instance("the network", network, Network)
    for source in sources:
        if not (isinstance(source, tuple | list) and len(source) == 2 and isinstance(source[1], Network)):
            raise MinihireError(f"one of the sources is {checks.shown(source)}: give pairs (name, Network)")
    names = [name for name, _ in sources]
    if len({*names}) < len(names):
        raise MinihireError(f"two sources have the same name among {', '.join(names)}: give each its own")
    for model in (network.model, *(source.model for _, source in sources)):
        checks.data(data, model)


def _further(network: Network, attacks: Sequence[Attack], epsilon: float) -> list[Stage]:
    """The stages of attacks that do not belong to the suite."""
    for attack in attacks:
        require_attack(attack)
        if not math.isclose(attack.epsilon, epsilon, rel_tol=1e-6):
            raise MinihireError(
                f"the attack {attack.name!r} has ε = {attack.epsilon:.4g}, the suite ε = {epsilon:.4g}: give both the same"
            )
    return [Stage(attack.name, network, attack) for attack in attacks]


def _refuse_equal_names(todo: list[Stage]) -> None:
    """Raise MinihireError for two stages of the same name: the state would take the results of one for those of the other."""
    taken = {"clean"}  # the state's name of the accuracy without an attack
    for stage in todo:
        if stage.label in taken:
            raise MinihireError(
                f"two results of the suite have the name {stage.label!r}: give your attack or member another name"
            )
        taken.add(stage.label)


def _cascade(found: Robustness, todo: list[Stage], withstand: Withstand, pace: Pace, later: list[Attack]) -> None:
    """Run the stages `todo`, each on the images that are left. Add the results to `found`. later: the attacks after them."""
    for number, stage in enumerate(todo):
        left, start = np.flatnonzero(found.robust), perf_counter()
        if not len(left):
            break
        found.robust &= withstand(stage, left)
        pace.add(stage.attack, len(left), perf_counter() - start)
        gradients, queries = stage.attack.cost(stage.source.model.classes)
        row = {"name": stage.label, "kind": stage.kind, "attacked": len(left), "withstood": int(found.robust.sum())}
        found.stages.append({**row, "gradients": gradients * len(left), "queries": queries * len(left)})
        rest = [other.attack for other in todo[number + 1 :]]
        _report(found, stage.label, pace.left(rest, row["withstood"], later))


def _withstand(network, data, seed, state, stage, left):
    """bool [N]: the images that withstand one attack, of those with the numbers `left`; False for the others."""

    def compute():
        right, attack = np.zeros(len(data), bool), stage.attack.changed(name=stage.label)
        more = state.partial(stage.label)
        answers = attack_accuracy(network, data.take(left), attack, source=stage.source, seed=seed + stage.run, **more)
        right[left] = answers
        return right

    return state.once(stage.label, compute)


def _report(found, label, time_left):
    """Say how many images are left after an attack."""
    count = int(found.robust.sum())
    say(f"{label}: {count:,} of {len(found.robust):,} images withstand ({count / len(found.robust):.1%}){time_left}")


def _report_flags(found, time_left):
    """Say which red flags are up."""
    up = [flag["name"] for flag in found.flags if flag["up"]]
    say(f"red flags: {', '.join(up) or 'none is up'}{time_left}")
