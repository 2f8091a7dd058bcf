"""Adversarial attacks: small changes of images that cause a network to misclassify them."""

from minihire.attacks.evaluate import attack_accuracy, save_answers
from minihire.attacks.gradient import Attack, Attacker, fgsm, perturb, pgd

# name → function that returns the Attack. Its parameters are some of epsilon, alpha, iterations, random_start, surrogate.
ATTACKS = {"fgsm": fgsm, "pgd": pgd}

__all__ = ["ATTACKS", "Attack", "Attacker", "attack_accuracy", "fgsm", "perturb", "pgd", "save_answers"]
