"""Peer (d): Spyx on JAX. XLA compiles the whole step; jax.lax.scan runs all layers of one time step, then the next step.

The neuron is spyx.nn.LIF: S[t] = [V[t−1] > v], V[t] = βV[t−1] + I[t] − v·S[t]. So every layer answers one step later than
minihire's, and layers fire more rarely: with five layers and T = 6, only the first step's signal reaches the readout. This does
not make the products cheaper, because they are dense. The leak β is trained and the threshold is constant. The surrogate is
minihire's triangle, through spyx.axn.custom.

As with the other peers, the first convolution runs once and the dropout mask is shared over time. XLA compiles the optimiser
together with the backward pass. Weights have minihire's layouts, which are JAX's (HWIO).
"""

import contextlib
import functools
import json
import os

import jax
import jax.numpy as jnp
import optax
import spyx
from flax import nnx

from benchmarks.peers.layouts import walk
from minihire.layers import AvgPool, Conv2d, Flatten, Neuron
from minihire.models import build


class Spyx:
    """One network in Spyx. task: "train", "hire", "attack" or "forward"."""

    spiking = True

    def __init__(self, problem, task: str, threads: int, compiled: bool = True):
        """compiled: always true; XLA compiles every function."""
        use_cores(threads)
        self.problem, self.task = problem, task
        training = task in ("train", "hire")
        steps = problem.steps // problem.periods if task == "hire" else problem.steps
        model = problem.model
        parameters = {name: jnp.asarray(problem.parameter(name)) for name in model.parameters(True)}
        thresholds = tuple((name, float(p[0])) for name, p in parameters.items() if name.endswith(".threshold"))
        self.weights = {name: p.reshape(()) if name.endswith(".leak") else p for name, p in parameters.items()}
        for name, _ in thresholds:
            del self.weights[name]
        self.key = (json.dumps(model.describe()), thresholds, steps, problem.surrogate, problem.learning_rate)
        self.functions = functions(*self.key, training, problem.attack.alpha, problem.attack.epsilon)
        self.images, self.labels = map(jnp.asarray, problem.batch())
        self.random = jax.random.key(0)
        if training:
            self.kappa = jnp.zeros_like(self.images)
            self.state = self.start_optimiser()

    def start_optimiser(self):
        """Adam's state with the problem's moments."""
        adam, *rest = self.functions.optimiser.init(self.weights)
        found = {name: self.problem.moments(name) for name in self.weights}
        if all(moments is not None for moments in found.values()):
            mean, square = (
                {name: jnp.asarray(found[name][i]).reshape(w.shape) for name, w in self.weights.items()} for i in (0, 1)
            )
            adam = adam._replace(count=jnp.asarray(self.problem.optimiser_steps, jnp.int32), mu=mean, nu=square)
        return adam, *rest

    def step(self) -> None:
        """One step of the task."""
        if self.task == "forward":
            jax.block_until_ready(self.functions.forward(self.weights, self.images))
        elif self.task == "attack":
            jax.block_until_ready(self.functions.attack(self.weights, self.images, self.labels))
        elif self.task == "train":
            self.update(self.images)
        else:
            rule = self.problem.noise
            for _ in range(self.problem.periods):
                gradient = self.update(jnp.clip(self.images + self.kappa, 0, 1))
                self.kappa = jnp.clip(self.kappa + rule.step * jnp.sign(gradient), -rule.bound, rule.bound)

    def update(self, images):
        """A training step on these images. Returns the image gradient for HIRE, else None."""
        self.random, key = jax.random.split(self.random)
        run = self.functions.hire if self.task == "hire" else self.functions.train
        found = run(self.weights, self.state, images, self.labels, key)
        self.weights, self.state, gradient = jax.block_until_ready(found)
        return gradient

    def densities(self) -> dict[str, float]:
        """Mean fraction of neurons that fire per time step, by layer, in evaluation mode."""
        text, thresholds, _, *rest = self.key
        evaluation = functions(text, thresholds, self.problem.steps, *rest, False, 0.0, 0.0)
        rates = evaluation.rates(self.weights, self.images)
        return {name: float(rate) for name, rate in rates.items()}

    def logits(self):
        """Logits [B, classes] of the batch, in evaluation mode, as a NumPy array."""
        return jax.device_get(self.functions.forward(self.weights, self.images))


def use_cores(count: int) -> None:
    """Let this process use `count` cores: XLA starts as many threads as it may use cores. It must be called before XLA starts."""
    with contextlib.suppress(AttributeError, OSError):  # only Linux has it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


@functools.cache
def functions(*settings) -> "Functions":
    """The functions of a network. The same settings give the same object, so XLA compiles each function once per process."""
    return Functions(*settings)


class Functions:
    """The compiled functions of a network, and its optimiser.

    description: of the model, as JSON. thresholds: (name, number) pairs. surrogate: height and width of the triangle.
    training: whether dropout is on. weights: all trained parameters by name; key: for the dropout masks.
    """

    def __init__(
        self, description: str, thresholds, steps: int, surrogate, rate: float, training: bool, alpha, epsilon
    ):
        self.model = build(**json.loads(description))
        self.neurons = {part.name: (part, shape) for part, shape in self.model.walk() if isinstance(part, Neuron)}
        self.thresholds, self.steps, self.surrogate = dict(thresholds), steps, surrogate
        self.training, self.alpha, self.epsilon = training, alpha, epsilon
        self.optimiser = optax.adam(rate)
        self.forward = jax.jit(lambda weights, images: self.compute(weights, images, jax.random.key(0))[0])
        self.rates = jax.jit(lambda weights, images: self.compute(weights, images, jax.random.key(0))[1])
        self.attack = jax.jit(self.attack_step)
        self.train = jax.jit(self.train_step, donate_argnums=(0, 1))
        self.hire = jax.jit(self.hire_step, donate_argnums=(0, 1))

    def compute(self, weights, images, key):
        """Logits [B, classes] of images [B, H, W, C] in [0, 1], and the fraction of neurons that fire per step, by layer."""
        model, first = self.model, self.model.layers[0]
        nodes = {name: self.neuron(name, weights) for name in self.neurons}
        mean, std = (jnp.asarray(values, jnp.float32) for values in (model.mean, model.std))
        current = convolve(first, (images - mean) / std, weights)
        membranes = {name: node.initial_state(len(images)) for name, node in nodes.items()}
        masks = self.masks(membranes, key)

        def one_step(membranes, _):
            after, rates = {}, {}

            def layer(part, x):
                if part is first:
                    return current
                if isinstance(part, Neuron):
                    spikes, after[part.name] = nodes[part.name](x, membranes[part.name])
                    rates[part.name] = spikes.mean()
                    return spikes * masks[part.name] if part.name in masks else spikes
                if isinstance(part, AvgPool):
                    return nnx.avg_pool(x, (2, 2), (2, 2))
                if isinstance(part, Flatten):
                    return x.reshape(len(x), -1)
                return convolve(part, x, weights) if isinstance(part, Conv2d) else x @ weights[f"{part.name}.weight"]

            total = walk(model.layers, model.image_shape, images, layer)
            return after, (total, rates)

        _, (outputs, rates) = jax.lax.scan(one_step, membranes, None, length=self.steps)
        return outputs.sum(0), {name: values.mean() for name, values in rates.items()}

    def neuron(self, name, weights):
        """The LIF layer with minihire's triangle surrogate."""
        threshold, (height, width) = self.thresholds[f"{name}.threshold"], self.surrogate

        def slope(x):
            return jnp.maximum(0, 1 - jnp.abs(x) / (threshold * width)) * height / threshold

        shape, leak = self.neurons[name][1], weights[f"{name}.leak"]
        return spyx.nn.LIF(shape, leak, threshold, spyx.axn.custom(slope), rngs=nnx.Rngs(0))

    def masks(self, membranes, key):
        """A dropout mask for each layer that has one, with entries 0 and 1/(1 − dropout rate)."""
        keep = {name: 1 - part.dropout for name, (part, _) in self.neurons.items() if self.training and part.dropout}
        keys = jax.random.split(key, max(1, len(keep)))
        return {
            name: jax.random.bernoulli(keys[i], p, membranes[name].shape) / p
            for i, (name, p) in enumerate(keep.items())
        }

    def loss(self, weights, images, labels, key):
        """Mean cross-entropy."""
        logits, _ = self.compute(weights, images, key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def update(self, weights, state, gradient):
        """New weights, and Adam's new state."""
        changes, state = self.optimiser.update(gradient, state, weights)
        return optax.apply_updates(weights, changes), state

    def train_step(self, weights, state, images, labels, key):
        """New weights and state; and None, because there is no image gradient."""
        gradient = jax.grad(self.loss)(weights, images, labels, key)
        return *self.update(weights, state, gradient), None

    def hire_step(self, weights, state, images, labels, key):
        """New weights and state, and the image gradient."""
        gradient, image = jax.grad(self.loss, argnums=(0, 1))(weights, images, labels, key)
        return *self.update(weights, state, gradient), image

    def attack_step(self, weights, images, labels):
        """Images after one PGD step."""
        gradient = jax.grad(self.loss, argnums=1)(weights, images, labels, jax.random.key(0))
        x = jnp.clip(images + self.alpha * jnp.sign(gradient), images - self.epsilon, images + self.epsilon)
        return jnp.clip(x, 0, 1)


def convolve(part, x, weights):
    """The convolution `part` of x [B, H, W, C]."""
    sides, order = 2 * [(part.size // 2, part.size // 2)], ("NHWC", "HWIO", "NHWC")
    weight = weights[f"{part.name}.weight"]
    return jax.lax.conv_general_dilated(x, weight, 2 * (part.stride,), sides, dimension_numbers=order)
