# %% [markdown]
# # 10 · Gradient masking: is a network robust if the paper's attacks fail?
#
# **You learn** to recognise a network that only hides its gradient. **You need** lessons 3 and 6.
#
# A spike is a step function of the membrane. Its derivative is replaced by a surrogate of z = m/v − 1, here a triangle of width w:
#
#     ∂s/∂z := γ·max(0, 1 − |z|/w)          w = 1 is equation 5; where |z| ≥ w, no gradient passes
#
# A surrogate affects gradients only: with the same weights, every surrogate gives the same predictions. If a network was trained with
# a small w, and the attacker uses the same w, the attack has a bad gradient. It fails, although the network may be easy to fool.
#
# **What to expect.** Two networks are trained in the same way, one with w = 1, one with w = 0.05; thresholds and leaks are frozen.
# FGSM and PGD through the network's own surrogate make the first network far less accurate, but hardly the second. Four other
# attackers do fool the second: PGD through an arctan; PGD with images crafted on the first network (transfer); SA-PGD, whose
# surrogate adapts to the membranes; and Square, which uses no gradient. Few images withstand the arctan, none SA-PGD. Under Square
# the second network is less accurate than the first. For both networks, no image withstands the strong suite. The suite's red flags
# are up only for the second: 20 steps are not stronger than one, and many images have a gradient of zero. On the right of the figure the attacker's
# w varies: with the same w, PGD is about as strong against one network as against the other. (All this holds for three of three seeds.)

# %%
from dataclasses import replace

import numpy as np
from lesson import arguments, four_shapes, percent, pyplot, save, small_ann

from backends import get_backend
from backends.lif import lif_forward
from backends.surrogates import arctan, derivative, triangle
from minihire.analysis import Score
from minihire.attacks import attack_accuracy, evaluate_robustness, fgsm, pgd, sa_pgd, square, uniform_noise
from minihire.data.batches import Batches
from minihire.report.tables import interval, table
from minihire.training import Calibration, Recipe, convert, train

options = arguments("Is a network robust if the paper's attacks fail?")
IMAGES, TEST, ANN_EPOCHS, EPOCHS = (320, 20, 6, 1) if options.quick else (960, 100, 8, 2)
SWEEP, STEPS, EPSILON, k = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0), 4, 8 / 255, get_backend()
training, test = four_shapes(IMAGES, TEST)

# %% [markdown]
# ## Two networks: the same training, except for the surrogate

# %%
ann = small_ann(k, training, ANN_EPOCHS)
converted = convert(ann, training, steps=STEPS, calibration=Calibration(images=64, steps=20))
networks = {}
for w in (1.0, 0.05):
    networks[w] = converted.copy(neuron=replace(converted.neuron, surrogate=triangle(0.3, w)))
    train(networks[w], Recipe(EPOCHS, 32, learning_rate=1e-3, augment=False, freeze=True), training)

# %% [markdown]
# ## The paper's attacks (FGSM and PGD-7), PGD with more steps, and four attackers that do without the network's own surrogate

# %%
many = pgd(EPSILON, EPSILON / 4, 20)
attackers = {"clean": fgsm(0.0), "random noise": uniform_noise(EPSILON), "FGSM": fgsm(EPSILON), "PGD-7": pgd(EPSILON),
             "PGD-20": many, "PGD-20, arctan": replace(many, surrogate=arctan()), "PGD-20, transfer": many,
             "SA-PGD-50, adaptive": sa_pgd(EPSILON, 50), "Square, 300 queries": square(EPSILON, 300)}
scores = {}
for w, network in networks.items():
    for who, attack in attackers.items():
        source = networks[0.05 / w] if "transfer" in who else network  # transfer: crafted on the other network
        scores[who, w] = attack_accuracy(network, test, attack, source=source)
scores = {key: Score(int(right.sum()), TEST).as_dict() for key, right in scores.items()}
print(table(["accuracy, %", "w = 1", "w = 0.05"], [[who, *(interval(scores[who, w]) for w in networks)] for who in attackers]))

# %% [markdown]
# ## The strong suite and its red flags

# %%
for w, network in networks.items():
    found = evaluate_robustness(network, test, epsilon=EPSILON)
    up = [f"\n    {flag['name']}: {flag['text']}" for flag in found.flags if flag["up"]]
    print(f"w = {w:g}: {found.robust.mean():.0%} withstand the suite, {len(up)} of {len(found.flags)} red flags are up", *up, sep="")

# %% [markdown]
# ## The figure: the membranes of the network with w = 0.05, every attacker, and the width of the attacker's surrogate

# %%
z = []

def observe(event, layer, array):
    if event == "current":
        leak, v = (k.to_numpy(networks[0.05].parameters[f"{layer}.{name}"]) for name in ("leak", "threshold"))
        z.append(lif_forward(k.to_numpy(array), None, leak, v, STEPS)[2].membrane.ravel() / v - 1)  # before the reset

networks[0.05].forward(next(iter(Batches(test, k, TEST)))[0], observe=observe)
through = [replace(many, surrogate=triangle(0.3, w)) for w in SWEEP]
curves = {w: [100 * attack_accuracy(n, test, attack).mean() for attack in through] for w, n in networks.items()}

plt = pyplot()
figure, (left, dots, right) = plt.subplots(1, 3, figsize=(13, 5), width_ratios=[1, 1.3, 1])
left.hist(z := np.concatenate(z), bins=np.linspace(-3, 2, 101), density=True, color="#bbbbbb")
for row, (w, colour, marker) in enumerate(((1.0, "#0072B2", "^"), (0.05, "#D55E00", "X"))):
    left.plot(grid := np.linspace(-3, 2, 2001), derivative(triangle(1.0, w), grid), color=colour, lw=2,
              label=f"w = {w:g}: {np.mean(np.abs(z) < w):.1%} pass a gradient")
    for i, who in enumerate(attackers):
        height, error = percent([scores[who, w]])
        dots.errorbar(height, -i + 0.2 * (0.5 - row), xerr=error, color=colour, marker=marker, ms=7, lw=1.5, capsize=2, ls="")
    right.plot(curves[w], color=colour, marker=marker, lw=2, ms=7, label=f"network trained with w = {w:g}")
left.set(title="membranes (grey), surrogates", xlabel="z = m/v − 1", yticks=[], xlim=(-3, 2), ylim=(0, 1.45))
left.legend(loc="upper center")
dots.set(title=f"every attacker, ε = 8/255, {TEST} images", xlabel="accuracy (%)", xlim=(-2, 102))
dots.set_yticks(-np.arange(len(attackers)), attackers)
right.set(title="PGD-20 through a triangle", xlabel="width w of the attacker", ylabel="accuracy (%)", ylim=(-2, 102))
right.set_xticks(range(len(SWEEP)), [f"{w:g}" for w in SWEEP])
figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
save(figure, options.out, "10_gradient_masking")

# %% [markdown]
# ## Exercises
#
# 1. At ε = 1 an attack may replace an image by any other. How accurate is w = 0.05 under pgd(1.0, 0.25, 20), through its own
#    surrogate and through arctan? Why is a number above 0 % a red flag?
# 2. Multiply the weights "readout.weight" of a copy of the w = 1 network by 1000. No prediction changes. Which attacks fail
#    now, which does not, and why? Which red flags are up?
# 3. Train a third network as HIRE does: w = 1, periods=2, noise=CraftedNoise(0.013, 0.013). Is it more robust than w = 0.05 under
#    PGD-7? Under Square? Which of the two answers would you publish?
