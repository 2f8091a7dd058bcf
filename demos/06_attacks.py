# %% [markdown]
# # 6 · Attacks: is a network that looks robust hard to fool, or is the attacker weak?
#
# **You learn** to write FGSM and PGD, and to test the attack before you trust a network. **You need** lesson 5 (its training).
#
# FGSM and PGD (equations 3 and 4) are one loop. x̂ stays within ε of the image x, and K steps of size α increase the loss L.
# In a spiking network ∂L/∂x̂ passes through a surrogate (equation 5). An attacker may use another one than the training (lesson 10).
#
#     x̂ ← clip(x + clip(x̂ + α·sign(∂L/∂x̂) − x, −ε, ε), 0, 1)          FGSM: K = 1, α = ε
#
# **What to expect.** Random noise of size ε has little effect. Under FGSM the trained spiking networks are much more accurate than
# the ANN. Under 20 small steps the advantage is gone: the converted and the
# traditional network are below the ANN, HIRE is level with it. Then each image is attacked five times (the ANN from five starts, the others
# with five surrogates). Now the converted and the traditional network are far below the ANN. HIRE is above the traditional
# one, but also below the ANN (in three of three seeds, not always with a small p). Exponential and arctan are stronger than the
# defender's own surrogate; the rate gradient, a mean over time, is weak at T = 4. The pictures show how little an attack changes.

# %%
from dataclasses import replace

import numpy as np
from lesson import arguments, four_shapes, percent, picture_row, pyplot, save, small_ann

from backends import get_backend
from backends.surrogates import arctan, exponential, rate, unit_triangle
from minihire.analysis import Score, mcnemar
from minihire.attacks import fgsm, perturb
from minihire.data.batches import Batches
from minihire.report.marks import COLOURS, MARKERS
from minihire.report.tables import interval, table
from minihire.study.titles import TITLES
from minihire.training import Calibration, CraftedNoise, Recipe, convert, train

options = arguments("Is a network that looks robust hard to fool?")
IMAGES, TEST, ANN_EPOCHS, EPOCHS, K = (320, 30, 6, 1, 4) if options.quick else (960, 240, 8, 2, 20)
EPSILON, NOISE, k = 8 / 255, 0.013, get_backend()
training, test = four_shapes(IMAGES, TEST)

# %% [markdown]
# ## Four networks: ANN, converted, trained in the traditional way, and trained with HIRE (lesson 5)

# %%
ann = small_ann(k, training, ANN_EPOCHS)
converted = convert(ann, training, steps=4, calibration=Calibration(images=64, steps=20))
networks, traditional = {"ann": ann, "converted": converted}, Recipe(EPOCHS, 32, learning_rate=1e-3, augment=False)
for name, recipe in (("traditional", traditional), ("hire", replace(traditional, periods=2, noise=CraftedNoise(NOISE, NOISE)))):
    networks[name] = converted.copy()
    train(networks[name], recipe, training)

# %% [markdown]
# ## The loop, compared with the library

# %%
images, labels = next(iter(Batches(test, k, TEST)))
correct = lambda logits: k.to_numpy(logits).argmax(axis=1) == k.to_numpy(labels)

def attack(network, alpha, iterations, surrogate=None, start=images):
    """x̂ after the last iteration, and which images are right after 0, 1, … iterations: bool [iterations + 1, B]."""
    x, right = start, []
    for _ in range(iterations):
        found = network.gradients(x, labels, weights=False, image=True, training=False, scale=1.0, surrogate=surrogate)
        right.append(correct(found.logits))
        x = k.sign_step(x, found.image, alpha, 0.0, 1.0, center=images, bound=EPSILON)
    return x, np.array([*right, correct(network.forward(x))])

assert np.array_equal(*(k.to_numpy(x) for x in (attack(ann, EPSILON, 1)[0], perturb(ann, images, labels, fgsm(EPSILON)))))

# %% [markdown]
# ## Every attacker against every network

# %%
own = {"triangle of width 2": unit_triangle(2.0), "exponential": exponential(), "arctan": arctan(), "rate gradient": rate()}
rng, right, curves = np.random.default_rng(0), {}, {}
noise, *starts = (k.asarray(np.clip(k.to_numpy(images) + rng.uniform(-EPSILON, EPSILON, images.shape), 0, 1)) for _ in range(5))
for name, network in networks.items():
    right[name, "random noise"], right[name, "FGSM"] = correct(network.forward(noise)), attack(network, EPSILON, 1)[1][-1]
    curves[name] = attack(network, 2.5 * EPSILON / K, K)[1]
    right[name, f"PGD, K = {K}"] = curves[name][-1]
    settings = [(None, start) for start in starts] if name == "ann" else [(surrogate, images) for surrogate in own.values()]
    attempts = [attack(network, 2.5 * EPSILON / K, K, *setting)[1][-1] for setting in settings]
    right |= {(name, title): found for title, found in zip(own, attempts, strict=True) if name != "ann"}
    right[name, "worst of five"] = np.all([curves[name][-1], *attempts], axis=0)
attackers = [*dict.fromkeys(attacker for _, attacker in reversed(right))][::-1]  # in order, the worst of five last
scores = {key: Score(int(found.sum()), TEST).as_dict() for key, found in right.items()}
print(table(["accuracy, %", *(TITLES[name] for name in networks)],
            [[who, *(interval(scores[name, who]) if (name, who) in scores else "–" for name in networks)] for who in attackers]))
pairs, worst = (("ann", "traditional"), ("ann", "hire"), ("hire", "traditional")), attackers[-1]
print(f"{worst}, McNemar's p:", *(f"{a}/{b} {mcnemar(right[a, worst], right[b, worst]):.2g}" for a, b in pairs), sep="  ")

# %% [markdown]
# ## The figure: three images that HIRE misclassifies after PGD through the exponential, the curves, and every attacker

# %%
figure = pyplot().figure(figsize=(11.5, 7))
top, bottom = figure.subfigures(2, 1, height_ratios=[1, 2.8])
attacked = attack(networks["hire"], 2.5 * EPSILON / K, K, exponential())[0]
before, after = (k.to_numpy(networks["hire"].forward(x)).argmax(axis=1) for x in (images, attacked))  # predicted classes
images, attacked = k.to_numpy(images), k.to_numpy(attacked)
fooled = np.flatnonzero((before == test.labels) & (after != test.labels))
triples = [[(test.classes[before[i]], images[i]), ("noise, ×16", 0.5 + (attacked - images)[i] / EPSILON / 2),
            (test.classes[after[i]], attacked[i])] for i in fooled[np.unique(before[fooled], return_index=True)[1]][:3]]  # of three classes
picture_row(top, "HIRE's prediction for three images, before and after PGD through the exponential surrogate", triples)
left, dots = bottom.subplots(1, 2, width_ratios=[1, 1.3])
for row, (name, curve) in enumerate(curves.items()):
    ends = 100 * np.array([Score(int(n), TEST).interval for n in curve.sum(axis=1)])
    left.fill_between(np.arange(K + 1), *ends.T, color=COLOURS[name], alpha=0.2, lw=0)
    left.plot(100 * curve.mean(axis=1), color=COLOURS[name], marker=MARKERS[name], lw=2, ms=4)
    for i, score in ((i, scores[name, who]) for i, who in enumerate(attackers) if (name, who) in scores):
        height, error = percent([score])
        dots.errorbar(height, -i + 0.18 * (1.5 - row), xerr=error, color=COLOURS[name],
                      marker=MARKERS[name], ms=6, lw=1.5, capsize=2, ls="", label=TITLES[name] if i == 0 else None)
left.set(title="PGD, own surrogate", xlabel="iterations", ylabel="accuracy (%)", ylim=(0, 102), xticks=range(0, K + 1, 4))
dots.set(title=f"every attacker, ε = 8/255, {TEST} images", xlabel="accuracy (%)", xlim=(-2, 102))
dots.set_yticks(-np.arange(len(attackers)), attackers)
bottom.legend(loc="outside lower center", ncols=4)
save(figure, options.out, "06_attacks")

# %% [markdown]
# ## Exercises
#
# Write the attack's step yourself: `minihire demo 6 --stub`, then `minihire demo 6 --check exercise_6.py`.
#
# 1. Attack each network with images crafted on the ANN (transfer). If that is stronger than the triangle, suspect gradient masking.
# 2. Sweep ε from 2/255 to 64/255. A good attack leaves nothing in the end. Which attackers leave something, and why?
# 3. Train HIRE with noise of 0.05, and another network with GaussianNoise(0.05). Which is better under FGSM, which in the last row?
