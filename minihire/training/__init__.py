"""Training: an ANN, its conversion, and one loop for every way of training the SNN on."""

from minihire.training.convert import Calibration, convert
from minihire.training.loop import Recipe, train
from minihire.training.noise import CraftedNoise, GaussianNoise, NoNoise

__all__ = ["Calibration", "CraftedNoise", "GaussianNoise", "NoNoise", "Recipe", "convert", "train"]
