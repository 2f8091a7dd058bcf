"""Helpers of the lessons: the import path of a clone, --quick and --out, a small data set, a small ANN, pictures, writing the figure."""
import argparse
import io
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # so that the lessons run from a clone without an installation
NOTEBOOK = "ipykernel" in sys.modules


def one_sentence(kind, error, trace):
    """Show an error that explains itself, such as a stopped training or a wrong file, without the lines of code that led to it.

    Ctrl-C prints nothing.
    """
    from minihire.runtime.errors import MinihireError

    if issubclass(kind, MinihireError):
        print(f"minihire: {error}", file=sys.stderr)
    elif issubclass(kind, OSError) and error.filename is not None:
        print(f"minihire: {error.filename}: {error.strerror}; give another file or folder", file=sys.stderr)
    elif not issubclass(kind, KeyboardInterrupt):  # `minihire demo` says that the lesson was stopped
        sys.__excepthook__(kind, error, trace)


sys.excepthook = one_sentence


def arguments(about: str):
    """--quick and --out of the command line; in a notebook, the defaults. A script also prints its question, goals and expectations."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="fewer images and epochs, to check that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "figures", metavar="DIR", help="folder of the figure (default: %(default)s)")
    options = parser.parse_args([] if NOTEBOOK else None)
    folder = next(place for place in (options.out.absolute(), *options.out.absolute().parents) if place.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        reason = "is not writable" if folder.is_dir() else "is not a folder"
        print(f"minihire: --out {options.out}: {folder} {reason}; give another folder", file=sys.stderr)
        sys.exit(2)
    if not NOTEBOOK:
        if hasattr(signal, "SIGPIPE"):  # not on Windows
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends a lesson without a traceback
        words = words_of(Path(sys.argv[0]))
        print(words.question, words.goals, words.expected, sep="\n\n", end="\n\n", flush=True)
    if options.quick:
        print("--quick only shows that it runs: its numbers do not support the text", end="\n\n", flush=True)
    return options


class Words(NamedTuple):
    """Text of a lesson, in lines of at most 100 columns."""

    question: str
    goals: str  # what one learns, and what one needs to know before
    expected: str
    exercises: str


def words_of(lesson: Path) -> Words:
    """The question of a lesson, its goals, what to expect, and the exercises, as plain text."""
    import re
    import textwrap

    text = re.sub(r"^# ?", "", lesson.read_text("utf-8"), flags=re.MULTILINE)
    filled = lambda part, indent="": textwrap.fill(re.sub(r"\s+", " ", part), 100, subsequent_indent=indent)
    question = re.search(r"^# (\d+ · .+)$", text, re.MULTILINE).group(1)
    learn, need = re.search(r"^\*\*You learn\*\* (.+?)\s\*\*You need\*\* (.+?)\n\n", text, re.MULTILINE | re.DOTALL).groups()
    expected = re.search(r"^\*\*What to expect\.\*\* (.+?)\n\n", text, re.MULTILINE | re.DOTALL).group(1)
    exercises = re.search(r"^## Exercises\n\n(.+)", text, re.MULTILINE | re.DOTALL).group(1)
    return Words(
        question,
        filled(f"You learn {learn}") + "\n" + filled(f"You need {need}"),
        filled(f"What to expect: {expected}"),
        "\n".join(filled(part, "   ") for part in re.split(r"\n(?=\d\. )", exercises)),
    )


def four_shapes(images: int, tests: int):
    """Training and test images of four of the ten classes of "shapes", reduced to 16×16 pixels; training takes seconds."""
    from dataclasses import replace

    import numpy as np

    from minihire import data

    splits, parts = data.load("shapes"), []
    for part, count in ((splits.train, images), (splits.test, tests)):
        part = part.take(np.isin(part.labels, [part.classes.index(name) for name in ("square", "ring", "cross", "bars")])).limit(count)
        parts.append(replace(part, images=part.images.reshape(count, 16, 2, 16, 2, 3).mean(axis=(2, 4)).astype(np.uint8)))
    return parts


def small_ann(k, training, epochs: int, *, seed: int = 0, optimiser: str = "sgd", rate: float = 0.05, **normalisation):
    """An ANN, trained on the backend k: VGG5 at an eighth of its width. normalisation: mean and std (default: those of the data).

    Also turns off the progress output of this and all later trainings.
    """
    from minihire.models import build
    from minihire.network import Network, initialise
    from minihire.runtime.progress import Progress
    from minihire.training import Recipe, train
    from minihire.training.optimisers import Schedule

    Progress.quiet = True
    k.services.announce(print)
    normalisation = normalisation or {"mean": training.mean, "std": training.std}
    model = build("vgg5", 10, training.shape, width=0.125, hidden=64, dropout=0.0, **normalisation)
    ann = Network(model, k, initialise(model, k, seed=seed))
    train(ann, Recipe(epochs, 32, optimiser, rate, Schedule("one-cycle"), augment=False), training, seed=seed)
    return ann


def pyplot():
    """matplotlib.pyplot with the style of the reports. Without matplotlib, print a sentence and end with exit code 1."""
    from minihire.report.figures import NoMatplotlib, pyplot

    try:
        return pyplot()
    except NoMatplotlib as error:
        sys.exit(str(error))


def percent(scores):
    """Accuracies of n scores in percent [n], and the distances to the ends of their intervals [2, n]: the last two of errorbar."""
    import numpy as np

    heights, low, high = 100 * np.array([[score[key] for score in scores] for key in ("accuracy", "low", "high")])
    return heights, np.array([heights - low, high - heights])


def picture_row(figure, title: str, groups) -> None:
    """Draw at least one group of (title, picture [H, W, 3]) in one row, below a common title, with a gap after each group."""
    figure.suptitle(title)
    for part, group in zip(figure.subfigures(1, len(groups), wspace=0.03), groups, strict=True):
        for axes, (name, picture) in zip(part.subplots(1, len(group)), group, strict=True):
            axes.imshow(picture)
            axes.set(title=name, xticks=[], yticks=[], frame_on=False)


def save(figure, out: Path, name: str) -> None:
    """Write the figure to out/NAME.png with 256 colours and print its path; then the exercises, or in a notebook the figure."""
    from PIL import Image as Picture

    from minihire.runtime.files import write_atomically

    path, drawn = out / f"{name}.png", io.BytesIO()
    figure.savefig(drawn, format="png")
    with Picture.open(drawn) as picture:
        small = picture.convert("RGB").quantize(256, dither=Picture.Dither.NONE)
    write_atomically(path, lambda file: small.save(file, "PNG", optimize=True))
    print(f"figure: {os.path.relpath(path) if NOTEBOOK else path}")  # no absolute paths in notebooks that are published
    if NOTEBOOK:
        from IPython.display import Image, display

        display(Image(filename=str(path)))
        return
    script = Path(sys.argv[0])
    following = next(iter(sorted(HERE.glob(f"{int(script.name[:2]) + 1:02d}_*.py"))), None)
    after = f"; next: minihire demo {int(script.name[:2]) + 1}" if following else ""
    print(f"\nExercises\n{words_of(script).exercises}\n\nThe lesson's text and code: {script}{after}")
