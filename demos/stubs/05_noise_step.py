"""Exercise of lesson 5: how HIRE crafts its noise. Replace the `...` below.

minihire demo 5 --check exercise_5.py compares your function with the library's.
"""
import numpy as np


def noise_step(kappa, grad, step, bound):
    """Update the noise κ after a period of HIRE training (algorithm 1). Return the new κ.

    kappa: κ [B, H, W, C], in pixels of [0, 1]. grad: the gradient ∇L of the loss with respect to the noisy images, same shape.
    step: ε_s, a number. bound: ε_t, a number. The sign of 0 is 0. Do not change the arrays kappa and grad themselves.

        κ ← clip(κ + ε_s·sign(∇L), −ε_t, +ε_t)     (equation 6)
    """
    ...
