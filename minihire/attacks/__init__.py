"""Adversarial attacks: small changes of images that cause a network to misclassify them."""

from minihire.attacks.evaluate import attack_accuracy, save_answers
from minihire.attacks.gradient import Attack, Attacker, fgsm, perturb, pgd
from minihire.attacks.l2 import L2Attack, pgd_l2
from minihire.attacks.momentum import MomentumAttack, momentum_pgd

# name → function that returns the Attack. Its parameters are some of epsilon, alpha, iterations, random_start, surrogate.
ATTACKS = {"fgsm": fgsm, "pgd": pgd, "momentum": momentum_pgd, "pgd-l2": pgd_l2}

__all__ = [
    "ATTACKS",
    "Attack",
    "Attacker",
    "L2Attack",
    "MomentumAttack",
    "attack_accuracy",
    "fgsm",
    "momentum_pgd",
    "perturb",
    "pgd",
    "pgd_l2",
    "save_answers",
]
