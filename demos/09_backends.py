# %% [markdown]
# # 9 · Backends: is it the same network on every backend?
#
# **You learn** how to compare two implementations of one network, and which differences are rounding.
# **You need** lesson 3; float32 and float64.
#
# minihire's layers call about thirty kernels (backends/interface.py) and never look inside an array. So one network runs on every
# backend: "reference" is plain NumPy, to be read; "numba" is compiled and skips zeros; "torch" is for GPUs. All backends draw
# the same random numbers (Philox, a function of seed and index) and compute the gradients of lesson 3 without autograd. This lesson
# computes, for every image, the gradient g of its loss with respect to its pixels, and compares it with the reference in float64:
#
#     error = ‖g − g_ref‖ / ‖g_ref‖
#
# **What to expect.** In float64 all backends agree to about 1e-15, although they sum in different orders. In float32 they agree to
# 1e-5 or better on most images. But a spike is a step function. If a membrane is within rounding of its threshold, one backend
# fires and another does not, and this changes later spikes. It happens to about fifteen spikes in a million, all in about one image
# of a hundred. The gradient of that image differs by tens of percent, and no backend is wrong. So test backends in float64, and
# expect a few differing images in float32. The compiled backend is several times as fast as the reference. Numba and Torch are faster
# in float32 than in float64. The reference was so in some of our runs only.

# %%
from time import perf_counter

import numpy as np
from lesson import arguments, four_shapes, pyplot, save

from backends import BackendError, get_backend
from minihire.data.batches import Batches
from minihire.models import build
from minihire.network import Network, initialise
from minihire.report.tables import table

options = arguments("Is it the same network on every backend?")
IMAGES, BATCH, WIDTH, STEPS = (16, 8, 0.0625, 2) if options.quick else (192, 64, 0.25, 6)
PLACES = [(name, "cpu", dtype) for dtype in ("float64", "float32") for name in ("reference", "numba", "torch")]
training, _ = four_shapes(IMAGES, 1)
model = build("vgg5", 10, training.shape, mean=training.mean, std=training.std, width=WIDTH, hidden=128)

# %% [markdown]
# ## The same pass on every backend: spikes, gradients, time
#
# The network is not trained; its thresholds and leaks let every layer fire. The first run compiles and is not timed.

# %%
def measured(k):
    """Spikes of every image [IMAGES, …], ∂L/∂x [IMAGES, H·W·C], and milliseconds per batch, forward and backward."""
    network = Network(model, k, initialise(model, k, seed=0, spiking=True), spiking=True, steps=STEPS)
    for n in range(1, 6):
        network.parameters |= {f"neuron{n}.threshold": k.asarray([0.4]), f"neuron{n}.leak": k.asarray([0.95])}
    spikes, gradients, times = [], [], []
    for images, labels in Batches(training, k, BATCH):
        fired = []

        def observe(event, layer, array, fired=fired):
            if event == "spikes":
                fired.append(np.moveaxis(k.to_numpy(array) > 0, 1, 0).reshape(BATCH, -1))

        network.forward(images, observe=observe)
        for again in (False, True) if not times else (True,):
            start = perf_counter()
            found = network.gradients(images, labels, image=True, training=False, scale=1.0)
            gradients += [k.to_numpy(found.image).reshape(BATCH, -1)] if again else []
            times += [1000 * (perf_counter() - start)] if again else []
        spikes.append(np.concatenate(fired, axis=1))
    return np.concatenate(spikes), np.concatenate(gradients), times


results = {}
for name, device, dtype in [*PLACES, ("torch", "cuda", "float32")]:
    try:
        results[f"{name}, {device}, {dtype}"] = measured(get_backend(name, device, dtype=dtype))
    except BackendError as error:
        print(f"left out: {name}, {device}, {dtype}: {error}")
spikes, truth, slow = results["reference, cpu, float64"]
flips = {place: np.sum(fired != spikes, axis=1) for place, (fired, _, _) in results.items()}
errors = {place: np.linalg.norm(g - truth, axis=1) / np.linalg.norm(truth, axis=1) for place, (_, g, _) in results.items()}
median = lambda values: f"{np.median(values):.0e}" if len(values) else "–"
print(f"{IMAGES} images, {spikes.sum():,} spikes")
print(table(["backend", "spikes that differ", "in images", "error, others", "error, these", "ms a batch", "times as fast"],
            [[place, f"{flips[place].sum()}", f"{(flips[place] > 0).sum()}", median(errors[place][flips[place] == 0]),
              median(errors[place][flips[place] > 0]), f"{np.median(ms):.1f}", f"{np.median(slow) / np.median(ms):.1f}"]
             for place, (*_, ms) in results.items()]))

# %% [markdown]
# ## The figure

# %%
plt = pyplot()
figure, (dots, bars) = plt.subplots(1, 2, figsize=(11.5, 4.4), width_ratios=[1.4, 1], sharey=True)
colours = {"reference": "#000000", "numba": "#D55E00", "torch": "#0072B2"}
jitter = np.random.default_rng(0).uniform(-0.25, 0.25, IMAGES)
for i, (place, (*_, ms)) in enumerate(results.items()):
    colour, light = colours[place.split(",")[0]], 0.5 if "float64" in place else 1.0
    for these, marker, size in ((flips[place] == 0, "o", 4), (flips[place] > 0, "D", 9)):
        dots.plot(np.maximum(errors[place], 1e-17)[these], (jitter - i)[these], marker, color=colour, ms=size, alpha=0.6 * light)
    bars.barh(-i, np.median(ms), color=colour, alpha=light)
    bars.annotate(f" {np.median(ms):.0f}", (np.median(ms), -i), va="center")
dots.plot([], [], "D", color="#777777", ms=9, label="a spike differs")
dots.set(title="gradient of each image, beside float64's", xlabel="error (1e-17: none)", xscale="log", xlim=(3e-18, 30))
dots.set_yticks(-np.arange(len(results)), results)
dots.legend(loc="lower left")
bars.set(title=f"forward and backward, {BATCH} images, T = {STEPS}", xlabel="milliseconds (median)")
bars.margins(x=0.15)
save(figure, options.out, "09_backends")

# %% [markdown]
# ## Exercises
#
# 1. Two float32 backends may change the same spikes. Which numbers are rounded before any backend starts to compute?
# 2. Find an image with spikes that differ, and the first of them, by layer and step. How far was its membrane from the threshold?
# 3. Raise the threshold a little, so that fewer neurons fire. (At 2, the last layers never fire, and there is no gradient.) Which backend gets faster, which does not, and why?
