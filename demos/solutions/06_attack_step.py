"""Solution of the exercise of lesson 6: one step of FGSM and PGD."""
import numpy as np


def attack_step(attacked, images, grad, alpha, epsilon):
    """x̂ after one step of size α, projected onto x ± ε and [0, 1] (equations 3 and 4)."""
    moved = attacked + alpha * np.sign(grad)
    return np.clip(np.clip(moved, images - epsilon, images + epsilon), 0, 1)
