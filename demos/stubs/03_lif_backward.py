"""Exercise of lesson 3: back-propagation through time. Replace the `...` below.

minihire demo 3 --check exercise_3.py compares your function with the library's.
"""
import numpy as np

GAMMA = 0.3  # γ, the height of the surrogate gradient


def lif_backward(m, s, g, leak, threshold):
    """Compute the gradients of a loss L for the neurons of exercise 1. Return ∂L/∂I [T, B], ∂L/∂λ and ∂L/∂v (two numbers).

    m, s: membranes and spikes [T, B] of the forward pass. g: ∂L/∂s [T, B]. leak: λ, a number. threshold: v, a number.
    Do not change the arrays m, s and g themselves.
    The surrogate f replaces the derivative of the spike. The spike s[t−1] in equation 1 is treated as a constant (no gradient
    passes through the reset). Go from t = T−1 to 0, with d[T] = 0; the sums of ∂L/∂λ and ∂L/∂v are over all t and neurons:

        f(z) = γ·max(0, 1 − |z|),  z = m/v − 1     (equation 5)
        ∂L/∂z = f(z[t])·g[t]
        d[t]  = ∂L/∂z / v + λ·d[t+1]               this is ∂L/∂I[t]
        ∂L/∂λ = Σ d[t]·m[t−1]                      (m[−1] = 0)
        ∂L/∂v = Σ −∂L/∂z·m[t]/v² − d[t]·s[t−1]     (s[−1] = 0)
    """
    ...
