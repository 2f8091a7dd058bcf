"""Adversarial attacks: small changes of images that cause a network to misclassify them."""

from functools import partial

from minihire.attacks.apgd import APGDAttack, apgd
from minihire.attacks.evaluate import attack_accuracy, attacked_predictions
from minihire.attacks.gradient import Attack, Attacker, fgsm, perturb, pgd
from minihire.attacks.l2 import L2Attack, pgd_l2
from minihire.attacks.members import MEMBERS, Member
from minihire.attacks.momentum import MomentumAttack, momentum_pgd
from minihire.attacks.noise import NoiseAttack, uniform_noise
from minihire.attacks.sa_pgd import SAPGDAttack, sa_pgd
from minihire.attacks.square import SquareAttack, square
from minihire.attacks.suite import Robustness, evaluate_robustness
from minihire.attacks.tracking import TrackingAttack

# name → function that returns the Attack. Its parameters are some of epsilon, alpha, iterations, random_start, surrogate,
# restarts, samples, queries. `minihire attack` passes iterations only to attacks with an alpha, unless the flag was given.
ATTACKS = {
    "fgsm": fgsm,
    "pgd": pgd,
    "momentum": momentum_pgd,
    "pgd-l2": pgd_l2,
    "apgd": partial(apgd, loss="cross-entropy"),
    "apgd-dlr": partial(apgd, loss="dlr"),
    "apgd-targeted": partial(apgd, loss="dlr-targeted"),
    "sa-pgd": sa_pgd,
    "square": square,
    "noise": uniform_noise,
}

__all__ = [
    "ATTACKS",
    "MEMBERS",
    "APGDAttack",
    "Attack",
    "Attacker",
    "L2Attack",
    "Member",
    "MomentumAttack",
    "NoiseAttack",
    "Robustness",
    "SAPGDAttack",
    "SquareAttack",
    "TrackingAttack",
    "apgd",
    "attack_accuracy",
    "attacked_predictions",
    "evaluate_robustness",
    "fgsm",
    "momentum_pgd",
    "perturb",
    "pgd",
    "pgd_l2",
    "sa_pgd",
    "square",
    "uniform_noise",
]
