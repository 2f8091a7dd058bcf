"""The gradient check that every derivative passes: directional derivatives compared with central differences."""

import numpy as np


def gradient_error(function, arrays, grads, *, step: float = 1e-5, directions: int = 3, seed: int = 0) -> float:
    """Return the largest relative error of grads, the gradients of `function` with respect to `arrays`.

    function maps NumPy float64 arrays to a number. For random directions u, ⟨grad, u⟩ must equal
    (f(x + h·u) − f(x − h·u)) / 2h, where h is `step`. The error is divided by ‖grad‖, the standard deviation of ⟨grad, u⟩, or
    by 1e-3 if that is larger. Gradients that are None are not compared. Raises ValueError if a gradient and its array
    differ in shape.
    """
    rng, worst = np.random.default_rng(seed), 0.0
    for i, grad in enumerate(grads):
        if grad is None:
            continue
        if grad.shape != arrays[i].shape:
            raise ValueError(f"gradient {i} has shape {grad.shape}, but its array has shape {arrays[i].shape}")
        for _ in range(directions):
            u = rng.standard_normal(grad.shape)
            forward, backward = (function(*arrays[:i], arrays[i] + h * u, *arrays[i + 1 :]) for h in (step, -step))
            error = abs(np.vdot(grad, u) - (forward - backward) / (2 * step))
            worst = max(worst, error / max(np.linalg.norm(grad), 1e-3))
    return worst
