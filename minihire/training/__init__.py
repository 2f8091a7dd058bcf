"""Training: conversion of an ANN into an SNN, and one training loop for ANNs and all ways of training SNNs."""

from minihire.training.convert import Calibration, convert
from minihire.training.loop import Recipe, train
from minihire.training.noise import CraftedNoise, GaussianNoise, NoNoise

__all__ = ["Calibration", "CraftedNoise", "GaussianNoise", "NoNoise", "Recipe", "convert", "train"]
