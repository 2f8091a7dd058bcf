# %% [markdown]
# # 3 · Back-propagation through time, by hand: how does a neuron that fires now learn from a current of ten steps ago?
#
# **You learn** to derive the gradients of a spiking neuron, and to check them with finite differences.
# **You need** lesson 1; the chain rule.
#
# Let g[t] = ∂L/∂s[t] be the gradient from the next layer, and let the surrogate f(z[t]), z = m/v − 1, replace the derivative of
# the spike. One loop from the last step to the first gives d[t] = ∂L/∂I[t] and the gradients of leak λ and threshold v. d[T] = 0:
#
#     immediate   ∂L/∂z = f(z[t])·(g[t] − v·λ·d[t+1])       delayed   ∂L/∂z = f(z[t])·(g[t] − v·d[t+1])
#                 d[t]  = ∂L/∂z / v + λ·d[t+1]                        d[t]  = ∂L/∂z / v + λ·d[t+1]
#                 ∂L/∂λ += d[t]·u[t−1]                                ∂L/∂λ += d[t]·m[t−1]
#                 ∂L/∂v += −∂L/∂z·m[t]/v² − λ·d[t+1]·s[t]             ∂L/∂v += −∂L/∂z·m[t]/v² − d[t]·s[t−1]
#
# The terms −v·λ·d[t+1] and −v·d[t+1] are the gradient through the reset: a spike lowers the membrane at later steps. Training
# leaves these terms out by default ("the reset is a constant", reset_grad=False); a true derivative includes them.
#
# **What to expect.** A spike cannot be differentiated numerically. If the surrogate's antiderivative F(z) replaces the spike
# (a "soft" spike), f is its true derivative. Then three results must agree: the loop by hand, the library's lif_backward, and
# central finite differences. The first two agree to rounding, the third to better than 1e-6.
#
# In the figure, solid lines have a constant reset, dotted lines a gradient through the reset. If the loss depends on the last step only, d[t] is exactly λ^(T−1−t)·d[T−1]: the leak
# determines how far back in time a neuron learns. If the loss counts all spikes and λ = 1, d[t] grows steadily towards the
# first step; with the gradient through the reset it stops growing at 1/v, the slope of the ramp of lesson 1.

# %%
import numpy as np
from lesson import arguments, pyplot, save

from backends.lif import lif_backward, lif_forward
from backends.surrogates import derivative, triangle
from minihire.report.tables import table

options = arguments("Back-propagation through time, by hand")
T, NEURONS = (6, 2) if options.quick else (12, 4)
FAMILY = triangle()  # equation 5, γ = 0.3
rng = np.random.default_rng(7)
current, leak, threshold = rng.uniform(0.1, 1.3, (T, NEURONS)), np.array([0.85]), np.array([0.9])
g = rng.standard_normal((T, NEURONS))  # L = Σ g[t]·s[t], so ∂L/∂s[t] = g[t]

# %% [markdown]
# ## The loop, line by line
#
# `m` and `s` [T, neurons] come from the forward pass: membranes before the reset, and spikes.

# %%
def by_hand(m, s, lam, v, g, reset, reset_grad=True):
    """∂L/∂I [T, neurons], ∂L/∂λ and ∂L/∂v: the equations above."""
    d, grad_leak, grad_threshold = np.zeros((len(m) + 1, *m.shape[1:])), 0.0, 0.0
    before = m - v * s if reset == "immediate" else m  # u[t], or m[t]: what leaks into the next step
    carried = lam if reset == "immediate" else 1.0  # how much of the reset reaches the next step
    for t in reversed(range(len(m))):
        grad_z = derivative(FAMILY, m[t] / v - 1) * (g[t] - v * carried * d[t + 1] * reset_grad)
        d[t] = grad_z / v + lam * d[t + 1]
        grad_leak += np.sum(d[t] * before[t - 1]) if t > 0 else 0.0
        lowered = lam * d[t + 1] * s[t] if reset == "immediate" else d[t] * s[t - 1] * (t > 0)
        grad_threshold += np.sum(-grad_z * m[t] / v**2 - lowered)
    return d[:-1], grad_leak, grad_threshold

# %% [markdown]
# ## Three ways to compute the same gradients
#
# Central differences (L(x + h) − L(x − h)) / 2h, entry by entry. The last two columns are relative errors over all entries.
# Training uses "constant reset", which is not a derivative of this forward pass (exercise 1 says of which pass it is).

# %%
H, inputs, rows = 1e-5, [current, leak, threshold], []
for reset in ("immediate", "delayed"):
    spikes, _, saved = lif_forward(current, None, leak, threshold, T, reset=reset, soft=FAMILY)
    hand = by_hand(saved.membrane, spikes, leak[0], threshold[0], g, reset)
    library, training = (lif_backward(saved, g, None, FAMILY, reset_grad=way) for way in (True, False))
    for i, (name, j) in enumerate((("∂L/∂I[0], neuron 0", 0), ("∂L/∂λ", 2), ("∂L/∂v", 3))):  # [1] is the state's
        numerical = np.empty_like(inputs[i])
        for entry in np.ndindex(numerical.shape):
            losses = []
            for shift in (H, -H):
                x = [values.copy() for values in inputs]
                x[i][entry] += shift
                losses.append(np.sum(g * lif_forward(x[0], None, x[1], x[2], T, reset=reset, soft=FAMILY)[0]))
            numerical[entry] = (losses[0] - losses[1]) / (2 * H)
        errors = [np.linalg.norm(hand[i] - other) / np.linalg.norm(other) for other in (library[j], numerical)]
        assert errors[0] < 1e-12 and (errors[1] < 1e-6 or H != 1e-5), (reset, name, errors)
        values = (np.ravel(grad)[0] for grad in (hand[i], library[j], numerical, training[j]))
        rows.append([f"{reset:<9} {name}", *(f"{value:+.8f}" for value in values), *(f"{error:.0e}" for error in errors)])
print(table(["soft spikes", "by hand", "lif_backward", "differences", "constant reset", "hand − library", "hand − differences"], rows))

# %% [markdown]
# ## The figure
#
# These are real spikes of 500 neurons with random currents, summed over the neurons. On the left the loss depends on the last
# step only; a straight line on this axis is a power of λ. On the right the loss counts every spike.

# %%
plt = pyplot()
T, NEURONS = 24, 500
current = rng.uniform(0.0, 0.8, (T, NEURONS))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for lam, colour, marker in ((1.0, "#000000", "o"), (0.9, "#0072B2", "s"), (0.7, "#D55E00", "^"), (0.5, "#009E73", "D")):
    spikes, _, saved = lif_forward(current, None, np.array([lam]), np.array([1.0]), T)
    for reset_grad, style in ((False, "-"), (True, ":")):
        last_only = np.zeros_like(spikes)
        last_only[-1] = 1.0
        back = np.arange(T)[::-1]
        d = by_hand(saved.membrane, spikes, lam, 1.0, last_only, "immediate", reset_grad)[0].sum(axis=1)
        left.semilogy(back, d / d[-1], color=colour, ls=style, marker=None if reset_grad else marker, ms=4, lw=1.8)
        d = by_hand(saved.membrane, spikes, lam, 1.0, np.ones_like(spikes), "immediate", reset_grad)[0].mean(axis=1)
        label = None if reset_grad else f"λ = {lam}"
        right.plot(d, color=colour, ls=style, marker=None if reset_grad else marker, ms=4, lw=1.8, label=label)
left.set(title="loss at the last step only", xlabel="steps back in time, T − 1 − t", ylabel="d[t] / d[T − 1]", ylim=(1e-6, 2))
right.set(title="loss at every step", xlabel="time step t", ylabel="mean d[t] = ∂L/∂I[t]")
right.plot([], [], color="#777777", ls=":", lw=1.8, label="dotted: through the reset too")
figure.legend(loc="outside lower center", ncols=5)
save(figure, options.out, "03_bptt_by_hand")

# %% [markdown]
# ## Exercises
#
# Write back-propagation through time yourself: `minihire demo 3 --stub`, then `minihire demo 3 --check exercise_3.py`.
#
# 1. The column "constant reset" differs. Keep the spikes in the reset fixed while you change the arguments, and
#    show that it is the exact gradient of that forward pass.
# 2. Replace the triangle by arctan() and by rectangle(0.75), and reduce H from 1e-2 to 1e-9. Which errors fall as H² and
#    which do not? Why do all errors grow again in the end?
# 3. Split time into two halves. Start the second half from the state of the first. Pass what its lif_backward returns for that
#    state to the first half as grad_state, and recover the full gradients. What must be stored for T = 100 in ten pieces?
