"""Pictures in results.json: test images before and after an attack, and training images with their noise κ."""

import numpy as np

from backends.randomness import Draws
from minihire.analysis.accuracy import predict
from minihire.attacks import Attack, perturb
from minihire.data.dataset import Dataset
from minihire.encoding import unit_pixels
from minihire.network import Network
from minihire.study.images import as_png

EXAMPLES = 6
KAPPAS = 4
# Images wider than SMALL pixels: half as many are stored. Wider than LARGE: only the central LARGE × LARGE pixels.
SMALL, LARGE = 48, 96


def choose_examples(data: Dataset) -> list[int]:
    """The positions of the test images that become examples, in ascending order.

    They are the first image of each class, then the second of each class, and so on, until there are enough.
    """
    seen, turns = np.zeros(len(data.classes), int), []
    for position, label in enumerate(data.labels):
        turns.append((seen[label], position))
        seen[label] += 1
    return sorted(position for _, position in sorted(turns)[: _few(EXAMPLES, data.images)])


def attacked_examples(
    name: str, network: Network, data: Dataset, attack: Attack, seed: int, clean: np.ndarray, attacked: np.ndarray
) -> list[dict]:
    """Rows of `examples` in results.json: chosen images of `data` before and after the attack, with the network's predictions.

    clean, attacked: float32 [B, H, W, C], the first B images of `data`. An example that is not among them is attacked here.
    """
    k, pairs, chosen = network.backend, [], choose_examples(data)
    for i in chosen:
        if i < len(clean):
            pairs.append((clean[i], attacked[i]))
            continue
        image, label = k.asarray(unit_pixels(data.images[i : i + 1], k.dtype)), k.asarray(data.labels[i : i + 1])
        crafted = perturb(network, image, label, attack, Draws(seed, 0, i))
        pairs.append((k.to_numpy(image)[0], k.to_numpy(crafted)[0]))
    clean, attacked = (np.stack(images) for images in zip(*pairs, strict=True))
    before, after = (predict(network, k.asarray(images)) for images in (clean, attacked))
    return [
        {
            "model": name,
            "attack": attack.name,
            "label": int(label),
            "clean_prediction": int(before[n]),
            "attacked_prediction": int(after[n]),
            "clean_png": as_png(_middle(clean[n])),
            "attacked_png": as_png(_middle(attacked[n])),
        }
        for n, label in enumerate(data.labels[chosen])
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
