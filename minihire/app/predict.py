"""minihire predict: the class of each image, its probability and, with --explain, the spikes and the energy that it took."""

import numpy as np

from minihire.analysis import measure_activity, measure_energy
from minihire.app.command import STEPS, Command
from minihire.app.flags import add_execution, add_file, add_json, add_modules, add_settings, given_settings
from minihire.app.inputs import apply_flags, class_names, open_backend, open_checkpoint, refuse_seed
from minihire.app.outputs import csv_path, json_path, refuse_errors, show_and_write, write_csv
from minihire.app.pictures import open_pictures
from minihire.encoding import unit_pixels
from minihire.network import Network
from minihire.report.tables import table
from minihire.runtime.progress import counted
from minihire.study.settings import preset

USES = ("data", "steps", "time_chunk", "seed")
BATCH = 100
COLUMNS = ["image", "class", "probability"]  # of the CSV file, before one column for each class


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "checkpoint", "the network: an .npz file", "CHECKPOINT")
    text = "images of any size, resized to the network's size, or folders of them"
    add_file(parser, "files", text, "FILE|FOLDER", nargs="+")
    parser.add_argument("--explain", action="store_true", help="add spikes per layer and energy of each image")
    add_json(parser, "predictions")
    add_file(parser, "--csv", "also write one line per image to FILE")
    add_modules(parser)
    add_settings(parser, USES, defaults=False)
    add_execution(parser)


def run(options) -> None:
    """Print a table with the class of each image, and write the predictions as JSON and CSV.

    Files that cannot be read do not stop the others. In the end, they are an error.
    """
    json_path(options)
    csv_path(options, COLUMNS)
    saved = open_checkpoint(options.checkpoint)
    config, backend = preset("mini", **{"periods": 1, **given_settings(options)}), open_backend(options)
    network = apply_flags(saved.network(backend), config, options, options.checkpoint)
    refuse_seed(options, network)
    names = class_names(saved, network, getattr(options, "data", None))
    pictures = open_pictures(options.files, network.model.image_shape)
    found = predict_images(network, pictures.images, names, config.seed, options.explain)
    rows = pictures.rows(found)
    content = {"checkpoint": str(options.checkpoint), "classes": list(names), "images": rows}
    try:
        write_csv(options, COLUMNS, _csv(rows, names))
    finally:  # the answers are not lost if the CSV file cannot be written
        show_and_write(options, content, _tables([row for row in rows if "error" not in row], names))
    refuse_errors(pictures.errors.values(), len(rows))


def predict_images(
    network: Network, images: np.ndarray, names: tuple[str, ...], seed: int, explain: bool
) -> list[dict]:
    """One dictionary per image. explain: also activity and energy of each image, see analysis.activity and analysis.energy."""
    size = 1 if network.random else BATCH  # the random spikes of an image must not depend on the images before it
    found = []
    for first in counted(range(0, len(images), size), "predictions", len(images), count=lambda first: size):
        classes, probabilities = network.predict(images[first : first + size], seed=seed)
        for name, row in zip(classes, probabilities, strict=True):
            found.append({"class": names[name], "probability": float(row.max()), "probabilities": row.tolist()})
    pairs = zip(found, images, strict=True) if explain else ()
    for row, image in counted(pairs, "spikes and energy", len(images)):
        batch = network.backend.asarray(unit_pixels(image[None], network.backend.dtype))
        activity = measure_activity(network, [batch], seed=seed)
        row["activity"] = [layer.as_dict() for layer in activity]
        row["energy"] = measure_energy(network, activity).as_dict()
    return found


def _tables(rows, names):
    """The predictions as text, with the two classes that come next; and spikes and energy, if they were measured."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        order = np.argsort(-np.array(row["probabilities"]), kind="stable")
        after = [f"{names[c]} {100 * row['probabilities'][c]:.1f} %" for c in order[1:3]]
        lines.append([row["image"], row["class"], f"{100 * row['probability']:.1f} %", ", ".join(after)])
    text = table(["image", "class", "probability", "next"], lines)
    if "energy" not in rows[0]:
        return text
    header = [
        "spikes and energy",
        *(layer["name"] for layer in _spiking_layers(rows[0])),
        "all spikes",
        "FP32 µJ",
        "INT32 µJ",
        "FP32 gain",
    ]
    return f"{text}\n\n{table(header, [[row['image'], *_costs(row)] for row in rows])}"


def _spiking_layers(row):
    return [layer for layer in row.get("activity", ()) if layer["spikes"] is not None]


def _costs(row):
    """Spikes per layer, all spikes, energies, and the ANN's energy divided by this one. An ANN has a dash for all spikes."""
    spikes = [layer["spikes"] for layer in _spiking_layers(row)]
    total = f"{sum(spikes):,}" if spikes else "–"
    energy = [f"{row['energy'][f]['total_pj'] / 1e6:.3f}" for f in ("fp32", "int32")]
    ratio = row["energy"]["fp32"]["ratio"]
    gain = "–" if ratio is None else f"{ratio:.1f}×"
    return [*(f"{count:,}" for count in spikes), total, *energy, gain]


def _csv(rows, names):
    """The lines of the CSV file: the class, the probability of each class and, if measured, spikes and energy in pJ.

    The last column has the reason if a file cannot be read. All other columns of this line are empty.
    """
    first = next((row for row in rows if "error" not in row), {})
    layers = _spiking_layers(first)
    energy = ["fp32_pj", "int32_pj"] if "energy" in first else []
    after = [*(f"spikes of {layer['name']}" for layer in layers), *energy, "error"]
    header = [*COLUMNS, *_columns_of_classes(names, {*COLUMNS, *after}), *after]
    yield header
    for row in rows:
        if "error" in row:
            yield [row["image"], *[""] * (len(header) - 2), row["error"]]
            continue
        used = [row["energy"][name.removesuffix("_pj")]["total_pj"] for name in energy]
        spikes = [layer["spikes"] for layer in _spiking_layers(row)]
        yield [*(row[name] for name in COLUMNS), *row["probabilities"], *spikes, *used, ""]


def _columns_of_classes(names, others):
    """The names of the classes' columns: those of the classes, with "class" before a name that one of `others` has."""
    for name in names:
        column = name
        while column in others or (column != name and column in names):
            column = f"class {column}"
        yield column


COMMAND = Command(
    "predict",
    STEPS,
    "the class of image files, with probabilities, spikes and energy",
    "CHECKPOINT FILE|FOLDER …",
    add_flags,
    run,
    """minihire predict runs/folder/models/hire.npz photo.png
  minihire predict runs/folder/models/hire.npz photos --explain --csv photos.csv""",
)
