"""The built-in data set "shapes": images of ten kinds of figure, drawn from random numbers.

Only the form of the figure depends on the class. Position, size, angle, colours, background and a distracting bar are
random. The contrast is low. So a small network learns the data set in minutes, and small perturbations mislead it.

The images are bit-identical on every machine. All randomness comes from uniform numbers of PCG64. Drawing uses only
+ − × ÷ √ and comparisons, which IEEE 754 rounds in exactly one way, and cosines come from a table of rounded values.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from minihire.data.dataset import DataError, Dataset

SIDE = 32
TRAIN, TEST = 5_000, 1_000  # default numbers of images
MAX_IMAGES = 200_000
SEED = 2021
CHUNK = 500  # images drawn with one generator; so image i does not depend on the number of images
PARTS = {"train": 0, "test": 1}
MEAN, STD = (0.4991, 0.498, 0.4974), (0.1247, 0.1261, 0.127)  # of the default training images

# Lengths are in pixels, colours in pixels of [0, 1], angles in 1024ths of a full turn. Pairs are ranges.
RADIUS = (8.0, 11.0)  # of the circle around a figure
MAX_SHIFT = 3.0  # of the figure's centre from the image's centre, in x and in y
MAX_ANGLE = 50
BACKGROUND = (0.38, 0.62)  # each channel of the colour
CONTRAST = (0.24, 0.44)  # between figure and background
TEXTURE = 0.05  # largest amplitude of the stripes
NOISE = 0.05  # largest absolute value; the noise is a sum of two uniform numbers

_ANGLES = np.arange(1024) * (2 * np.pi / 1024)
# Rounded, because the last bits of np.cos differ between machines.
COSINE = (np.round(np.cos(_ANGLES) * 65536) / 65536).astype(np.float32)
FULL_TURN = len(COSINE)


def _sine(angle):
    return COSINE[(angle - FULL_TURN // 4) % FULL_TURN]


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
    """A pentagram: the points that lie in at least four of five half-planes."""
    sides = [float(COSINE[k * FULL_TURN // 5]) * u + float(_sine(k * FULL_TURN // 5)) * v for k in range(5)]
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
    """Two squares that touch at a corner."""
    inside = np.where(u * v > 0, -np.minimum(abs(u), abs(v)), np.minimum(abs(u), abs(v)))
    return np.maximum(np.maximum(abs(u), abs(v)) - 0.8, inside)


# Each function maps coordinates, in units of the figure's radius, to the signed distance from its outline: negative inside.
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
    """Draw the first `count` images of part "train" or "test": uint8 [count, 32, 32, 3], classes in random order.

    Image i is the same for every `count`. Raises DataError for another part, and unless 1 ≤ count ≤ 200,000.
    """
    if part not in PARTS:
        raise DataError(f"there is no part '{part}' of shapes; choose train or test")
    if not 1 <= count <= MAX_IMAGES:
        raise DataError(f"{count} {part} images of shapes were requested; give 1 to {MAX_IMAGES}")
    chunks = [_chunk(seed, PARTS[part], k) for k in range(-(-count // CHUNK))]
    images = np.concatenate([images for images, _ in chunks])[:count]
    labels = np.concatenate([labels for _, labels in chunks])[:count]
    return Dataset("shapes", images, labels, CLASSES, MEAN, STD)


@lru_cache(maxsize=2 * (TRAIN + TEST) // CHUNK)
def _chunk(seed: int, part: int, index: int):
    """Images and labels of one chunk, with the same number of images per class."""
    random = np.random.Generator(np.random.PCG64([seed, part, index]))
    labels = np.argsort(random.random(CHUNK), kind="stable") % len(FIGURES)
    return _draw(random, labels), labels.astype(np.int64)


def _uniform(random, low, high, *shape):
    return (low + (high - low) * random.random((CHUNK, *shape))).astype(np.float32)


def _rotated(random, x, y, max_angle=FULL_TURN // 2):
    """Rotate the coordinates of each image by a random angle in −max_angle … max_angle."""
    angle = random.integers(-max_angle, max_angle + 1, (CHUNK, 1, 1))
    cos, sin = COSINE[angle], _sine(angle)
    return cos * x + sin * y, cos * y - sin * x


def _wave(phase):
    """A triangle wave of period 1 between −1 and 1."""
    return 4 * abs(phase - np.floor(phase) - np.float32(0.5)) - 1


def _draw(random, labels) -> np.ndarray:
    """Draw one image per label: background, distractor, figure, noise."""
    axis = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
    x, y = axis[None, None, :], axis[None, :, None]
    image = _background(random, x, y)

    # The distractor: a bar, which the figure may partly cover.
    u, v = _rotated(random, x - _uniform(random, -13, 13, 1, 1), y - _uniform(random, -13, 13, 1, 1))
    bar = np.maximum(abs(u) - _uniform(random, 2, 6, 1, 1), abs(v) - _uniform(random, 0.7, 1.6, 1, 1))
    image += np.clip(np.float32(0.5) - bar, 0, 1)[..., None] * _contrast(random)

    radius = _uniform(random, *RADIUS, 1, 1)
    x, y = x - _uniform(random, -MAX_SHIFT, MAX_SHIFT, 1, 1), y - _uniform(random, -MAX_SHIFT, MAX_SHIFT, 1, 1)
    u, v = _rotated(random, x, y, MAX_ANGLE)
    u, v = u / radius, v / radius
    cover = np.empty_like(u)
    for label, distance in enumerate(FIGURES.values()):
        cover[labels == label] = distance(u[labels == label], v[labels == label])
    cover = np.clip(np.float32(0.5) - cover * radius, 0, 1)  # the outline is a ramp one pixel wide
    image += cover[..., None] * _contrast(random)

    grain = random.random(image.shape, dtype=np.float32) + random.random(image.shape, dtype=np.float32) - 1
    image += grain * np.float32(NOISE)
    return (np.clip(image, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _background(random, x, y) -> np.ndarray:
    """A random colour with a gradient and stripes: float32 [CHUNK, 32, 32, 3]."""
    slope, _ = _rotated(random, x, y)
    stripes, _ = _rotated(random, x, y)
    phase = stripes * _uniform(random, 0.08, 0.3, 1, 1) + _uniform(random, 0, 1, 1, 1)
    image = slope[..., None] * _uniform(random, -0.006, 0.006, 1, 1, 3)
    image += _wave(phase)[..., None] * _uniform(random, -TEXTURE, TEXTURE, 1, 1, 3)
    return image + _uniform(random, *BACKGROUND, 1, 1, 3)


def _contrast(random) -> np.ndarray:
    """A colour difference, either lighter in all channels or darker in all: float32 [CHUNK, 1, 1, 3]."""
    strength = _uniform(random, *CONTRAST, 1, 1, 1)
    sign = np.where(random.random((CHUNK, 1, 1, 1)) < 0.5, -1, 1).astype(np.float32)
    return sign * strength * _uniform(random, 0.4, 1, 1, 1, 3)
