"""Training: conversion of an ANN into an SNN, and one training loop for ANNs and all ways of training SNNs."""

from minihire.training.calibration import Calibration
from minihire.training.convert import convert
from minihire.training.cost import TrainingCost, cost_per_batch, epochs_at_equal_cost
from minihire.training.loop import train
from minihire.training.noise import Adversarial, CraftedNoise, GaussianNoise, NoNoise, training_attack
from minihire.training.recipe import Recipe

__all__ = [
    "Adversarial",
    "Calibration",
    "TrainingCost",
    "CraftedNoise",
    "GaussianNoise",
    "NoNoise",
    "Recipe",
    "convert",
    "cost_per_batch",
    "epochs_at_equal_cost",
    "train",
    "training_attack",
]
