"""Solution of the exercise of lesson 3: back-propagation through time."""
import numpy as np

GAMMA = 0.3  # γ, the height of the surrogate gradient


def lif_backward(m, s, g, leak, threshold):
    """∂L/∂I [T, B], ∂L/∂λ and ∂L/∂v of the neurons of exercise 1, without a gradient through the reset (equation 5)."""
    k = GAMMA * np.maximum(0, 1 - np.abs(m / threshold - 1)) * g
    d, later, grad_leak, grad_threshold = np.zeros_like(m), np.zeros_like(m[0]), 0.0, 0.0  # later: d[t+1]
    for t in reversed(range(len(m))):
        d[t] = k[t] / threshold + leak * later
        if t > 0:
            grad_leak += np.sum(d[t] * m[t - 1])
        grad_threshold += np.sum(-k[t] * m[t] / threshold**2 - later * s[t])
        later = d[t]
    return d, grad_leak, grad_threshold
