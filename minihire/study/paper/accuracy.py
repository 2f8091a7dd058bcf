"""Tables 1, 2, 3 and 5, and figures 1 (c) and 9: accuracy on clean and attacked images, white and black box."""

import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minihire.study.paper.outcome import (
    NOTICEABLE,
    Outcome,
    all_of,
    compare,
    intervals,
    named,
    of_paper,
    percent,
    spread,
    which,
)
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.printed import FROZEN, accuracies
from minihire.study.spec import NetworkSpec
from minihire.study.titles import TITLES

ACCESS = {"white": "wb", "black": "bb"}
HEADER = ["", "", "clean", "paper", "FGSM", "paper", "PGD", "paper"]


class Way(NamedTuple):
    """A way to train a network.

    title: its name in our tables. printed: its name in the paper's data (paper_data/). method: "ann", "traditional", "hire", ….
    changes: (setting, value) pairs that differ from the scale's configuration.
    """

    title: str
    printed: str
    method: str
    changes: tuple = ()

    def spec(self, config, seed) -> NetworkSpec:
        """The specification of the network with this seed."""
        return NetworkSpec(replace(config, **dict(self.changes)), self.method, seed)


def ways(study: PaperStudy, *names: str) -> list[Way]:
    """Ways by name: a method, "rate", "frozen traditional", "frozen hire" or "not carried"."""
    rate = Way("rate-coded SNN", "rate_coded", "traditional", tuple(study.scale.rate.items()))
    special = {
        "rate": rate,
        "frozen traditional": Way(
            "traditional, v and λ frozen", "traditional" + FROZEN, "traditional", (("freeze", True),)
        ),
        "frozen hire": Way("HIRE, v and λ frozen", "hire" + FROZEN, "hire", (("freeze", True),)),
        "not carried": Way("HIRE, κ from zero in each batch", "", "hire", (("carry_noise", False),)),
    }
    return [special.get(name) or Way(TITLES[name], name, name) for name in names]


def measured(study: PaperStudy, config, way: Way, access: str) -> list[list[np.ndarray]]:
    """Answers of every seed to clean, FGSM and PGD images: three lists of bool [N] arrays, one array per seed.

    access: "white" or "black". Rate-coded networks are tested on the scale's `rate_images` images only.
    """
    columns = [[], [], []]
    images = study.scale.rate_images if way.printed == "rate_coded" else None
    for seed in study.seeds:
        spec = way.spec(config, seed)
        source = study.other(spec) if access == "black" else None
        for column, attack in zip(columns, (None, *config.attacks), strict=True):
            column.append(study.answers(spec, attack, attack and source, images))
    return columns


def printed(config, way: Way, access: str, table: int | None = None):
    """The paper's (clean, FGSM, PGD) in percent; (None, None, None) if it has no such row."""
    for row in accuracies():
        same = (row.dataset, row.model, row.method, row.access) == (
            config.data,
            config.model,
            way.printed,
            ACCESS[access],
        )
        if same and (table is None or row.table == table):
            return row.clean, row.fgsm, row.pgd
    like = {"vgg5": "cifar10", "vgg11": "cifar100", "resnet12": "cifar10"}
    if config.data != like[config.model] and (config.data, config.model) != ("cifar100", "resnet12"):
        return printed(replace(config, data=like[config.model], data_dir="."), way, access, table)
    return None, None, None


def accuracy_rows(study, config, chosen, access) -> tuple[list[list[str]], dict[str, list]]:
    """Table rows with the columns of HEADER, and the answers of `measured` by the way's title."""
    rows, found = [], {}
    for way in chosen:
        found[way.title] = answers = measured(study, config, way, access)
        beside = ("" if p is None else f"{p:g}" for p in printed(config, way, access))
        cells = [cell for pair in zip((percent(column) for column in answers), beside, strict=True) for cell in pair]
        rows.append([way.title, f"{access} box", *cells])
    return rows, found


def _caption(study, config):
    brackets = intervals(len(study.seeds))
    return f"{named(config)}, width {config.width:g}, T = {config.steps}: accuracy in %, {brackets}"


def _gain(outcome, study, claim, paper, ours, theirs, better=True):
    """Add a claim about the gain of one way over another, and return the comparison. better: whether the paper has a gain."""
    found = compare(ours, theirs)
    holds = found.better if better else None if found.better is None else not found.better
    outcome.claim(study, claim, paper, str(found), holds)
    return found


def table1(study: PaperStudy) -> Outcome:
    """ANN, rate-coded SNN and low-latency SNN under attack."""
    outcome = Outcome("table1", "Table 1: networks trained without defence, under white- and black-box attacks")
    outcome.text = (
        "One architecture as an ANN, as a rate-coded SNN, and as a traditionally trained SNN of few time steps. The paper's "
        "figures for the rate-coded SNN are those of Sharmin et al. (its reference 34)."
    )
    for config in study.scale.settings:
        names = ("ann", "rate", "traditional") if config.model.startswith("vgg") else ("ann", "traditional")
        rows, of_access = [], {}
        for access in ACCESS:
            part, of_access[access] = accuracy_rows(study, config, ways(study, *names), access)
            rows += part
        outcome.table(_caption(study, config), HEADER, rows)
        if "rate" in names:
            rate = dict(study.scale.rate)
            outcome.notes.append(
                f"The rate-coded SNN has T = {rate['steps']} and was trained for {rate['snn_epochs']} "
                f"epoch{'s' * (rate['snn_epochs'] > 1)} after conversion; it is attacked on {study.scale.rate_images} test "
                "images, with fresh spikes in every gradient."
            )
        white, black = (of_access[access] for access in ACCESS)
        snn, ann = TITLES["traditional"], TITLES["ann"]
        for index, attack in ((1, "FGSM"), (2, "PGD")):
            rows_of = {r.method: r for r in _paper_rows(config, "bb")}
            pair = [rows_of.get(name) for name in ("traditional", "ann")]
            if all(pair):
                key = attack.lower()
                theirs = getattr(pair[0], key) - getattr(pair[1], key)
                place = "above" if theirs > 0 else "below"
                claim = f"under black-box {attack} the traditional SNN of {named(config)} is {place} its ANN"
                _gain(outcome, study, claim, f"{theirs:+.1f}", black[snn][index], black[ann][index], theirs > 0)
        gap = compare(black[snn][2], white[snn][2])
        outcome.claim(
            study,
            f"black-box PGD on the SNN ({named(config)}) is weaker than white-box PGD",
            "yes",
            str(gap),
            gap.better,
        )
    return outcome


def _paper_rows(config, access, table=1):
    like = {"shapes": "cifar10"}.get(config.data, config.data)
    return [r for r in accuracies() if (r.table, r.dataset, r.model, r.access) == (table, like, config.model, access)]


def _against(name, number, access, study):
    outcome = Outcome(name, f"Table {number}: HIRE under {access}-box attacks, beside its controls")
    outcome.text = (
        "HIRE compared with traditional training and the ANN, as in the paper, and with controls that the paper lacks: N periods "
        "without noise (κ = 0), Gaussian noise, and κ that starts at zero in each batch. One row is HIRE with four times the "
        "noise (hire-4x). HIRE takes N optimiser steps per batch, with ⌊T/N⌋ time steps each. Its gain over N periods without "
        "noise comes from the noise; the rest of its gain comes from the shorter and more frequent updates."
    )
    for config in study.scale.settings:
        chosen = ways(study, "ann", "traditional", "control", "gaussian", "not carried", "hire-4x", "hire")
        rows, found = accuracy_rows(study, config, chosen, access)
        outcome.table(_caption(study, config), HEADER, rows)
        hire = found[TITLES["hire"]]
        pairs = [("HIRE", hire, way.title) for way in chosen[:-1]]
        pairs.append((TITLES["control"], found[TITLES["control"]], TITLES["traditional"]))
        gains = [
            [f"{name} less {title}", *(str(compare(a, b)) for a, b in zip(ours, found[title], strict=True))]
            for name, ours, title in pairs
        ]
        outcome.table(
            "Gains in percentage points (each seed), McNemar's p over all seeds",
            ["", "clean", "FGSM", "PGD"],
            gains,
        )
        paper = {
            r.method: r
            for r in (*_paper_rows(config, ACCESS[access], int(number)), *_paper_rows(config, ACCESS[access]))
        }
        for index, attack in ((1, "FGSM"), (2, "PGD")):
            for other in ("traditional", "ann"):
                if {"hire", other} <= paper.keys():
                    printed_gain = getattr(paper["hire"], attack.lower()) - getattr(paper[other], attack.lower())
                    place = "above" if printed_gain > 0 else "below"
                    claim = f"{named(config)}: HIRE {place} {TITLES[other]} under {access}-box {attack}"
                    theirs = found[TITLES[other]][index]
                    _gain(outcome, study, claim, f"{printed_gain:+.1f}", hire[index], theirs, printed_gain > 0)
        if (
            access == "white" and {"hire", "traditional"} <= paper.keys()
        ):  # the clean images of both tables are the same
            lost = compare(found[TITLES["traditional"]][0], hire[0])
            theirs = f"{paper['traditional'].clean - paper['hire'].clean:.1f} lost"
            negligible = paper["traditional"].clean - paper["hire"].clean < NOTICEABLE
            loss = "no noticeable clean accuracy" if negligible else "clean accuracy"
            claim = f"{named(config)}: HIRE loses {loss} against {TITLES['traditional']}"
            outcome.claim(study, claim, theirs, lost.interval, lost.below() if negligible else lost.better)
        for index, attack in ((1, "FGSM"), (2, "PGD")):
            three = (answers[index] for answers in (hire, found[TITLES["control"]], found[TITLES["traditional"]]))
            outcome.notes.append(share_of_the_noise(config, f"{access}-box {attack}", *three))
    return outcome


def share_of_the_noise(config, attack: str, hire: list, control: list, traditional: list) -> str:
    """A sentence: how much of HIRE's gain comes from the N updates, and how much from the noise. Answers are lists by seed."""
    pairs = ((hire, traditional), (control, traditional), (hire, control))
    whole, updates, noise = (float(np.mean(compare(a, b).gains)) for a, b in pairs)
    return (
        f"{named(config)}, {attack}: of HIRE's {whole:+.1f} points over traditional training, {updates:+.1f} come from the N "
        f"updates alone (κ = 0) and {noise:+.1f} from the noise."
    )


def table2(study: PaperStudy) -> Outcome:
    """HIRE, white box."""
    return _against("table2", "2", "white", study)


def table3(study: PaperStudy) -> Outcome:
    """HIRE, black box."""
    return _against("table3", "3", "black", study)


def table5(study: PaperStudy) -> Outcome:
    """Frozen thresholds and leaks."""
    outcome = Outcome("table5", "Table 5: thresholds and leaks frozen at their initial values")
    config = study.scale.config("vgg5")
    names = ("traditional", "frozen traditional", "hire", "frozen hire")
    of_access, rows = {}, []
    for access in ACCESS:
        part, of_access[access] = accuracy_rows(study, config, ways(study, *names), access)
        rows += part
    outcome.table(_caption(study, config), HEADER, rows)
    titles = {name: way.title for name, way in zip(names, ways(study, *names), strict=True)}
    for access, found in of_access.items():
        for index, attack in ((1, "FGSM"), (2, "PGD")):
            ours, theirs = (found[titles[n]][index] for n in ("frozen hire", "frozen traditional"))
            _gain(
                outcome,
                study,
                f"frozen: HIRE above traditional training under {access}-box {attack}",
                "yes",
                ours,
                theirs,
            )
    white = of_access["white"]
    trained, frozen = white[titles["hire"]], white[titles["frozen hire"]]
    parts = [compare(frozen[1], trained[1]), compare(frozen[2], trained[2]), compare(trained[0], frozen[0])]
    ours = "; ".join(f"{what} {part}" for what, part in zip(("FGSM", "PGD", "clean, trainable"), parts, strict=True))
    claim = "HIRE with frozen threshold and leak is more robust at lower clean accuracy (white box)"
    outcome.claim(study, claim, "yes", ours, all_of([part.better for part in parts]))
    return outcome


def figure9(study: PaperStudy) -> Outcome:
    """Crafted against Gaussian noise."""
    outcome = Outcome("fig9", "Figure 9: crafted noise against Gaussian noise of the same size")
    outcome.text = (
        "Traditional training, N periods without noise, with Gaussian noise of standard deviation ε_s, and HIRE."
    )
    configs = study.scale.configs("vgg11")
    chosen = ways(study, "traditional", "control", "gaussian", "not carried", "hire", "hire-4x")
    for config, access in itertools.product(configs, ACCESS):
        rows, found = accuracy_rows(study, config, chosen, access)
        outcome.table(_caption(study, config), HEADER, rows)
        _bars(outcome, chosen, found, access, which(config, configs))
        for index, attack in ((1, "FGSM"), (2, "PGD")):
            names = ("hire", "gaussian", "traditional", "control")
            hire, gaussian, traditional, control = (found[TITLES[name]][index] for name in names)
            paper = {"white": "up to +6.5", "black": "up to +9.7"}[access] + of_paper(config, "vgg11")
            claim = f"{which(config, configs)}crafted above Gaussian noise under {access}-box {attack}"
            _gain(outcome, study, claim, paper, hire, gaussian)
            difference = compare(gaussian, traditional)
            claim = "Gaussian noise brings nothing noticeable over traditional training"
            claim = f"{which(config, configs)}{claim} under {access}-box {attack}"
            paper = "no noticeable improvement" + of_paper(config, "vgg11")
            outcome.claim(study, claim, paper, difference.interval, difference.below())
            alone = compare(gaussian, control)
            box = f"{which(config, configs)}{access}-box {attack}"
            outcome.notes.append(f"{box}: Gaussian noise over N periods without noise: {alone}.")
    return outcome


def figure1c(study: PaperStudy) -> Outcome:
    """SNN and ANN under attack."""
    outcome = Outcome("fig1c", "Figure 1 (c): a traditionally trained SNN and its ANN under attack")
    configs, chosen = study.scale.configs("vgg11"), ways(study, "ann", "traditional")
    for config in configs:
        rows = []
        for access in ACCESS:
            added, found = accuracy_rows(study, config, chosen, access)
            rows += added
            _bars(outcome, chosen, found, access, which(config, configs))
        outcome.table(_caption(study, config), HEADER, rows)
    return outcome


def _bars(outcome, chosen, found, access, network):
    """Add a chart for each attack, and for the clean images beside the white-box attacks: one bar per way of training.

    network: the start of the titles, see `which`.
    """
    titles = {0: "Clean images", 1: f"FGSM, {access} box", 2: f"PGD, {access} box"}
    for index, title in titles.items():
        if index or access == "white":
            shares = [(way, found[way.title][index]) for way in chosen]
            rows = [
                {"name": way.method, "label": way.title, "value": spread(answers)[0], "words": percent(answers)}
                for way, answers in shares
            ]
            outcome.bars(f"{network}{title}", "accuracy, %", rows)
