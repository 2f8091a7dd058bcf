"""The leaky integrate-and-fire (LIF) neuron and its back-propagation through time (BPTT), in plain NumPy.

Forward pass (equations 1 and 2). Each layer has one threshold v and one leak λ. Input current I[t], u[−1] = 0:

    reset "immediate"  (the released models)               reset "delayed"  (equation 1)
        m[t] = λ·u[t−1] + I[t]                                 m[t] = λ·m[t−1] + I[t] − v·s[t−1]
        s[t] = 1 if m[t] > v else 0                            s[t] = 1 if m[t] > v else 0
        u[t] = m[t] − v·s[t]

Equation 1 as printed also delays the input by a step: the spikes of step t enter the next layer's membrane of step t + 1. Here
I[t] enters m[t], as in the released code.

Backward pass. The derivative of the step is zero almost everywhere, so a surrogate replaces it: ds/dz := f(z) with
z = m/v − 1 (equation 5). Let g[t] = ∂L/∂s[t] be the gradient from the next layer, d[t] = ∂L/∂I[t], and d[T] = 0. From the
last step to the first:

    immediate   ∂L/∂z = f(z[t])·g[t]                       (reset_grad: g[t] − v·λ·d[t+1] instead of g[t])
                d[t]  = ∂L/∂z / v + λ·d[t+1]
                ∂L/∂λ += d[t]·u[t−1]
                ∂L/∂v += −∂L/∂z·m[t]/v² − λ·d[t+1]·s[t]
    delayed     ∂L/∂z = f(z[t])·g[t]                       (reset_grad: g[t] − v·d[t+1] instead of g[t])
                d[t]  = ∂L/∂z / v + λ·d[t+1]
                ∂L/∂λ += d[t]·m[t−1]
                ∂L/∂v += −∂L/∂z·m[t]/v² − d[t]·s[t−1]

Time can be split into chunks. In the forward pass, a chunk starts from the last state of the previous chunk. In the backward
pass, it returns the gradient with respect to this state. The previous chunk uses this gradient at its last step in place of
λ·d[t+1] (membrane) and, with the delayed reset, of −v·d[t+1] (spikes).
"""

from typing import Any, NamedTuple

import numpy as np

from backends.interface import NeuronState
from backends.surrogates import Surrogate, adapted_slopes, antiderivative, derivative, straight_through


class ForwardValues(NamedTuple):
    """The values of the forward pass that the backward pass needs."""

    membrane: np.ndarray  # m [T, B, …], before the reset
    spikes: np.ndarray  # s [T, B, …], before dropout
    start: NeuronState | None
    leak: Any
    threshold: Any
    reset: str
    mask: np.ndarray | None
    static: bool  # the current has one step, which is used for all T


def lif_forward(current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft: Surrogate | None = None):
    """Return (spikes, last state, saved values); see `Backend.lif_forward`."""
    lam, v = leak[0], threshold[0]
    m = np.empty((steps, *current.shape[1:]), current.dtype)
    s = np.empty_like(m)
    u_last = 0 if state is None else state.membrane
    s_last = 0 if state is None or state.spikes is None else state.spikes
    for t in range(steps):
        m[t] = lam * u_last + current[t if len(current) > 1 else 0]
        if reset == "delayed":
            m[t] -= v * s_last
        s[t] = m[t] > v if soft is None else antiderivative(soft, m[t] / v - 1)
        u_last = m[t] - v * s[t] if reset == "immediate" else m[t]
        s_last = s[t]
    end = NeuronState(u_last) if reset == "immediate" else NeuronState(u_last.copy(), s_last.copy())
    saved = ForwardValues(m, s, state, leak, threshold, reset, mask, len(current) == 1)
    return (s if mask is None else s * mask), end, saved


def lif_backward(saved: ForwardValues, grad_spikes, grad_state, surrogate: Surrogate, reset_grad: bool = False):
    """Return (∂L/∂I, ∂L/∂(initial state), ∂L/∂λ, ∂L/∂v); see `Backend.lif_backward` and the equations above."""
    m, s, lam, v = saved.membrane, saved.spikes, saved.leak[0], saved.threshold[0]
    immediate = saved.reset == "immediate"
    g = grad_spikes if saved.mask is None else grad_spikes * saved.mask
    f = derivative(surrogate, m / v - 1)
    grad_leak = grad_threshold = 0.0
    grad_current = np.empty_like(m)
    # What later steps contribute to the gradients of step t. through_leak = λ·d[t+1] is a part of the gradient of u[t]
    # (delayed reset: of m[t]). through_reset = −v·d[t+1] is a part of the gradient of s[t], with the delayed reset only.
    end = grad_state or NeuronState(None)
    through_leak, through_reset = (_or_zero(grad, m[0]) for grad in (end.membrane, end.spikes))
    for t in reversed(range(len(m))):
        reset_path = -v * through_leak if immediate else through_reset
        grad_s = g[t] + reset_path if reset_grad else g[t]
        grad_z = f[t] * grad_s
        d = grad_current[t] = grad_z / v + through_leak
        grad_leak += np.sum(d * _leaking_membrane(saved, t, v), dtype=np.float64)
        # ∂m/∂v by the reset: each spike lowers the membrane by v
        lowered = through_leak * s[t] if immediate else d * _spikes_before(saved, t)
        grad_threshold += np.sum(-grad_z * m[t] / v**2 - lowered, dtype=np.float64)
        through_leak, through_reset = lam * d, -v * d
    grad_start = NeuronState(through_leak)
    if not immediate:
        grad_start = NeuronState(through_leak, through_reset if reset_grad else None)
    if saved.static:
        grad_current = grad_current.sum(axis=0, keepdims=True)
    return grad_current, grad_start, np.array([grad_leak], m.dtype), np.array([grad_threshold], m.dtype)


def backward_of_any(saved: ForwardValues, grad_spikes, grad_state, surrogate, reset_grad, want_state, adaptation):
    """`Backend.lif_backward` for every kind of surrogate: also "adaptive" and "rate", which are more than a slope of z."""
    if grad_spikes is None:
        grad_spikes = np.zeros_like(saved.membrane)
    if surrogate.kind == "rate":
        return lif_rate_backward(saved, grad_spikes), None, None, None
    if surrogate.kind == "adaptive":
        grad_spikes = grad_spikes * adapted_slopes(saved.membrane, saved.threshold[0], adaptation)
        surrogate, reset_grad = straight_through(), False  # the slopes are in the gradient already
    grad_current, grad_start, *grads = lif_backward(saved, grad_spikes, grad_state, surrogate, reset_grad)
    return grad_current, grad_start if want_state else None, *grads


def lif_rate_backward(saved: ForwardValues, grad_spikes):
    """Return ∂L/∂I of the rate gradient, which treats the neuron as a function from mean current Ī to firing rate r.

    Derivation: sum u[t] = λ·u[t−1] + I[t] − v·s[t] over t and divide by T. This gives v·r = Ī − (1 − λ)·ū, except for a term
    λ·(u[−1] − u[T−1])/T, which vanishes for large T. After its reset, the membrane of a firing neuron lies between 0 and v.
    Its average ū is about v/2, hence

        r = clip(Ī/v − (1 − λ)/2, 0, 1),   ∂r/∂I[t] = 1/(v·T) where 0 < r < 1, else 0.

    With the delayed reset, m[t] = λ·m[t−1] + I[t] − v·s[t−1] has the average v/2 + v·r, because a spike is subtracted one step
    later. Then r and ∂r/∂I[t] are divided by 2 − λ.
    Replace the spikes of every step by their mean, s[τ] ≈ r. Then ∂L/∂I[t] = Σ_τ g[τ]·∂r/∂I[t], which is Σ_τ g[τ] / (v·T)
    where 0 < r < 1: every step receives the same gradient. This gradient is for attacks, not for training: it has no
    gradients for λ and v, and it needs all time steps at once.
    """
    m, lam, v = saved.membrane, saved.leak[0], saved.threshold[0]
    total_current = sum(m[t] - lam * _leaking_membrane(saved, t, v) for t in range(len(m)))
    if saved.reset == "delayed":
        total_current = total_current + v * sum(_spikes_before(saved, t) for t in range(len(m)))
    divisor = 2 - lam if saved.reset == "delayed" else 1
    firing_rate = (total_current / len(m) / v - (1 - lam) / 2) / divisor
    g = grad_spikes.sum(axis=0) if saved.mask is None else grad_spikes.sum(axis=0) * saved.mask
    grad_step = np.where((firing_rate > 0) & (firing_rate < 1), g / (v * len(m) * divisor), 0).astype(m.dtype)
    return grad_step[None] * len(m) if saved.static else np.broadcast_to(grad_step, m.shape)


def _leaking_membrane(saved, t, v):
    """The membrane that leaks into step t: u[t−1], or m[t−1] for the delayed reset."""
    if t == 0:
        return 0.0 if saved.start is None else saved.start.membrane
    m = saved.membrane[t - 1]
    return m - v * saved.spikes[t - 1] if saved.reset == "immediate" else m


def _spikes_before(saved, t):
    """s[t−1]; s[−1] are the last spikes of the previous chunk."""
    if t == 0:
        return 0.0 if saved.start is None or saved.start.spikes is None else saved.start.spikes
    return saved.spikes[t - 1]


def _or_zero(grad, like):
    return np.zeros_like(like) if grad is None else grad
