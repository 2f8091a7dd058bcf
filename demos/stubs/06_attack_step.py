"""Exercise of lesson 6: one step of FGSM and PGD. Replace the `...` below.

minihire demo 6 --check exercise_6.py compares your function with the library's.
"""
import numpy as np


def attack_step(attacked, images, grad, alpha, epsilon):
    """One step of an attack, from x̂ to a new x̂ that increases the loss and is within ε of the image x. Return the new x̂.

    attacked: x̂ [B, H, W, C]. images: x, same shape, pixels in [0, 1]. grad: the gradient ∇L of the loss at x̂, same shape.
    alpha: α, a number. epsilon: ε, a number. Proj moves each pixel of x̂ that is more than ε away from x to the nearer of
    x − ε and x + ε. Then clip keeps the pixels in [0, 1]. The sign of 0 is 0. Do not change the arrays attacked, images and grad themselves.

        x̂ ← clip(Proj_ε(x)[x̂ + α·sign(∇L)], 0, 1)  (equation 4; FGSM, equation 3, is one step with x̂ = x and α = ε)
    """
    ...
