"""The one numerical check that every gradient passes: its product with a random direction, against central differences."""

import numpy as np


def gradient_error(function, arrays, grads, *, step: float = 1e-5, directions: int = 3, seed: int = 0) -> float:
    """The largest relative error of ∂function/∂arrays; function maps NumPy float64 arrays to a number.

    Along random directions u, ⟨grad, u⟩ should equal (f(x + h·u) − f(x − h·u)) / 2h; the error is relative to ‖grad‖, which
    is the spread of ⟨grad, u⟩ over directions (and to 1e-3 where that is smaller). None in place of a gradient is not
    compared; a gradient of another shape than its array raises ValueError.
    """
    rng, worst = np.random.default_rng(seed), 0.0
    for i, grad in enumerate(grads):
        if grad is None:
            continue
        if grad.shape != arrays[i].shape:
            raise ValueError(f"gradient {i} has shape {grad.shape}, its array {arrays[i].shape}")
        for _ in range(directions):
            u = rng.standard_normal(grad.shape)
            there, back = (function(*arrays[:i], arrays[i] + h * u, *arrays[i + 1 :]) for h in (step, -step))
            error = abs(np.vdot(grad, u) - (there - back) / (2 * step))
            worst = max(worst, error / max(np.linalg.norm(grad), 1e-3))
    return worst
