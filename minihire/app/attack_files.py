"""minihire attack CHECKPOINT FILE|FOLDER …: attacks on image files, and the network's answers before and after.

The right class of an image file is not known. So an attack starts from the class that the network gives, and tries to change it.
"""

import os
from itertools import count
from pathlib import Path

import numpy as np

from backends.randomness import Draws
from minihire.app.inputs import class_names
from minihire.app.outputs import refuse_errors, show_and_write
from minihire.app.pictures import open_pictures
from minihire.app.predict import predict_images
from minihire.attacks import Attack
from minihire.attacks.gradient import checked_attacker, measured_distance, warn_outside_ball
from minihire.encoding import in_8_bits, unit_pixels
from minihire.network import Network
from minihire.report.tables import table
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import Appeared, require_writable, write_atomically
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import Progress
from minihire.study.images import picture


def attack_files(options, config, saved, target: Network, source: Network, attacks: list[Attack], heading: str) -> None:
    """Print a table with a line for each image and attack; write JSON, and with --save-images PNG files.

    Each image is attacked by itself, so its result does not depend on the other files. source: the network that the images are
    crafted on. heading: the first line of the text.
    """
    if target.backend.services.ranks > 1:
        raise MinihireError("image files are attacked by one process: run without torchrun")
    names = class_names(saved, target, getattr(options, "data", None))
    pictures = open_pictures(options.files, target.model.image_shape)
    readable = [path for path in pictures.paths if path not in pictures.errors]
    files = output_files(options.save_images, readable, attacks)
    found, crafted = _answers(config, target, source, attacks, pictures.images, names)
    rows = pictures.rows(found)
    content = {
        "checkpoint": str(options.checkpoint),
        "source": options.source and str(options.source[0]),
        "config": config.describe(),
        "classes": list(names),
        "images": rows,
    }
    text = _text(heading, [row for row in rows if "error" not in row], attacks) if found else ""
    try:
        if files:
            _write_files(files, readable, found, crafted)
            text += f"\n{options.save_images}: {len(files):,} PNG files, rounded to 8 bits"
    finally:  # the answers are not lost if a file cannot be written
        show_and_write(options, content, text)
    refuse_errors(pictures.errors.values(), len(rows))


def _answers(config, target, source, attacks, images, names):
    """The rows of the answers, without files; and {attack: the attacked images in 8 bits, uint8 [N, H, W, C]}."""
    predict = lambda images: [
        row for image in images for row in predict_images(target, image[None], names, config.seed, explain=False)
    ]
    found, crafted = [{**row, "attacks": {}} for row in predict(images)], {}
    labels = np.array([np.argmax(row["probabilities"]) for row in found], np.int64)
    for attack in attacks if found else ():
        attacked = attack_each(source, images, labels, attack, config.seed)
        crafted[attack.name] = rounded = in_8_bits(attacked)
        for row, after, after_rounding in zip(found, predict(attacked), predict(rounded), strict=True):
            row["attacks"][attack.name] = {**after, "rounded": after_rounding, "file": None}
    return found, crafted


def output_files(folder: Path | None, paths: list[Path], attacks: list[Attack]) -> dict[tuple[Path, str], Path]:
    """The PNG file for each image and attack: FOLDER/NAME.ATTACK.png, with a number if several images have the same name.

    Raises MinihireError if one of the files exists or cannot be written, or if `folder` is a file or has a name that ends in
    .npz.
    """
    found: dict[tuple[Path, str], Path] = {}
    if folder is None:
        return found
    if folder.suffix == ".npz" or (os.path.lexists(folder) and not folder.is_dir()):
        raise MinihireError(f"--save-images writes PNG files if image files are attacked: give a folder, not {folder}")
    taken = set()
    for path in paths:
        numbered = (path.stem if number == 1 else f"{path.stem}-{number}" for number in count(1))
        name = next(name for name in numbered if name.lower() not in taken)
        taken.add(name.lower())
        found |= {(path, attack.name): folder / f"{name}.{attack.name}.png" for attack in attacks}
    for file in found.values():
        if os.path.lexists(file):
            raise MinihireError(f"{file} exists, and --save-images replaces no file: give another folder, or delete it")
    if found:
        # all are in the same folder, where the longest name is the hardest to write
        require_writable(max(found.values(), key=lambda file: len(os.fsencode(file.name))))
    return found


def attack_each(source: Network, images: np.ndarray, labels: np.ndarray, attack: Attack, seed: int) -> np.ndarray:
    """Adversarial images, float32 [N, H, W, C] in [0, 1], of uint8 images. labels: int64 [N], the classes to leave."""
    k, attacker, found, farthest = source.backend, checked_attacker(attack, source), [], 0.0
    with StopSignal(k) as stop, Progress(attack.name, len(images)) as progress:
        for image, label in zip(images, labels, strict=True):
            stop.check(f"during {attack.name}")
            pixels = k.asarray(unit_pixels(image[None], k.dtype))
            crafted = k.to_numpy(attacker(pixels, k.asarray(label[None]), Draws(seed)))
            farthest = max(farthest, measured_distance(attack, crafted, k.to_numpy(pixels)))
            found.append(crafted[0].astype(np.float32))
            progress.add(1)
    warn_outside_ball(attack, farthest)
    return np.stack(found)


def _write_files(files, paths, found, crafted):
    """Write the attacked images as PNG, and note the name of each file in the row of its answer.

    Raises the FileError of the first file that appeared in the meantime, after all others are written.
    """
    failures = []
    for number, (path, row) in enumerate(zip(paths, found, strict=True)):
        for name, images in crafted.items():
            image = picture(images[number])
            try:
                write_atomically(files[path, name], lambda file, image=image: image.save(file, "PNG"), new=True)
                row["attacks"][name]["file"] = str(files[path, name])
            except Appeared as error:
                failures.append(error)
    if failures:
        raise failures[0]


def _text(heading, rows, attacks):
    """The answers as text and, for several images, how many of them each attack changed."""
    answer = lambda found: f"{found['class']} {100 * found['probability']:.1f} %"
    lines = [
        [row["image"], name, answer(row), answer(after), answer(after["rounded"])]
        for row in rows
        for name, after in row["attacks"].items()
    ]
    text = f"{heading}\n{table(['image', 'attack', 'before', 'after', 'after, 8 bits'], lines)}"
    if len(rows) == 1:
        return text
    changed = [
        [
            attack.name,
            str(len(rows)),
            str(sum(row["attacks"][attack.name]["class"] != row["class"] for row in rows)),
            str(sum(row["attacks"][attack.name]["rounded"]["class"] != row["class"] for row in rows)),
        ]
        for attack in attacks
    ]
    return f"{text}\n\n{table(['attack', 'images', 'class changed', 'in 8 bits'], changed)}"
