# %% [markdown]
# # 7 · Energy: is a spiking network cheaper than the same network of ReLUs?
#
# **You learn** to count the operations of an SNN, and to compute its energy from them. **You need** lessons 2 and 4.
#
# A layer of an ANN multiplies every input with its weights and sums the products (MAC). A spike is 0 or 1: a spike adds its
# weights (AC), and no spike costs nothing. So one counts, over T steps and all images:
#
#     SA = spikes per neuron (definition 1)        TASA = SA/T        ζ_l = events that layer l receives, per input neuron
#
# Let n_l be the operations of layer l if every input were active once (table 6). Then one image takes (equations 7 and 8)
#
#     ANN             Σ n_l·E_MAC
#     direct coding   n_1·E_MAC + Σ_{l>1} ζ_l·n_l·E_AC          the first layer multiplies, once: its input does not change
#     rate coding     Σ ζ_l·n_l·E_AC
#
# with E_MAC = 4.6 pJ and E_AC = 0.9 pJ in FP32, 3.2 and 0.1 pJ in INT32 (table 7: 45 nm CMOS).
#
# **What to expect.** An AC is 5.1 times cheaper than a MAC in FP32, and 32 times in INT32. A layer saves energy while its ζ is below
# this factor. The mean neuron fires in one of six to ten steps, for every T. So ζ and the energy grow with T: with direct
# coding the network takes less than a third of the ANN's energy at T = 4 (FP32), and more than the ANN at T = 32. If the first layer
# counts T times, as on a chip that does not keep its result, the gain is gone at T = 8. In INT32 the first layer takes most of the
# energy. Rate coding avoids this, but is cheaper only at a low accuracy; for the ANN's accuracy it needs too many steps (lesson 2).
# Not counted: reading weights and storing membranes, which cost more than an addition on most chips.

# %%
import numpy as np
from lesson import arguments, four_shapes, pyplot, save, small_ann

from backends import get_backend
from minihire.analysis import Score, measure_activity, measure_energy
from minihire.analysis.accuracy import accuracy
from minihire.data.batches import Batches
from minihire.report.tables import interval, number, table
from minihire.training import Calibration, Recipe, convert, train

options = arguments("Is a spiking network cheaper than the same network of ReLUs?")
IMAGES, TEST, ANN_EPOCHS, EPOCHS = (160, 60, 6, 1) if options.quick else (960, 400, 24, 2)
TIMES = {"direct": (2, 4), "rate": (4,)} if options.quick else {"direct": (2, 4, 8, 16, 32), "rate": (4, 8, 16, 32)}
k = get_backend()
training, test = four_shapes(IMAGES, TEST)

# %% [markdown]
# ## One ANN on raw pixels, converted and trained for each coding and T (as in lesson 2)

# %%
ann = small_ann(k, training, ANN_EPOCHS, optimiser="adam", rate=0.005, mean=(0.0,) * 3, std=(1.0,) * 3)
converted = convert(ann, training, steps=4, calibration=Calibration(images=64, steps=20, scaling=0.7))
networks = {("ANN", 1): ann}
for coding, times in TIMES.items():
    for T in times:
        networks[coding, T] = converted.copy(coding=coding, steps=T)
        train(networks[coding, T], Recipe(EPOCHS, 32, learning_rate=1e-3, augment=False), training)

# %% [markdown]
# ## Activity, operations, energy

# %%
def measured(network):
    """Accuracy with its interval, the activity of every layer, and the energy with the first layer once, and T times."""
    activity = measure_activity(network, (images for images, _ in Batches(test, k, 100)))
    energies = [measure_energy(network, activity, first_layer_every_step=again) for again in (False, True)]
    return Score(int(accuracy(network, test, seed=1).sum()), TEST).as_dict(), activity, *energies


found, rows = {way: measured(network) for way, network in networks.items()}, []
for (coding, T), (score, activity, once, every) in found.items():
    first, *others = once.layers
    by_hand = first.dense * (4.6 if coding != "rate" else 0.9 * first.received)
    by_hand += sum(layer.dense * (4.6 if coding == "ANN" else 0.9 * layer.received) for layer in others)
    assert np.isclose(by_hand, once.total("fp32"))
    zeta = sum(layer.operations for layer in others) / sum(layer.dense for layer in others)
    neurons = [layer for layer in activity if layer.spikes is not None]
    sa = sum(layer.spikes for layer in neurons) / TEST / sum(layer.neurons for layer in neurons) if neurons else None
    rows.append([f"{coding}, T = {T}", interval(score), number(sa, 2), number(sa and sa / T, 2), f"{zeta:.2f}",
                 f"{once.total('fp32') / 1e6:.2f}", f"{once.ratio('fp32'):.1f}×", f"{every.ratio('fp32'):.1f}×",
                 f"{once.total('int32') / 1e6:.3f}", f"{once.ratio('int32'):.1f}×"])
header = ["network", "accuracy, %", "SA", "TASA", "ζ, layers > 1", "FP32 µJ", "gain", "layer 1 T times", "INT32 µJ", "gain"]
print(table(header, rows))

# %% [markdown]
# ## The figure

# %%
plt = pyplot()
figure, (rates, bars, price) = plt.subplots(1, 3, figsize=(13, 4.6), width_ratios=[1, 1, 1.2])
shown = [("ANN", 1), ("direct", TIMES["direct"][1]), ("direct", TIMES["direct"][-1]), ("rate", TIMES["rate"][-1])]
for way, colour, marker in zip(shown[1:], ("#0072B2", "#56B4E9", "#D55E00"), "so^", strict=True):
    fires = [layer.time_averaged for layer in found[way][1] if layer.time_averaged is not None]
    rates.plot(range(1, 6), fires, color=colour, marker=marker, lw=2, label=f"{way[0]}, T = {way[1]}")
rates.set(title="how often neurons fire", xlabel="layer of neurons", ylabel="TASA (spikes per neuron and step)", ylim=(0, 0.3))
rates.legend(loc="upper right")
below = np.zeros(len(shown))
for i in range(6):  # the layers from dark to light: colours are for networks
    part = np.array([found[way][2].layers[i].energy("fp32") / 1e6 for way in shown])
    bars.bar(range(len(shown)), part, bottom=below, color=plt.cm.viridis(i / 5), label=f"{i + 1}", width=0.7)
    below += part
bars.set(title="energy by layer of weights, FP32", ylabel="µJ per image", ylim=(0, 1.25 * below.max()))
bars.set_xticks(range(len(shown)), ["ANN", *(f"{coding}\nT = {T}" for coding, T in shown[1:])])
bars.legend(loc="upper center", ncols=6, handlelength=0.8, columnspacing=0.8, handletextpad=0.3)
for f, style, face in (("fp32", "-", None), ("int32", "--", "white")):
    for coding, colour, marker in (("ANN", "#000000", "*"), ("direct", "#0072B2", "s"), ("rate", "#D55E00", "^")):
        T = [steps for code, steps in found if code == coding]
        x, y = [found[coding, t][2].total(f) / 1e6 for t in T], [100 * found[coding, t][0]["accuracy"] for t in T]
        price.plot(x, y, color=colour, ls=style, marker=marker, ms=8, mfc=face, lw=1.8, label=coding if f == "fp32" else None)
        for end, far, side in ((0, -9, "right"), (-1, 0, "center")) if coding != "ANN" else ():
            far, up, side = (far, (-4, 8)[end], side) if f == "int32" else (9, -4, "left")
            price.annotate(f"T = {T[end]}", (x[end], y[end]), (far, up), textcoords="offset points", ha=side, color=colour)
price.plot([], [], color="#777777", ls="--", marker="o", mfc="white", label="open: INT32")
price.set(title="what accuracy costs", xlabel="energy per image (µJ)", ylabel=f"accuracy on {TEST} images (%)", xscale="log")
price.set_xticks([0.03, 0.1, 0.3, 1, 3], ["0.03", "0.1", "0.3", "1", "3"], minor=False)
price.margins(0.17, 0.08)
price.legend(loc="lower right")
save(figure, options.out, "07_energy")

# %% [markdown]
# ## Exercises
#
# 1. A neuron multiplies, too: λ·u + I at each step. Add a MAC per neuron and step. From which T does it matter?
# 2. Which layers have ζ above 5.1 at T = 32? Compute these layers as in the ANN (MACs) and the others with spikes: how much
#    energy would this hybrid take?
# 3. `minihire info vgg5` lists the operations of the full-size network. What is the share of its first layer? What follows for
#    the column "layer 1 T times"?
