"""minihire train: train one network and save it as a checkpoint."""

import os
import re

from backends.errors import choose
from minihire.app.command import STEPS, Command
from minihire.app.flags import (
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
    apply_flags,
    open_backend,
    open_checkpoint,
    open_data,
    refuse_hidden,
    refuse_misfit,
    resolve,
)
from minihire.app.outputs import print_warnings, require_absent
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import Written, only_writer, require_writable
from minihire.study.settings import ANN_METHODS, METHODS
from minihire.study.single import train_one
from minihire.study.spec import UNUSED
from minihire.training.checkpoint import training_images

DATA = settings("data", without=("test_limit",))
ANN = (*DATA, "model", "width", "hidden", "dropout", "coding", *settings("ANN training"), "seed")
# Settings that an SNN checkpoint records. Their flags replace the values of the checkpoint that training starts from.
REPLACEABLE = ("steps", "reset_grad", "gamma", "time_chunk")
SNN = settings("SNN training", without=("methods",))
ADVERSARIAL = settings("adversarial training")
IN_HELP_ORDER = settings("data", "network", "ANN training", "SNN training", "adversarial training", "run")
USES = tuple(name for name in IN_HELP_ORDER if name in {*ANN, *REPLACEABLE, *SNN, *ADVERSARIAL})
COMMON = (
    *("data", "data_dir", "train_limit", "model", "width", "ann_epochs", "ann_batch_size", "ann_learning_rate"),
    *("snn_epochs", "batch_size", "learning_rate", "periods", "noise_step", "seed"),
)


def uses(method: str) -> tuple[str, ...]:
    """The settings that a training of "ann" or one of METHODS uses."""
    if method == "ann":
        return ANN
    own = ANN if method in ANN_METHODS else (*DATA, *REPLACEABLE, *SNN, "seed")
    more = ADVERSARIAL if method.startswith("adversarial") else ()
    return tuple(name for name in (*own, *more) if name not in UNUSED[method])


def add_flags(parser):
    """Add the flags of this command to the parser."""
    parser.add_argument("method", metavar="METHOD", help=", ".join(("ann", *METHODS)))
    add_file(parser, "--from", "the converted SNN to start from (not for an ANN)", dest="start")
    add_file(parser, "--out", "checkpoint to write, .npz", required=True)
    parser.add_argument("--resume", action="store_true", help="resume the training in --out, if it exists")
    add_time_limit(parser)
    add_keep(parser)
    add_preset(parser, "; with --from, the values of its checkpoint")
    add_modules(parser)
    add_download(parser)
    add_settings(parser, USES, COMMON)
    add_execution(parser, record=True)


def run(options) -> None:
    """Train an ANN from fresh weights, or an SNN from a converted one."""
    used = _check(options)
    start = open_checkpoint(options.start) if options.start else None
    config = resolve(options, start, used)
    refuse_hidden(options, config.model)
    backend = open_backend(options)
    network = _starting_network(start, config, options, backend) if start else None
    data = open_data(config, options, backend, used)
    if start:
        refuse_misfit(start, network, data.train)
    else:
        config = adapt(config, options, data)
    Written.earlier = options.resume and options.out.exists()
    callbacks = chosen_callbacks(options, data.heldout)
    seen = training_images(start) if start else ()
    with only_writer(options.out, new=not options.resume):
        _, training = train_one(config, options.method, data, backend, options.out, network, callbacks, seen)
    last = training.history[-1]
    print(
        f"{options.out}: loss {last['loss']:.3f}, training accuracy {last['accuracy']:.1%}"
        + (f", held-out accuracy {last['heldout_accuracy']:.1%}" if "heldout_accuracy" in last else "")
    )
    print_warnings(training.warnings)


def _starting_network(start, config, options, backend):
    """Read the converted SNN from which training starts. Raises MinihireError for an ANN."""
    network = start.network(backend)
    if not network.spiking:
        raise MinihireError(
            f"{options.start} is an ANN: convert it first (minihire convert) and give the SNN with --from"
        )
    return apply_flags(network, config, options, options.start)


def _check(options) -> tuple[str, ...]:
    """The settings that the method uses.

    Raises MinihireError for flags that do not fit the method, and for an --out that cannot be written.
    """
    method = options.method
    if method not in ("ann", *METHODS):
        raise MinihireError(f"there is no method {method!r}: {choose(method, ('ann', *METHODS))}")
    if method in ANN_METHODS and options.start:
        raise MinihireError("an ANN starts from fresh weights: leave out --from")
    if method not in ANN_METHODS and not options.start:
        raise MinihireError(f"{method} training starts from a converted SNN: give --from FILE")
    used = uses(method)
    for name in given_settings(options):
        if name not in used:
            fits = [other for other in ("ann", *METHODS) if name in uses(other)]
            raise MinihireError(
                f"train {method} has no {flag_of(name)}; it is a flag of run and of train {' and '.join(fits)}"
            )
    if os.path.lexists(options.out):
        if not options.resume:
            raise MinihireError(f"{options.out} exists: --resume resumes it, another --out starts a new training")
        if os.path.islink(options.out) or not os.path.isfile(options.out):
            require_absent(options.out)  # a link, folder or device cannot be resumed
    else:
        _refuse_kept(options)
    require_writable(options.out)
    return used


def _refuse_kept(options):
    """Raise MinihireError for networks of another training that --keep-best or --keep-every would replace."""
    stem = re.escape(options.out.stem)
    kept = [rf"{stem}\.best\.npz"] * options.keep_best + [rf"{stem}\.epoch-\d+\.npz"] * (options.keep_every is not None)
    for path in sorted(options.out.parent.glob("*.npz")) if kept else ():
        if re.fullmatch("|".join(kept), path.name):
            require_absent(path)


COMMAND = Command(
    "train",
    STEPS,
    "train one network: an ANN, or an SNN from a converted one",
    "METHOD --out FILE",
    add_flags,
    run,
    """minihire train ann --out ann.npz && minihire convert ann.npz --out snn.npz
  minihire train hire --from snn.npz --out hire.npz""",
)
