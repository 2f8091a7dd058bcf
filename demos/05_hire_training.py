# %% [markdown]
# # 5 · HIRE training: does crafted noise make a spiking network harder to fool?
#
# **You learn** to write HIRE's training loop, and to compare a method with its control. **You need** lessons 3 and 4.
#
# HIRE-SNN (algorithm 1) starts from a converted ANN. It splits the T time steps of each batch x into N periods, each with its
# own optimiser step, and adds a noise κ to the images. One backward pass gives the gradients of weights, thresholds, leaks and κ:
#
#     loss of net(clip(x + κ, 0, 1)) over ⌊T/N⌋ steps  →  ∂L/∂W, ∂L/∂v, ∂L/∂λ, ∂L/∂κ
#     κ ← clip(κ + ε_s·sign(∂L/∂κ), −ε_t, ε_t)         (equation 6; κ is kept from period to period and batch to batch)
#
# Traditional training has N = 1 and κ = 0. HIRE with N = 2 also makes twice as many optimiser steps, with half the time steps.
# So compare HIRE with the **control** N = 2, κ = 0 as well: their difference is the effect of the noise alone.
#
# **What to expect.** The conversion lowers the accuracy, and training restores it. FGSM (one step of ε = 8/255) lowers the
# accuracy of every network a lot, and PGD (seven small steps) much more: no network is safe. The last line compares HIRE with
# its control: p is the probability that two equally good networks differ at least this much on these images. It compares two
# networks, not two ways of training: that needs more seeds (exercise 1), and larger images than 16×16.

# %%
from dataclasses import replace

import numpy as np
from lesson import arguments, four_shapes, percent, pyplot, save, small_ann

from backends import get_backend
from minihire.analysis import Score, mcnemar
from minihire.analysis.accuracy import accuracy
from minihire.attacks import attack_accuracy, fgsm, pgd
from minihire.data.batches import Batches
from minihire.report.marks import COLOURS
from minihire.report.tables import interval, table
from minihire.study.titles import TITLES
from minihire.training import Calibration, CraftedNoise, Recipe, convert, train
from minihire.training.optimisers import Adam

options = arguments("HIRE training against its control")
IMAGES, TEST, ANN_EPOCHS, SNN_EPOCHS = (320, 60, 6, 1) if options.quick else (960, 400, 8, 2)
SEED = 0  # of the weights, the order of the images and the dropout
STEPS, PERIODS, NOISE, BATCH, RATE = 4, 2, 0.013, 32, 1e-3  # T, N, ε_s = ε_t in pixels of [0, 1], batch, learning rate
k = get_backend()

# %% [markdown]
# ## Four of the ten classes of "shapes", at half the size

# %%
training, test = four_shapes(IMAGES, TEST)

# %% [markdown]
# ## The ANN, its conversion, and HIRE's loop by hand for the first three batches

# %%
ann = small_ann(k, training, ANN_EPOCHS, seed=SEED)  # a narrow VGG5
converted = convert(ann, training, steps=STEPS, calibration=Calibration(images=64, steps=20), seed=SEED)
batches = Batches(training, k, BATCH, seed=SEED, shuffle=True)
by_hand, network, kappa = [], converted.copy(), k.zeros((BATCH, *training.shape))
optimiser = Adam(network, [*network.parameters])  # W, v and λ of all layers
for images, labels in (batches.load(epoch=0, batch=b) for b in range(3)):
    for _ in range(PERIODS):
        found = network.gradients(images, labels, noise=kappa, image=True, steps=STEPS // PERIODS)
        optimiser.step(found.weights, RATE)
        kappa = k.sign_step(kappa, found.image, NOISE, -NOISE, NOISE)  # equation 6
        by_hand.append(k.to_numpy(kappa))

# %% [markdown]
# ## Three ways to train the converted network with the library; HIRE's first κ are those of the loop

# %%
seen = []  # κ [BATCH, H, W, C] after every period

class WatchedNoise(CraftedNoise):
    """HIRE's noise rule, with a record of what each period leaves behind."""

    def after_period(self, k, kappa, grad):
        kappa = super().after_period(k, kappa, grad)
        seen.append(k.to_numpy(kappa))
        return kappa

traditional = Recipe(SNN_EPOCHS, BATCH, learning_rate=RATE, augment=False)
control = replace(traditional, periods=PERIODS)
hire = replace(control, noise=WatchedNoise(step=NOISE, bound=NOISE))
networks = {"ann": ann, "converted": converted}
for name, recipe in (("traditional", traditional), ("control", control), ("hire", hire)):
    networks[name] = converted.copy()
    train(networks[name], recipe, training, seed=SEED, label=name)
assert np.array_equal(by_hand, seen[: len(by_hand)])

# %% [markdown]
# ## Accuracy on test images in percent, with 95 % intervals; each attack is computed on the network that it attacks

# %%
right = {name: [accuracy(net, test), *(attack_accuracy(net, test, attack) for attack in (fgsm(), pgd()))]
         for name, net in networks.items()}
scores = {name: [Score(int(r.sum()), len(r)).as_dict() for r in results] for name, results in right.items()}
print(table(["accuracy, %", "clean", "FGSM", "PGD"], [[TITLES[name], *map(interval, row)] for name, row in scores.items()]))
luck = [mcnemar(ours, theirs) for ours, theirs in zip(right["hire"], right["control"], strict=True)]
print(f"HIRE against its control, McNemar's test: p = {luck[0]:.2g} clean, {luck[1]:.2g} FGSM, {luck[2]:.2g} PGD")

# %% [markdown]
# ## The figure: κ belongs to a position in the batch, not to an image, so it is added to the next image at this position

# %%
plt = pyplot()
figure, axes = plt.subplot_mosaic([[f"{row}{i}" for i in range(6)] for row in "xk"] + [["bars"] * 6] * 2, figsize=(10, 7.2))
for i, period in enumerate(np.geomspace(1, len(seen), 6).round().astype(int)):
    images, _ = batches.load(*divmod((period - 1) // PERIODS, len(batches)))
    for row, picture in (("x", k.to_numpy(images)[0]), ("k", 0.5 + seen[period - 1][0] / NOISE / 2)):
        axes[f"{row}{i}"].imshow(picture)
        axes[f"{row}{i}"].set(xticks=[], yticks=[], title=f"period {period}" if row == "x" else "")
        axes[f"{row}{i}"].spines[:].set_visible(True)
axes["x0"].set_ylabel("image")
axes["k0"].set_ylabel(f"κ after it, ×{0.5 / NOISE:.0f}\n(grey is 0)")
for i, (name, row) in enumerate(scores.items()):
    heights, errors = percent(row)
    axes["bars"].bar(np.arange(3) + (i - 2) * 0.16, heights, 0.16, yerr=errors, capsize=3,
                     color=COLOURS[name], ecolor="#777777", label=TITLES[name])
axes["bars"].set(xticks=range(3), xticklabels=["clean", "FGSM", "PGD"], ylabel=f"accuracy on {len(test)} images (%)", ylim=(0, 100))
figure.legend(loc="outside lower center", ncols=5, columnspacing=1.2)
save(figure, options.out, "05_hire_training")

# %% [markdown]
# ## Exercises
#
# Write HIRE's noise step yourself: `minihire demo 5 --stub`, then `minihire demo 5 --check exercise_5.py`.
#
# 1. Repeat with five values of SEED. Is HIRE above its control in all of them? How does
#    the spread between seeds compare with the intervals and with p?
# 2. Random noise is cheaper: give the control GaussianNoise(0.013). Does κ have to be crafted?
# 3. An attacker may choose the surrogate: try pgd(surrogate=unit_triangle(2.0)) and rate() from backends.surrogates on HIRE
#    and its control. If one of them is stronger than the default, which numbers of the table were too optimistic?
