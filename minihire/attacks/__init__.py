"""Attacks: small changes of images that make a network answer wrongly."""

from minihire.attacks.evaluate import attack_accuracy, save_answers
from minihire.attacks.gradient import Attack, Attacker, fgsm, perturb, pgd

# name → function that makes the attack; it takes any of epsilon, alpha, iterations, random_start and surrogate
ATTACKS = {"fgsm": fgsm, "pgd": pgd}

__all__ = ["ATTACKS", "Attack", "Attacker", "attack_accuracy", "fgsm", "perturb", "pgd", "save_answers"]
