"""Solution of the exercise of lesson 5: how HIRE crafts its noise."""
import numpy as np


def noise_step(kappa, grad, step, bound):
    """κ after a period (equation 6)."""
    return np.clip(kappa + step * np.sign(grad), -bound, bound)
