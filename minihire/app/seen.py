"""A check that images of the user's folder do not test a network that was trained on them."""

import os

from minihire.data.dataset import Splits, image_hashes
from minihire.runtime.errors import MinihireError
from minihire.training.checkpoint import Checkpoint, training_images


def refuse_seen(saved: Checkpoint, splits: Splits, folder: str | os.PathLike | None) -> list[str]:
    """Raise MinihireError if the network was trained on test images, because the folder has changed since.

    Returns sentences about other reasons to doubt the accuracy: test images that are copies of training images, and training
    images that have changed. The list is empty if the checkpoint does not record the images of its training.
    """
    trained, found = training_images(saved), []
    if not trained or splits.test.name != "folder":
        return found
    now, test = set(image_hashes(splits.train.images)), image_hashes(splits.test.images)
    moved = sum(image in trained - now for image in test)
    if moved:
        raise MinihireError(
            f"{saved.path} was trained on {moved:,} of the {len(test):,} test images in {folder}, which has changed since: "
            "train again, or put images that are new to the network into the folders test/CLASS and all others into train/CLASS"
        )
    copies = sum(image in trained for image in test)
    if copies:
        found.append(
            f"{copies:,} of the {len(test):,} test images in {folder} are copies of training images, so the accuracy is "
            "too high: remove the copies and train again"
        )
    missing = len(trained - now)
    if missing and now:  # a folder of test images only is not that of the training
        found.append(
            f"{folder} has changed since the training, or it is another folder: {missing:,} of the {len(trained):,} images that "
            f"{saved.path} was trained on are not among its training images; if its test images are edited copies of them, the "
            "accuracy is too high"
        )
    return found
