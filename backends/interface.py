"""The contract between minihire and its numerical kernels.

**Arrays are opaque.** The layers above pass them from kernel to kernel and look at nothing but `.shape`, the logical
shape; a backend may store spikes as bytes, bit masks or event lists, and choose dense or event-driven kernels by
measured density. Only `to_numpy` opens an array. A *weight gradient* may be a handle (the factors of an outer product,
say): nothing but `add`, the optimiser steps, and `to_numpy` ever receives one.

**Layout.** T time steps, B images, H×W pixels, C channels, F features. Activations are [T, B, H, W, C] or [T, B, F]:
time-major, channels last, T = 1 for an ANN or a static input. Convolution weights are [k, k, C_in, C_out], linear
weights [F_in, F_out]; threshold and leak are arrays of shape [1], so that no kernel waits for the host. Floating point
arrays have the backend's `dtype`.

**Arguments stay as they are**, except in `sgd_step`, `adam_step` and `write_rows`, which update in place the arrays that
their docstrings name, and a current that `lif_forward` is given with `reuse`. A result may share memory with an argument
(`reshape`, `rows`, `repeat_time`), and a convolution, or the gradient of a weight, a pool or a convolution's input, may be
computed only when it is used: do not write to what a kernel was given or has returned.

**Numbers are finite.** A backend that skips zeros does not multiply them by what is infinite or not a number.

**Numbers do not depend on the number of threads** (on the Torch backend they may, by their rounding), and every random draw
equals `backends.randomness` to the bit.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from backends.randomness import Draw
from backends.surrogates import Surrogate

Array = Any
WHOLE = np.uint8, np.uint16, np.int64  # types of whole numbers that arrays may have


class NeuronState(NamedTuple):
    """What a layer of neurons hands from one time chunk to the next; also the gradients with respect to it.

    membrane [B, …] is u of the last step (reset "delayed": m, the membrane before its reset, and then spikes [B, …]
    are the last step's own, before dropout; None otherwise). As a gradient, either may be None for zero.
    """

    membrane: Array
    spikes: Array | None = None


class Backend(ABC):
    """Every kernel of minihire. `name`, `device`, `dtype` ("float32" or "float64"), `precision` and `threads` describe it.

    asynchronous: kernels return before their work is done, and whoever reads a value waits for it. rank, ranks: this
    process is number `rank` of `ranks` that work together, each on its own share of a batch.
    """

    name: str
    device: str
    dtype: str
    precision: str = "float32"  # of products, see `get_backend`
    asynchronous: bool = False
    threads: int
    rank: int = 0
    ranks: int = 1

    def announce(self, say) -> None:  # noqa: B027 - a choice, not a duty
        """From now on call say(line) before slow work that is done once, such as compiling kernels. Default: there is none."""

    def device_memory(self) -> int | None:
        """The most bytes that were in use on the device so far; None where the device is the CPU."""
        return None

    def sum_over_ranks(self, arrays: list) -> list:
        """Each array's sum over all ranks, the same bits on every rank, which all wait for each other here.

        Floating point backend arrays, weight gradients (handles included) and NumPy arrays of numbers, which come back
        as NumPy's with the precision of `dtype`; every rank gives the same shapes. Default: one rank's, unchanged.
        Raises BackendError where another rank has ended.
        """
        return arrays

    def repeated(self, function):
        """A function that will be called often: what it does may be recorded once and then replayed, which is faster.

        Its arguments and results are arrays, numbers (int and float) and None, also in tuples, dictionaries and
        NeuronStates. Nothing but arrays, their shapes, and these numbers may change from call to call; the function looks at
        no value (`total`, `events`, `to_numpy`) and hands its numbers on to kernels only (a draw's step, an optimiser's rate
        and step), in whatever form it gets them. What it returns holds until the next call. Default: the function itself.
        """
        return function

    def later(self, array):
        """A function that returns the array's values of now as NumPy's, and waits for them only when it is called."""
        values = self.to_numpy(array)
        return lambda: values

    # ---------------------------------------------------------------- arrays

    @abstractmethod
    def asarray(self, values) -> Array:
        """A NumPy array (or nested numbers) as a backend array. Those of WHOLE types keep them, the rest is `dtype`."""

    @abstractmethod
    def to_numpy(self, array):
        """The array's values, or a weight gradient handle's, as a NumPy array."""

    @abstractmethod
    def zeros(self, shape, dtype=None) -> Array:
        """Zeros of `dtype`, or of a whole type."""

    @abstractmethod
    def reshape(self, array, shape) -> Array:
        """The same values in row-major order under another shape."""

    @abstractmethod
    def rows(self, array, start, stop) -> Array:
        """array[start:stop] along the first axis."""

    @abstractmethod
    def write_rows(self, array, start, values) -> None:
        """array[start:start + len(values)] = values, in place."""

    @abstractmethod
    def total(self, array) -> float:
        """The sum of all entries."""

    def largest(self, array, count: int):
        """The `count` largest entries, or all if there are fewer, as a NumPy array in any order."""
        values = self.to_numpy(array).reshape(-1)
        return values if len(values) <= count else np.partition(values, len(values) - count)[-count:]

    @abstractmethod
    def events(self, array) -> int:
        """The number of entries that are not zero."""

    # ---------------------------------------------------------------- randomness

    @abstractmethod
    def uniform(self, draw: Draw, shape, first: int = 0) -> Array:
        """Numbers in [0, 1): entry i is number first + i of the draw (a data-parallel rank asks for its own share)."""

    @abstractmethod
    def normal(self, draw: Draw, shape, first: int = 0) -> Array:
        """Numbers from N(0, 1); indices as in `uniform`."""

    @abstractmethod
    def dropout_mask(self, draw: Draw, shape, rate: float, first: int = 0) -> Array:
        """0 where uniform < rate, else 1/(1 − rate). Only `lif_forward`, `relu` and its gradient receive it."""

    @abstractmethod
    def rate_code(self, draw: Draw, images, first_step: int, steps: int, first: int = 0) -> Array:
        """Bernoulli spikes [steps, B, …]: 1 where uniform < pixel; step t is the draw with layer = first_step + t."""

    # ---------------------------------------------------------------- images

    @abstractmethod
    def image_batch(self, store, index, shift, flip, padding: int) -> Array:
        """Images store[index] (uint8 [N, H, W, C]) scaled to [0, 1]: [B, H, W, C].

        index int64 [B], shift int64 [B, 2] in 0 … 2·padding (crop corner in the image padded by reflection; `padding`
        is no shift; the image is larger than `padding`), flip int64 [B] (1 mirrors left and right, after the crop).
        All three are NumPy arrays.
        """

    @abstractmethod
    def scale_shift(self, x, scale, shift) -> Array:
        """x·scale + shift along the last axis; scale and shift are tuples of C numbers. Normalisation and its gradient."""

    @abstractmethod
    def clip(self, x, low: float, high: float) -> Array:
        """min(max(x, low), high)."""

    @abstractmethod
    def clip_gradient(self, grad, x, low: float, high: float) -> Array:
        """grad where low ≤ x ≤ high, else 0."""

    @abstractmethod
    def sign_step(self, x, grad, step: float, low: float, high: float, center=None, bound: float = 0.0) -> Array:
        """clip(x + step·sign(grad), low, high), first projected on center ± bound if there is a center.

        Equation 6 (κ: low = −ε_t, high = ε_t) and equation 4 (PGD: center = the clean image, bound = ε); sign(0) = 0.
        """

    # ---------------------------------------------------------------- dense algebra

    @abstractmethod
    def add(self, a, b) -> Array:
        """a + b for arrays of one shape, or the sum of two gradients of one weight (handles included)."""

    def prepared(self, weight) -> Array:
        """A weight as `conv2d`, `linear` and their input gradients like it best, until it changes. Default: itself."""
        return weight

    def kept(self, x):
        """What a convolution holds of its input until `conv2d_weight_gradient` takes it. Default: the input itself."""
        return x

    @abstractmethod
    def conv2d(self, x, weight, stride: int, padding: int) -> Array:
        """Cross-correlation of x [T, B, H, W, C_in] with weight [k, k, C_in, C_out]: [T, B, H_out, W_out, C_out].

        An array, or a handle: see arrays.py.
        """

    @abstractmethod
    def conv2d_input_gradient(self, grad, weight, shape, stride: int, padding: int) -> Array:
        """∂L/∂x of `shape` [T, B, H, W, C_in] from ∂L/∂out; an array or a handle."""

    @abstractmethod
    def conv2d_weight_gradient(self, grad, x, size: int, stride: int, padding: int) -> Array:
        """∂L/∂weight [k, k, C_in, C_out], k = size, summed over T and B; an array or a handle."""

    @abstractmethod
    def linear(self, x, weight) -> Array:
        """x [T, B, F_in] · weight [F_in, F_out]: [T, B, F_out]."""

    @abstractmethod
    def linear_input_gradient(self, grad, weight) -> Array:
        """∂L/∂x [T, B, F_in]."""

    @abstractmethod
    def linear_weight_gradient(self, grad, x) -> Array:
        """∂L/∂weight [F_in, F_out], summed over T and B; an array or a handle."""

    @abstractmethod
    def avg_pool(self, x) -> Array:
        """Mean over 2×2 windows of [T, B, H, W, C], stride 2; an odd last row or column is left out."""

    @abstractmethod
    def avg_pool_gradient(self, grad, shape) -> Array:
        """∂L/∂x of `shape`: a quarter of the window's gradient in each of its four pixels."""

    @abstractmethod
    def sum_time(self, x) -> Array:
        """[T, …] → [1, …]."""

    @abstractmethod
    def repeat_time(self, x, steps: int) -> Array:
        """[1, …] → [steps, …], the gradient of `sum_time`."""

    # ---------------------------------------------------------------- neurons

    @abstractmethod
    def lif_forward(
        self,
        current,
        state,
        leak,
        threshold,
        steps: int,
        *,
        reset: str = "immediate",
        mask=None,
        soft: Surrogate | None = None,
        reuse: bool = False,
        want_state: bool = True,
    ) -> tuple[Array, NeuronState | None, Any]:
        """A layer of LIF neurons over `steps` time steps (equations 1 and 2): the equations are in backends/lif.py.

        current [T or 1, B, …] (1: the same at every step), state from the chunk before or None (membrane 0),
        mask [B, …] from `dropout_mask` or None, soft: emit F(z) in place of a step (for gradient checks).
        reuse: nobody needs the current any more. Its memory may become that of `saved`, which then serves one backward pass
        only, whose gradient may in turn take it. A neuron fires where m > v, exactly. Returns (spikes [T, B, …] times the
        mask, state, saved); the last state is None unless it is wanted, `saved` goes to `lif_backward` and nowhere else.
        """

    @abstractmethod
    def lif_backward(
        self,
        saved,
        grad_spikes,
        grad_state: NeuronState | None,
        surrogate: Surrogate,
        reset_grad: bool = False,
        want_state: bool = True,
    ) -> tuple[Array, NeuronState | None, Array, Array]:
        """Back-propagation through time of `lif_forward`, by hand.

        grad_spikes [T, B, …]; grad_state: ∂L/∂(the state that was handed on), or None. Returns ∂L/∂current (of the
        current's shape: summed over time where it was static), ∂L/∂(initial state), or None if it is not wanted,
        ∂L/∂leak [1], ∂L/∂threshold [1].
        """

    @abstractmethod
    def lif_rate_backward(self, saved, grad_spikes) -> Array:
        """∂L/∂current under the rate gradient (derived in backends/lif.py): an attacker's, with no parameter gradients."""

    @abstractmethod
    def relu(self, x, mask=None) -> Array:
        """max(x, 0), times the dropout mask."""

    @abstractmethod
    def relu_gradient(self, grad, x, mask=None) -> Array:
        """grad times the mask where x > 0, else 0. x: what `relu` took, or what it gave."""

    # ---------------------------------------------------------------- loss and optimisers

    @abstractmethod
    def cross_entropy(self, logits, labels, weight: float) -> tuple[Array, Array]:
        """Per-image loss −log softmax(logits)[label] [B], and weight · its gradient [B, C]. labels: int64 [B]."""

    @abstractmethod
    def tally(self, losses, logits, labels) -> Array:
        """[sum of losses, images whose largest logit is their label's, images], float64; losses and labels [B]."""

    @abstractmethod
    def sgd_step(self, parameter, grad, velocity, rate: float, momentum: float, decay: float, low: float, high: float):
        """In place: velocity ← momentum·velocity + grad + decay·w; w ← clip(w − rate·velocity, low, high); w the parameter."""

    @abstractmethod
    def adam_step(
        self,
        parameter,
        grad,
        mean,
        square,
        largest,
        rate: float,
        decays: tuple[float, float],
        epsilon: float,
        step: int,
        low: float,
        high: float,
    ):
        """Adam (Kingma & Ba, 2015), step counted from 1, in place on parameter, mean and square; then clipped.

        largest: None, or the running maximum of AMSGrad (Reddi et al., 2018), updated too. mean and square: of `dtype`,
        or both of 16 bits (uint16, see backends/moments16.py), which are widened for the step; largest is then None.
        """
