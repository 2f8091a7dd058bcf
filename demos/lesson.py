"""What every lesson needs around its subject: imports from a plain clone, --quick and --out, the figure on disk."""
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


def pyplot():
    """matplotlib.pyplot in the house style. Without matplotlib the lesson ends here, with a sentence."""
    from minihire.report.figures import NoMatplotlib, pyplot

    try:
        return pyplot()
    except NoMatplotlib as error:
        sys.exit(print(error))


def save(figure, out: Path, name: str) -> None:
    """Write the figure to out/NAME.png and say so; in a notebook, show it too."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.png"
    figure.savefig(path)
    print(f"figure: {path}")
    if NOTEBOOK:
        from IPython.display import Image, display

        display(Image(filename=str(path)))
