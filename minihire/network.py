"""A network: a description and its weights on a backend. Its main methods: `predict`, `forward`, `gradients` and `pullback`."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from backends.interface import Adaptation, Array, Backend, NeuronState
from backends.randomness import Draw, Draws
from backends.surrogates import Surrogate
from minihire import layers
from minihire.encoding import CODINGS, encode, unit_pixels
from minihire.engine import Tape, Variable, ops
from minihire.engine.arrays import times
from minihire.engine.lif import NeuronOptions
from minihire.layers import ForwardContext
from minihire.models import Model
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError
from minihire.runtime.random_streams import Stream

Observer = Callable[[str, str, Array], None]  # (event, layer, array)
State = dict[str, NeuronState]  # by layer; of arrays, or of Variables in a pass


class Gradients(NamedTuple):
    """The result of `Network.gradients`.

    losses [B], logits [B, C]. weights: the weight gradients by name. image: ∂L/∂image, or ∂L/∂κ if noise was given.
    state: the neurons' state after the last step, by layer; empty with keep_state=False. sums [3]: the sum of the losses,
    the number of correct images and the number of images (see `Backend.cross_entropy`). sums is None if the loss is not the
    cross-entropy.
    """

    losses: Any
    logits: Any
    weights: dict[str, Any]
    image: Any
    state: State
    sums: Any


class Pulled(NamedTuple):
    """The result of the function that `Network.pullback` returns.

    weights: the weight gradients by name. image: ∂L/∂images [B, H, W, C]. One that is not wanted is empty, or None.
    """

    weights: dict[str, Any]
    image: Any


class Prediction(NamedTuple):
    """The result of `Network.predict`, as NumPy arrays.

    classes: int64 [N], the most likely class of each image. probabilities: [N, C], the softmax of the logits; each row sums to
    1. They say how the network ranks its classes, not how often it is right: a network always chooses one of its classes.
    """

    classes: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any]


# `Backend.logit_loss` computes all but the first.
LOSSES = ("cross-entropy", "dlr", "dlr-targeted", "margin", "zero-one")
MAX_STEPS = 10_000  # of a network; a damaged or foreign file may name any number
VIEW_SETTINGS = {"steps", "coding", "neuron", "time_chunk"}


@dataclass
class Network:
    """An ANN (`spiking` False, one step of ReLU) or an SNN (LIF neurons over `steps` time steps) of one model.

    parameters: backend arrays by name, updated in place by the optimisers. The network copies the arrays that it is given,
    so `network.copy(…)` and `dataclasses.replace(network, …)` are independent of the original; only `view` shares weights.
    coding: "direct" or "rate"; readout: "membrane" (logits = Σ_t W·s[t]) or "spikes". time_chunk: number of steps held in
    memory at a time. Gradients stay exact, but need a second forward pass. None: all steps.

    >>> from minihire import Network, build, get_backend, initialise
    >>> k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=16)
    >>> snn = Network(model, k, initialise(model, k, seed=0, spiking=True), spiking=True, steps=4)
    >>> snn.forward(k.zeros((2, 32, 32, 3))).shape
    (2, 10)
    """

    model: Model
    backend: Backend
    parameters: dict[str, Any]
    spiking: bool = False
    steps: int = 1
    coding: str = "direct"
    readout: str = "membrane"
    neuron: NeuronOptions = field(default_factory=NeuronOptions)
    time_chunk: int | None = None
    shares_weights: ClassVar[bool] = False  # True for a view

    def __post_init__(self) -> None:
        self._check_settings()
        self.parameters = {name: self.backend.asarray(array) for name, array in self.parameters.items()}
        self.specification = self.model.parameters(self.spiking, self.readout)
        expected = {name: p.shape for name, p in self.specification.items()}
        given = {name: tuple(array.shape) for name, array in self.parameters.items()}
        if given != expected:
            wrong = sorted(name for name in given.keys() | expected.keys() if given.get(name) != expected.get(name))
            raise MinihireError(
                f"these weights do not fit {self.model.name}: "
                f"{wrong[0]} is {given.get(wrong[0])}, expected {expected.get(wrong[0])}"
            )

    def _check_settings(self) -> None:
        if self.coding not in CODINGS or self.readout not in ("membrane", "spikes"):
            raise MinihireError(
                f"coding {self.coding!r} and readout {self.readout!r} were given: choose coding {' or '.join(CODINGS)}, "
                "and readout membrane or spikes"
            )
        NeuronOptions.require(self.neuron)
        self.spiking, self.steps = bool(self.spiking), checks.whole("the number of time steps", self.steps)
        if self.steps > MAX_STEPS:
            raise MinihireError(f"the number of time steps is {self.steps:.6g}: give at most {MAX_STEPS:,}")
        if self.time_chunk is not None:
            self.time_chunk = checks.whole("the time chunk", self.time_chunk)

    def __repr__(self) -> str:
        kind = f"SNN of {self.steps} time steps" if self.spiking else "ANN"
        return f"Network({self.model.name}: {kind}, {self.model.classes} classes, {self.backend.name} backend)"

    def copy(self, **changes: Any) -> "Network":
        """An independent network: the same settings, except for the changes, and its own copy of the weights."""
        return replace(self, **changes)

    def view(self, **changes: Any) -> "Network":
        """*The same* weights with other settings (steps, coding, neuron, time_chunk), for evaluation.

        An update of the network's weights changes the view, too. An optimiser refuses to train a view.
        """
        unknown = sorted(changes.keys() - VIEW_SETTINGS)
        if unknown:
            raise MinihireError(f"a view cannot have another {unknown[0]}: use network.copy({unknown[0]}=…)")
        other = copy.copy(self)
        vars(other).update(changes, shares_weights=True)
        other._check_settings()
        return other

    @property
    def random(self) -> bool:
        """Whether two evaluations with different draws differ: only those of a rate-coded SNN do."""
        return self.spiking and self.coding == "rate"

    def weight_versions(self) -> tuple[tuple[str, int, int], ...]:
        """A value that is different (!=) after a weight was updated or replaced."""
        versions = self.backend.versions
        return tuple((name, id(array), versions.of(array)) for name, array in self.parameters.items())

    def forward(
        self,
        images: Array,
        *,
        steps: int | None = None,
        draws: Draws = Draws(),
        observe: Observer | None = None,
        until: str | None = None,
    ) -> Array:
        """Logits [B, classes] of images [B, H, W, C] in [0, 1], in evaluation mode.

        observe(event, layer, array) is called for each time chunk, with the "input" of every layer that has weights, and with
        the "current" and the "spikes" of every neuron layer. until: the name of a layer. The layers after it (or after the block
        that it is in) are not computed, and the result is None. Raises MinihireError for images of another shape, type or range,
        and for a name that no layer has.
        """
        checks.images(self.backend, images, self.model.image_shape, self.model.name)
        given = _Pass(self._weights(), Variable(images), self.neuron, draws, observe=observe, until=until)
        chunks = self._chunks(steps)
        logits: Array = None
        state: State = {}
        for chunk in chunks:
            _, part, state = self._run_chunk(given, chunk, state, keep_state=chunk is not chunks[-1])
            if until is None:
                logits = part.value if logits is None else self.backend.add(logits, part.value)
        return logits

    def predict(self, images: Any, *, seed: int = 0, batch_size: int = 100) -> Prediction:
        """Classes and probabilities of images [N, H, W, C]: uint8, or floats with pixels in [0, 1], of NumPy or of the backend.

        seed: of the random spikes of a rate-coded network. batch_size: images in memory at a time. Raises MinihireError for
        images of another shape, type or range, if there are none, and if a logit is not finite.

        >>> import numpy as np
        >>> from minihire import Network, build, get_backend, initialise
        >>> k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=16)
        >>> found = Network(model, k, initialise(model, k, seed=0)).predict(np.zeros((2, 32, 32, 3), np.uint8))
        >>> found.classes.shape, found.probabilities.shape
        ((2,), (2, 10))
        """
        k = self.backend
        images = checks.pictures(k, images, self.model.image_shape, self.model.name)
        size, seed = checks.whole("the batch size", batch_size), checks.whole("the seed", seed, None)
        parts = []
        for first in range(0, len(images), size):
            batch = images[first : first + size]
            batch = unit_pixels(batch, k.dtype) if images.dtype == np.uint8 else batch.astype(k.dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # the check below says it in a sentence
                parts.append(k.to_numpy(self.forward(k.asarray(batch), draws=Draws(seed, 0, first))).astype(np.float64))
        logits = np.concatenate(parts)
        checks.finite_logits(logits)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Prediction(logits.argmax(axis=1), exponents / exponents.sum(axis=1, keepdims=True))

    def gradients(
        self,
        images: Array,
        labels: Array,
        *,
        weights: bool = True,
        image: bool = False,
        noise: Array | None = None,
        clip_noise: bool = True,
        steps: int | None = None,
        draws: Draws = Draws(),
        training: bool = True,
        scale: float | None = None,
        surrogate: Surrogate | None = None,
        state: State | None = None,
        keep_state: bool = True,
        check: bool = True,
        loss: str = "cross-entropy",
        targets: Array | None = None,
        adaptation: dict[str, Adaptation] | None = None,
    ) -> Gradients:
        """The loss of images [B, H, W, C] with labels int64 [B] and its gradients, in one forward and one backward pass.

        weights, image: which gradients are wanted. noise: κ, added to the images (then clipped to [0, 1] if clip_noise);
        the image gradient is then ∂L/∂κ. training: dropout on. scale: factor on the loss of each image (default: 1/B).
        surrogate: replaces the network's own surrogate. state: the neurons' state before the first step; no gradient flows
        into it. keep_state: whether to return the state after the last step, which takes as much memory as one time step.
        check: False in a loop that checked images and labels before. loss: one of LOSSES; targets: the classes of
        "dlr-targeted". adaptation: the memory of the adaptive surrogate by layer, updated in place; an empty dictionary is
        filled. Raises MinihireError for no images, for images, labels and weights of another shape, type or range, for an
        unknown loss, and for time chunks with a surrogate that needs all time steps.
        """
        k = self.backend
        if check:
            checks.images(k, images, self.model.image_shape, self.model.name)
            labels = checks.labels(k, labels, images.shape[0], self.model.classes)
            if not images.shape[0]:
                raise MinihireError("gradients are means over images, but none was given: give at least one image")
        _refuse_loss(loss, targets)
        neuron, chunks = self._options(surrogate), self._chunks(steps)
        _refuse_chunks(neuron.surrogate, chunks)
        pixels = Variable(images, needs_grad=image and noise is None)
        kappa = None if noise is None else Variable(noise, needs_grad=image)
        dropout = draws if training else None
        given = _Pass(self._weights(weights), pixels, neuron, draws, kappa, clip_noise, dropout, adaptation)
        starts, logits = self._forward_earlier(given, chunks, state or {})
        # The last chunk runs forward only here, and is recorded.
        start = _variables(starts[-1], needs_grad=len(chunks) > 1)
        tape, part, end = self._run_chunk(given, chunks[-1], start, keep_state)
        logits = part.value if logits is None else k.add(logits, part.value)
        weight = 1 / labels.shape[0] if scale is None else scale
        losses, grad_logits, sums = _loss(k, logits, labels, loss, targets, weight)
        tape.backward([(part, grad_logits)])
        self._backward_earlier(given, chunks, starts, grad_logits, start)
        grad_weights = {name: variable.grad for name, variable in given.weights.items() if variable.grad is not None}
        grad_image = pixels.grad if kappa is None else kappa.grad
        if image and grad_image is None:
            name = self.model.name
            raise MinihireError(
                f"the image has no gradient: let each layer of {name} record its operation with ctx.tape.record"
            )
        return Gradients(losses, logits, grad_weights, grad_image, _values(end), sums)

    def _forward_earlier(self, given: "_Pass", chunks: list[range], state: State) -> tuple[list[State], Array]:
        """Run all chunks but the last, and record nothing. state: before the first one.

        Returns the state before each chunk, as arrays, and the sum of the logits; None if there is only one chunk.
        """
        starts, logits, constant = [state], None, given.without_gradients()
        for chunk in chunks[:-1]:
            _, part, end = self._run_chunk(constant, chunk, _variables(starts[-1], needs_grad=False), keep_state=True)
            starts.append(_values(end))
            logits = part.value if logits is None else self.backend.add(logits, part.value)
        return starts, logits

    def _backward_earlier(
        self, given: "_Pass", chunks: list[range], starts: list[State], grad_logits: Array, later: State
    ) -> None:
        """Back-propagate through all chunks but the last. Each runs forward again, and is recorded.

        starts: the state before each chunk, as arrays. later: the state before the last chunk, with its gradients.
        """
        for i in reversed(range(len(chunks) - 1)):
            start = _variables(starts[i], needs_grad=i > 0)
            tape, part, end = self._run_chunk(given, chunks[i], start, keep_state=True)
            tape.backward([(part, grad_logits), *_seeds(end, later)])
            later = start

    def pullback(
        self,
        images: Array,
        *,
        weights: bool = True,
        image: bool = False,
        training: bool = True,
        draws: Draws = Draws(),
        surrogate: Surrogate | None = None,
    ) -> tuple[Array, Callable[[Array], Pulled]]:
        """Logits [B, classes], and a function from ∂L/∂logits to gradients, for any loss L.

        weights, image: the gradients that are wanted. The other arguments are as in `gradients`, too. The function can be called
        once; until then all time steps stay in memory, whatever the time chunk. Raises MinihireError as `forward` does, and for a
        second call.
        """
        checks.images(self.backend, images, self.model.image_shape, self.model.name)
        pixels = Variable(images, needs_grad=image)
        dropout = draws if training else None
        given = _Pass(self._weights(weights), pixels, self._options(surrogate), draws, dropout=dropout)
        all_steps = range(self.steps if self.spiking else 1)
        tape, logits, _ = self._run_chunk(given, all_steps, {}, keep_state=False)

        def pull(grad_logits: Array) -> Pulled:
            if not tape.entries:
                raise MinihireError("this pullback was used already: ask the network for another")
            tape.backward([(logits, grad_logits)])
            grads = {name: variable.grad for name, variable in given.weights.items() if variable.grad is not None}
            return Pulled(grads, pixels.grad)

        return logits.value, pull

    def _weights(self, needs_grad: bool = False) -> dict[str, Variable]:
        """The parameters as Variables. Raises MinihireError where one was replaced by an array of another shape or type."""
        for name, p in self.specification.items():
            array: Array = self.parameters.get(name)
            checks.belongs(self.backend, name, array)
            if tuple(array.shape) != p.shape:
                raise MinihireError(f"{name} is {list(array.shape)}: give an array of shape {list(p.shape)}")
        return {name: Variable(array, needs_grad) for name, array in self.parameters.items()}

    def _options(self, surrogate: Surrogate | None) -> NeuronOptions:
        """The options of the neurons, with this surrogate if one is given."""
        return replace(self.neuron, surrogate=surrogate) if surrogate else self.neuron

    def _chunks(self, steps: int | None) -> list[range]:
        """The time steps of each time chunk; an ANN has one step."""
        total = self.steps if steps is None else checks.whole("the number of time steps", steps)
        total = total if self.spiking else 1
        size = min(self.time_chunk or total, total)
        return [range(first, min(first + size, total)) for first in range(0, total, size)]

    def _run_chunk(self, given: "_Pass", chunk: range, start: State, keep_state: bool) -> tuple[Tape, Variable, State]:
        """Run one time chunk from the state `start`, of Variables.

        Returns the tape, the chunk's part of the logits, and the state after the chunk, which is empty without keep_state.
        """
        ctx = ForwardContext(
            Tape(self.backend),
            given.weights,
            self.spiking,
            len(chunk),
            given.neuron,
            self.readout,
            state=start,
            end_state={} if keep_state else None,
            dropout=given.dropout,
            adaptation=given.adaptation,
            observe=given.observe,
        )
        x = given.pixels
        if given.noise is not None:
            x = ops.add(ctx.tape, x, given.noise)
            x = ops.clip(ctx.tape, x, 0.0, 1.0) if given.clip_noise else x
        x = ops.reshape(ctx.tape, x, (1, *x.shape))
        coding = self.coding if self.spiking else "direct"
        x = encode(ctx.tape, x, coding, self.model.mean, self.model.std, given.draws, chunk.start, len(chunk))
        through = self.model.layers if given.until is None else self.model.up_to(given.until)
        logits = layers.forward(ctx, through, x)
        return ctx.tape, logits, ctx.end_state or {}


@dataclass(frozen=True)
class _Pass:
    """The inputs and options of a forward pass, the same for all its time chunks; see `Network.gradients`. noise: κ."""

    weights: dict[str, Variable]
    pixels: Variable
    neuron: NeuronOptions
    draws: Draws
    noise: Variable | None = None
    clip_noise: bool = True
    dropout: Draws | None = None  # None: no dropout
    adaptation: dict[str, Adaptation] | None = None
    observe: Observer | None = None
    until: str | None = None

    def without_gradients(self) -> "_Pass":
        """The same pass of inputs that need no gradient: the tape records nothing."""
        weights = {name: Variable(variable.value) for name, variable in self.weights.items()}
        noise = None if self.noise is None else Variable(self.noise.value)
        return replace(self, weights=weights, pixels=Variable(self.pixels.value), noise=noise)


def initialise(
    model: Model, backend: Backend, seed: int, spiking: bool = False, readout: str = "membrane"
) -> dict[str, Array]:
    """Initial weights, by name: for each parameter, random normal or constant values, as `layers.Parameter` describes.

    >>> from minihire import build, get_backend, initialise
    >>> k, model = get_backend("reference"), build("vgg5", width=1 / 16, hidden=16)
    >>> initialise(model, k, seed=0)["conv1.weight"].shape
    (3, 3, 3, 4)
    """
    seed, arrays = checks.whole("the seed", seed, None), {}
    for index, (name, p) in enumerate(model.parameters(spiking, readout).items()):
        if p.std:
            values = backend.to_numpy(
                backend.random(Draw(seed, Stream.INIT, 0, index), (math.prod(p.shape),), distribution="normal")
            )
            arrays[name] = backend.asarray((values * p.std).reshape(p.shape))
        else:
            arrays[name] = backend.asarray(np.full(p.shape, p.start))
    return arrays


def _values(state: State) -> State:
    """The state with an array for each Variable."""
    return {name: each.map(lambda variable: variable.value) for name, each in state.items()}


def _variables(state: State, needs_grad: bool) -> State:
    """The state with a Variable for each array."""
    return {name: each.map(lambda array: Variable(array, needs_grad)) for name, each in state.items()}


def _seeds(end: State, start: State) -> list[tuple[Variable, Array]]:
    """(variable, gradient) pairs: the Variables of the state at the end of a chunk, and the gradients of the next one's start."""
    pairs = [(x, later) for name in start for x, later in zip(end[name], start[name], strict=True)]
    return [(x, None if later is None else later.grad) for x, later in pairs if x is not None]


def _refuse_loss(loss: str, targets: Array | None) -> None:
    """Raise MinihireError for an unknown loss, and for targets where the loss takes none, or none where it takes them."""
    if loss not in LOSSES or (loss == "dlr-targeted") != (targets is not None):
        raise MinihireError(
            f"a loss is one of {', '.join(LOSSES)}, and only dlr-targeted takes targets, but {loss!r} was given "
            f"{'with' if targets is not None else 'without'} targets"
        )


def _refuse_chunks(surrogate: Surrogate, chunks: list[range]) -> None:
    """Raise MinihireError where a surrogate that needs all time steps would get them in several chunks."""
    if surrogate.kind in ("rate", "adaptive") and len(chunks) > 1:
        names = {"rate": "rate gradient", "adaptive": "adaptive surrogate"}
        raise MinihireError(f"the {names[surrogate.kind]} needs all time steps at once: leave out the time chunk")


def _loss(
    k: Backend, logits: Array, labels: Array, name: str, targets: Array | None, weight: float
) -> tuple[Array, Array, Any]:
    """(loss of each image, weight · ∂L/∂logits, sums): the sums are those of `Backend.cross_entropy`, None for other losses."""
    if name == "cross-entropy":
        losses, grad, sums = k.cross_entropy(logits, labels, weight)
        return losses, grad, sums
    losses, grad = k.logit_loss(logits, labels, name, targets)
    return losses, times(k, grad, weight), None
