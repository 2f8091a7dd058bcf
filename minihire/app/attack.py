"""minihire attack: accuracy of a checkpoint on clean and attacked test images, or its answers to attacked image files."""

import contextlib
import inspect
import os
from pathlib import Path

from backends.errors import choose
from backends.surrogates import Surrogate
from minihire.analysis import Score
from minihire.analysis.accuracy import accuracy
from minihire.app.attack_files import attack_files
from minihire.app.command import STEPS, Command
from minihire.app.flags import (
    add_download,
    add_execution,
    add_file,
    add_json,
    add_modules,
    add_settings,
    add_time_limit,
    flag_of,
    given_settings,
    names,
    settings,
)
from minihire.app.inputs import (
    apply_flags,
    data_of,
    first_names,
    open_backend,
    open_checkpoint,
    open_data,
    refuse_misfit,
    refuse_samples,
    refuse_seed,
    resolve,
)
from minihire.app.outputs import json_path, show_and_write
from minihire.app.robustness import evaluate, refuse_constant_gamma, refuse_without_effect
from minihire.app.seen import refuse_seen
from minihire.attacks import ATTACKS, Attack
from minihire.attacks.images import craft_images, evaluate_images, load_images, save_images
from minihire.attacks.suite import BUDGETS, SUITES
from minihire.report import tables
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import locked, require_writable
from minihire.runtime.interrupt import resumable_by
from minihire.study.settings import Config
from minihire.study.single import attack_one
from minihire.study.surrogates import SURROGATES, parse_surrogate

USES = (
    *("data", "data_dir", "image_size", "test_limit"),
    *("steps", "reset_grad", "gamma", "time_chunk"),
    *settings("attacks", "run", without=("black_box",)),
)


FILE_USES = tuple(name for name in USES if name not in ("data_dir", "image_size", "test_limit"))
SUITE_USES = tuple(name for name in USES if name not in ("alpha", "iterations", "random_start"))
NOT_OF_FILES = ("suite", "budget", "images", "max_minutes", "download")  # flags of attacks on test images
DEFAULT = ("fgsm", "pgd")  # attacks
NUMBERS = {  # parameters of attacks that are no settings of an experiment: flag and description
    "restarts": "runs of each attack, of which the strongest counts",
    "samples": "draws of rate-coded spikes to average over",
    "queries": "queries of the attack square (default: 5000)",
}


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "checkpoint", "the network to attack: an .npz file", "CHECKPOINT")
    add_file(parser, "files", "attack images of any size instead of the test images", "FILE|FOLDER", nargs="*")
    add_file(parser, "--source", "craft images on this checkpoint; repeatable", action="append")
    add_json(parser, "scores")
    parser.add_argument(
        "--attacks",
        type=names,
        metavar="A,B",
        help=f"attacks (default: fgsm,pgd); --suite adds them: {', '.join(ATTACKS)}",
    )
    parser.add_argument("--suite", choices=SUITES, help="worst case of the paper's or of strong attacks")
    parser.add_argument("--budget", choices=BUDGETS, help="attacks of --suite strong (default: small)")
    add_file(parser, "--save-images", "write attacked test images (.npz) or files (PNG)", "FILE|DIR")
    add_file(parser, "--images", "evaluate the images in this file instead of attacks", "FILE.npz")
    parser.add_argument(
        "--surrogate",
        metavar="KIND[:N]",
        help=f"of the attacker, N: width or sharpness (default: the network's): {', '.join(SURROGATES)}",
    )
    for flag, text in NUMBERS.items():
        parser.hide(parser.add_argument(f"--{flag}", type=int, metavar="N", help=text))
    add_time_limit(parser, "with --json FILE, the same command resumes")
    add_modules(parser)
    add_download(parser)
    rare = {"image_size", "reset_grad", "gamma", "time_chunk", "random_start"}
    add_settings(parser, USES, common=set(USES) - rare, defaults=False)
    add_execution(parser, record=True)


def run(options) -> None:
    """Evaluate clean and attacked test images, or attack image files.

    With --json FILE, a stopped attack on test images can be resumed.
    """
    json_file = json_path(options)
    if options.save_images and not options.files:
        _check_images_file(options.save_images)
    surrogate = parse_surrogate(options.surrogate)
    _refuse_contradictions(options, json_file)
    saved = open_checkpoint(options.checkpoint)
    config = resolve(options, saved, USES, needs_data=not (options.files or options.images))
    given = {name: getattr(options, name) for name in NUMBERS if getattr(options, name) is not None}
    numbers = {name: checks.whole(flag_of(name), value) for name, value in given.items()}
    if options.files:
        _refuse(options, numbers, "image files", NOT_OF_FILES, FILE_USES, NUMBERS)
    if options.images:
        return _evaluate_file(options, saved, config, numbers)
    if options.suite:
        _refuse(options, numbers, "--suite", ("surrogate", "save_images"), SUITE_USES, ("samples",))
        if config.epsilon <= 0:
            raise MinihireError("a suite needs an attack bound above 0: give one such as --epsilon 8/255")
        further = chosen_attacks(options.attacks, config, {}, None, {}) if options.attacks is not None else []
        further = [attack.changed(samples=options.samples or 1) for attack in further]
        with _only_writer(json_file):
            return _evaluate_suite(options, saved, config, json_file, further)
    chosen = DEFAULT if options.attacks is None else options.attacks
    attacks = chosen_attacks(chosen, config, given_settings(options), surrogate, numbers)
    if options.save_images and not options.files and (len(attacks) != 1 or options.max_minutes is not None):
        raise MinihireError("--save-images needs a single attack, such as --attacks pgd, and no --max-minutes")
    backend = open_backend(options)
    target = saved.network(backend)
    source = _source(options, options.source[0], saved, target) if options.source else None
    _refuse_unused(options, source or target, surrogate)
    refuse_samples(options, target, source or target)
    _refuse_seed(options, attacks, target, source or target)
    original, target = target, apply_flags(target, config, options, options.checkpoint)
    refuse_constant_gamma(options, original, target, "these attacks")
    heading = _heading(options, config, attacks, surrogate)
    if options.files:
        return attack_files(options, config, saved, target, source or target, attacks, heading)
    with _only_writer(json_file):
        _attack_test_images(options, config, saved, target, source, attacks, heading, json_file)


def _only_writer(json_file):
    """A context manager: while entered, no other process attacks with interim files of the same names.

    These have the name of the --json FILE without its ending.
    """
    if json_file is None:
        return contextlib.nullcontext()
    busy = f"another process is attacking with --json {json_file}: wait for it, or give another file"
    return locked(json_file.with_name(f".{json_file.stem}.lock"), busy)


def _attack_test_images(options, config, saved, target, source, attacks, heading, json_file):
    """Attack the test images of the data set, and print and write the accuracies. source: the network to craft on, or None."""
    backend, surrogate = target.backend, parse_surrogate(options.surrogate)
    data = open_data(config, options, backend, USES)
    refuse_misfit(saved, target, data.test)
    warnings = refuse_seen(saved, data, config.data_dir)
    if options.save_images:
        crafted = craft_images(target, source or target, data.test, attacks[0], seed=config.seed)
        samples = attacks[0].samples
        scores, files = {"clean": accuracy(target, data.test, seed=config.seed, samples=samples)}, None
        scores[attacks[0].name] = crafted.predictions == crafted.labels
        scores[f"{attacks[0].name}, 8 bits"] = crafted.rounded_predictions == crafted.labels
    else:
        how_to_resume, interim = ("the same command", f"{json_file.stem}.ATTACK.npz") if json_file else (None, "")
        with resumable_by(how_to_resume, interim):
            scores, files = attack_one(config, attacks, target, source, data, backend, json_file)
    found = {name: Score(int(correct.sum()), len(correct)).as_dict() for name, correct in scores.items()}
    rows = [[name, str(score["count"]), tables.interval(score)] for name, score in found.items()]
    content = {
        "checkpoint": str(options.checkpoint),
        "source": options.source and str(options.source[0]),
        "surrogate": surrogate and list(surrogate),
        "config": config.describe(),
        "accuracy": found,
        "warnings": warnings,
    }
    text = f"{heading}\n{tables.table(['attack', 'images', 'accuracy, %'], rows)}"
    try:
        if options.save_images:
            _check_images_file(options.save_images)  # again, because it may have appeared in the meantime
            save_images(options.save_images, crafted)
            text += f"\n{options.save_images}: {len(data.test):,} adversarial images"
    finally:  # the scores are not lost if the images cannot be written
        show_and_write(options, content, text)
    if files and backend.services.rank == 0:
        files.clear()  # the scores are written, so the interim answers are not needed


def _refuse_contradictions(options, json_file):
    """Raise MinihireError for flags that need another flag, or contradict it."""
    if options.max_minutes is not None and json_file is None and not options.files:
        raise MinihireError(
            "--max-minutes needs --json FILE: interim answers are written next to FILE, so that the same command can resume"
        )
    if options.budget and options.suite != "strong":
        raise MinihireError("--budget needs --suite strong: the other attacks have no budget")
    if len(options.source or ()) > 1 and not options.suite:
        raise MinihireError("more than one --source needs --suite: give one, or --suite strong")
    if options.source and options.suite == "parity":
        raise MinihireError("--source needs --suite strong: --suite parity crafts no images on other networks")


def _heading(options, config, attacks, surrogate):
    """The first line of the text: the network, what the attacker knows, and the settings of the attacks."""
    access = f"black box, crafted on {options.source[0]}" if options.source else "white box"
    access += f", surrogate {options.surrogate}" if surrogate else ""
    steps = f", PGD: α = {config.alpha:.4g}, K = {config.iterations}" if "pgd" in [a.name for a in attacks] else ""
    return f"{options.checkpoint}, {access}; ε = {config.epsilon * 255:.4g}/255{steps}"


def _check_images_file(path):
    """Raise MinihireError if --save-images names a file that it did not write, that does not end in .npz or cannot be written."""
    if path.suffix != ".npz":
        raise MinihireError(f"--save-images writes NumPy's .npz format: give a name that ends in .npz, not {path}")
    if os.path.lexists(path):
        try:
            load_images(path)
        except MinihireError as error:
            raise MinihireError(
                f"{path} exists, and --save-images did not write it: give another file, or delete it"
            ) from error
    require_writable(path)


def _evaluate_file(options, saved, config, numbers):
    """--images: the accuracy of the checkpoint on a file of adversarial images."""
    flags = ("suite", "budget", "attacks", "source", "surrogate", "save_images", "max_minutes", "download")
    _refuse(options, numbers, "--images", flags, ("steps", "time_chunk", "seed"))
    crafted, backend = load_images(options.images, foreign=True), open_backend(options)
    target = apply_flags(saved.network(backend), config, options, options.checkpoint)
    refuse_seed(options, target)
    answers = evaluate_images(target, crafted, seed=config.seed)
    found = {name: Score(int(correct.sum()), len(correct)).as_dict() for name, correct in answers.items()}
    rows = [[name, str(score["count"]), tables.interval(score)] for name, score in found.items()]
    about = {"checkpoint": str(options.checkpoint), "images": str(options.images)}
    show_and_write(
        options,
        {**about, "config": config.describe(), "accuracy": found},
        f"{options.checkpoint} on the images of {options.images} (rounded: to 8 bits)\n"
        + tables.table(["images", "number", "accuracy, %"], rows),
    )


def _evaluate_suite(options, saved, config, json_file, further):
    """--suite: the worst case of many attacks, and of those of --attacks."""
    backend = open_backend(options)
    original = saved.network(backend)
    target = apply_flags(original, config, options, options.checkpoint)
    sources = [(str(path), _source(options, path, saved, original)) for path in options.source or ()]
    refuse_without_effect(options, original, target, sources)
    data = open_data(config, options, backend, USES)
    refuse_misfit(saved, target, data.test)
    warnings = refuse_seen(saved, data, config.data_dir)
    evaluate(options, config, target, sources, further, data.test, json_file, warnings)


def _refuse(options, numbers, what, flags, settings_allowed, numbers_allowed=()):
    """Raise MinihireError for a flag that does not apply together with `what`."""
    found = [name for name in flags if getattr(options, name)]
    found += [name for name in numbers if name not in numbers_allowed]
    for name in found + sorted(set(given_settings(options)) - {*settings_allowed}):
        raise MinihireError(f"{flag_of(name)} does not apply to {what}: leave it out")


def chosen_attacks(
    chosen: tuple[str, ...], config: Config, given: dict, surrogate: Surrogate | None, numbers: dict[str, int]
) -> list[Attack]:
    """The attacks by name, each with the settings that it takes, and with those of NUMBERS that were given.

    The settings `iterations` and `random_start` were chosen for the step α of `config`. So an attack without a parameter
    `alpha` gets them only if their flags were given; otherwise it uses its own defaults.

    Raises MinihireError for an unknown name, for one that results use otherwise, and for a given setting that none of the attacks
    takes.
    """
    values = {name: getattr(config, name) for name in ("epsilon", "alpha", "iterations", "random_start")}
    values |= {"surrogate": surrogate} if surrogate else {}
    values |= numbers
    attacks, used = [], set()
    for name in dict.fromkeys(chosen):
        _refuse_name(name)
        parameters = _parameters(name, dict.fromkeys((*values, "surrogate", *NUMBERS)))
        takes = values.keys() & parameters
        if "alpha" not in parameters:
            takes -= {"iterations", "random_start"} - given.keys()
        used |= takes
        attacks.append(_named(name, ATTACKS[name](**{key: values[key] for key in takes})))
    if not attacks:
        raise MinihireError(f"--attacks needs at least one of {', '.join(ATTACKS)}")
    for name in values:
        if name not in used and (name in given or name in numbers or name == "surrogate"):
            raise MinihireError(f"{flag_of(name)} does not apply to {' or '.join(chosen)}: leave it out")
    return attacks


def _refuse_name(name):
    """Raise MinihireError for a name that is not in ATTACKS, and for one that no result or no file can have."""
    if name not in ATTACKS:
        raise MinihireError(f"there is no attack {name!r}: {choose(name, ATTACKS)}")
    if name == "clean" or Path(name).name != name:
        raise MinihireError(
            f"give the attack {name!r} another name in ATTACKS: 'clean' is the result without an attack, and file names contain "
            "the attack's, so it has no /"
        )


def _parameters(name, known):
    """The parameters of a row of ATTACKS. Raises MinihireError for what is no function, and for a parameter that has no flag."""
    if not callable(ATTACKS[name]):
        raise MinihireError(
            f"the row {name!r} of ATTACKS is {ATTACKS[name]!r}: give a function that returns an Attack, as in docs/attacks.md"
        )
    parameters = inspect.signature(ATTACKS[name]).parameters
    for each in parameters.values():
        if each.name not in known and each.default is each.empty and each.kind is not each.VAR_KEYWORD:
            raise MinihireError(
                f"the function of the row {name!r} of ATTACKS needs {each.name!r}: give it a default, or the name of a flag, "
                f"such as {', '.join(known)}"
            )
    return parameters


def _named(name, attack):
    """The attack, named like its row of ATTACKS: else the results of two rows could have the same name."""
    if not isinstance(attack, Attack):
        raise MinihireError(
            f"the function of the row {name!r} of ATTACKS returns {type(attack).__name__}: let it return an Attack, as in "
            "docs/attacks.md"
        )
    return attack if attack.name == name else attack.changed(name=name)


def _refuse_unused(options, attacker, surrogate):
    """Raise MinihireError for a flag about gradients if it does not change the gradients from which images are crafted."""
    given = given_settings(options)
    if surrogate and not attacker.spiking:
        path = options.source[0] if options.source else options.checkpoint
        raise MinihireError(f"{path} is an ANN, to which --surrogate does not apply: leave it out")
    if surrogate and "gamma" in given:
        raise MinihireError(
            "--gamma changes the network's surrogate, which --surrogate replaces: leave one of them out"
        )
    if surrogate and surrogate.kind == "rate" and "reset_grad" in given:
        raise MinihireError("--surrogate rate has no gradient through the reset: leave --reset-grad out")
    for name in ("gamma", "reset_grad"):
        if options.source and name in given:
            raise MinihireError(
                f"{flag_of(name)} changes the gradients of {options.checkpoint}, but the images are crafted on "
                f"{options.source[0]}: leave it out"
            )


def _refuse_seed(options, attacks, *networks):
    """Raise MinihireError if --seed was given, but neither the attacks nor the networks use random numbers.

    A user's own class of attacks may use random numbers without a random start, so --seed is not refused for it.
    """
    random = [a for a in attacks if a.random_start or not type(a).__module__.startswith("minihire.")]
    if hasattr(options, "seed") and not random and not any(network.random for network in networks):
        raise MinihireError(
            "--seed chooses random numbers, which neither these attacks nor the network use: leave it out"
        )


def _source(options, path, saved, target):
    """Read a network to craft images on. Raises MinihireError if it is for another data set, image shape or classes."""
    other = open_checkpoint(path)
    source, (mine, ours), (theirs, others) = other.network(target.backend), data_of(saved), data_of(other)
    if mine and theirs and mine != theirs:
        raise MinihireError(
            f"{path} was trained on {theirs}, {options.checkpoint} on {mine}: give a source of the same data"
        )
    shapes = [f"images {n.model.image_shape} of {n.model.classes} classes" for n in (source, target)]
    if ours and others and ours != others and shapes[0] == shapes[1]:
        shapes = [f"the classes {first_names(names)}" for names in (others, ours)]
    if shapes[0] != shapes[1]:
        raise MinihireError(
            f"{path} is for {shapes[0]}, {options.checkpoint} for {shapes[1]}: give a source of the same data"
        )
    return source


COMMAND = Command(
    "attack",
    STEPS,
    "accuracy on clean and attacked images; attacks on image files",
    "CHECKPOINT [FILE|FOLDER …]",
    add_flags,
    run,
    """minihire attack runs/mini/models/hire.npz --epsilon 0.1 --surrogate arctan:2
  minihire attack runs/folder/models/hire.npz photo.png --save-images attacked
  minihire attack runs/mini/models/hire.npz --attacks apgd --save-images x.npz
  minihire attack runs/mini/models/traditional.npz --images x.npz
  minihire attack runs/mini/models/hire.npz \\
    --source runs/mini/models/second/hire.npz     black box
  minihire attack runs/mini/models/hire.npz --suite strong --epsilon 2/255""",
)
