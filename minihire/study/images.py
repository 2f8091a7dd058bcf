"""Images in results.json, as PNG files in base64."""

import base64
import io

import numpy as np
from PIL import Image

from minihire.encoding import in_8_bits

MAX_SIDE = 1024  # pixels of a picture in results.json; those that minihire writes have at most 512


def picture(pixels: np.ndarray) -> Image.Image:
    """A uint8 image [H, W, C], C = 1 or 3, as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def as_png(image: np.ndarray) -> str:
    """A float image [H, W, C] in [0, 1] (C = 1 or 3) as base64 PNG."""
    file = io.BytesIO()
    picture(in_8_bits(image)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def from_png(text: str) -> np.ndarray:
    """The image of a base64 PNG: uint8 [H, W] or [H, W, 3]. Raises ValueError if it is too large or cannot be decoded."""
    try:
        found = Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"])
        if max(found.size) > MAX_SIDE:  # before decoding: a few bytes may stand for a picture that fills the memory
            raise ValueError
        return np.asarray(found)
    except Exception as error:  # Pillow raises all kinds for a damaged file
        raise ValueError("not a PNG picture in base64") from error


def magnified(clean: str, attacked: str, epsilon: float) -> str:
    """attacked − clean as a base64 PNG: grey is 0, black −epsilon, white +epsilon (in pixels of [0, 1])."""
    before, after = (from_png(text).astype(float) / 255 for text in (clean, attacked))
    shift = np.clip(0.5 + (after - before) / epsilon / 2, 0, 1)
    return as_png(shift if shift.ndim == 3 else shift[..., None])
