"""What each command does, given its parsed flags."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import backends
from backends.surrogates import triangle
from minihire import __version__
from minihire.analysis import Score, measure_activity, measure_energy
from minihire.analysis.accuracy import BATCH, accuracy
from minihire.app import folders
from minihire.app import paper as reproduction
from minihire.app.flags import given_settings
from minihire.attacks import attack_accuracy, keep_answers
from minihire.data.batches import Batches
from minihire.interop import published
from minihire.models import MODELS, build
from minihire.report import page, tables
from minihire.report.figures import NoMatplotlib, draw_all
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.interrupt import Interrupted, go_on_with
from minihire.runtime.progress import say
from minihire.runtime.terminal import YELLOW, styled
from minihire.study.paper.lab import Lab
from minihire.study.paper.notes import digest
from minihire.study.paper.scales import scale
from minihire.study.run import Run, load_data, new_ann
from minihire.study.settings import METHODS, Config, preset
from minihire.training import checkpoint
from minihire.training import convert as convert_network
from minihire.training import train as train_network
from minihire.training.resume import fingerprint

SEEDS = 1000  # of `paper`, at most
STDOUT = Path("-")  # as --json: nothing but JSON on standard output


def run(options) -> None:
    """The whole path, into a folder, resumable."""
    name = getattr(options, "preset", "mini")
    out = folders.choose(options.out, name, options.resume)
    saved = folders.saved_config(out) if options.resume else None
    config = _config(options, saved)
    backend = _backend(options)
    splits = _data(config, options, backend)
    with folders.lock(out):
        run = Run(config, backend, out, splits, options.resume)
        say(
            f"minihire {__version__}, {backend.name} backend, {backend.threads} threads; preset {config.preset}; "
            f"{len(splits.train):,} training, {len(splits.heldout):,} held-out and "
            f"{len(splits.test):,} test images of {splits.train.name}; into {out}/"
        )
        try:
            results = run.run()
        except Interrupted:
            if backend.rank == 0:
                _write_page(out)
            raise
        if backend.rank == 0:
            _show(results, out)


def _show(results, out):
    parts = [
        tables.accuracy_table(results),
        tables.activity_summary(results),
        tables.energy_table(results),
        tables.phase_table(results),
    ]
    print("\n" + "\n\n".join(parts))
    try:
        figures = draw_all(results, out / "figures")
        print(f"\n{out}/results.json and {len(figures)} figures in {out}/figures/")
    except NoMatplotlib as missing:
        print(f"\n{out}/results.json; {missing}")
    except OSError as error:
        print(f"\n{out}/results.json; the figures could not be written: {error}")
    for sentence in results["warnings"]:
        print(styled(f"warning: {sentence}", YELLOW, sys.stdout))
    _write_page(out)


def _write_page(out):
    """The run's page; where that cannot be, the results matter more."""
    try:
        page.write(out / "report.html", [page.read(out)])
        print(f"{out}/report.html: the run on one page")
    except MinihireError as error:
        print(f"the page could not be written: {error}")


def report(options) -> None:
    """The page of a run, or of several."""
    if len(options.folders) > 1 and not options.out:
        raise MinihireError("several runs on one page need a file for it: give --out FILE")
    path = options.out or options.folders[0] / "report.html"
    page.write(path, [page.read(folder) for folder in options.folders])
    print(path)


def train(options) -> None:
    """One training, into one checkpoint."""
    if options.method not in ("ann", *METHODS):
        raise MinihireError(f"there is no method {options.method!r}: choose {', '.join(('ann', *METHODS))}")
    if (options.method == "ann") != (options.start is None):
        raise MinihireError(
            "an ANN starts from fresh weights: leave out --from"
            if options.start
            else f"{options.method} training starts from a converted SNN: give --from FILE"
        )
    if os.path.exists(options.out) and not options.resume:
        raise MinihireError(f"{options.out} exists: --resume goes on from it, another --out starts afresh")
    start = checkpoint.load(options.start) if options.start else None
    config = _config(options, start and start.meta.get("about"))
    backend = _backend(options)
    if start:
        network = _spiking(start.network(backend), config, options)
        if not network.spiking:
            raise MinihireError(
                f"{options.start} is an ANN: convert it first (minihire convert) and give the SNN with --from"
            )
    data = _data(config, options, backend)
    if not start:
        network = new_ann(config, data.train, backend, config.seed)
    _fits(network, data.train)
    done = train_network(
        network,
        config.recipe(options.method),
        data.train,
        seed=config.seed,
        heldout=data.heldout,
        path=options.out,
        resume=options.resume,
        label=options.method,
        about=config.describe(),
    )
    last = done.history[-1]
    print(
        f"{options.out}: loss {last['loss']:.3f}, training accuracy {last['accuracy']:.1%}"
        + (f", held-out accuracy {last['heldout_accuracy']:.1%}" if "heldout_accuracy" in last else "")
    )


def convert(options) -> None:
    """An ANN's checkpoint → a converted SNN's."""
    if os.path.exists(options.out):
        raise MinihireError(f"{options.out} exists: choose another --out")
    saved = checkpoint.load(options.ann)
    config, backend = _config(options, saved.meta.get("about")), _backend(options)
    ann = saved.network(backend)
    if ann.spiking:
        raise MinihireError(f"{options.ann} is a spiking network already: give an ANN's checkpoint")
    _refuse_own_settings(ann, options)
    data = _data(config, options, backend).train
    _fits(ann, data)
    snn = convert_network(
        ann,
        data,
        steps=config.steps,
        calibration=config.calibration,
        seed=config.seed,
        coding=config.coding,
        readout=config.readout,
        neuron=config.neuron,
        time_chunk=config.time_chunk,
    )
    checkpoint.save(options.out, snn, extra={"about": config.describe()})
    values = {name: float(backend.to_numpy(a)[0]) for name, a in snn.parameters.items() if name.endswith(".threshold")}
    print(
        tables.table(
            ["layer", "threshold"],
            [[name.removesuffix(".threshold"), f"{value:.4f}"] for name, value in values.items()],
        )
    )
    print(f"\n{options.out}: an SNN of {snn.steps} time steps")


def attack(options) -> None:
    """Accuracy of a checkpoint, clean and attacked."""
    place = None if options.json in (None, STDOUT) else options.json
    if options.max_minutes is not None and place is None:
        raise MinihireError("--max-minutes needs --json FILE: the answers so far stay beside it, for the same command")
    saved = checkpoint.load(options.checkpoint)
    config, backend = _config(options, saved.meta.get("about")), _backend(options)
    target = _spiking(saved.network(backend), config, options)
    source = checkpoint.load(options.source).network(backend) if options.source else target
    test = _data(config, options, backend).test
    _fits(target, test)
    paths = {attack.name: place and place.with_name(f"{place.stem}.{attack.name}.npz") for attack in config.attacks}
    with go_on_with("the same command" if place else None):
        scores = {"clean": accuracy(target, test, seed=config.seed)}
        for attack in config.attacks:
            scores[attack.name] = _attacked(target, source, test, attack, config.seed, paths[attack.name])
    found = {name: Score(int(right.sum()), len(right)).as_dict() for name, right in scores.items()}
    access = f"black box, crafted on {options.source}" if options.source else "white box"
    header = ["attack", "images", "accuracy, %"]
    rows = [[name, str(s["count"]), tables.interval(s)] for name, s in found.items()]
    _show_and_write(
        options.json,
        {
            "checkpoint": str(options.checkpoint),
            "source": options.source and str(options.source),
            "config": config.describe(),
            "accuracy": found,
        },
        f"{options.checkpoint}, {access}; ε = {config.epsilon * 255:.4g}/255, "
        f"PGD: α = {config.alpha:.4g}, K = {config.iterations}\n" + tables.table(header, rows),
    )
    for path in paths.values() if place and backend.rank == 0 else ():
        path.unlink(missing_ok=True)


def _attacked(target, source, test, attack, seed, path):
    """The answers to an attack; they stay in the path's file, so that the command can go on should it be stopped later."""
    if not path:
        return attack_accuracy([target], source, test, attack, seed=seed)[0]
    networks = [[fingerprint(n, test), n.steps, n.coding, n.readout, repr(n.neuron)] for n in (target, source)]
    about = digest([networks, repr(attack), seed])
    right = attack_accuracy([target], source, test, attack, seed=seed, path=path, about=about)[0]
    if target.backend.rank == 0:
        keep_answers(path, right[None], len(test), about)
    return right


def analyze(options) -> None:
    """Activity, operations and energy of a checkpoint."""
    saved = checkpoint.load(options.checkpoint)
    config, backend = _config(options, saved.meta.get("about")), _backend(options)
    network = _spiking(saved.network(backend), config, options)
    test = _data(config, options, backend).test
    _fits(network, test)
    activity = measure_activity(network, (images for images, _ in Batches(test, backend, BATCH)), seed=config.seed)
    once, every = (measure_energy(network, activity, first_layer_every_step=again) for again in (False, True))
    content = {
        "activity": {"": [layer.as_dict() for layer in activity]},
        "energy": {
            options.checkpoint.stem: {"first_layer_once": once.as_dict(), "first_layer_every_step": every.as_dict()}
        },
    }
    layers = content["activity"][""]
    _show_and_write(
        options.json,
        {
            "checkpoint": str(options.checkpoint),
            "images": len(test),
            "activity": layers,
            "energy": content["energy"][options.checkpoint.stem],
        },
        "\n\n".join(
            (tables.activity_table(layers), tables.operations_table(once.as_dict()), tables.energy_table(content))
        ),
    )


def import_published(options) -> None:
    """A checkpoint of the paper's authors → a checkpoint of ours."""
    saved = published.read(options.file, data=options.data, steps=options.steps)
    out = _beside(options.file, options.out, ".npz")
    checkpoint.save(out, saved.network(backends.get_backend("reference")), extra={"about": saved.meta["about"]})
    print(f"{out}: {_in_words(saved.meta)}")


def export_published(options) -> None:
    """A checkpoint of ours → one that the authors' code reads."""
    saved = checkpoint.load(options.checkpoint)
    out = _beside(options.checkpoint, options.out, ".pt")
    published.write(out, saved)
    print(f"{out}: {_in_words(saved.meta)}")


def _beside(source, out, suffix):
    """The file to write, by default the source's name with another suffix; never one that exists."""
    out = out or source.with_suffix(suffix)
    if os.path.exists(out):
        raise MinihireError(f"{out} exists: choose another --out")
    return out


def _in_words(meta):
    model, network = meta["model"], meta["network"]
    kind = f"an SNN of {network['steps']} time steps" if network["spiking"] else "an ANN"
    return f"{kind}, {model['name']} with width {model['width']:g}, for {model['classes']} classes"


def paper(options) -> None:
    """The paper's tables and figures at a scale, from one cache of networks and measurements."""
    names = reproduction.chosen(options.names or ["all"])
    if not 1 <= options.seeds <= SEEDS:
        raise MinihireError(f"--seeds must be 1 … {SEEDS}, not {options.seeds}")
    out = options.out or folders.BASE / "paper"
    lab = Lab(
        scale(options.scale, options.data_dir, options.models), _backend(options), out, options.seeds, options.download
    )
    if options.list:
        print(reproduction.listing(lab, names))
        return
    with folders.lock(out), go_on_with("the same command"):
        content = reproduction.reproduce(lab, names, out)
    print(f"{out}/paper.html, paper.md and paper.json: {len(content['outcomes'])} tables and figures")


def info(options) -> None:
    """A model's layer table."""
    if options.model_name not in MODELS and os.path.isfile(options.model_name):
        saved = checkpoint.load(Path(options.model_name))
        model = saved.network(backends.get_backend("reference")).model
    else:
        model = build(
            options.model_name, options.classes, tuple(options.image_shape), width=options.width, hidden=options.hidden
        )
    shape = lambda s: "×".join(map(str, s))
    rows = [
        [r.name, r.kind, shape(r.input_shape), shape(r.output_shape), f"{r.weights:,}", f"{r.operations:,}"]
        for r in model.table()
    ]
    rows.append(
        [
            "total",
            "",
            "",
            "",
            f"{sum(r.weights for r in model.table()):,}",
            f"{sum(r.operations for r in model.table()):,}",
        ]
    )
    layers = [
        {**r._asdict(), "input_shape": list(r.input_shape), "output_shape": list(r.output_shape)} for r in model.table()
    ]
    _show_and_write(
        options.json,
        {"model": model.name, "steps": model.steps, "layers": layers},
        tables.table(["layer", "kind", "input", "output", "weights", "operations"], rows)
        + f"\n\n{model.name}: T = {model.steps} time steps unless --steps says otherwise; "
        "operations are per image and time step with every input active",
    )


def _config(options, saved: dict | None) -> Config:
    """The preset's (or the checkpoint's own) settings, with the flags that were given on top."""
    given = given_settings(options)
    if given.get("data_dir"):  # a resumed run may start in another folder
        given["data_dir"] = os.path.abspath(given["data_dir"])
    if isinstance(saved, dict) and saved and getattr(options, "preset", saved.get("preset")) == saved.get("preset"):
        try:
            known = {name: value for name, value in saved.items() if name in Config.__dataclass_fields__}
            known["methods"] = tuple(known["methods"])
            return replace(Config(**known), **given)
        except (TypeError, LookupError) as error:
            raise MinihireError(f"the saved settings are not readable: {error}") from error
    return preset(getattr(options, "preset", "mini"), **given)


def _backend(options):
    backend = backends.get_backend(
        options.backend,
        options.device,
        threads=options.threads,
        precision=options.precision,
        record=options.record,
    )
    backend.announce(say)
    return backend


def _data(config, options, backend):
    """The data set; of several processes the first one loads it, from the network if need be, before the others."""
    splits = load_data(config, options.download) if backend.rank == 0 else None
    backend.sum_over_ranks([np.ones(1)])
    return splits or load_data(config)


def _spiking(network, config, options):
    """The checkpoint's network with the flags that may change after training: steps, γ, the reset's gradient, time chunk."""
    _refuse_own_settings(network, options)
    given = given_settings(options)
    changes = {name: given[name] for name in ("steps", "time_chunk") if name in given and network.spiking}
    if {"gamma", "reset_grad"} & given.keys():
        changes["neuron"] = replace(network.neuron, surrogate=triangle(config.gamma), reset_grad=config.reset_grad)
    return replace(network, **changes) if changes else network


def _refuse_own_settings(network, options):
    """Flags cannot change what a checkpoint is: its model, and an SNN's coding, readout and reset."""
    own = {"model": network.model.name, "width": network.model.width, "hidden": network.model.hidden}
    if network.spiking:
        own |= {"coding": network.coding, "readout": network.readout, "reset": network.neuron.reset}
    for name, value in given_settings(options).items():
        if name in own and value != own[name]:
            raise MinihireError(f"--{name} {value} does not fit the checkpoint, which has {own[name]}: leave it out")


def _fits(network, data):
    ours, theirs = (network.model.image_shape, network.model.classes), (data.shape, len(data.classes))
    if ours != theirs:
        raise MinihireError(
            f"this checkpoint is for images of {ours[0]} and {ours[1]} classes, "
            f"{data.name} has {theirs[0]} and {theirs[1]}: give its own --data"
        )


def _show_and_write(path, content, text):
    """The text to people, the content as JSON to a file; for "-" the JSON alone, to standard output."""
    written = json.dumps(content, indent=1, ensure_ascii=False)
    print(written if path == STDOUT else text)
    if path not in (None, STDOUT):
        write_atomically(path, lambda file: file.write(written.encode()))
