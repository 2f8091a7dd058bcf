"""Exercise of lesson 1: the spiking neuron of HIRE-SNN. Replace the `...` below.

minihire demo 1 --check exercise_1.py compares your function with the library's.
"""
import numpy as np


def lif_forward(current, leak, threshold):
    """Compute the membranes m and the spikes s of B neurons over T time steps. Return m, s.

    current: I [T, B]. leak: λ, a number. threshold: v, a number. m and s: float arrays [T, B]. Do not change current itself.
    The paper's neuron resets one step after its spike. The leak does not act on this reset ("delayed"). For t = 0 … T−1:

        m[t] = λ·m[t−1] + I[t] − v·s[t−1]          (equation 1; m[−1] = s[−1] = 0)
        s[t] = 1 if m[t] > v, else 0               (equation 2)
    """
    ...
