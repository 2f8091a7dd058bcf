"""The surrogate ensemble: surrogates through which the strong evaluation attacks a spiking network, besides the network's own.

A white-box result on a spiking network depends on the surrogate that the attacker differentiates through (arXiv 2311.09266, from
which most members are). So an image counts as robust only if it withstands the attacks through every member. A member does not
change the attack. It gives the network to craft on: the attacked network with another backward pass, or a ReLU network with its
weights. The attacked network then classifies the images:

    for member in MEMBERS:
        right &= attack_accuracy(network, data, apgd(8 / 255), source=member.source(network))

The heights of the surrogates differ. A constant factor of a surrogate multiplies the image gradient of a chain of layers by a
constant, if no gradient flows through the reset. So it does not matter to an attack that uses only the sign of the gradient.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from backends import surrogates
from backends.surrogates import Surrogate
from minihire.engine import ops
from minihire.engine.arrays import times
from minihire.layers import Branches, Neuron, Residual
from minihire.network import Network
from minihire.runtime.errors import MinihireError


class Member(NamedTuple):
    """One member. surrogate: f(z). reset_grad: whether gradients also flow through the reset. relu: take the ReLU network."""

    name: str
    surrogate: Surrogate = surrogates.triangle()
    reset_grad: bool = False
    relu: bool = False

    def source(self, network: Network) -> Network:
        """The network to craft images on. Raises MinihireError for an ANN, which has no surrogate."""
        if not network.spiking:
            raise MinihireError("the surrogate ensemble is for spiking networks: attack an ANN directly")
        if self.relu:
            return relu_network(network)
        neuron = replace(network.neuron, surrogate=self.surrogate, reset_grad=self.reset_grad)
        chunk = None if self.surrogate.kind == "rate" else network.time_chunk
        return network.view(neuron=neuron, time_chunk=chunk)


def has_own_neurons(network: Network) -> bool:
    """Whether an SNN has neurons that override `Neuron.fire`. SA-PGD and the surrogate "rate" need those of minihire."""
    neurons = [layer for layer, _ in network.model.walk() if isinstance(layer, Neuron)]
    return network.spiking and any(type(layer).fire is not Neuron.fire for layer in neurons)


def relu_network(network: Network) -> Network:
    """The network on which the member "activation-only" crafts images: an ANN with the SNN's weights.

    The other members change only the backward pass. This network has no spikes in the forward pass, either.

    The input is what the SNN's neurons see: normalised pixels with direct coding, the pixels themselves with rate coding. The
    logits have about the scale of the SNN's. With a smaller or larger scale, the softmax might saturate, and the gradient vanish.

    In a chain of layers without biases, the last weight is multiplied by T and divided by all thresholds. With biases or with
    residual blocks, this is not enough: a bias would not be scaled with the other currents of its layer, nor a shortcut with the
    branch beside it. So each ReLU is divided by the threshold of its neurons. The result is their firing rate, if their leak is 1
    and none has to fire more than once a step. The last weight and the last bias are multiplied by T.
    """
    k, model = network.backend, network.model
    if network.coding == "rate":
        channels = model.image_shape[2]
        model = replace(model, mean=(0.0,) * channels, std=(1.0,) * channels)
    weights = {name: network.parameters[name] for name in model.parameters(spiking=False)}
    thresholds = {
        name.removesuffix(".threshold"): float(k.to_numpy(array)[0])
        for name, array in network.parameters.items()
        if name.endswith(".threshold")
    }
    last, scale = model.layers[-1].name, float(network.steps)
    blocks = any(isinstance(layer, Residual | Branches) for layer in model.layers)
    if blocks or any(name.endswith(".bias") for name in weights):
        model = replace(model, layers=tuple(_divided(model.layers, model.image_shape, thresholds)))
    for threshold in thresholds.values():  # in the second case, those of the readout and of other blocks are left
        scale /= threshold
    for name in {f"{last}.weight", f"{last}.bias"} & weights.keys():
        weights[name] = times(k, weights[name], scale)
    return Network(model, k, weights)


def _divided(layers: Iterable[Any], shape: tuple[int, ...], thresholds: dict[str, float]) -> list[Any]:
    """The layers for inputs of this shape, with a division by the threshold after neurons, which is removed from `thresholds`.

    Neurons in a block other than Residual and Branches get none.
    """
    found: list[Any] = []
    for layer in layers:
        if isinstance(layer, Residual):
            found += _divided(layer.parts(shape), shape, thresholds)
        elif isinstance(layer, Branches):
            main, shortcut = (tuple(_divided(branch, shape, thresholds)) for branch in (layer.main, layer.shortcut))
            found.append(replace(layer, main=main, shortcut=shortcut))
        elif isinstance(layer, Neuron):
            found += [layer, _Division(thresholds.pop(layer.name))]
        else:
            found.append(layer)
        shape = layer.output_shape(shape)
    return found


@dataclass(frozen=True)
class _Division:
    """A layer that divides its input by a number above 0."""

    divisor: float

    def output_shape(self, shape):
        """The shape of the input."""
        return shape

    def parameters(self, shape, spiking):
        """No parameters."""
        return {}

    def __call__(self, ctx, x):
        channels = x.shape[-1]
        return ops.normalise(ctx.tape, x, (0.0,) * channels, (self.divisor,) * channels)


def _widths(kind: str, make, widths: tuple[float, ...], reset_grad: bool = False) -> list[Member]:
    suffix = "-reset" if reset_grad else ""
    return [Member(f"{kind}-{width:g}{suffix}", make(width), reset_grad) for width in widths]


def _triangle(width: float) -> Surrogate:
    return surrogates.triangle(1.0, width)


TRIANGLES, EXPONENTIALS, RECTANGLES = (0.25, 0.5, 1.0, 2.0, 3.0), (0.5, 1.0, 2.0), (0.25, 0.5, 1.0, 2.0, 4.0)
MEMBERS: tuple[Member, ...] = (
    Member("arctan-2", surrogates.arctan(2.0)),  # the strongest single one in our own checks, so first
    *_widths("triangle", _triangle, TRIANGLES),
    *_widths("exponential", surrogates.exponential, EXPONENTIALS),
    *_widths("rectangle", surrogates.rectangle, RECTANGLES),
    Member("straight-through", surrogates.straight_through()),
    Member("rate", surrogates.rate()),
    Member("activation-only", relu=True),
    *_widths("triangle", _triangle, TRIANGLES, reset_grad=True),
    *_widths("exponential", surrogates.exponential, EXPONENTIALS, reset_grad=True),
)
