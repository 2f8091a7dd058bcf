"""Figures 7 and 11, tables 6 and 7: time and memory of training, operations and compute energy of inference."""

import time
from dataclasses import replace

import numpy as np

from backends import get_backend
from minihire.analysis import measure_activity, measure_energy
from minihire.analysis.accuracy import BATCH
from minihire.analysis.energy import COSTS
from minihire.data.batches import Batches
from minihire.network import Network, initialise
from minihire.runtime.apart import call_apart
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.machine import peak_memory, reset_peak_memory
from minihire.study.networks import build_model, load_data
from minihire.study.paper.accuracy import ways
from minihire.study.paper.outcome import Outcome, all_alike, all_of, named, of_paper, which
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.printed import operation_costs
from minihire.study.paper.spikes import IMAGES
from minihire.study.titles import TITLES
from minihire.training.loop import Training

ROUNDS = 2
WARM_UP = 3  # batches that are not timed: they compile or load kernels, and capture CUDA graphs


def figure7(study: PaperStudy) -> Outcome:
    """Figure 7: time and memory of HIRE and of traditional training."""
    outcome = Outcome("fig7", "Figure 7: training time and memory of HIRE compared with traditional training")
    outcome.text = (
        f"The median of {ROUNDS} times {study.scale.batches} batches after {WARM_UP} batches of warm-up, from untrained weights. "
        "(Trained networks fire more often, and event-driven kernels then take longer.) Both trainings run in processes of their "
        "own, in turn. Memory is the peak of such a process while it trains (weights, Adam's moments and the "
        "program, without reading the data) or, on a GPU, the device's. “No extra time” means at most a twentieth more, “less "
        "memory” at least a twentieth less."
    )
    rows, bars, k = [], {"Time per batch": [], "Peak memory": []}, study.backend
    for config in study.scale.settings:
        what = {
            "cost": {**config.describe(), "data_dir": None},
            "batches": study.scale.batches,
            "by": [k.name, k.device, k.precision, k.threads],
            "rounds": ROUNDS,
        }
        found = study.measure_once(what, lambda config=config: _measured_apart(study, config))
        rows.append(_cost_row(outcome, study, config, found))
        for place, drawn in enumerate(bars.values()):
            usual, hire = (found[method][place] for method in ("traditional", "hire"))
            for method, value in (("traditional", 1.0), ("hire", hire / usual)):
                label = f"{named(config)}, {TITLES[method]}"
                drawn.append({"name": method, "label": label, "value": value, "words": f"{value:.2f}"})
    for title, drawn in bars.items():
        outcome.bars(title, "traditional = 1", drawn)
    header = ["", "traditional, ms per batch", "HIRE", "ratio", "traditional, MiB", "HIRE", "ratio"]
    outcome.table(
        f"{k.name} backend on {k.device}, batches of {study.scale.settings[0].batch_size} images", header, rows
    )
    return outcome


def _cost_row(outcome, study, config, found):
    (slow, big), (other_time, other_memory) = found["traditional"], found["hire"]
    row = [f"{named(config)}"]
    for one, two, unit, digits in ((slow, other_time, 1e-3, 1), (big, other_memory, 2**20, 0)):
        row += [f"{one / unit:,.{digits}f}", f"{two / unit:,.{digits}f}", f"{two / one:.2f}"]
    times, memory = other_time / slow, other_memory / big
    outcome.claim(
        study,
        f"{named(config)}: HIRE takes no extra training time",
        "no extra",
        f"{times:.2f} of the time",
        times <= 1.05,
    )
    claim = f"{named(config)}: HIRE takes up to 25 % less memory"
    outcome.claim(study, claim, "up to about 25 % less", f"{memory:.2f} of the memory", memory <= 0.95)
    return row


def _measured_apart(study, config):
    """{method: (median seconds per batch, peak bytes)}.

    Both methods run alternately, in new processes, so that a change of the machine's load affects both.
    """
    k, found = study.backend, {"traditional": [], "hire": []}
    options = dict(device=k.device, dtype=k.dtype, threads=k.threads, precision=k.precision)
    for turn in range(ROUNDS):
        for method in list(found)[:: -1 if turn % 2 else 1]:
            StopSignal(k).check("before a measurement of training; finished work was kept")
            found[method].append(call_apart(train_batches, config, method, study.scale.batches, k.name, options))
    return {
        m: (float(np.median([one for each, _ in f for one in each])), max(peak for _, peak in f))
        for m, f in found.items()
    }


def train_batches(config, method: str, batches: int, backend: str, options: dict) -> tuple[list[float], int]:
    """Train on some batches from fresh weights: (seconds of each batch, peak bytes).

    The peak is that of the whole process, so it is meaningful only in a new process.
    """
    k = get_backend(backend, **options)
    count = config.batch_size * min(batches + WARM_UP, 64)
    data = load_data(replace(config, train_limit=min(config.train_limit or count, count))).train
    model = build_model(config, data)
    network = Network(
        model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=config.steps, neuron=config.neuron
    )
    training, seconds = Training(network, config.recipe(method), data, 0), []
    for number in range(batches + WARM_UP):
        if number == WARM_UP:
            k.services.reset_device_memory()
            reset_peak_memory()  # without the memory for reading all of CIFAR-10 and for compiling kernels
        start = time.perf_counter()
        training.train_batch()
        training.drain()
        seconds.append(time.perf_counter() - start)
        training.batch = (training.batch + 1) % max(len(data) // config.batch_size, 1)
    return seconds[WARM_UP:], k.services.device_memory() or peak_memory()


def energies(study: PaperStudy, spec) -> dict:
    """Energy of a network, mean over the first test images, as `Energy.as_dict`. The first layer is computed once."""
    test = study.splits(spec.config).test
    test = test.limit(min(IMAGES, len(test)))

    def compute():
        network = study.network(spec)
        batches = (images for images, _ in Batches(test, study.backend, BATCH))
        return measure_energy(network, measure_activity(network, batches, seed=spec.seed)).as_dict()

    return study.measure_once(
        {"energy": spec.describe(), "images": len(test), "steps": spec.config.steps}, compute, spec
    )


def figure11(study: PaperStudy) -> Outcome:
    """Figure 11: energy of the ANN, the rate-coded SNN and HIRE."""
    outcome = Outcome("fig11", "Figure 11: compute energy of one inference, 32-bit floating point and integers")
    outcome.text = (
        "Equations 7 and 8 with the costs of table 7; with direct coding the first layer is computed once. Energies are relative "
        "to HIRE. A ratio agrees if it is at least two thirds of the paper's in every seed."
    )
    configs = study.scale.configs("vgg11")
    study.each(lambda study, config: _energies_over_hire(study, outcome, config, configs), configs)
    return outcome


def _energies_over_hire(study, outcome, config, configs):
    names = [n for n in ("ann", "rate", "traditional", "hire") if n != "rate" or config.model.startswith("vgg")]
    chosen = dict(zip(names, ways(study, *names), strict=True))
    specs = {name: [way.spec(config, seed) for seed in study.seeds] for name, way in chosen.items()}
    found = {name: (chosen[name].title, each) for name, each in study.each_of(energies, specs).items()}
    rows = []
    for number_format, printed in (("fp32", (4.6, 10)), ("int32", (3.9, 53))):
        total = {n: float(np.mean([e[number_format]["total_pj"] for e in each])) for n, (_, each) in found.items()}
        unit = total["hire"] or 1.0
        bars = [
            {
                "name": n,
                "label": found[n][0],
                "value": total[n] / unit,
                "words": f"{total[n] / unit:.1f}, {total[n] / 1e6:,.2f} µJ",
            }
            for n in names
        ]
        outcome.bars(f"{named(config)}, {number_format.upper()}", "energy, HIRE = 1", bars)
        rows.append([number_format.upper(), *(f"{total[n] / unit:.2f}" for n in names)])
        for other, times in zip(("rate", "ann"), printed, strict=True):
            if other in total:
                each = [
                    a[number_format]["total_pj"] / (b[number_format]["total_pj"] or 1.0)
                    for a, b in zip(found[other][1], found["hire"][1], strict=True)
                ]
                enough = [ratio >= times / 1.5 for ratio in each]
                ours = f"{total[other] / unit:.1f} times" + (
                    f" ({min(each):.1f}–{max(each):.1f})" if len(each) > 1 else ""
                )
                claim = f"HIRE takes so many times less energy than the {found[other][0]} ({number_format.upper()})"
                paper = f"{times:g} times" + of_paper(config, "vgg11")
                outcome.claim(study, which(config, configs) + claim, paper, ours, all_alike(enough))
    outcome.table(f"{which(config, configs)}Energy over HIRE's", ["", *(found[n][0] for n in names)], rows)


def table6(study: PaperStudy) -> Outcome:
    """Table 6: operations of every layer."""
    outcome = Outcome("table6", "Table 6: operations of every layer, as an ANN and as an SNN")
    config = study.scale.config("vgg5")
    (way,) = ways(study, "hire")
    found = energies(study, way.spec(config, 0))
    rows = [
        [r["name"], r["kind"], f"{r['dense']:,}", f"{r['received']:.3f}", f"{r['operations']:,.0f}"]
        for r in found["layers"]
    ]
    header = ["layer", "kind", "ANN: k²·H·W·C_o·C_i", "ζ", "SNN: the same · ζ"]
    outcome.table(f"{named(config)}, HIRE, per image", header, rows)
    return outcome


def table7(study: PaperStudy) -> Outcome:
    """Table 7: energy of an operation."""
    outcome = Outcome("table7", "Table 7: energy of an operation, 45 nm CMOS")
    names = {"multiplication": "multiplication", "addition": "addition", "mac": "MAC", "ac": "AC"}
    printed, rows, same = operation_costs(), [], []
    for theirs, ours in names.items():
        pairs = [(COSTS[f][ours], printed[theirs][f]) for f in ("int32", "fp32")]
        same += [a == b for a, b in pairs]
        rows.append([ours, *(f"{value:g}" for pair in pairs for value in pair)])
    outcome.table("pJ", ["operation", "INT32", "paper", "FP32", "paper"], rows)
    held = "all equal" if all(same) else "some differ"
    outcome.claims.append(
        {
            "claim": "the costs per operation in minihire are the paper's",
            "paper": "table",
            "ours": held,
            "verdict": "agrees" if all_of(same) else "differs",
            "reason": "",
        }
    )
    return outcome
