"""What every lesson needs around its subject: imports from a plain clone, --quick and --out, small images, the figure on disk."""
import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # a plain clone needs no installation
NOTEBOOK = "ipykernel" in sys.modules


def arguments(about: str):
    """--quick and --out of the command line; in a notebook, the defaults."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="less of everything, to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "figures", metavar="DIR", help="folder of the figure (default: %(default)s)")
    return parser.parse_args([] if NOTEBOOK else None)


def four_shapes(images: int, tests: int):
    """Training and test images of four of the ten figures of "shapes", at half the size, 16×16: learnt in seconds."""
    from dataclasses import replace

    import numpy as np

    from minihire import data

    splits, parts = data.load("shapes"), []
    for part, count in ((splits.train, images), (splits.test, tests)):
        part = part.take(np.isin(part.labels, [part.classes.index(name) for name in ("square", "ring", "cross", "bars")])).limit(count)
        parts.append(replace(part, images=part.images.reshape(count, 16, 2, 16, 2, 3).mean(axis=(2, 4)).astype(np.uint8)))
    return parts


def small_ann(k, training, epochs: int, *, seed: int = 0, optimiser: str = "sgd", rate: float = 0.05, **normalisation):
    """A VGG5 of an eighth of the width as an ANN, trained on the backend k; normalisation: the data's, or mean and std.

    From here on trainings print nothing: the lesson's table tells what came of them.
    """
    from minihire.models import build
    from minihire.network import Network, initialise
    from minihire.runtime.progress import Progress
    from minihire.training import Recipe, train
    from minihire.training.optimisers import Schedule

    Progress.quiet = True
    k.announce(print)
    normalisation = normalisation or {"mean": training.mean, "std": training.std}
    model = build("vgg5", 10, training.shape, width=0.125, hidden=64, dropout=0.0, **normalisation)
    ann = Network(model, k, initialise(model, k, seed=seed))
    train(ann, Recipe(epochs, 32, optimiser, rate, Schedule("one-cycle"), augment=False), training, seed=seed)
    return ann


def copied(network, **changes):
    """The network again with weights of its own, to train; changes: to its other fields."""
    from dataclasses import replace

    k = network.backend
    weights = {name: k.asarray(k.to_numpy(array).copy()) for name, array in network.parameters.items()}
    return replace(network, parameters=weights, **changes)


def pyplot():
    """matplotlib.pyplot in the house style. Without matplotlib the lesson ends here, with a sentence."""
    from minihire.report.figures import NoMatplotlib, pyplot

    try:
        return pyplot()
    except NoMatplotlib as error:
        sys.exit(print(error))


def save(figure, out: Path, name: str) -> None:
    """Write the figure to out/NAME.png, in 256 colours to be small, and say so; in a notebook, show it too."""
    from PIL import Image as Picture

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.png"
    figure.savefig(path)
    with Picture.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Picture.Dither.NONE)
    small.save(path, optimize=True)
    print(f"figure: {path}")
    if NOTEBOOK:
        from IPython.display import Image, display

        display(Image(filename=str(path)))
