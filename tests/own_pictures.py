"""Folders of pictures of three classes, of different sizes, as a user might have them."""

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circles", "crosses", "stripes")


def draw(folder, each, seed=0):
    """Write `each` PNG files CLASS/00.png … per class: a bright figure on a dark ground, 40 to 200 pixels wide and high."""
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            width, height = (int(side) for side in rng.integers(40, 201, 2))
            ground = rng.integers(0, 120, 3) + rng.normal(0, 12, (height, width, 3))
            image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
            _figure(ImageDraw.Draw(image), name, width, height, rng)
            image.save(folder / name / f"{number:02d}.png")
    return folder


def _figure(pen, name, width, height, rng):
    colour, side = tuple(int(level) for level in rng.integers(130, 256, 3)), min(width, height)
    radius, thick = int(side * rng.uniform(0.2, 0.4)), max(3, side // 9)
    x, y = (int(rng.integers(radius, length - radius + 1)) for length in (width, height))
    if name == "circles":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif name == "crosses":
        pen.line((x - radius, y, x + radius, y), fill=colour, width=thick)
        pen.line((x, y - radius, x, y + radius), fill=colour, width=thick)
    else:
        for offset in range(-radius, radius + 1, 2 * thick):
            pen.line((0, y + offset, width, y + offset), fill=colour, width=thick)
