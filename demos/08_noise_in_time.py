# %% [markdown]
# # 8 · Noise in time: what does HIRE's κ do, and why should it change from period to period?
#
# **You learn** to separate the parts of a method's effect with variants that change one thing. **You need** lessons 5 and 6.
#
# HIRE's noise (lesson 5) is updated after each of the N periods of a batch and kept for the next batch, which has other images:
#
#     κ ← clip(κ + ε_s·sign(∂L/∂κ), −ε_t, ε_t)          with ε_s = ε_t = ε every entry is −ε, 0 or +ε (equation 6)
#
# Its alignment with the gradient of the period is a = mean of κ·sign(∂L/∂κ)/ε: 0 for random signs ("blind" noise), 1 if every sign
# is right. Even noise that FGSM made in the period before (row "anew") reaches only a ≈ 0.19: image and weights have changed since.
#
# **What to expect.** If the signs of ∂L/∂κ were random, 1/3 of the entries of κ would be 0, and an update would change 2/3 of them.
# It is nearly so. In the first period of a batch κ was made for other images: a ≈ 0. In the second it has just been updated for
# these images: a ≈ 0.16. So one period trains with blind noise, the other with aimed noise. (The membranes sum κ, since direct coding
# repeats it at every step. In the first layer, noise made for other images has as much effect as noise made for this image; in later
# layers less.) Gaussian noise is blind in both, and so is one κ for both periods: both gain less over the control κ = 0 than HIRE.
# κ = 0 at the start of each batch gains about as much as HIRE (three of three seeds, PGD with an exponential surrogate).

# %%
from dataclasses import dataclass, field

import numpy as np
from lesson import arguments, four_shapes, pyplot, save, small_ann

from backends import get_backend
from backends.lif import lif_forward
from backends.surrogates import exponential
from minihire.analysis.accuracy import accuracy
from minihire.attacks import attack_accuracy, pgd
from minihire.data.batches import Batches
from minihire.report.tables import table
from minihire.training import Calibration, CraftedNoise, GaussianNoise, NoNoise, Recipe, convert, train

options = arguments("What does HIRE's noise do over time?")
IMAGES, TEST, ANN_EPOCHS, EPOCHS, SEEDS = (320, 40, 6, 1, 1) if options.quick else (960, 300, 8, 2, 3)
EPSILON, STEPS, k = 0.013, 12, get_backend()
training, test = four_shapes(IMAGES, TEST)

# %% [markdown]
# ## HIRE's rule and two variants, which record κ and its alignment

# %%
@dataclass(frozen=True)
class Watched(CraftedNoise):
    """rule: "HIRE", "one κ a batch" (updated after the second period only) or "anew" (from κ = 0 at each batch)."""
    rule: str = "HIRE"
    seen: list = field(default_factory=list)  # in every period: the alignment, and κ at the batch's first place

    def before_period(self, k, kappa, draws, craft):
        return k.zeros(kappa.shape) if self.rule == "anew" and draws.step % 2 == 0 else kappa

    def after_period(self, k, kappa, grad):
        self.seen.append((np.mean(k.to_numpy(kappa) * np.sign(k.to_numpy(grad))) / self.step, k.to_numpy(kappa)[0].copy()))
        return kappa if self.rule == "one κ a batch" and len(self.seen) % 2 else super().after_period(k, kappa, grad)


rules = {"κ = 0": NoNoise(), "Gaussian": GaussianNoise(EPSILON)}
rules |= {rule: Watched(EPSILON, EPSILON, rule) for rule in ("one κ a batch", "HIRE", "anew")}
anns = (small_ann(k, training, ANN_EPOCHS, seed=seed) for seed in range(SEEDS))
starts = [convert(ann, training, steps=4, calibration=Calibration(images=64, steps=20)) for ann in anns]
attacked, rows = {}, []
for rule, noise in rules.items():
    scores = []
    for seed, network in enumerate(start.copy() for start in starts):
        train(network, Recipe(EPOCHS, 32, learning_rate=1e-3, augment=False, periods=2, noise=noise), training, seed=seed)
        answers = accuracy(network, test), attack_accuracy(network, test, pgd(surrogate=exponential()))
        scores.append([100 * right.mean() for right in answers])
    clean, attacked[rule] = np.transpose(scores)
    a = [f"{np.mean([x for x, _ in noise.seen[period::2]]):.3f}" for period in (0, 1)] if noise.crafted else "––"
    rows.append([rule, *a, f"{clean.mean():.1f}", "  ".join(f"{x:4.1f}" for x in attacked[rule]),
                 f"{np.mean(attacked[rule] - attacked['κ = 0']):+.1f}"])
print(table(["noise", "a, period 1", "a, period 2", "clean, %", f"attacked, %, {SEEDS} seeds", "mean gain"], rows))
kappa = np.array([picture for _, picture in rules["HIRE"].seen])
print(f"HIRE's κ: {np.mean(kappa == 0):.2f} of its entries are 0, an update changes {np.mean(kappa[:-1] != kappa[1:]):.2f}")

# %% [markdown]
# ## The figure: κ in the first periods, the effect of noise on membranes (converted, λ = 1, 12 steps), and the gain of training

# %%
plt = pyplot()
images, labels = next(iter(Batches(test, k, TEST)))
aimed = np.sign(k.to_numpy(starts[0].gradients(images, labels, weights=False, image=True, training=False, scale=1.0).image))


def change(noise):
    """Root mean square change of m[t]/v, before its reset, by noise of ±ε: {layer: [STEPS]}."""
    seen = {}
    def observe(event, layer, array):
        if event == "current":
            leak, v = (k.to_numpy(starts[0].parameters[f"{layer}.{name}"]) for name in ("leak", "threshold"))
            membrane = lif_forward(k.to_numpy(array), None, leak, v, STEPS)[2].membrane
            seen.setdefault(layer, []).append(membrane.reshape(STEPS, -1) / v)
    for x in (images, k.asarray(np.clip(k.to_numpy(images) + EPSILON * noise, 0, 1))):
        starts[0].forward(x, steps=STEPS, observe=observe)
    return {layer: np.sqrt(np.mean((disturbed - still) ** 2, axis=1)) for layer, (still, disturbed) in seen.items()}


above, below = (figure := plt.figure(figsize=(11, 6.4))).subfigures(2, 1, height_ratios=[1, 1.8])
for i, axis in enumerate(above.subplots(1, 6)):
    axis.imshow(0.5 + kappa[i] / EPSILON / 2)
    axis.set(xticks=[], yticks=[], title=f"batch {i // 2 + 1}, period {i % 2 + 1}", frame_on=False)
membranes, trained = below.subplots(1, 2)
for kind, noise, colour in (("aimed at the image", aimed, "#D55E00"), ("aimed at another", np.roll(aimed, 1, 0), "#0072B2"),
                            ("random signs", np.random.default_rng(0).choice([-1.0, 1.0], aimed.shape), "#777777")):
    changed = change(noise)
    for layer, style, marker in (("neuron1", "--", "o"), ("neuron5", "-", "s")):
        membranes.plot(changed[layer], color=colour, ls=style, marker=marker, ms=4, lw=2, label=kind if style == "-" else None)
membranes.set(title="what noise of ±ε does to membranes", xlabel="time step t", ylabel="RMS change of m[t] / v")
membranes.legend(loc="upper left", title="solid: layer 5, dashed: layer 1")
for i, rule in enumerate(rules):
    trained.plot(attacked[rule], [-i] * SEEDS, "o", color="#D55E00" if rule == "HIRE" else "#0072B2", ms=8, alpha=0.7)
    trained.plot(np.mean(attacked[rule]), -i, "|", color="black", ms=22, mew=2)
trained.set(title=f"trained with it: {SEEDS} seeds, mean", xlabel="accuracy under PGD (%)", xlim=(0, None), ylim=(-4.5, 0.5))
trained.set_yticks(-np.arange(len(rules)), rules)
save(figure, options.out, "08_noise_in_time")

# %% [markdown]
# ## Exercises
#
# 1. Train with N = 4 periods of one step, and compare with a control of N = 4. How much comes from N, how much from the noise?
# 2. Give HIRE a bound ε_t = 4·ε_s, so that κ remembers more. How do a, the gain and the share of entries at the bound change?
# 3. "anew" is adversarial training at every second update (FGSM of ε = 0.013). Compare it, at equal time, with FGSM at every update.
