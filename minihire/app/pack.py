"""minihire pack: a trained network for others to download, with 16-bit weights, a model card, a licence and checksums."""

import hashlib
import io
import json
import zipfile

import numpy as np

from minihire.analysis import Score
from minihire.analysis.accuracy import predictions
from minihire.app.command import EXCHANGE, Command
from minihire.app.flags import add_download, add_execution, add_file, add_modules, add_settings
from minihire.app.inputs import (
    class_names,
    open_backend,
    open_checkpoint,
    open_data,
    refuse_misfit,
    refuse_seed,
    resolve,
    unfinished,
)
from minihire.app.outputs import output_path, print_warnings
from minihire.app.seen import refuse_seen
from minihire.report import model_card
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import read_text, utf8, write_atomically
from minihire.runtime.terminal import escaped
from minihire.study.results import Results
from minihire.training.checkpoint import Checkpoint, weights_digest

USES = ("data", "data_dir", "image_size", "test_limit", "seed")
SUFFIX = ".zip"


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "checkpoint", "the network to pack: an .npz file", "CHECKPOINT")
    add_file(parser, "--license", "text file with the licence of the weights", required=True)
    add_file(parser, "--out", "file to write (default: the checkpoint's name with .zip)", "FILE.zip")
    add_modules(parser)
    add_download(parser)
    add_settings(parser, USES, defaults=False)
    add_execution(parser)


def run(options) -> None:
    """Round the weights to 16 bits, compare the predictions with those of the original, and write the archive."""
    saved = open_checkpoint(options.checkpoint, note=False)
    name = _name_in_archive(options.checkpoint)
    out = output_path(options.checkpoint, options.out, SUFFIX)
    if out.suffix != SUFFIX:
        raise MinihireError(f"--out {out} must end in {SUFFIX}: a ZIP archive is written")
    licence = _licence(options.license)
    if unfinished(saved):
        raise MinihireError(f"the training of {options.checkpoint} is not finished: resume it first")
    config, backend = resolve(options, saved, USES), open_backend(options)
    network = saved.network(backend)
    refuse_seed(options, network)
    data = open_data(config, options, backend, USES)
    refuse_misfit(saved, network, data.test)
    warnings = refuse_seen(saved, data, config.data_dir)
    packed = rounded(saved)
    both = {"original": network, "16-bit weights": packed.network(backend)}
    given, kept = (predictions(one, data.test, seed=config.seed, label=label) for label, one in both.items())
    scores = [Score(int((answers == data.test.labels).sum()), len(answers)).as_dict() for answers in (given, kept)]
    results, trained_as = _run_of(saved)
    card = model_card.card(
        name,
        network,
        class_names(saved, network),
        meta=saved.meta,
        data=data.test.name,
        scores=scores,
        changed=int((given != kept).sum()),
        results=results,
        name=trained_as,
    )
    files = {name: _archive(packed), "MODEL_CARD.md": utf8(card), "LICENSE": licence.encode()}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {file}\n" for file, content in files.items())
    content = _zip({**files, "SHA256SUMS": sums.encode()})
    write_atomically(out, lambda file: file.write(content), new=True)
    print(card)
    print_warnings(warnings)
    print(f"{out}: {len(content) / 1e6:.1f} MB, SHA-256 {hashlib.sha256(content).hexdigest()}")


def rounded(saved: Checkpoint) -> Checkpoint:
    """The checkpoint with weights in float16, without what only a training needs, and without the data folder's path.

    Arrays of one value, such as thresholds and leaks, stay as they are. Raises MinihireError for weights too large for float16.
    """
    arrays = {name: array for name, array in saved.arrays.items() if name.startswith("parameter/")}
    most = max(float(np.abs(array).max()) for array in arrays.values())
    if most > float(np.finfo(np.float16).max):
        raise MinihireError(f"{saved.path} has the weight {most:g}, too large for 16 bits: it cannot be packed")
    arrays = {name: array.astype(np.float16) if array.size > 1 else array for name, array in arrays.items()}
    meta = {name: value for name, value in saved.meta.items() if name != "training"}
    if isinstance(meta.get("about"), dict):
        meta["about"] = {**meta["about"], "data_dir": None}
    return Checkpoint(saved.path, meta, arrays)


def _name_in_archive(path):
    """The name of the packed checkpoint. SHA256SUMS has it on a line, as UTF-8."""
    name = f"{path.stem}.npz"
    if escaped(name) != name or utf8(name) != name.encode("utf-8", "replace"):
        raise MinihireError(f"the name of {path} has bytes that are not UTF-8, or control characters: rename it")
    return name


def _licence(path):
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise MinihireError(f"cannot read --license {path} ({reason}): give a text file") from error


def _run_of(saved):
    """The `Results` of the run that trained this network, and the network's name in them; (None, None) if it is not found."""
    path = saved.path.resolve().parent.parent / "results.json"
    try:
        results = Results.load(path) if path.is_file() else None
    except MinihireError as error:
        print_warnings([f"the model card has no results of the run, because they cannot be read: {error}"])
        results = None
    ours = weights_digest(saved.arrays)
    names = [name for name, entry in results["models"].items() if entry.get("weights") == ours] if results else []
    return (results, names[0]) if names else (None, None)


def _archive(packed):
    """The bytes of a checkpoint file."""
    file = io.BytesIO()
    meta = np.frombuffer(json.dumps(packed.meta).encode(), np.uint8)
    np.savez(file, **packed.arrays, meta=meta)
    return file.getvalue()


def _zip(files):
    """The bytes of a ZIP archive. The dates of its members are fixed, so that equal content has an equal checksum."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


COMMAND = Command(
    "pack",
    EXCHANGE,
    "pack a network for download: 16-bit weights, model card, licence",
    "CHECKPOINT --license FILE",
    add_flags,
    run,
    "minihire pack runs/mini/models/hire.npz --license LICENSE --out hire.zip",
)
