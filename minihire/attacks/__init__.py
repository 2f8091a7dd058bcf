"""Attacks: images a little off that a network gets wrong."""

from minihire.attacks.evaluate import attack_accuracy, keep_answers
from minihire.attacks.gradient import Attack, Attacker, fgsm, perturb, pgd

__all__ = ["Attack", "Attacker", "attack_accuracy", "fgsm", "keep_answers", "perturb", "pgd"]
