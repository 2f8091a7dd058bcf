"""Red flags: signs that the attacks failed, so that the accuracy left does not show a robust network.

Most are from Athalye et al. (ICML 2018) and Carlini et al. (2019). They are evaluated on the first 200 images of the data. Every
attack runs on all of these images, because a cascade does not show whether one attack is stronger than another. If a flag is up,
the report says "robustness not established".
"""

from itertools import pairwise
from typing import Any

from backends.randomness import Draws
from minihire.analysis.accuracy import predict
from minihire.attacks.apgd import apgd
from minihire.attacks.gradient import Attack, fgsm, pgd
from minihire.attacks.members import has_own_neurons
from minihire.attacks.noise import uniform_noise
from minihire.attacks.probes import Probes, strongest
from minihire.attacks.sa_pgd import sa_pgd
from minihire.data.batches import Batches
from minihire.network import Network

BATCH = 100
POINT, LITTLE = 0.01, 0.002  # shares of the images: the tolerance, and how many only Square or transfer may fool
COMPARED_STEPS = 200, 400  # of SA-PGD, whose accuracies a red flag compares
ENOUGH = 10  # draws: an answer that is the mean of so many draws of random spikes raises no flag


def flag_attacks(network: Network, epsilon: float) -> dict[str, tuple[Network, Attack]]:
    """The attacks of which the red flags compare the accuracies, by name: (network to craft images on, attack)."""
    _, through = strongest(network)
    whole = network.view(time_chunk=None)  # the adaptive surrogate needs all time steps at once
    compared = COMPARED_STEPS if network.spiking and not has_own_neurons(network) else ()
    adaptive = {f"sa-pgd-{steps}": (whole, sa_pgd(epsilon, steps)) for steps in compared}
    return {
        "fgsm": (network, fgsm(epsilon)),
        "pgd-20": (network, pgd(epsilon, epsilon / 4, 20)),
        "apgd-100": (network, apgd(epsilon, 100)),
        "apgd-50 strongest": (through, apgd(epsilon, 50)),
        "apgd-100 strongest": (through, apgd(epsilon, 100)),
        "noise": (network, uniform_noise(epsilon)),
        "apgd-100 unbounded": (through, apgd(1.0, 100)),
        **{_at(size): (through, pgd(size, size / 4, 20)) for size in _sizes(epsilon)},
        **adaptive,
    }


def red_flags(probes: Probes, found: Any, epsilon: float) -> list[dict[str, Any]]:
    """All red flags, {"name", "up", "text"} each. found: the `Robustness` of the cascade."""
    network, images, samples, seed = probes.network, probes.images, probes.samples, probes.seed
    left = {
        name: probes.score(f"flag: {name}", source, attack).accuracy
        for name, (source, attack) in flag_attacks(network, epsilon).items()
    }
    one, many, auto = left["fgsm"], left["pgd-20"], left["apgd-100"]
    half, whole = left["apgd-50 strongest"], left["apgd-100 strongest"]
    noise, unbounded = left["noise"], left["apgd-100 unbounded"]
    a, b = COMPARED_STEPS
    first, last = (left.get(f"sa-pgd-{steps}", 0.0) for steps in COMPARED_STEPS)
    own, sizes = has_own_neurons(network), _sizes(epsilon)
    curve = [left[_at(size)] for size in sizes]
    vanished = _zero_gradients(network, images, seed)
    changed = _changed(network, images, samples, seed)
    lowered = {kind: _lowered(found, kind) for kind in ("square", "transfer")}
    rises = any(_above(later, earlier) for earlier, later in pairwise(curve))
    flat = len(curve) > 1 and curve[-1] >= curve[0] > POINT
    return [
        _flag("one step beats many", _above(many, one), f"FGSM leaves {one:.1%}, PGD-20 {many:.1%}"),
        _flag("APGD weaker than PGD", _above(auto, many), f"APGD-100 leaves {auto:.1%}, PGD-20 {many:.1%}"),
        _flag("noise beats gradients", _above(many, noise), f"noise leaves {noise:.1%}, PGD-20 {many:.1%}"),
        *(
            _flag(f"{kind} beats white box", share > LITTLE, f"{kind} lowers the worst case by {share:.1%}")
            for kind, share in lowered.items()
            if share is not None
        ),
        _flag("accuracy at unbounded ε", unbounded > POINT, f"{unbounded:.1%} are left at ε = 1"),
        _flag(
            "accuracy does not fall with ε",
            rises or flat,
            ", ".join(f"{share:.1%} at {size * 255:.3g}/255" for size, share in zip(sizes, curve, strict=True)),
        ),
        _flag("still falling", _above(half, whole), f"APGD leaves {half:.1%} after 50 steps, {whole:.1%} after 100"),
        *(
            [
                _flag(
                    "SA-PGD still falling",
                    _above(first, last),
                    f"SA-PGD leaves {first:.1%} after {a} steps, {last:.1%} after {b}",
                )
            ]
            if network.spiking and not own
            else []
        ),
        *(
            [_flag("neurons of your own", True, "SA-PGD and the surrogate rate need minihire's neurons; not run")]
            if own
            else []
        ),
        _flag("gradients vanish", vanished > POINT, f"{vanished:.1%} of the images have an input gradient of zero"),
        _flag(
            "answers are random",
            changed > POINT and samples < ENOUGH,
            f"{changed:.1%} of the clean predictions change with the seed; each is the mean of {samples} "
            f"draw{'s' * (samples > 1)}",
        ),
    ]


def _above(high, low):
    """Whether one share of the images is more than POINT above another. Rounded, because 0.07 - 0.06 > 0.01 in floats."""
    return round(high - low, 9) > POINT


def _sizes(epsilon):
    return [epsilon * factor for factor in (0.5, 1, 2, 4) if epsilon * factor <= 1]


def _at(size):
    return f"pgd-20 at {size:.6f}"


def _flag(name, up, text):
    return {"name": name, "up": bool(up), "text": text}


def _lowered(found, kind):
    """The share of all images that only the attacks of this kind, "square" or "transfer", fooled; None if none ran."""
    rows = [row for row in found.stages if row["kind"] == kind]
    return sum(row["attacked"] - row["withstood"] for row in rows) / len(found.robust) if rows else None


def _zero_gradients(network, images, seed):
    """The share of images whose input gradient, through the network's own surrogate, is zero everywhere."""
    k, zero = network.backend, 0
    batches = Batches(images, k, BATCH)
    for number in range(len(batches)):
        batch, labels = batches.load(0, number)
        options = dict(weights=False, image=True, training=False, scale=1.0, keep_state=False)
        grad = k.to_numpy(network.gradients(batch, labels, draws=Draws(seed, 0, number * BATCH), **options).image)
        zero += int((grad == 0).all(axis=(1, 2, 3)).sum())
    return zero / len(images)


def _changed(network, images, samples, seed):
    """The share of clean images whose predicted class depends on the seed."""
    batches, changed = Batches(images, network.backend, BATCH), 0
    for number in range(len(batches)):
        batch, _ = batches.load(0, number)
        one, two = (predict(network, batch, Draws(s, 0, number * BATCH), samples) for s in (seed, seed + 1))
        changed += int((one != two).sum())
    return changed / len(images)
