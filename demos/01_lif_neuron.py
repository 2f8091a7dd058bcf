# %% [markdown]
# # 1 · One neuron: how does a current become spikes?
#
# **You learn** to compute the membrane and the spikes of a neuron, and why its firing rate is a clipped ReLU. **You need** NumPy.
#
# A leaky integrate-and-fire neuron sums its input current I, loses a part of the sum at every step, and fires when the
# membrane m exceeds the threshold v (leak λ, time step t = 0 … T−1). The neuron of HIRE-SNN's released code is
#
#     m[t] = λ·u[t−1] + I[t]        s[t] = 1 if m[t] > v else 0        u[t] = m[t] − v·s[t]
#
# This is the "immediate" reset. Equation 1, as printed, has the "delayed" one: v is subtracted a step later, without a leak:
#
#     m[t] = λ·m[t−1] + I[t] − v·s[t−1]
#
# **What to expect.** Without a leak (λ = 1) the two resets give the same spikes. The firing rate is the current divided by
# the threshold, clipped to at most one spike per step: min(max(I/v, 0), 1), to within 1/T. So a spiking neuron is a rounded
# and clipped ReLU; this is why a trained ANN can be converted. A leak adds a dead zone: a constant current raises the
# membrane to at most I/(1−λ), so a current below v·(1−λ) never causes a spike. With a leak, the rate rises in steps, because
# it locks to fractions such as 1/3, 2/5 or 1/2, and the delayed reset fires less.

# %%
import numpy as np
from lesson import arguments, pyplot, save

from backends.lif import lif_forward
from backends.surrogates import arctan, derivative, triangle, unit_triangle
from minihire.report.tables import table

options = arguments("One neuron: how does a current become spikes?")

# %% [markdown]
# ## The neuron by hand, for a constant and a noisy current
#
# The library gives the same membranes and spikes, and has the delayed reset, too. The state is an argument and a result. So one
# call with 40 steps equals two calls with 20 steps, of which the second starts from the last state of the first.

# %%
def by_hand(current, leak, threshold):
    """Membranes m and spikes s [T, B] of a current [T, B], with the immediate reset: the equations above."""
    m, s, u = np.zeros_like(current), np.zeros_like(current), 0.0
    for t in range(len(current)):
        m[t] = leak * u + current[t]  # the membrane loses a part and adds the current
        s[t] = m[t] > threshold  # above the threshold it fires
        u = m[t] - threshold * s[t]  # a spike lowers the membrane by v
    return m, s


def fire(current, leak, threshold, steps, reset="immediate", state=None):
    """Membranes m and spikes s [T, B] and the last state of B neurons; current [T, B], or [1, B] for the same at every step."""
    spikes, state, saved = lif_forward(current, state, np.array([leak]), np.array([threshold]), steps, reset=reset)
    return saved.membrane, spikes, state

STEPS, LEAK, THRESHOLD = 40, 0.9, 1.0
constant = np.full((STEPS, 1), 0.35)
noisy = constant + 0.35 * np.random.default_rng(4).standard_normal((STEPS, 1))
traces = {}
for title, current in (("constant current", constant), ("noisy current, same mean", noisy)):
    for reset in ("immediate", "delayed"):
        m, s, _ = fire(current, LEAK, THRESHOLD, STEPS, reset)
        traces[title, reset] = m[:, 0], s[:, 0]
    m, s, _ = fire(current, LEAK, THRESHOLD, STEPS)
    assert np.array_equal((m, s), by_hand(current, LEAK, THRESHOLD))
    *_, state = fire(current[:20], LEAK, THRESHOLD, 20)
    assert np.array_equal(s[20:], fire(current[20:], LEAK, THRESHOLD, 20, state=state)[1])

# %% [markdown]
# ## Firing rate against current, for several leaks and thresholds
#
# One call computes all currents at once. "First answered" is the smallest current of the sweep that causes a spike.

# %%
T = 200 if options.quick else 1000
currents = np.linspace(-0.2, 1.6, 361)
shown = np.argmin(abs(currents - 0.5))
rows, rates = [], {}
for leak, threshold in ((1.0, 1.0), (1.0, 0.5), (1.0, 1.5), (0.9, 1.0), (0.7, 1.0), (0.7, 0.5)):
    for reset in ("immediate", "delayed"):
        rates[leak, threshold, reset] = fire(currents[None], leak, threshold, T, reset)[1].mean(axis=0)
    now, late = (rates[leak, threshold, reset] for reset in ("immediate", "delayed"))
    ramp = np.clip(currents / threshold, 0, 1)
    rows.append([f"λ = {leak}, v = {threshold}", f"{currents[now > 0][0]:.3f}", f"{threshold * (1 - leak):.3f}",
                 f"{now[shown]:.3f}", f"{late[shown]:.3f}", f"{ramp[shown]:.3f}", f"{abs(now - ramp).max():.3f}"])
print(table(["neuron", "first answered", "v·(1−λ)", "rate at I = 0.5", "delayed reset", "ramp", "largest distance from ramp"], rows))

# %% [markdown]
# ## The figure
#
# The last panel shows the surrogate gradient. The derivative of a spike is zero or infinite, so the backward pass uses a
# surrogate f(z) instead, with z = m/v − 1: the triangle γ·max(0, 1 − |z|), γ = 0.3 (equation 5). An attacker may use
# another surrogate: a narrow triangle and an arctan give other gradients.

# %%
plt = pyplot()
figure, axes = plt.subplots(2, 2, figsize=(10.5, 6.2))
for axis, title in zip(axes[0], ("constant current", "noisy current, same mean"), strict=True):
    for row, (reset, colour) in enumerate((("immediate", "#0072B2"), ("delayed", "#D55E00"))):
        membrane, train = traces[title, reset]
        axis.plot(membrane, color=colour, marker=".s"[row], ms=(8, 3.5)[row], lw=1.5, label=f"{reset} reset, {train.sum():.0f} spikes")
        axis.eventplot(np.flatnonzero(train), lineoffsets=2.0 + 0.22 * row, linelengths=0.18, color=colour, lw=2)
    axis.axhline(THRESHOLD, color="black", ls="--", lw=1)
    axis.set(title=f"{title}, λ = {LEAK}", xlabel="time step t", ylabel="membrane m[t]", ylim=(-1.1, 2.4))
    axis.set_yticks([0, THRESHOLD, 2.11], ["0", "v = 1", "spikes"])
    axis.legend(loc="lower center", ncols=2, handlelength=1.2, handletextpad=0.4, columnspacing=1)
axis = axes[1, 0]
axis.plot(currents, np.clip(currents, 0, 1), color="#bbbbbb", lw=6, label="clipped ramp of I/v")
for leak, colour in ((1.0, "#000000"), (0.9, "#0072B2"), (0.7, "#D55E00")):
    axis.plot(currents, rates[leak, 1.0, "immediate"], color=colour, lw=1.5, label=f"λ = {leak}")
    axis.plot(currents, rates[leak, 1.0, "delayed"], color=colour, lw=1.5, ls=":", label="dotted: delayed reset" if leak == 0.7 else None)
axis.set(title=f"firing rate, measured over {T} steps", xlabel="current I, in units of v", ylabel="spikes per step")
axis.legend(loc="lower right")
z = np.linspace(-2, 2, 801)
for label, surrogate, colour, style in (("training: triangle, γ = 0.3 (eq. 5)", triangle(), "#000000", "-"),
                                        ("attacker: narrow triangle, w = 0.5", unit_triangle(0.5), "#D55E00", "--"),
                                        ("attacker: arctan, a = 2", arctan(2.0), "#0072B2", ":")):
    axes[1, 1].plot(z, derivative(surrogate, z), color=colour, ls=style, lw=2, label=label)
axes[1, 1].set(title="what replaces the spike's derivative", xlabel="z = m/v − 1 (fires where z > 0)", ylabel="f(z)", ylim=(0, 3.2))
axes[1, 1].legend(loc="upper right")
save(figure, options.out, "01_lif_neuron")

# %% [markdown]
# ## Exercises
#
# Write the neuron yourself: `minihire demo 1 --stub`, then `minihire demo 1 --check exercise_1.py`.
#
# 1. The firing rate has steps. How high and how wide are they for T = 4, the number of steps of a fast SNN? Which currents have
#    the same rate, although a ReLU would distinguish them?
# 2. With λ = 0.7, plot clip(I/v − (1 − λ)/2, 0, 1), the ramp that backends/lif.py derives for leaky neurons, beside
#    the measured rate. Where does it fit, and why does it miss the dead zone?
# 3. Take a noisy current whose mean is half the smallest current that causes a spike. Increase the noise until the neuron fires, then
#    raise the mean a little. Does the rate grow? Could one measure ∂rate/∂I this way, where the noiseless rate does not change?
