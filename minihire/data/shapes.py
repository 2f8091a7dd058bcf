"""The embedded data set "shapes": ten kinds of figure, told apart by their form alone, drawn from random numbers.

Position, size, angle, colours, background and a distractor vary independently of the class, and figure and ground
differ little, so that a small network learns the set in minutes and small perturbations still mislead it. The
images are the same on every machine: all randomness is PCG64's uniform numbers, and drawing needs only + − × ÷ √
and comparisons, which IEEE 754 rounds in one way (cosines come from a coarse table).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from minihire.data.dataset import DataError, Dataset

SIDE = 32
TRAIN, TEST = 5_000, 1_000  # default numbers of images
MOST = 200_000
SEED = 2021
CHUNK = 500  # images drawn from one generator, so that image i does not depend on how many there are
PARTS = {"train": 0, "test": 1}
MEAN, STD = (0.4991, 0.498, 0.4974), (0.1247, 0.1261, 0.127)  # of the training images by default

RADIUS = (8.0, 11.0)  # of the circle around a figure, in pixels
SHIFT = 3.0  # largest distance of its centre from the image's, in x and in y
TURN = 50  # largest angle, in 1024ths of a turn
GROUND = (0.38, 0.62)  # each channel of its colour
CONTRAST = (0.24, 0.44)  # between figure and ground, in pixel units of [0, 1]
TEXTURE = 0.05  # largest amplitude of the stripes
NOISE = 0.05  # largest sum of two uniform numbers, in the same units

_ANGLES = np.arange(1024) * (2 * np.pi / 1024)
COSINE = (np.round(np.cos(_ANGLES) * 65536) / 65536).astype(np.float32)  # rounded: last bits differ by library
TAU = len(COSINE)


def _radius(u, v):
    return np.sqrt(u * u + v * v)


def _disc(u, v):
    return _radius(u, v) - 0.85


def _ring(u, v):
    return abs(_radius(u, v) - 0.75) - 0.2


def _square(u, v):
    return np.maximum(abs(u), abs(v)) - 0.75


def _frame(u, v):
    return abs(np.maximum(abs(u), abs(v)) - 0.65) - 0.18


def _triangle(u, v):
    return np.maximum(-v - 0.5, 0.8660254 * abs(u) + 0.5 * v - 0.5)


def _cross(u, v):
    long, wide = 0.95, 0.27
    u, v = abs(u), abs(v)
    return np.minimum(np.maximum(u - long, v - wide), np.maximum(v - long, u - wide))


def _star(u, v):
    """A pentagram: the points inside at least four of five half planes."""
    sides = [float(COSINE[k * TAU // 5]) * u + float(COSINE[(k * TAU // 5 - TAU // 4) % TAU]) * v for k in range(5)]
    highest = second = np.full_like(u, -9)
    for side in sides:
        second = np.maximum(second, np.minimum(highest, side))
        highest = np.maximum(highest, side)
    return second - 0.36


def _bars(u, v):
    """Three parallel bars."""
    return np.maximum(abs(abs(abs(v) - 0.31) - 0.31) - 0.15, abs(u) - 0.8)


def _crescent(u, v):
    return np.maximum(_radius(u, v) - 0.9, 0.68 - _radius(u - 0.42, v))


def _checker(u, v):
    """Two squares that touch in a corner."""
    inside = np.where(u * v > 0, -np.minimum(abs(u), abs(v)), np.minimum(abs(u), abs(v)))
    return np.maximum(np.maximum(abs(u), abs(v)) - 0.8, inside)


# Each maps coordinates in units of the figure's radius to a distance from its outline, negative inside.
FIGURES = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "bars": _bars,
    "crescent": _crescent,
    "checker": _checker,
}
CLASSES = tuple(FIGURES)


def make(part: str, count: int, seed: int = SEED) -> Dataset:
    """The first `count` images of "train" or "test": uint8 [count, 32, 32, 3], classes in random order.

    A longer set begins with the shorter one. Raises DataError unless 1 ≤ count ≤ 200,000.
    """
    if part not in PARTS:
        raise DataError(f"there is no part '{part}' of shapes; choose train or test")
    if not 1 <= count <= MOST:
        raise DataError(f"{count} {part} images of shapes were asked for; give 1 to {MOST}")
    chunks = [_chunk(seed, PARTS[part], k) for k in range(-(-count // CHUNK))]
    images = np.concatenate([images for images, _ in chunks])[:count]
    labels = np.concatenate([labels for _, labels in chunks])[:count]
    return Dataset("shapes", images, labels, CLASSES, MEAN, STD)


@lru_cache(maxsize=2 * (TRAIN + TEST) // CHUNK)
def _chunk(seed: int, part: int, index: int):
    """Images and labels of one chunk, as many of each class."""
    random = np.random.Generator(np.random.PCG64([seed, part, index]))
    labels = np.argsort(random.random(CHUNK), kind="stable") % len(FIGURES)
    return _draw(random, labels), labels.astype(np.int64)


def _between(random, low, high, *shape):
    return (low + (high - low) * random.random((CHUNK, *shape))).astype(np.float32)


def _turned(random, x, y, most=TAU // 2):
    """Coordinates turned by a random angle per image, of at most `most` 1024ths of a turn either way."""
    angle = random.integers(-most, most + 1, (CHUNK, 1, 1))
    cos, sin = COSINE[angle], COSINE[(angle - TAU // 4) % TAU]
    return cos * x + sin * y, cos * y - sin * x


def _wave(phase):
    """A triangle wave of period 1 between −1 and 1."""
    return 4 * abs(phase - np.floor(phase) - np.float32(0.5)) - 1


def _draw(random, labels) -> np.ndarray:
    """One image per label: ground, distractor, figure, noise."""
    axis = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
    x, y = axis[None, None, :], axis[None, :, None]
    image = _ground(random, x, y)

    # a bar, partly covered by the figure
    u, v = _turned(random, x - _between(random, -13, 13, 1, 1), y - _between(random, -13, 13, 1, 1))
    bar = np.maximum(abs(u) - _between(random, 2, 6, 1, 1), abs(v) - _between(random, 0.7, 1.6, 1, 1))
    image += np.clip(np.float32(0.5) - bar, 0, 1)[..., None] * _contrast(random)

    radius = _between(random, *RADIUS, 1, 1)
    x, y = x - _between(random, -SHIFT, SHIFT, 1, 1), y - _between(random, -SHIFT, SHIFT, 1, 1)
    u, v = _turned(random, x, y, TURN)
    u, v = u / radius, v / radius
    cover = np.empty_like(u)
    for label, distance in enumerate(FIGURES.values()):
        cover[labels == label] = distance(u[labels == label], v[labels == label])
    cover = np.clip(np.float32(0.5) - cover * radius, 0, 1)  # a one-pixel ramp at the outline
    image += cover[..., None] * _contrast(random)

    grain = random.random(image.shape, dtype=np.float32) + random.random(image.shape, dtype=np.float32) - 1
    image += grain * np.float32(NOISE)
    return (np.clip(image, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _ground(random, x, y) -> np.ndarray:
    """A random colour with a gradient and a texture of stripes: float32 [n, 32, 32, 3]."""
    slope, _ = _turned(random, x, y)
    stripes, _ = _turned(random, x, y)
    phase = stripes * _between(random, 0.08, 0.3, 1, 1) + _between(random, 0, 1, 1, 1)
    image = slope[..., None] * _between(random, -0.006, 0.006, 1, 1, 3)
    image += _wave(phase)[..., None] * _between(random, -TEXTURE, TEXTURE, 1, 1, 3)
    return image + _between(random, *GROUND, 1, 1, 3)


def _contrast(random) -> np.ndarray:
    """A colour difference, lighter or darker in all channels alike: float32 [n, 1, 1, 3]."""
    strength = _between(random, *CONTRAST, 1, 1, 1)
    sign = np.where(random.random((CHUNK, 1, 1, 1)) < 0.5, -1, 1).astype(np.float32)
    return sign * strength * _between(random, 0.4, 1, 1, 1, 3)
