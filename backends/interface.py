"""The contract between minihire and its numerical kernels: every kernel with its shapes, dtypes and meaning.

**Arrays are opaque.** The layers above pass arrays from kernel to kernel and read nothing but `.shape`, the logical shape. A
backend may store spikes as bytes, bit masks or event lists, and choose dense or event-driven kernels by measured density.
Only `to_numpy`, `top_k`, `events`, `services.are_finite` and `services.fetch_async` return values to the host. Floating
point arrays have the backend's `dtype`.

**Layout.** T time steps, B images, H×W pixels, C channels, F features. Activations are [T, B, H, W, C] or [T, B, F]:
time-major, channels last; T = 1 for an ANN or a static input. Convolution weights are [k, k, C_in, C_out], linear weights
[F_in, F_out]. Thresholds and leaks are arrays of shape [1].

**Every differentiable kernel has the same shape.** The forward kernel returns its output and `saved`. The backward kernel
takes `saved`, the gradient of the output, and flags that say which gradients are wanted; it returns the wanted gradients.
`saved` is opaque and belongs to the backend. It may refer to the arguments of the forward kernel, so leave these unchanged
until the backward kernel has run. A backward kernel raises BackendError if a weight was updated by an optimiser step since
the forward kernel ran. `lif_backward` overwrites its `saved`, so it can be called once; a second call raises BackendError.

**A returned array never changes**, whatever happens to the arguments afterwards. There are three exceptions:

- `reshape`, `rows` and `repeat_time` return views, which share memory with their argument;
- a *weight gradient* may be a handle (the two factors of an outer product), valid until the next optimiser step; only `add`,
  the optimiser steps, `services.sum_over_ranks` and `to_numpy` accept it;
- `asarray` may share a NumPy array that nobody can write to.

**Kernels do not change their arguments**, except `sgd_step`, `adam_step`, `write_rows` and `lif_backward` (its `adaptation`),
whose docstrings name the arrays that they update in place.

**Numbers must be finite.** Otherwise results may differ between backends: a backend that skips zeros never computes 0·∞ = NaN.

**Results do not depend on the number of threads** (on the Torch backend they may, by rounding). Every random draw equals
`backends.randomness` to the bit.
"""

import functools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from backends.randomness import Draw
from backends.saved import Versions
from backends.services import Services
from backends.surrogates import Surrogate

Array = Any
INTEGER_TYPES = np.uint8, np.uint16, np.int64  # an array has one of these types or the backend's `dtype`


class NeuronState(NamedTuple):
    """The state that a layer of neurons passes from one time chunk to the next; also the gradient with respect to it.

    Reset "immediate": membrane [B, …] is u of the last step, and spikes is None. Reset "delayed": membrane is m of the last
    step, before its reset, and spikes [B, …] are the spikes of the last step, before dropout. In a gradient, None means zero.
    """

    membrane: Array
    spikes: Array | None = None

    def map(self, function) -> "NeuronState":
        """The state with function(array) for each array. None stays None."""
        return NeuronState(*(None if array is None else function(array) for array in self))


class Adaptation(NamedTuple):
    """The memory of the adaptive surrogate for one layer of neurons, [T, B, …] each; see `surrogates.adapted_slopes`.

    mean: a running mean of |m − v|, which starts from 1. deviation: a running mean of the distance between |m − v| and
    `mean`, which starts from 0.
    """

    mean: Array
    deviation: Array


class Backend(ABC):
    """Every kernel of minihire. `name`, `device`, `dtype` ("float32" or "float64"), `precision` and `threads` describe it.

    services: everything that is not a kernel, such as the ranks of a data-parallel run (see backends/services.py).
    """

    name: str
    device: str
    dtype: str
    precision: str = "float32"  # of products, see `get_backend`
    threads: int
    array_types: tuple[type, ...]  # the classes of its plain arrays; arrays.py has the compact ones
    float: Any  # what `.dtype` of such an array is, if it has the backend's `dtype`

    def __init__(self, **options):
        self.options = options  # the constructor's arguments: a backend is pickled as these
        self.versions = Versions()  # how often each parameter was updated; see saved.py
        self.services = Services(self)

    def __reduce__(self):
        return functools.partial(type(self), **self.options), ()

    def __deepcopy__(self, memo):
        return self  # a copy of a network computes on the same backend

    # ---------------------------------------------------------------- arrays

    @abstractmethod
    def asarray(self, values) -> Array:
        """A new backend array. values: a NumPy array, nested numbers, or another array of the backend; they are copied.

        INTEGER_TYPES are kept; all other types become `dtype`.
        """

    @abstractmethod
    def to_numpy(self, array):
        """The values of an array, or of a weight gradient's handle, as a NumPy array of their own."""

    @abstractmethod
    def zeros(self, shape, dtype=None) -> Array:
        """Zeros; dtype: None for the backend's `dtype`, or one of INTEGER_TYPES."""

    @abstractmethod
    def reshape(self, array, shape) -> Array:
        """The same values in row-major order under another shape."""

    @abstractmethod
    def rows(self, array, start, stop) -> Array:
        """array[start:stop] along the first axis."""

    @abstractmethod
    def write_rows(self, array, start, values) -> None:
        """array[start:start + len(values)] = values, in place."""

    def top_k(self, array, count: int):
        """The `count` largest entries, or all if there are fewer, as a NumPy array in any order."""
        values = self.to_numpy(array).reshape(-1)
        return values if len(values) <= count else np.partition(values, len(values) - count)[-count:]

    @abstractmethod
    def events(self, array) -> int:
        """The number of entries that are not zero."""

    # ---------------------------------------------------------------- randomness

    @abstractmethod
    def random(self, draw: Draw, shape, first: int = 0, distribution: str = "uniform") -> Array:
        """Random numbers: "uniform" in [0, 1), or "normal" from N(0, 1).

        Entry i is number first + i of the draw. With `first`, each data-parallel rank computes its own share of a draw.
        """

    @abstractmethod
    def dropout_mask(self, draw: Draw, shape, dropout_rate: float, first: int = 0) -> Array:
        """0 where uniform < dropout_rate, else 1/(1 − dropout_rate). Only `lif_forward`, `relu` and its gradient receive it."""

    @abstractmethod
    def rate_code(self, draw: Draw, images, first_step: int, steps: int, first: int = 0) -> Array:
        """Bernoulli spikes [steps, B, …]: 1 where uniform < pixel; step t is the draw with layer = first_step + t."""

    # ---------------------------------------------------------------- images

    @abstractmethod
    def image_batch(self, store, index, shift, flip, padding: int) -> Array:
        """Images store[index] (uint8 [N, H, W, C]) scaled to [0, 1]: [B, H, W, C].

        Each image is padded on every side with `padding` reflected pixels and then cropped to its original size. `padding` is
        less than the height and the width, unless every shift equals it. index int64 [B]. shift int64 [B, 2] in 0 … 2·padding:
        row and column of the crop's corner in the padded image; (padding, padding) leaves the image where it was. flip int64
        [B]: 1 mirrors left and right, after the crop. All three are NumPy arrays.
        """

    @abstractmethod
    def scale_shift(self, x, scale, shift) -> Array:
        """x·scale + shift along the last axis; scale and shift are tuples of C numbers. Normalisation and its gradient."""

    @abstractmethod
    def clip(self, x, low: float, high: float) -> tuple[Array, Any]:
        """(out, saved): min(max(x, low), high)."""

    @abstractmethod
    def clip_backward(self, saved, grad) -> Array:
        """∂L/∂x of `clip`: grad where low ≤ x ≤ high, else 0."""

    @abstractmethod
    def sign_step(self, x, grad, step: float, low: float, high: float, center=None, bound: float = 0.0) -> Array:
        """clip(x + step·sign(grad), low, high). With a center, the sum is first clipped to center ± bound.

        Equation 6 (κ: low = −ε_t, high = ε_t) and equation 4 (PGD: center = the clean image, bound = ε); sign(0) = 0.
        """

    @abstractmethod
    def scale_to_norm(self, x, order: float, limit: float | None = None) -> Array:
        """Divide each image of x [B, …] by its norm. With a limit: scale only images with a larger norm, down to the limit.

        order 1: the mean of the absolute values (for momentum). order 2: the Euclidean norm. order math.inf: the largest
        absolute value. An image of zeros stays as it is.
        """

    # ---------------------------------------------------------------- control flow of an attack, image by image

    @abstractmethod
    def multiply(self, a, b) -> Array:
        """a·b for a [B, …] and b of the same shape, or of shape [B]: one factor per image."""

    @abstractmethod
    def greater(self, a, b) -> Array:
        """1 where a > b, else 0, for b of a's shape or a number."""

    @abstractmethod
    def select(self, flags, a, b) -> Array:
        """For each image, its values in a [B, …] if its flag is larger than 0, else those in b [B, …]. flags [B]."""

    @abstractmethod
    def power(self, x, exponent: float) -> Array:
        """x to the power of a number; x must be positive if the exponent requires it."""

    # ---------------------------------------------------------------- dense algebra

    @abstractmethod
    def add(self, a, b) -> Array:
        """a + b for arrays of one shape, or the sum of two gradients of one weight (handles included)."""

    @abstractmethod
    def conv2d(self, x, weight, stride: int, padding: int, *, want_weight: bool = True) -> tuple[Array, Any]:
        """(out, saved) of the cross-correlation of x [T, B, H, W, C_in] with weight [k, k, C_in, C_out].

        out [T, B, H_out, W_out, C_out]. want_weight: whether the backward pass will need the weight's gradient; if not,
        `saved` does not keep the input.
        """

    @abstractmethod
    def conv2d_backward(
        self, saved, grad, want_input: bool = True, want_weight: bool = True
    ) -> tuple[Array | None, Array | None]:
        """(∂L/∂x, ∂L/∂weight) of `conv2d` from grad = ∂L/∂out; None for a gradient that is not wanted.

        ∂L/∂weight is summed over T and B; it may be a handle.
        """

    @abstractmethod
    def linear(self, x, weight, *, want_weight: bool = True) -> tuple[Array, Any]:
        """(out, saved) of x [T, B, F_in] · weight [F_in, F_out]; out [T, B, F_out]. want_weight: as in `conv2d`."""

    @abstractmethod
    def linear_backward(
        self, saved, grad, want_input: bool = True, want_weight: bool = True
    ) -> tuple[Array | None, Array | None]:
        """(∂L/∂x, ∂L/∂weight) of `linear`, as in `conv2d_backward`."""

    @abstractmethod
    def avg_pool(self, x) -> tuple[Array, Any]:
        """(out, saved): the mean over 2×2 windows of [T, B, H, W, C], stride 2. An odd last row or column is left out."""

    @abstractmethod
    def avg_pool_backward(self, saved, grad) -> Array:
        """∂L/∂x of `avg_pool`: a quarter of the window's gradient in each of its four pixels."""

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
        want_state: bool = True,
    ) -> tuple[Array, NeuronState | None, Any]:
        """(spikes, last state, saved) of LIF neurons over `steps` time steps (equations 1 and 2; see backends/lif.py).

        current [T, B, …]; or [1, B, …], a static current, which is used at every step. state: from the previous chunk, or
        None (membrane 0). mask [B, …]: from `dropout_mask`, or None. soft: for gradient checks, spikes are not 0 or 1 but
        F(m/v − 1), where F is the antiderivative of this surrogate gradient. A neuron fires where m > v, exactly.
        spikes [T, B, …] are multiplied by the mask. The last state is None unless want_state.
        """

    def conv_lif_forward(
        self,
        x,
        weight,
        stride: int,
        padding: int,
        state,
        leak,
        threshold,
        steps: int,
        *,
        want_weight: bool = True,
        **options,
    ) -> tuple[Array, NeuronState | None, Any, Any]:
        """`conv2d`, then `lif_forward` on its result, which is not returned: (spikes, last state, saved, conv_saved).

        options: the keywords of `lif_forward`. The backward pass is `lif_backward(saved, …)`, then `conv2d_backward(conv_saved,
        …)`. A backend may fuse the two; this default calls them one after the other.
        """
        current, conv_saved = self.conv2d(x, weight, stride, padding, want_weight=want_weight)
        spikes, end, saved = self.lif_forward(current, state, leak, threshold, steps, **options)
        return spikes, end, saved, conv_saved

    @abstractmethod
    def lif_backward(
        self,
        saved,
        grad_spikes,
        grad_state: NeuronState | None,
        surrogate: Surrogate,
        reset_grad: bool = False,
        want_state: bool = True,
        adaptation: Adaptation | None = None,
    ) -> tuple[Array, NeuronState | None, Array | None, Array | None]:
        """Back-propagation through time of `lif_forward`, by hand. `saved` is used up.

        grad_spikes [T, B, …], or None for zeros. grad_state: ∂L/∂(the last state), or None. Returns ∂L/∂current (of the
        current's shape: summed over time if it was static), ∂L/∂(initial state) or None if it is not wanted, ∂L/∂leak [1],
        and ∂L/∂threshold [1]. The rate gradient (surrogate.kind "rate", derived in backends/lif.py) is for attacks: it
        returns ∂L/∂current, and None for the other three.

        adaptation: the memory of the adaptive surrogate, which is updated in place; None: it starts anew. Other surrogates do
        not read it. Like the rate gradient, the adaptive surrogate is an attacker's: `reset_grad` does not affect either.
        """

    @abstractmethod
    def relu(self, x, mask=None) -> tuple[Array, Any]:
        """(out, saved): max(x, 0), times the dropout mask if there is one."""

    @abstractmethod
    def relu_backward(self, saved, grad) -> Array:
        """∂L/∂x of `relu`: grad times the mask where x > 0, else 0."""

    # ---------------------------------------------------------------- loss and optimisers

    @abstractmethod
    def cross_entropy(self, logits, labels, weight: float) -> tuple[Array, Array, Array]:
        """(losses, gradient, sums) of logits [B, C] and labels int64 [B].

        losses [B]: −log softmax(logits)[label] of each image. gradient [B, C]: weight · ∂loss/∂logits. sums, float64 [3]:
        the sum of the losses, the number of images whose largest logit is their label's, and the number of images.
        """

    @abstractmethod
    def logit_loss(self, logits, labels, kind: str, targets=None) -> tuple[Array, Array]:
        """(losses [B], ∂loss/∂logits [B, C]) of logits z [B, C] and labels y int64 [B], for attacks.

        kind, with z_(1) ≥ z_(2) ≥ … the sorted logits (equal logits in the order of their classes):

            "margin"         z_y − max over i ≠ y of z_i
            "zero-one"       1 if the largest logit is not z_y, else 0; its gradient is zero
            "dlr"            −(z_y − max over i ≠ y of z_i) / (z_(1) − z_(3) + 1e-12)             (Croce & Hein, 2020)
            "dlr-targeted"   −(z_y − z_t) / (z_(1) − (z_(3) + z_(4))/2 + 1e-12), t int64 [B]: targets

        "dlr" needs at least 3 classes, "dlr-targeted" 4.
        """

    @abstractmethod
    def sgd_step(
        self, parameter, grad, velocity, learning_rate: float, momentum: float, decay: float, low: float, high: float
    ):
        """In place: velocity ← momentum·velocity + grad + decay·w; w ← clip(w − learning_rate·velocity, low, high).

        w is the parameter.
        """

    @abstractmethod
    def adam_step(
        self,
        parameter,
        grad,
        mean,
        square,
        max_square,
        learning_rate: float,
        decays: tuple[float, float],
        epsilon: float,
        step: int,
        low: float,
        high: float,
    ):
        """Adam (Kingma & Ba, 2015) in place on parameter, mean and square; then the parameter is clipped to low … high.

        step is counted from 1. max_square: None, or the running maximum of AMSGrad (Reddi et al., 2018), updated too. mean
        and square have the backend's `dtype`, or both are uint16 (see backends/moments16.py) and are widened for the step;
        max_square is then None.
        """


KERNELS = tuple(name for name, method in vars(Backend).items() if callable(method) and not name.startswith("_"))
