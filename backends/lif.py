"""The leaky integrate-and-fire neuron and its back-propagation through time, in plain NumPy.

Forward (equations 1 and 2). One threshold v and one leak λ for a layer, input current I[t], u[−1] = 0:

    reset "immediate"  (what the released models run)      reset "delayed"  (equation 1's)
        m[t] = λ·u[t−1] + I[t]                                 m[t] = λ·m[t−1] + I[t] − v·s[t−1]
        s[t] = 1 if m[t] > v else 0                            s[t] = 1 if m[t] > v else 0
        u[t] = m[t] − v·s[t]

Backward. The step has no useful derivative; with z = m/v − 1 the surrogate takes its place: ds/dz := f(z) (equation 5).
Let g[t] = ∂L/∂s[t] come from the layer above. Then, from the last step to the first, with d[t] = ∂L/∂I[t] and d[T] = 0:

    immediate   k    = f(z[t])·g[t]                        (reset_grad: g[t] − v·λ·d[t+1] in place of g[t])
                d[t] = k/v + λ·d[t+1]
                ∂L/∂λ += d[t]·u[t−1]
                ∂L/∂v += −k·m[t]/v² − λ·d[t+1]·s[t]
    delayed     k    = f(z[t])·g[t]                        (reset_grad: g[t] − v·d[t+1])
                d[t] = k/v + λ·d[t+1]
                ∂L/∂λ += d[t]·m[t−1]
                ∂L/∂v += −k·m[t]/v² − d[t+1]·s[t]

Time may be cut into chunks: a chunk starts from the state that the one before handed on, and hands back the gradient
with respect to it, which takes the place of the terms in d[t+1] of its last step.
"""

from typing import Any, NamedTuple

import numpy as np

from backends.interface import NeuronState
from backends.surrogates import Surrogate, antiderivative, derivative


class Saved(NamedTuple):
    """What the backward pass needs of the forward pass."""

    membrane: np.ndarray  # m [T, B, …], before the reset
    spikes: np.ndarray  # s [T, B, …], before dropout
    start: NeuronState | None
    leak: Any
    threshold: Any
    reset: str
    mask: np.ndarray | None
    static: bool  # the current had one step for all T


def lif_forward(current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft: Surrogate | None = None):
    """Spikes, last state and what the backward pass needs; see `Backend.lif_forward`."""
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
    saved = Saved(m, s, state, leak, threshold, reset, mask, len(current) == 1)
    return (s if mask is None else s * mask), end, saved


def lif_backward(saved: Saved, grad_spikes, grad_state, surrogate: Surrogate, reset_grad: bool = False):
    """∂L/∂I, ∂L/∂(initial state), ∂L/∂λ, ∂L/∂v; see `Backend.lif_backward` and the equations above."""
    m, s, lam, v = saved.membrane, saved.spikes, saved.leak[0], saved.threshold[0]
    immediate = saved.reset == "immediate"
    g = grad_spikes if saved.mask is None else grad_spikes * saved.mask
    f = derivative(surrogate, m / v - 1)
    grad_leak = grad_threshold = 0.0
    grad_current = np.empty_like(m)
    through_leak = _or_zero(grad_state and grad_state.membrane, m[0])  # λ·d[t+1]: what reaches u[t] (delayed: m[t])
    through_reset = _or_zero(grad_state and grad_state.spikes, m[0])  # −v·d[t+1]: what reaches s[t] by a delayed reset
    lowered = np.zeros_like(m[0])  # d[t+1] of a delayed reset; of the last step the next chunk has counted it
    for t in reversed(range(len(m))):
        reset_path = -v * through_leak if immediate else through_reset
        k = f[t] * (g[t] + reset_path if reset_grad else g[t])
        d = grad_current[t] = k / v + through_leak
        grad_leak += np.sum(d * _before(saved, t, v), dtype=np.float64)
        grad_threshold += np.sum(-k * m[t] / v**2 - (through_leak if immediate else lowered) * s[t], dtype=np.float64)
        through_leak, through_reset, lowered = lam * d, -v * d, d
    grad_start = NeuronState(through_leak)
    if not immediate:
        grad_start = NeuronState(through_leak, through_reset if reset_grad else None)
        grad_threshold -= np.sum(lowered * _fired_before(saved), dtype=np.float64)
    if saved.static:
        grad_current = grad_current.sum(axis=0, keepdims=True)
    return grad_current, grad_start, np.array([grad_leak], m.dtype), np.array([grad_threshold], m.dtype)


def lif_rate_backward(saved: Saved, grad_spikes):
    """∂L/∂I under the rate gradient: the whole train as one activation, mean current Ī → firing rate r.

    Sum u[t] = λ·u[t−1] + I[t] − v·s[t] over t and divide by T: v·r = Ī − (1 − λ)·ū, up to λ·(u[−1] − u[T−1])/T, terms
    that fade with T. After its reset a firing neuron's membrane lies between 0 and v, v/2 on the average, hence

        r = clip(Ī/v − (1 − λ)/2, 0, 1),   ∂r/∂I[t] = 1/(v·T) inside the ramp and 0 outside,   s[t] ≈ r.

    So every step receives the same gradient, Σ_τ g[τ] / (v·T). It is for attackers (evaluation, not training): it has
    no gradients for λ and v and must see all time steps at once.
    """
    m, lam, v = saved.membrane, saved.leak[0], saved.threshold[0]
    current = sum(m[t] - lam * _before(saved, t, v) for t in range(len(m)))
    if saved.reset == "delayed":
        current = current + v * (saved.spikes[:-1].sum(axis=0) + _fired_before(saved))
    rate = current / len(m) / v - (1 - lam) / 2
    g = grad_spikes.sum(axis=0) if saved.mask is None else grad_spikes.sum(axis=0) * saved.mask
    every_step = np.where((rate > 0) & (rate < 1), g / (v * len(m)), 0).astype(m.dtype)
    return every_step[None] * len(m) if saved.static else np.broadcast_to(every_step, m.shape)


def _before(saved, t, v):
    """u[t−1], or m[t−1] under the delayed reset: the membrane that leaks into step t."""
    if t == 0:
        return 0.0 if saved.start is None else saved.start.membrane
    m = saved.membrane[t - 1]
    return m - v * saved.spikes[t - 1] if saved.reset == "immediate" else m


def _fired_before(saved):
    """s[−1] of the delayed reset: the last spikes of the chunk before."""
    return 0.0 if saved.start is None or saved.start.spikes is None else saved.start.spikes


def _or_zero(grad, like):
    return np.zeros_like(like) if grad is None else grad
