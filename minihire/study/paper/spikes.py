"""Figures 1 (b), 3 and 5: the spiking activity of layers, and how far a perturbation changes their output."""

from dataclasses import replace

import numpy as np

from minihire.analysis import measure_activity, perturbation_distance, spike_distance
from minihire.analysis.accuracy import BATCH, predict
from minihire.attacks import perturb, pgd
from minihire.data.batches import Batches
from minihire.data.dataset import DataError
from minihire.study.paper.accuracy import ways
from minihire.study.paper.outcome import Outcome, all_alike, named, of_paper, which
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.scales import MINI
from minihire.study.spec import NetworkSpec
from minihire.study.study import describe_attack
from minihire.study.titles import TITLES

LEAKS = tuple(round(0.05 * i, 2) for i in range(1, 21))
IMAGES = 100  # over which activity is measured
LABELS = {"rate": "rate-coded SNN", "traditional": TITLES["traditional"], "hire": TITLES["hire"]}


def activity(study: PaperStudy, spec: NetworkSpec) -> list[dict]:
    """The activity of every layer over the first test images, as `LayerActivity.as_dict`."""
    test = study.splits(spec.config).test
    test = test.limit(min(IMAGES, len(test)))
    what = {"activity": spec.describe(), "images": len(test), "steps": spec.config.steps}

    def compute():
        batches = (images for images, _ in Batches(test, study.backend, BATCH))
        return [row.as_dict() for row in measure_activity(study.network(spec), batches, seed=spec.seed)]

    return study.measure_once(what, compute, spec)


def _layers(study, outcome, config, key, title, unit):
    """Add a chart and a table of a value per neuron layer, mean over seeds.

    Returns {way: [{layer: value} of each seed]} and {layer: its number of neurons}.
    """
    names = [n for n in LABELS if n != "rate" or config.model.startswith("vgg")]
    specs = {
        name: [way.spec(config, seed) for seed in study.seeds]
        for name, way in zip(names, ways(study, *names), strict=True)
    }
    found = study.each_of(activity, specs)
    seeds = {
        name: [{r["name"]: r[key] for r in rows if r[key] is not None} for rows in of_seeds]
        for name, of_seeds in found.items()
    }
    neurons = {r["name"]: r["neurons"] for r in next(iter(found.values()))[0]}
    series = {
        name: {layer: float(np.mean([row[layer] for row in rows])) for layer in rows[0]} for name, rows in seeds.items()
    }
    chart = [{"name": name, "label": LABELS[name], "values": values} for name, values in series.items()]
    outcome.layers(named(config), unit, chart)
    header = [title, *next(iter(series.values()))]
    rows = [[LABELS[name], *(f"{value:.3f}" for value in values.values())] for name, values in series.items()]
    images = min(IMAGES, len(study.splits(config).test))
    mean = f", mean of {len(study.seeds)} seeds" if len(study.seeds) > 1 else ""
    outcome.table(f"{named(config)}, over {images} test images{mean}", header, rows)
    return seeds, neurons


def figure1b(study: PaperStudy) -> Outcome:
    """Figure 1 (b): spikes per neuron, by layer."""
    outcome = Outcome("fig1b", "Figure 1 (b): spikes of a neuron over all time steps, by layer")
    configs = study.scale.configs("vgg11")
    study.each(lambda study, config: _of_rate_and_direct(study, outcome, config, configs), configs)
    return outcome


def _of_rate_and_direct(study, outcome, config, configs):
    seeds, neurons = _layers(study, outcome, config, "sa", "SA", "spikes per neuron and image (SA)")
    if "rate" in seeds:
        of_all = lambda row: (
            sum(neurons[layer] * sa for layer, sa in row.items()) / sum(neurons[layer] for layer in row)
        )
        mean = {name: [of_all(row) for row in seeds[name]] for name in ("rate", "traditional")}
        rate, direct = (float(np.mean(values)) for values in mean.values())
        ours = f"{rate:.2f} against {direct:.2f} spikes" + (f", {rate / direct:.1f} times" if direct else "")
        holds = all_alike([a > b for a, b in zip(*mean.values(), strict=True)])
        claim = "direct coding with few time steps has less spiking activity than rate coding, in every seed"
        outcome.claim(study, which(config, configs) + claim, "figure" + of_paper(config, "vgg11"), ours, holds)


def figure3(study: PaperStudy) -> Outcome:
    """Figure 3: time-averaged spiking activity, by layer."""
    outcome = Outcome("fig3", "Figure 3: time-averaged spiking activity (TASA) by layer")
    study.each(
        lambda study, config: _over_time(study, outcome, config),
        [c for c in study.scale.settings if c.model.startswith("vgg")],
    )
    return outcome


def _over_time(study, outcome, config):
    seeds, _ = _layers(study, outcome, config, "tasa", "TASA", "spikes per neuron and time step (TASA)")
    pairs = list(zip(seeds["traditional"], seeds["rate"], strict=True))
    higher = {layer: all_alike([a[layer] > b[layer] for a, b in pairs]) for layer in pairs[0][0]}
    first = [higher[layer] for layer in list(higher)[:2]]
    ours = f"in {sum(h is True for h in higher.values())} of {len(higher)} layers, in every seed"
    claim = f"{named(config)}: direct coding fires more often per step than rate coding in the first two layers"
    outcome.claim(
        study, claim, "especially in the initial layers", ours, all_alike(first) if None not in first else None
    )


def figure5(study: PaperStudy) -> Outcome:
    """Figure 5: perturbation distance over the leak, and by layer."""
    outcome = Outcome("fig5", "Figure 5: perturbation distance of one LIF layer over its leak, and of every layer")
    study.each(lambda study, part: part(study, outcome), (_over_the_leak, _by_depth))
    return outcome


def _over_the_leak(study, outcome):
    config = study.scale.config("vgg5")
    digits, source = _digits(study, config)
    attack = pgd(config.epsilon, config.alpha, 1, random_start=False)
    what = {"leak sweep": [digits.name, *LEAKS], "source": source.describe(), "attack": describe_attack(attack)}

    def compute():
        k, network = study.backend, study.network(source)
        images, labels = Batches(digits.limit(min(64, len(digits))), k, 64).load(0, 0)
        crafted = perturb(network, images, labels, attack)
        found = {"pixels": perturbation_distance(k.to_numpy(images), k.to_numpy(crafted)).tolist(), "rates": []}
        for leak in LEAKS:
            rates = []
            for batch in (images, crafted):
                current = k.reshape(batch, (1, *batch.shape))
                spikes, *_ = k.lif_forward(current, None, k.asarray([leak]), k.asarray([0.8]), 10)
                rates.append(k.to_numpy(k.sum_time(spikes))[0] / 10)
            found["rates"].append(perturbation_distance(*rates).tolist())
        return found

    found = study.measure_once(what, compute, source)
    pixels, rates = np.array(found["pixels"]), np.array(found["rates"])
    series = [
        {
            "name": "traditional",
            "label": "two images, as the paper",
            "dashed": False,
            "points": _points(rates[:, :2].mean(axis=1)),
        },
        {
            "name": "hire",
            "label": f"all {rates.shape[1]} images",
            "dashed": True,
            "points": _points(rates.mean(axis=1)),
        },
        {
            "name": "ann",
            "label": f"in the pixels of all: {pixels.mean():.2f}",
            "dashed": True,
            "points": _points(0 * rates[:, 0] + pixels.mean()),
        },
    ]
    outcome.lines("(a) one LIF layer, v = 0.8, T = 10, PGD-1", "PD of firing rates", "leak λ", series)
    low = [leak for leak, row in zip(LEAKS, rates.mean(axis=1), strict=True) if row < pixels.mean()]
    ours = (
        f"below the pixels' at {len(low)} of {len(LEAKS)} leaks, λ = {min(low)} … {max(low)}"
        if low
        else "nowhere below the pixels'"
    )
    outcome.claim(
        study,
        "the leak lowers the perturbation distance only in a certain range",
        "figure",
        ours,
        bool(low) and len(low) < len(LEAKS),
    )
    outcome.notes.append(f"(a) was measured on {digits.name}, images of a network trained on {source.config.data}.")


def _points(values):
    return [[leak, float(v), float(v), float(v)] for leak, v in zip(LEAKS, values, strict=True)]


def _digits(study, config):
    """Test images of MNIST if the user has it, else of "shapes", and the ANN that attacks them."""
    try:
        digits = replace(
            config,
            data="mnist",
            augment=False,  # a mirrored digit is none
            width=0.125,
            hidden=64,
            train_limit=4000,
            test_limit=200,
            ann_epochs=3,
        )
        return study.splits(digits, download=False).test, NetworkSpec(digits, "ann", 0)
    except DataError:
        shapes = config if config.data == "shapes" else MINI.settings[0]
        return study.splits(shapes).test, NetworkSpec(shapes, "ann", 0)


def _by_depth(study, outcome):
    """Part (b): for two seeds, an image that both classify correctly, but after the attack only the first one does."""
    config = study.scale.config("vgg5")
    pair, source = [NetworkSpec(config, "traditional", seed) for seed in (0, 1)], NetworkSpec(config, "ann", 0)
    what = {"by depth": [s.describe() for s in pair], "source": source.describe()}
    what["attack"] = describe_attack(config.attacks[1])

    def compute():
        k, test = study.backend, study.splits(config).test
        networks, attacker = [study.network(s) for s in pair], study.network(source)
        for images, labels in Batches(test, k, BATCH):
            crafted = perturb(attacker, images, labels, config.attacks[1])
            truth = k.to_numpy(labels)
            right = [[predict(n, batch) == truth for batch in (images, crafted)] for n in networks]
            wanted = np.flatnonzero(right[0][0] & right[1][0] & right[0][1] & ~right[1][1])
            if len(wanted):
                i = int(wanted[0])
                one = [k.asarray(k.to_numpy(batch)[i : i + 1]) for batch in (images, crafted)]
                return [{n: float(d[0]) for n, d in spike_distance(network, *one).items()} for network in networks]
        return None

    found = study.measure_once(what, compute, *pair, source)
    if found is None:
        outcome.notes.append(
            "(b) needs an image that both seeds get right and that fools only the second one when attacked: there was none."
        )
        return
    pair_of = (("traditional", "M1, right under attack"), ("control", "M2, fooled"))
    chart = [{"name": n, "label": label, "values": row} for (n, label), row in zip(pair_of, found, strict=True)]
    outcome.layers("(b) two seeds", "spike PD", chart)
    header = ["(b) spike PD", *found[0]]
    rows = [
        [f"{name}", *(f"{d:.2f}" for d in row.values())]
        for name, row in zip(("M1, right under attack", "M2, fooled"), found, strict=True)
    ]
    outcome.table("One image, crafted on M1's ANN; M1 and M2 are two seeds of traditional training", header, rows)
    falls = [all(a >= b for a, b in zip(v[:-1], v[1:], strict=True)) for v in (list(row.values()) for row in found)]
    outcome.claim(
        study,
        "spike PD does not always fall from layer to layer",
        "yes",
        "it rises somewhere" if not all(falls) else "it falls throughout",
        not all(falls),
    )
