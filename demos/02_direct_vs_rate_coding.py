# %% [markdown]
# # 2 · Direct and rate codes: how does an image enter a network that speaks in spikes?
#
# **You learn** what each input code costs in time steps and in accuracy. **You need** lesson 1; the standard deviation of a mean.
#
# A first layer with weights W computes a current I[t] at each of T steps. There are two ways to feed it an image x (pixels in [0, 1]):
#
#     direct coding   I[t] = W·x                           the image itself, the same at every step
#     rate coding     I[t] = W·s[t],  s[t] ~ Bernoulli(x)  a pixel spikes with probability x, drawn again at every step
#
# (Rate coding is often called Poisson coding.) The mean of T such spikes estimates the pixel with a standard deviation of √(x·(1−x)/T). It falls only with the root of T.
#
# **What to expect.** The error of a grey pixel is 0.5 after one step and 0.06 after 64 steps; half the error takes four times
# the steps. One ANN, trained on pixels without normalisation, is converted for both codings with the same weights and thresholds.
# Then it is trained for two epochs at each T. With direct coding its accuracy is within a few points of the ANN at T = 4. With rate
# coding it stays lower even at T = 32 (in three of three seeds): training cannot recover what the input does not contain. At
# T = 2 no spike of the converted network reaches its output; it then answers class 0, which is none of our four. Direct coding has a cost: its first layer multiplies real numbers with
# weights, where the other layers only add (lesson 7).

# %%
import numpy as np
from lesson import arguments, four_shapes, percent, pyplot, save, small_ann

from backends import get_backend
from backends.randomness import Draws
from minihire.analysis import Score
from minihire.analysis.accuracy import accuracy
from minihire.encoding import encode
from minihire.engine import Tape, Variable
from minihire.report.tables import interval, table
from minihire.training import Calibration, Recipe, convert, train

options = arguments("Direct or rate coding?")
IMAGES, TEST, ANN_EPOCHS, EPOCHS, TIMES = (160, 60, 6, 1, (2, 4)) if options.quick else (960, 400, 24, 2, (2, 4, 8, 16, 32))
k = get_backend()
training, test = four_shapes(IMAGES, TEST)

# %% [markdown]
# ## The input: the mean of T steps beside the image, and the error of the formula
#
# The draws are a function of (seed, step, pixel): the same on every backend and at every call. Seed 0, six images.

# %%
images = test.images[:6].astype(np.float32)[None] / 255


def seen(coding, steps):
    """The mean over time of what the first layer receives: [B, H, W, C]."""
    tape = Tape(k)
    code = encode(tape, Variable(k.asarray(images)), coding, (0, 0, 0), (1, 1, 1), Draws(seed=0), first_step=0, steps=steps)
    return k.to_numpy(code.value).mean(axis=0)


lengths = 2 ** np.arange(9)
measured = {T: np.sqrt(np.mean((seen("rate", T) - images[0]) ** 2)) for T in lengths.tolist()}
law = {T: np.sqrt(np.mean(images * (1 - images)) / T) for T in lengths.tolist()}
assert np.array_equal(seen("direct", 64), images[0])

# %% [markdown]
# ## One ANN, two codings, several T
#
# The ANN gets pixels without normalisation, because spikes cannot be normalised. It therefore learns more slowly (Adam, 24 epochs).
# Thresholds are balanced with direct input for both codings, so that only the input differs.

# %%
ann = small_ann(k, training, ANN_EPOCHS, optimiser="adam", rate=0.005, mean=(0.0,) * 3, std=(1.0,) * 3)
converted = convert(ann, training, steps=4, calibration=Calibration(images=64, steps=20, scaling=0.7))
scores = {"ANN": Score(int(accuracy(ann, test).sum()), TEST).as_dict()}
for T in TIMES:
    for coding in ("direct", "rate"):
        network = converted.copy(coding=coding, steps=T)
        for stage in ("converted", "trained on"):
            if stage == "trained on":
                train(network, Recipe(EPOCHS, 32, learning_rate=1e-3, augment=False), training)
            scores[coding, stage, T] = Score(int(accuracy(network, test, seed=1).sum()), TEST).as_dict()
shown = [(coding, stage) for coding in ("direct", "rate") for stage in ("converted", "trained on")]
rows = [[f"T = {T}", f"{measured[T]:.3f}", f"{law[T]:.3f}", *(interval(scores[(*way, T)]) for way in shown)] for T in TIMES]
print(f"accuracy in percent on {TEST} images, with 95 % intervals; the ANN has {interval(scores['ANN'])}")
print(table(["", "rate: error", "√(x(1−x)/T)", *map(", ".join, shown)], rows))

# %% [markdown]
# ## The figure

# %%
plt = pyplot()
figure = plt.figure(figsize=(10.5, 6.2))
above, below = figure.subfigures(2, 1, height_ratios=[1, 1.7])
for axis, (coding, T) in zip(above.subplots(1, 6), [("direct", 1), *(("rate", T) for T in (1, 4, 16, 64, 256))], strict=True):
    axis.imshow(seen(coding, T)[0])
    axis.set(xticks=[], yticks=[], title=f"{coding}, T = {T}", frame_on=False)
axis, right = below.subplots(1, 2)
axis.loglog(lengths, list(law.values()), color="#999999", lw=5, label="√(x(1−x)/T)")
axis.loglog(lengths, list(measured.values()), "o", color="#D55E00", label="rate coding, measured")
axis.set(title="error of a pixel", xlabel="time steps T", ylabel="root mean square error")
axis.set_xticks(lengths[::2], lengths[::2])
axis.set_yticks([0.03, 0.1, 0.3], ["0.03", "0.1", "0.3"])
axis.minorticks_off()
axis.legend(loc="upper right")
axis = right
axis.axhline(100 * scores["ANN"]["accuracy"], color="black", ls="--", lw=1.5, label="ANN")
for way in shown:
    colour, marker = ("#0072B2", "s") if way[0] == "direct" else ("#D55E00", "o")
    axis.errorbar(TIMES, *percent([scores[(*way, T)] for T in TIMES]), color=colour, marker=marker,
                  ls="-" if way[1] == "trained on" else ":", lw=2, capsize=3, label=", ".join(way))
axis.set(title=f"the same network, {TEST} test images", xlabel="time steps T", ylabel="accuracy (%)", xscale="log", ylim=(0, 102))
axis.set_xticks(TIMES, TIMES)
axis.minorticks_off()
axis.legend(loc="lower right")
save(figure, options.out, "02_direct_vs_rate_coding")

# %% [markdown]
# ## Exercises
#
# 1. x·(1−x) is largest for grey. Stretch the contrast of the images to [0, 1] before both codings: how many steps does that save?
# 2. Replace the Bernoulli draws by a regular code: pixel x spikes at step t if ⌊x·(t+1)⌋ > ⌊x·t⌋. How does its error fall
#    with T, and how many steps does randomness cost?
# 3. Evaluate the rate-coded network with five other seeds of accuracy(). How much does its accuracy vary with the draws alone?
#    What must an attacker do if the network's answer to the same image changes?
