"""minihire run: train, convert, attack and analyze in one folder. An interrupted run can be resumed."""

import shlex
from collections.abc import Collection
from pathlib import Path

from minihire import __version__
from minihire.app import folders
from minihire.app.command import WHOLE, Command
from minihire.app.flags import (
    CONFIG_FIELDS,
    add_download,
    add_execution,
    add_file,
    add_keep,
    add_modules,
    add_preset,
    add_settings,
    add_time_limit,
    chosen_callbacks,
    flag_of,
    given_settings,
    settings,
)
from minihire.app.inputs import (
    adapt,
    open_backend,
    open_data,
    preset_of,
    read_config,
    refuse_hidden,
    resolve,
)
from minihire.app.outputs import print_warnings
from minihire.report import page, tables
from minihire.report.figures import NoMatplotlib, draw_all
from minihire.report.layout import SavedRun, guarded
from minihire.report.words import listed
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import Written, write_atomically
from minihire.runtime.interrupt import Interrupted, resumable_by
from minihire.runtime.progress import duration, say
from minihire.study.estimate import estimate
from minihire.study.results import Results
from minihire.study.run import Run, finished_networks, refuse_other_settings
from minihire.study.settings import METHODS
from minihire.study.spec import reads

USES = tuple(f.name for f in CONFIG_FIELDS)  # every setting
COMMON = (
    *(
        "data",
        "data_dir",
        "train_limit",
        "test_limit",
        "model",
        "width",
        "steps",
        "ann_epochs",
        "methods",
        "snn_epochs",
    ),
    *("learning_rate", "noise_step", "epsilon", "iterations", "black_box", "seed"),
)


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "--out", "folder of the run (default: runs/PRESET or PRESET-2 …)", "DIR")
    text = "resume the run in --out, or the preset's latest run"
    parser.add_argument("--resume", action="store_true", help=text)
    text = "estimate how long the run takes; write nothing"
    parser.add_argument("--dry-run", action="store_true", help=text)
    add_time_limit(parser)
    add_keep(parser)
    add_preset(parser)
    add_file(parser, "--config", "settings, such as config.json of a run", "FILE.json")
    add_modules(parser)
    add_download(parser)
    add_settings(parser, USES, COMMON)
    add_execution(parser, record=True)


def run(options) -> None:
    """Train, convert, attack and analyze; write results.json, checkpoints, figures and the page."""
    given, named = _config_file(options)
    name = given["preset"] if given else "" if options.out else preset_of(options, given_settings(options))
    out = folders.choose(options.out, name, options.resume)
    config = resolve(options, folders.saved_config(out) if options.resume else given, _used(options, given))
    refuse_hidden(options, config.model)
    _refuse_unused(options, config)
    if config.data == "folder" and config.data_dir:
        folders.refuse_among_classes(out, Path(config.data_dir), options.resume)
    backend = open_backend(options)
    if options.resume:
        refuse_other_settings(Results.load(out / "results.json"), config, backend.services.ranks)
    splits = open_data(config, options, backend, USES)
    if not options.resume:
        config = adapt(config, options, splits, named)
    callbacks = chosen_callbacks(options, splits.heldout)
    if options.dry_run:
        print_estimate(config, backend, splits, out)
        return
    Written.earlier = options.resume  # so that the message of an early stop does not say that nothing was written
    with folders.lock(out, new=not options.resume), resumable_by(_resuming(options, out)):
        whole = Run(config, backend, out, splits, options.resume, callbacks)
        say(
            f"minihire {__version__}, {backend.name} backend, {backend.threads} threads; preset {config.preset}; "
            f"{len(splits.train):,} training, {len(splits.heldout):,} held-out and "
            f"{len(splits.test):,} test images of {splits.train.name}, {len(splits.train.classes)} classes; into {out}/"
        )
        try:
            results = whole.run()
        except Interrupted:
            if backend.services.rank == 0:
                for failure in _write_pages(results=whole.results, out=out):
                    print(failure)
            raise
        if backend.services.rank == 0:
            show_results(results, out)


def _resuming(options, out: Path) -> str:
    """The command that resumes the run in a folder."""
    modules = [word for path in getattr(options, "module", None) or () for word in ("--module", str(path))]
    return shlex.join(["minihire", "run", "--resume", "--out", str(out), *modules])


def _config_file(options) -> tuple[dict | None, Collection[str]]:
    """The settings in --config FILE, complete, and the names of those that the file has.

    Raises MinihireError for an unreadable file and for flags that exclude --config.
    """
    if options.config is None:
        return None, ()
    for name in ("resume", "preset"):
        if getattr(options, name, False):
            raise MinihireError(f"--config has all settings, so --{name} does not apply: leave one of them out")
    return read_config(options.config)


def _used(options, given):
    """The settings that matter: not the number of periods, if none of the methods in --methods or --config divides a batch."""
    methods = given_settings(options).get("methods", (given or {}).get("methods"))
    return USES if methods is None or any(reads(method, "periods") for method in methods) else {*USES} - {"periods"}


def _refuse_unused(options, config):
    """Raise MinihireError for a flag of a setting that none of the chosen methods uses."""
    training = settings("SNN training", "adversarial training", without=("methods",))
    for name in given_settings(options):
        users = [method for method in METHODS if reads(method, name)]
        if name in training and not set(users) & set(config.methods):
            raise MinihireError(
                f"{flag_of(name)} applies to {listed(users)} training, but --methods chooses {','.join(config.methods)}: "
                "leave it out, or choose other methods"
            )


def print_estimate(config, backend, splits, out: Path) -> None:
    """Print the parts of a run that are still to do, each with its estimated time."""
    done = finished_networks(out, config, backend) if (out / "results.json").exists() else set()
    work = estimate(config, backend, splits, lambda method, seed: (method, seed) in done)
    rows = [[part.name, f"about {duration(part.seconds)}"] for part in work]
    print(tables.table(["work", "time"], [*rows, ["all", f"about {duration(sum(part.seconds for part in work))}"]]))


def show_results(results, out: Path) -> None:
    """Print the tables of a finished run, draw its figures and write its page. Raises MinihireError if one cannot be written."""
    made = (tables.accuracy_table, tables.activity_summary, tables.energy_table, tables.phase_table)
    parts = [guarded(SavedRun(out, results.content), "tables", make) for make in made]
    print("\n" + "\n\n".join(parts))
    failures = []
    try:
        figures = draw_all(results, out / "figures")
        print(f"\n{out}/results.json and {len(figures)} figures in {out}/figures/")
    except NoMatplotlib as missing:
        print(f"\n{out}/results.json; {missing}")
    except (OSError, ValueError, MinihireError) as error:  # ValueError: pictures in an edited results.json
        print(f"\n{out}/results.json")
        failures.append(f"the figures could not be written ({error})")
    print_warnings(results["warnings"])
    failures += _write_pages(results, out)
    if failures:
        raise MinihireError(
            f"{' and '.join(failures)}, but all results are in {out}/results.json: remove the cause, and "
            f"`{shlex.join(['minihire', 'run', '--resume', '--out', str(out)])}` writes the rest"
        )


def _write_pages(results, out: Path) -> list[str]:
    """Write curves.csv and the page of the run. Returns a sentence if that fails, else nothing."""
    try:
        text = guarded(SavedRun(out, results.content), "training", tables.curves_csv)
        write_atomically(out / "curves.csv", lambda file: file.write(text.encode()))
        page.write(out / "report.html", [page.read(out)])
        print(f"{out}/report.html: the run on one page")
    except MinihireError as error:
        return [f"the page could not be written ({error})"]
    return []


COMMAND = Command(
    "run",
    WHOLE,
    "train an ANN, convert it, train the SNN, attack, count energy",
    "",
    add_flags,
    run,
    """minihire run --preset cifar10-small --data-dir DIR --no-black-box
  minihire run --resume        resume the latest mini run
  while minihire run --resume --out DIR --max-minutes 50; [ $? = 3 ]; do :; done
  torchrun --nproc-per-node 2 -m minihire run --backend torch --device cuda""",
)
