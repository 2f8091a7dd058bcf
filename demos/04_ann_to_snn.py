# %% [markdown]
# # 4 · From ANN to SNN: can a network that never spiked be made to spike, without training?
#
# **You learn** to convert a trained ANN into an SNN, and to choose its thresholds.
# **You need** lesson 1; how a ReLU network is trained.
#
# Lesson 1: a neuron without a leak fires at the rate clip(I/v, 0, 1), and a ReLU computes max(I, 0). So keep the weights and
# set the threshold v of every layer to its largest current ("threshold balancing", Sengupta et al. 2019), times a factor c:
#
#     v_l = max over time of the 99.7th percentile of I_l[t], while the layers before l fire;  at the end v_l ← c·v_l
#
# Scaling a layer of a ReLU network without biases only scales its output: max(b·I, 0) = b·max(I, 0) for b > 0. So the firing
# rates of the converted network should be the activations a_l of the ANN, scaled, and the predictions the same:
#
#     r_l ≈ clip(a_l / (v_1·v_2·…·v_l), 0, 1)
#
# **What to expect.** With c = 1 and many steps the points lie on that line. With few steps they do not: a rate over T steps is
# a multiple of 1/T, and the first spikes of a deep layer come late. At T ≤ 4 almost no spike reaches the output. (Without
# spikes the prediction is class 0, which is none of our four: accuracy 0.) At T = 16 the accuracy is that of the ANN, within the
# interval. A smaller c makes neurons fire earlier but clips currents above c·v. So it needs fewer steps: c = 0.5 reaches the
# ANN's accuracy at T = 4, c = 0.7 at T = 8. With c = 0.3 or less, clipping costs accuracy at every T. For c = 0.5 or less, more steps
# make it worse again. So the best c grows with T. Training starts from c = 0.3 (lesson 5).

# %%
from dataclasses import replace

import numpy as np
from lesson import arguments, four_shapes, percent, pyplot, save, small_ann

from backends import get_backend
from minihire.analysis import Score
from minihire.analysis.accuracy import accuracy
from minihire.data.batches import Batches
from minihire.report.tables import interval, table
from minihire.training import Calibration, convert

options = arguments("Can a network that never spiked be made to spike?")
IMAGES, TEST, EPOCHS, LOOK = (320, 60, 6, 20) if options.quick else (960, 400, 8, 100)
TIMES, FACTORS = (1, 2, 4, 8, 16, 32, 64), (1.0, 0.7, 0.5, 0.3, 0.15)
k = get_backend()
training, test = four_shapes(IMAGES, TEST)
ann = small_ann(k, training, EPOCHS)

# %% [markdown]
# ## Conversion, evaluated with 1 to 64 steps

# %%
converted = {factor: convert(ann, training, steps=4, calibration=Calibration(64, 20, scaling=factor)) for factor in FACTORS}
thresholds = {factor: [float(k.to_numpy(array)[0]) for name, array in net.parameters.items() if name.endswith("threshold")]
              for factor, net in converted.items()}
scores = {(factor, T): Score(int(accuracy(replace(net, steps=T), test).sum()), TEST).as_dict()
          for factor, net in converted.items() for T in TIMES}
goal = Score(int(accuracy(ann, test).sum()), TEST).as_dict()

# %% [markdown]
# ## Firing rates beside activations, layer by layer

# %%
images, _ = next(iter(Batches(test, k, LOOK)))


def outputs(network):
    """What each neuron layer emits for LOOK images, the mean over time: {layer: [LOOK·neurons]}."""
    found = {}

    def observe(event, layer, array):
        if event == "spikes":
            found[layer] = k.to_numpy(array).mean(axis=0).reshape(-1)

    network.forward(images, observe=observe)
    return found


units = np.cumprod(thresholds[1.0])  # v_1·v_2·…·v_l
promised = {layer: np.clip(values / unit, 0, 1) for (layer, values), unit in zip(outputs(ann).items(), units, strict=True)}
rates = {T: outputs(replace(converted[1.0], steps=T)) for T in (4, 64)}
ceiling = {factor: np.concatenate([*outputs(replace(net, steps=64)).values()]) > 0.95 for factor, net in converted.items()}
shown = (2, 4, 8, 16, 64)
print(f"accuracy in percent on {TEST} images, with 95 % intervals; the ANN has {interval(goal)}")
print(table(["c", "v_1 … v_5", "rate > 0.95", *(f"T = {T}" for T in shown)],
            [[f"{factor}", " ".join(f"{v:.2f}" for v in thresholds[factor]), f"{ceiling[factor].mean():.1%}",
              *(interval(scores[factor, T]) for T in shown)] for factor in FACTORS]))
for T in rates:
    alike = [np.corrcoef(promised[layer], rates[T][layer])[0, 1] for layer in promised]
    print(f"c = 1, T = {T}: correlation of rates and expected rates, layers 1 to 5:", *(f"{r:.3f}" for r in alike))

# %% [markdown]
# ## The figure

# %%
plt = pyplot()
figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.5), width_ratios=[1, 1, 1.3])
some = np.random.default_rng(0)
for axis, T in zip(axes, rates, strict=False):
    axis.plot([0, 1], [0, 1], color="#bbbbbb", lw=5)
    for layer, colour, marker in (("neuron1", "#0072B2", "o"), ("neuron3", "#009E73", "s"), ("neuron5", "#D55E00", "^")):
        at = np.flatnonzero(promised[layer] + rates[T][layer] > 0.02)  # most neurons are silent in both
        at = some.choice(at, min(len(at), 300), replace=False)
        axis.plot(promised[layer][at], rates[T][layer][at], marker, color=colour, ms=5, alpha=0.5, label=f"layer {layer[-1]}")
    axis.set(title=f"c = 1, T = {T}", xlabel="ANN's activation, in units of v_1·…·v_l", ylabel="spikes per step",
             xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
axes[0].legend(loc="upper left", markerscale=1.5, handletextpad=0.2, frameon=True)
axis = axes[2]
axis.axhline(100 * goal["accuracy"], color="black", ls="--", lw=1.5, label="ANN")
for factor, colour, marker in zip(FACTORS, ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"), "osD^v", strict=True):
    heights, errors = percent([scores[factor, T] for T in TIMES])
    axis.errorbar(TIMES, heights, errors, color=colour, marker=marker, lw=2, capsize=3, label=f"c = {factor}")
axis.set(title=f"accuracy on {TEST} images", xlabel="time steps T", ylabel="accuracy (%)", xscale="log", ylim=(-2, 102))
axis.set_xticks(TIMES, TIMES)
axis.minorticks_off()
figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=6)
save(figure, options.out, "04_ann_to_snn")

# %% [markdown]
# ## Exercises
#
# 1. The first spikes of each layer come late. Start every membrane at v/2 (network.gradients takes a state, {layer: NeuronState},
#    and also returns logits). How many steps does that save at c = 1?
# 2. Set every threshold to 1, then every threshold to 8. With which do neurons of layer 1 fire at every step, so that
#    their rates no longer follow their currents? With which does a layer stop firing, and why can the next ones not recover?
# 3. Train the network with c = 0.3 for one epoch at T = 4 (lesson 5). Is it better than the best c without training? How have
#    its thresholds and leaks changed?
