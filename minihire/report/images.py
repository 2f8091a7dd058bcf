"""Images inside results.json: PNG in base64."""

import base64
import io

import numpy as np
from PIL import Image


def as_png(image: np.ndarray) -> str:
    """A float image [H, W, C] in [0, 1] (C = 1 or 3) as base64 PNG."""
    pixels = np.round(image * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def from_png(text: str) -> np.ndarray:
    """The image again: uint8 [H, W] or [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
