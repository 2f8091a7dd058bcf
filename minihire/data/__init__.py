"""Data sets: CIFAR-10 and CIFAR-100, MNIST, folders of images, and the embedded "shapes"."""

from minihire.data.dataset import DataError, Dataset, Splits
from minihire.data.loading import NAMES, load

__all__ = ["NAMES", "DataError", "Dataset", "Splits", "load"]
