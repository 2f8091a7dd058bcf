"""Train the three networks of docs/attack.html and write them into the page: `python demos/attack_page.py`.

The networks are an ANN, and the SNN that was converted from it, trained in the traditional way and with HIRE. Weights are stored
as 8-bit integers times one scale for each array. The page's accuracies are those of the networks with these weights.
"""
import base64
import json
import re
from pathlib import Path

import lesson  # noqa: F401 (so that the file runs from a clone without an installation)
import numpy as np
from microhire import CLASSES, shapes

from backends import get_backend
from minihire import (
    Calibration,
    CraftedNoise,
    Network,
    Recipe,
    accuracy,
    attack_accuracy,
    convert,
    fgsm,
    initialise,
    pgd,
    train,
)
from minihire.data.dataset import Dataset
from minihire.layers import Readout
from minihire.models import VGG, A, assemble
from minihire.training.optimisers import Schedule

PAGE = Path(__file__).resolve().parents[1] / "docs" / "attack.html"
STEPS, SIDE, SEED = 6, 16, 0  # T, pixels
TRAINING, TEST, SHOWN = 6000, 1000, 8  # images to train with, to measure with, and of each class in the page
BLOCK = re.compile(r'(<script type="application/json" id="trained">\n).*?(\n</script>)', re.S)
LAYERS = (*VGG((8, A, 8, A), (32,)).layers(1.0, None, 0.0), Readout("readout", len(CLASSES)))
MODEL = assemble("attack-page", LAYERS, (SIDE, SIDE, 1), len(CLASSES), mean=[0.5], std=[0.25], steps=STEPS)


def images(count, rng):
    """`count` images of shapes with 8 bits per pixel, as a data set."""
    x, y = shapes(count, rng)
    return Dataset("shapes", np.round(255 * x).astype(np.uint8).reshape(-1, SIDE, SIDE, 1), y, CLASSES, (0.5,), (0.25,))


def stored(array):
    """An array as the page has it: {shape, scale, integers}; thresholds and leaks are numbers."""
    array = np.asarray(array, np.float64)
    if array.size == 1:
        return float(array[0])
    scale = float(np.abs(array).max() / 127)
    integers = np.round(array / scale).astype(np.int8)
    return {"shape": array.shape, "scale": scale, "integers": base64.b64encode(integers.tobytes()).decode()}


def restored(entry):
    """The array [1] or [shape] of an entry, in float64."""
    if not isinstance(entry, dict):
        return np.array([entry])
    integers = np.frombuffer(base64.b64decode(entry["integers"]), np.int8)
    return integers.reshape(entry["shape"]) * entry["scale"]


def page_network(parameters, k):
    """The network of a page's entry on the backend k."""
    arrays = {name: restored(entry) for name, entry in parameters.items()}
    return Network(MODEL, k, arrays, spiking="neuron1.leak" in arrays, steps=STEPS)


def measure(entries, test):
    """Clean, FGSM and PGD accuracy of each network, in percent, in float64 as in the page.

    In float32, the gradient of an image with a very small loss is rounded to 0, and the attack cannot change such an image.
    """
    k, measured = get_backend(dtype="float64"), {}
    for name, entry in entries.items():
        net = page_network(entry, k)
        attacked = (attack_accuracy(net, test, attack).mean() for attack in (fgsm(), pgd(random_start=False)))
        measured[name] = [round(100 * float(share), 1) for share in (accuracy(net, test).mean(), *attacked)]
        print(name, *measured[name])
    return measured


def main():
    """Train the networks, attack them, and write the page."""
    k, rng = get_backend(), np.random.default_rng(SEED)
    training, test = images(TRAINING, rng), images(TEST, rng)
    ann = Network(MODEL, k, initialise(MODEL, k, SEED))
    train(ann, Recipe(15, 32, "sgd", 0.05, Schedule("one-cycle"), augment=False), training, seed=SEED, label="ANN")
    converted = convert(ann, training, steps=STEPS, calibration=Calibration(200, 20), seed=SEED)
    recipes = {
        "traditional": Recipe(10, 32, learning_rate=1e-3, augment=False),
        "hire": Recipe(10, 32, learning_rate=1e-3, augment=False, periods=2, noise=CraftedNoise(step=0.025, bound=0.025)),
    }
    networks = {"ann": ann}
    for name, recipe in recipes.items():
        networks[name] = converted.copy()
        train(networks[name], recipe, training, seed=SEED, label=name)
    entries = {name: {key: stored(k.to_numpy(x)) for key, x in net.parameters.items()} for name, net in networks.items()}
    chosen = np.sort(np.concatenate([np.flatnonzero(test.labels == label)[:SHOWN] for label in range(len(CLASSES))]))
    trained = {
        "classes": CLASSES, "steps": STEPS, "networks": entries, "accuracy": measure(entries, test), "labels": test.labels[chosen].tolist(),
        "images": base64.b64encode(test.images[chosen].tobytes()).decode(),
    }
    text = json.dumps(trained, separators=(",", ":"))
    PAGE.write_text(BLOCK.sub(lambda found: found[1] + text + found[2], PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE}: {len(text) / 1000:.0f} kB of weights and images")


if __name__ == "__main__":
    main()
