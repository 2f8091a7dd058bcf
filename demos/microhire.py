"""The whole method of HIRE-SNN in one file of NumPy, to read from top to bottom. `python demos/microhire.py` runs it in seconds.

An ANN learns to name shapes. It becomes a spiking network (SNN), which is trained further in three ways: traditional, HIRE, and
HIRE without noise. FGSM and PGD attack all of them. The paper is arXiv 2110.11417 (Kundu, Pedram and Beerel, ICCV 2021); equation
numbers are the paper's. Sizes: T time steps, B images, F neurons of a layer, C classes. An image is a row of 256 pixels in [0, 1].
"""
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy starts: several threads are slower here
import numpy as np

CLASSES = ("disc", "ring", "square", "triangle", "cross", "bars")
SIZES = (256, 64, 64, len(CLASSES))  # neurons per layer, from the pixels to the logits
BATCH = 32
GAMMA = 0.3  # γ of the surrogate gradient f(z) = γ·max(0, 1 − |z|), z = m/v − 1 (equation 5; value of the authors' code)

# %% images

def shapes(count, rng):
    """`count` images [count, 256] of shapes with random place, size, angle and contrast, and labels [count]. Not needed for the method."""
    y = rng.integers(len(CLASSES), size=count)
    column = lambda low, high: rng.uniform(low, high, (count, 1))  # one random number per image
    grid = np.arange(16) - 7.5
    down, right = (axis.reshape(1, 256) + column(-1.5, 1.5) for axis in np.meshgrid(grid, grid, indexing="ij"))
    angle, radius = column(-0.3, 0.3), column(4.5, 6.5)
    dx = (np.cos(angle) * right + np.sin(angle) * down) / radius
    dy = (np.cos(angle) * down - np.sin(angle) * right) / radius
    r, a, b = np.hypot(dx, dy), abs(dx), abs(dy)
    outlines = [  # distance from the outline of each shape, negative inside, in units of its radius
        r - 0.85,
        abs(r - 0.75) - 0.2,
        np.maximum(a, b) - 0.75,
        np.maximum(dy - 0.6, 0.87 * a - 0.5 * dy - 0.5),
        np.minimum(np.maximum(a - 0.95, b - 0.27), np.maximum(b - 0.95, a - 0.27)),
        np.maximum(abs(abs(b - 0.31) - 0.31) - 0.15, a - 0.8),
    ]
    inside = np.clip(0.5 - radius * np.choose(y[:, None], outlines), 0, 1)  # the edge is a ramp of one pixel
    noise = 0.05 * rng.standard_normal((count, 256))
    return np.clip(column(0.25, 0.5) + column(0.25, 0.4) * inside + noise, 0, 1), y


# %% neurons

def lif_forward(current, v, lam):
    """Membranes m and spikes s [T, B, F] of leaky integrate-and-fire neurons with threshold v and leak λ."""
    m, s, u = np.empty_like(current), np.empty_like(current), 0
    for t in range(len(current)):
        m[t] = lam * u + current[t]  # the membrane leaks and integrates the current
        s[t] = m[t] > v  # a spike where it exceeds the threshold
        u = m[t] - v * s[t]  # a spike lowers the membrane by v, as in the authors' code (in equation 1 one step later)
    return m, s


def lif_backward(m, s, v, lam, g):
    """∂L/∂current [T, B, F], ∂L/∂v and ∂L/∂λ from g = ∂L/∂s [T, B, F]: BPTT. The spike s in the reset v·s counts as a constant."""
    grad_z = g * GAMMA * np.maximum(0, 1 - abs(m / v - 1))  # ∂L/∂z: the surrogate in place of the derivative of the spike
    d, grad_v, grad_lam = np.zeros((len(m) + 1, *m.shape[1:])), 0.0, 0.0  # d[t] = ∂L/∂current[t], d[T] = 0
    for t in reversed(range(len(m))):
        d[t] = grad_z[t] / v + lam * d[t + 1]
        grad_v += np.sum(-grad_z[t] * m[t] / v**2 - lam * d[t + 1] * s[t])
        grad_lam += np.sum(d[t] * (m[t - 1] - v * s[t - 1])) if t > 0 else 0.0
    return d[:-1], grad_v, grad_lam


# %% network
# An ANN, with ReLUs and T = 1, is the list [W_1, W_2, W_3]. An SNN is [W_1, W_2, W_3, v, λ]: one threshold and leak per hidden layer.

is_spiking = lambda net: len(net) == 5

def new_ann(rng):
    """Random weights from a normal distribution of variance 2/F, where F is the number of the layer's inputs."""
    return [rng.standard_normal(SIZES[i : i + 2]) * (2 / SIZES[i]) ** 0.5 for i in range(3)]


def forward(net, x, T):
    """Logits [B, C] of the images x [B, 256], and for each hidden layer its input, membrane and output [T, B, F]."""
    s, layers = np.repeat((x[None] - 0.5) / 0.25, T, axis=0), []  # direct coding: the normalised image at every step
    for i, W in enumerate(net[:2]):
        if is_spiking(net):
            m, out = lif_forward(s @ W, net[3][i], net[4][i])
        else:
            m = s @ W
            out = np.maximum(m, 0)
        layers.append((s, m, out))
        s = out
    return s.sum(axis=0) @ net[2], layers  # the output layer does not fire: it adds up its currents


def gradients(net, x, y, T):
    """Gradients of the mean cross-entropy L: one for each array of the network, and ∂L/∂x [B, 256]. One pass gives both."""
    logits, layers = forward(net, x, T)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    error = (p - np.eye(len(CLASSES))[y]) / len(x)  # ∂L/∂logits
    grads = [np.zeros_like(array) for array in net]
    grads[2] = layers[-1][2].sum(axis=0).T @ error
    g = np.repeat((error @ net[2].T)[None], T, axis=0)  # ∂L/∂s of the last hidden layer, the same at every step
    for i in reversed(range(2)):
        s, m, out = layers[i]
        if is_spiking(net):
            d, grads[3][i], grads[4][i] = lif_backward(m, out, net[3][i], net[4][i], g)
        else:
            d = g * (m > 0)
        grads[i] = np.tensordot(s, d, axes=((0, 1), (0, 1)))
        g = d @ net[i].T
    return grads, g.sum(axis=0) / 0.25


# %% conversion and training

def convert(ann, x, T=20, scaling=0.3):
    """The ANN as an SNN. Threshold balancing: v is the 99.7th percentile of the layer's currents, at the step where it is largest."""
    snn = [*(W.copy() for W in ann), np.ones(2), np.ones(2)]  # no leak: λ = 1
    for i in range(2):  # from the first layer to the last: the layers before it spike
        currents = forward(snn, x, T)[1][i][0] @ snn[i]
        snn[3][i] = max(np.percentile(current, 99.7, method="inverted_cdf") for current in currents)
    snn[3] *= scaling  # lower thresholds, so that spikes reach the output within few steps
    return snn


def train(net, x, y, rng, *, epochs, learning_rate, T=1, N=1, step=0.0, bound=0.0):
    """Train a copy. N = 1 and step = 0: ANN or traditional training. N > 1 and step > 0: HIRE (algorithm 1)."""
    net, kappa = [array.copy() for array in net], np.zeros((BATCH, 256))  # κ, the noise, one row per place in the batch
    mean, square, updates = [0 * array for array in net], [0 * array for array in net], 0  # Adam's first and second moments
    for _ in range(epochs):  # κ is not reset: the image at the same place in the next batch starts with it
        for batch in rng.permutation(len(x) // BATCH * BATCH).reshape(-1, BATCH):
            for _ in range(N):  # N periods of T/N time steps, each with its own update
                noisy = x[batch] + kappa
                grads, grad_x = gradients(net, np.clip(noisy, 0, 1), y[batch], T // N)
                grad_x = grad_x * ((noisy >= 0) & (noisy <= 1))  # the derivative of the clip
                kappa = np.clip(kappa + step * np.sign(grad_x), -bound, bound)  # equation 6
                updates += 1
                for i, grad in enumerate(grads):  # Adam
                    mean[i] = 0.9 * mean[i] + 0.1 * grad
                    square[i] = 0.999 * square[i] + 0.001 * grad**2
                    deviation = np.sqrt(square[i] / (1 - 0.999**updates)) + 1e-8
                    net[i] -= learning_rate * mean[i] / (1 - 0.9**updates) / deviation
                if is_spiking(net):
                    net[3], net[4] = np.maximum(net[3], 1e-3), np.clip(net[4], 0, 1)  # v > 0 and 0 ≤ λ ≤ 1
    return net


# %% attacks

def fgsm(net, x, y, T, epsilon=8 / 255):
    """One step along the sign of the gradient (equation 3)."""
    return np.clip(x + epsilon * np.sign(gradients(net, x, y, T)[1]), 0, 1)


def pgd(net, x, y, T, epsilon=8 / 255, alpha=0.01, iterations=7):
    """Several small steps, each followed by a projection into the ball of radius ε around x (equation 4)."""
    attacked = x
    for _ in range(iterations):
        moved = attacked + alpha * np.sign(gradients(net, attacked, y, T)[1])
        attacked = np.clip(np.clip(moved, x - epsilon, x + epsilon), 0, 1)
    return attacked


def accuracy(net, x, y, T):
    """The share of the images that the network classifies correctly, in percent."""
    return 100 * np.mean(forward(net, x, T)[0].argmax(axis=1) == y)


def main(seed=0, T=4):
    """Train the networks, and print their accuracies on clean images and on images that were attacked for this network."""
    start, rng = time.process_time(), np.random.default_rng(seed)
    (x, y), (x_test, y_test) = shapes(4000, rng), shapes(1000, rng)
    ann = train(new_ann(rng), x, y, rng, epochs=10, learning_rate=2e-3)
    converted = convert(ann, x[:200])
    traditional = train(converted, x, y, rng, epochs=5, learning_rate=1e-3, T=T)
    control = train(converted, x, y, rng, epochs=5, learning_rate=1e-3, T=T, N=2)  # as many updates as HIRE, without noise: κ = 0
    # ε_s = ε_t = 0.025 is the largest value of section 5.1 (0.008 to 0.025): these shapes are so easy that clean accuracy stays high.
    hire = train(converted, x, y, rng, epochs=5, learning_rate=1e-3, T=T, N=2, step=0.025, bound=0.025)
    print("accuracy, %   clean  FGSM   PGD")
    snns = {"converted": converted, "traditional": traditional, "control": control, "HIRE": hire}
    for name, net, steps in (("ANN", ann, 1), *((name, net, T) for name, net in snns.items())):
        images = x_test, fgsm(net, x_test, y_test, steps), pgd(net, x_test, y_test, steps)
        print(f"{name:<12}", *(f"{accuracy(net, z, y_test, steps):6.1f}" for z in images))
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
