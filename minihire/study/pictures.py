"""Pictures in results.json: test images before and after an attack, and training images with their noise κ."""

import numpy as np

from minihire.analysis.accuracy import predict
from minihire.study.images import as_png

EXAMPLES = 6
KAPPAS = 4
# Images wider than SMALL pixels: half as many are stored. Wider than LARGE: only the central LARGE × LARGE pixels.
SMALL, LARGE = 48, 96


def attacked_examples(name, network, images, crafted, labels, attack) -> list[dict]:
    """Rows of `examples` in results.json: the first test images with the network's predictions.

    images, crafted: backend arrays [B, H, W, C]; labels: NumPy [B]; attack: its name.
    """
    k = network.backend
    before, after = (predict(network, batch) for batch in (images, crafted))
    clean, attacked = k.to_numpy(images), k.to_numpy(crafted)
    return [
        {
            "model": name,
            "attack": attack,
            "label": int(labels[i]),
            "clean_prediction": int(before[i]),
            "attacked_prediction": int(after[i]),
            "clean_png": as_png(_middle(clean[i])),
            "attacked_png": as_png(_middle(attacked[i])),
        }
        for i in range(_few(EXAMPLES, clean))
    ]


def noise_pictures(training) -> dict | None:
    """`noise` of a model in results.json: κ at the end of a training, and the augmented images that it belongs to.

    The entry "scale" is the |κ| that is drawn black or white: the rule's `extent`.
    Returns None for a training without noise.
    """
    if training.kappa is None:
        return None
    rule, k = training.recipe.noise, training.network.backend
    scale = rule.extent
    images, _ = training.batches.load(training.recipe.epochs - 1, len(training.batches) - 1, training.share)
    images = k.to_numpy(images)
    kappa = k.to_numpy(training.kappa)[: len(images)] / (scale or 1)
    return {
        "scale": scale,
        "images": [
            {"image_png": as_png(_middle(images[i])), "kappa_png": as_png(np.clip(_middle(kappa[i]) / 2 + 0.5, 0, 1))}
            for i in range(_few(KAPPAS, images))
        ],
    }


def _few(most, images):
    return min(len(images), most if max(images.shape[1:3]) <= SMALL else most // 2)


def _middle(image):
    """The central LARGE × LARGE pixels of an image [H, W, C]."""
    top, left = (max(0, (n - LARGE) // 2) for n in image.shape[:2])
    return image[top : top + LARGE, left : left + LARGE]
