"""Settings for a folder of one's own images: they suit the number of training images, from a handful to many thousands.

What a network learns depends on the number of updates more than on the number of epochs. So few images get small batches and many
epochs, and many images get large batches and few epochs.
"""

import math
from collections.abc import Collection
from dataclasses import replace

from minihire.study.settings import Config

PRESET = "folder"  # whose settings are adapted
ADAPTED = ("ann_epochs", "ann_batch_size", "ann_learning_rate", "snn_epochs", "batch_size")
BATCH = (8, 64, 32)  # smallest batch, and largest of an ANN and of an SNN
ANN_UPDATES, SNN_UPDATES = 750, 300  # wanted; see `epochs` for their limits
LEARNING_RATE = 0.04  # of the ANN with the largest batch


def adapt(config: Config, images: int, given: Collection[str] = ()) -> Config:
    """The configuration for this number of training images. Settings in `given` stay as they are.

    A batch has about a quarter of the images, within the limits of BATCH. The learning rate of the ANN grows with the square root
    of the batch size; below 16 images it is proportional to the batch size, because it diverged otherwise. Only the preset PRESET
    is adapted.
    """
    if config.preset != PRESET:
        return config
    smallest, largest, largest_snn = BATCH
    size = max(smallest, 2 ** round(math.log2(max(images / 4, 1))))
    chosen = {"ann_batch_size": min(size, largest), "batch_size": min(size, largest_snn)}
    chosen = {name: value for name, value in chosen.items() if name not in given}
    config = replace(config, **chosen)
    size = min(config.ann_batch_size, images, largest)
    chosen = {
        "ann_epochs": epochs(ANN_UPDATES, images, config.ann_batch_size, 10),
        "ann_learning_rate": round(LEARNING_RATE * min(math.sqrt(size / largest), 2 * size / largest), 5),
        "snn_epochs": epochs(SNN_UPDATES, images, config.batch_size, 4),
    }
    return replace(config, **{name: value for name, value in chosen.items() if name not in given})


def epochs(updates: int, images: int, batch_size: int, least: int) -> int:
    """The number of epochs that have this number of updates, but at least `least`."""
    return max(least, math.ceil(updates / math.ceil(images / batch_size)))


def in_words(config: Config, images: int) -> str:
    """The adapted settings in one line."""
    return (
        f"settings for {images:,} training images: ANN {config.ann_epochs} epochs, batches of {config.ann_batch_size}, "
        f"learning rate {config.ann_learning_rate:g}; SNN {config.snn_epochs} epochs, batches of {config.batch_size}, "
        f"learning rate {config.learning_rate:g}"
    )
