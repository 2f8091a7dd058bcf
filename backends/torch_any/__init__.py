"""The same kernels on torch tensors, on a CPU or a GPU: forward passes and gradients both by hand, never by autograd."""

import contextlib
import functools
import math

import numpy as np
import torch
from torch.nn import functional

from backends import BackendError, launched
from backends import lif as plain_lif
from backends.arrays import DropoutMask, OuterProduct, PooledGradient, Prepared, SavedNeurons, SpikeTrain
from backends.interface import Backend, NeuronState
from backends.randomness import NORMAL_QUANTILES
from backends.torch_any import graphs, lif, philox, ranks

PRECISIONS = ("float32", "tf32", "bf16")
THREADS = torch.get_num_threads()  # as many as torch was started for
ROWS = 1024  # rows of a linear layer's weight that a CPU updates at a time: their gradient is never written out whole
ENTRIES = 1 << 24  # of it that a GPU updates at a time: torch's fused optimisers give each thread block 65,536
BYTE = torch.uint8
NO_MEMORY = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED")  # where too little of it is a plain RuntimeError


def _says_when_memory_is_short(cls):
    """Every kernel of the class raises BackendError, one sentence, where the device has too little memory."""

    def guarded(kernel):
        @functools.wraps(kernel)
        def call(self, *arguments, **options):
            try:
                return kernel(self, *arguments, **options)
            except RuntimeError as error:  # torch.OutOfMemoryError is one; a CPU's has no class of its own
                if not isinstance(error, torch.OutOfMemoryError) and not any(text in str(error) for text in NO_MEMORY):
                    raise
                raise BackendError(f"{self.device} has too little memory: use a smaller batch") from error

        return call

    for name in (*Backend.__abstractmethods__, "largest", "prepared", "sum_over_ranks"):
        setattr(cls, name, guarded(getattr(cls, name)))
    return cls


@_says_when_memory_is_short
class TorchBackend(Backend):
    """Arrays are torch tensors on one device and those of arrays.py.

    precision: "float32"; "tf32": products on CUDA take factors rounded to 11 bits; "bf16": factors and results of products
    have 8 bits, while sums inside them, membranes, losses, parameters and moments have float32's 24. Precision and number
    of threads are torch's own, one for the whole program: where several backends are made, the last decides.
    """

    name = "torch"

    def __init__(
        self,
        dtype: str = "float32",
        threads: int | None = None,
        device: str = "cpu",
        precision: str = "float32",
        record: bool = True,
    ):
        self.rank, self.ranks = launched()
        own = ranks.own_device(device) if self.ranks > 1 else device
        self.device, self.dtype, self.precision = _device(own), dtype, precision
        if precision not in PRECISIONS:
            raise BackendError(f"no precision {precision!r}: choose {', '.join(PRECISIONS)}")
        if precision != "float32" and dtype != "float32":
            raise BackendError(f"precision {precision} is for float32, not for {dtype}")
        self.asynchronous = self.device != "cpu"
        self.float = getattr(torch, dtype)
        self.factor = torch.bfloat16 if precision == "bf16" else self.float  # the type of a product's factors
        self.threads = threads or THREADS
        torch.set_num_threads(self.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        torch.backends.cudnn.deterministic = True
        self.widens = self.factor != self.float and _widens(self.device)
        self.scans, self.say = _scans(self.device), _nothing
        plain = self.scans is lif  # which reads numbers from the device
        self.records = record and not plain and self.ranks == 1
        self.constants: dict[tuple, torch.Tensor] = {}
        if self.ranks > 1:
            ranks.join(self.device)
        self.quantiles = torch.from_numpy(NORMAL_QUANTILES).to(self.device, self.float)

    def announce(self, say):
        self.say = say
        if self.scans is not lif:
            say("compiling kernels for this GPU as they are needed: some seconds in all, kept for the next time")
        elif self.device != "cpu":
            say("the neurons run without their fused kernels, which need Triton: pip install triton")

    def device_memory(self):
        return torch.cuda.max_memory_allocated(self.device) if self.device.startswith("cuda") else None

    def sum_over_ranks(self, arrays):
        return arrays if self.ranks == 1 else ranks.sums(arrays, self._dense, self.float, self.device)

    def repeated(self, function):
        return graphs.Repeated(function, self.device, self.say) if self.records else function

    def later(self, array):
        array = self._dense(array)
        if self.device == "cpu":
            return super().later(array.clone())
        values, done = torch.empty(array.shape, dtype=array.dtype, pin_memory=True), torch.cuda.Event()
        values.copy_(array, non_blocking=True)
        done.record(torch.cuda.current_stream(self.device))
        return lambda: (done.synchronize(), values.numpy())[1]

    # ---------------------------------------------------------------- arrays

    def _dense(self, array, dtype=None):
        """A tensor (of the given type) of what may be one of the others."""
        if isinstance(array, SpikeTrain):
            dense = array.counts.to(dtype or self.float)
            return dense if array.scale == 1 else dense.mul_(array.scale)
        if isinstance(array, DropoutMask):
            return array.keep.to(self.float).mul_(array.scale)
        if isinstance(array, PooledGradient):
            return lif.spread(array, 0, array.shape[1]).reshape(array.shape)
        if isinstance(array, OuterProduct):
            x, grad, scale = self._factors(array)
            return self._product(self._times(x.T, grad), scale)
        return array if dtype is None else array.to(dtype)

    def asarray(self, values):
        if isinstance(values, torch.Tensor):
            return values.detach().to(self.device, values.dtype if values.dtype in (BYTE, torch.int64) else self.float)
        array = np.asarray(values)
        kept = array.dtype in (np.uint8, np.int64)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("=") if kept else self.dtype)
        return self._send(torch.tensor(array))

    def _send(self, tensor):
        """A tensor of the host on the device; a GPU is not waited for."""
        if self.device == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _constant(self, values):
        """A tuple of numbers as a tensor, sent once."""
        if values not in self.constants:
            self.constants[values] = self._send(torch.tensor(values, dtype=self.float))
        return self.constants[values]

    def to_numpy(self, array):
        return array if isinstance(array, np.ndarray) else self._dense(array).detach().cpu().numpy()

    def zeros(self, shape):
        return torch.zeros(tuple(shape), dtype=self.float, device=self.device)

    def reshape(self, array, shape):
        if isinstance(array, SpikeTrain):
            return array._replace(counts=array.counts.reshape(shape))
        return self._dense(array).reshape(shape)

    def rows(self, array, start, stop):
        if isinstance(array, SpikeTrain):
            return array._replace(counts=array.counts[start:stop])
        return self._dense(array)[start:stop]

    def write_rows(self, array, start, values):
        values = self._dense(values)
        array[start : start + len(values)] = torch.as_tensor(values)

    def total(self, array):
        return float(self._dense(array).sum(dtype=torch.float64))

    def largest(self, array, count):
        if self.device == "cpu":
            return super().largest(array, count)
        values = self._dense(array).reshape(-1)
        return values.topk(min(count, len(values)), sorted=False).values.cpu().numpy()

    def events(self, array):
        return int(torch.count_nonzero(array.counts if isinstance(array, SpikeTrain) else self._dense(array)))

    # ---------------------------------------------------------------- randomness

    def uniform(self, draw, shape, first=0):
        return philox.uniform(draw, _count(shape), first, self.device).reshape(tuple(shape)).to(self.float)

    def normal(self, draw, shape, first=0):
        bits = philox.random_bits(draw, _count(shape), first, self.device)
        return self.quantiles[bits >> 16].reshape(tuple(shape))

    def dropout_mask(self, draw, shape, rate, first=0):
        least = math.ceil(_rounded(rate, self.float) * 2**24)  # of the 24 bits that a uniform number is made of
        keep = philox.at_least(draw, _count(shape), first, least, self.device)
        return DropoutMask(keep.reshape(tuple(shape)), 1 / (1 - rate))

    def rate_code(self, draw, images, first_step, steps, first=0):
        images = self._dense(images)
        draws = [draw._replace(layer=first_step + t) for t in range(steps)]
        spikes = torch.stack([self.uniform(d, images.shape, first) < images for d in draws])
        return SpikeTrain(spikes.view(BYTE), 1.0, True)

    # ---------------------------------------------------------------- images

    def image_batch(self, store, index, shift, flip, padding):
        index, y0, x0, flip = self._send(torch.from_numpy(np.stack((index, shift[:, 0], shift[:, 1], flip))))
        _, height, width, _ = store.shape
        y, x = torch.arange(height, device=self.device), torch.arange(width, device=self.device)
        rows = _reflected(y + y0[:, None] - padding, height)  # [B, H]
        columns = _reflected(torch.where(flip[:, None] == 1, width - 1 - x, x) + x0[:, None] - padding, width)
        images = store[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        return images.to(self.float).mul_(_rounded(1 / 255, self.float))

    def scale_shift(self, x, scale, shift):
        return self._dense(x) * self._constant(tuple(scale)) + self._constant(tuple(shift))

    def clip(self, x, low, high):
        return self._dense(x).clamp(low, high)

    def clip_gradient(self, grad, x, low, high):
        grad, x = self._dense(grad), self._dense(x)
        return grad * ((x >= low) & (x <= high))

    def sign_step(self, x, grad, step, low, high, center=None, bound=0.0):
        moved = self._dense(x) + _rounded(step, self.float) * torch.sign(self._dense(grad))
        if center is not None:
            bound = _rounded(bound, self.float)
            moved = torch.minimum(torch.maximum(moved, center - bound), center + bound)
        return moved.clamp_(low, high)

    # ---------------------------------------------------------------- dense algebra

    def add(self, a, b):
        return self._dense(a) + self._dense(b)

    def _factor(self, x):
        """A factor of a product, and the number that the product must be multiplied by: what bf16 would round."""
        if isinstance(x, SpikeTrain) and self.factor != self.float:
            return x.counts.to(self.factor), x.scale
        return self._dense(x, self.factor), 1.0

    def _product(self, found, scale):
        return found.to(self.float) if scale == 1 else found.to(self.float) * scale

    def _images(self, x):
        """`_factor` of [T, B, H, W, C] as [T·B, C, H, W], channels last."""
        x, scale = self._factor(x)
        return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]).permute(0, 3, 1, 2), scale

    def _times(self, a, b):
        """a · b, in float32 where that takes no more than the factors' type."""
        if self.widens:
            return torch.mm(a.flatten(0, -2), b, out_dtype=self.float).reshape(*a.shape[:-1], b.shape[1])
        return a @ b

    def prepared(self, weight):
        if weight.dim() == 4:  # a convolution's, in torch's order
            return Prepared(weight.permute(3, 2, 0, 1).to(self.factor, memory_format=torch.channels_last), weight.shape)
        return Prepared(weight.to(self.factor), weight.shape)

    def _factor_of(self, weight):
        """The tensor of a prepared weight, or of one that is prepared here."""
        return (weight if isinstance(weight, Prepared) else self.prepared(weight)).tensor

    def conv2d(self, x, weight, stride, padding):
        images, scale = self._images(x)
        out = functional.conv2d(images, self._factor_of(weight), stride=stride, padding=padding)
        out = self._product(out.permute(0, 2, 3, 1).contiguous(), scale)
        return out.reshape(*x.shape[:2], *out.shape[1:])

    def conv2d_input_gradient(self, grad, weight, shape, stride, padding):
        like = torch.empty((1,) if self.device != "cpu" else shape, dtype=self.factor, device=self.device)
        like = like.expand(shape).flatten(0, 1).permute(0, 3, 1, 2)  # a GPU looks at its shape alone
        kernel = self._factor_of(weight)
        found = _convolution_backward(self._images(grad)[0], like, kernel, stride, padding, (True, False, False))[0]
        return found.permute(0, 2, 3, 1).contiguous().to(self.float).reshape(shape)

    def conv2d_weight_gradient(self, grad, x, size, stride, padding):
        like = torch.empty((grad.shape[4], size, size, x.shape[4]), dtype=self.factor, device=self.device)
        images, scale = self._images(x)
        found = _convolution_backward(
            self._images(grad)[0], images, like.permute(0, 3, 1, 2), stride, padding, (False, True, False)
        )[1]
        return self._product(found.permute(2, 3, 1, 0).contiguous(), scale)

    def linear(self, x, weight):
        x, scale = self._factor(x)
        return self._product(self._times(x, self._factor_of(weight)), scale)

    def linear_input_gradient(self, grad, weight):
        grad, weight = self._dense(grad, self.factor), self._factor_of(weight)
        if self.device != "cpu":
            return self._times(grad, weight.T).to(self.float)
        turned = weight @ grad.flatten(0, 1).T  # on a CPU faster than with the weights turned
        return turned.T.contiguous().to(self.float).reshape(*grad.shape[:2], len(weight))

    def linear_weight_gradient(self, grad, x):
        return OuterProduct(x, grad)

    def _factors(self, product):
        """x [N, F_in] and grad [N, F_out] of a linear weight gradient xᵀ·grad, and what it must be multiplied by."""
        x, scale = self._factor(product.x)
        return x.flatten(0, 1), self._dense(product.grad, self.factor).flatten(0, 1), scale

    def avg_pool(self, x):
        if isinstance(x, SpikeTrain) and x.binary:
            return SpikeTrain(_sum_of_windows(x.counts), x.scale / 4, False)
        return _sum_of_windows(self._dense(x)).div_(4)

    def avg_pool_gradient(self, grad, shape):
        return PooledGradient(self._dense(grad), tuple(shape))

    def sum_time(self, x):
        if isinstance(x, SpikeTrain):
            return x.counts.sum(dim=0, keepdim=True, dtype=self.float) * x.scale
        return self._dense(x).sum(dim=0, keepdim=True)

    def repeat_time(self, x, steps):
        return self._dense(x).expand(steps, *x.shape[1:])

    # ---------------------------------------------------------------- neurons

    def _mask(self, mask):
        """keep uint8 [M] or None, and the scale, of a dropout mask or of a tensor like one."""
        if mask is None:
            return None, 1.0
        if not isinstance(mask, DropoutMask):
            mask = DropoutMask((mask != 0).view(BYTE), float(mask.max()) if mask.numel() else 1.0)
        return _flat(mask.keep), mask.scale

    def lif_forward(self, current, state, leak, threshold, steps, *, reset="immediate", mask=None, soft=None):
        current = self._dense(current).contiguous()
        if soft is not None:
            return self._soft(current, state, leak, threshold, steps, reset, mask, soft)
        shape, delayed, static = (steps, *current.shape[1:]), reset == "delayed", len(current) == 1
        keep, scale = self._mask(mask)
        size = _count(shape[1:])
        counts = torch.empty((steps, size), dtype=BYTE, device=self.device)
        end, end_spikes = (self._like(current[0]) for _ in range(2))
        membrane = None if static else torch.empty((steps, size), dtype=self.float, device=self.device)
        start, start_spikes = (None, None) if state is None else state
        self.scans.forward(
            current.reshape(len(current), -1),
            _flat(start),
            _flat(start_spikes),
            leak,
            threshold,
            delayed,
            keep,
            membrane,
            counts,
            end.view(-1),
            end_spikes.view(-1),
        )
        saved = SavedNeurons(
            current if static else None, membrane, state, leak, threshold, reset, keep, scale, tuple(shape)
        )
        return SpikeTrain(counts.reshape(shape), scale, True), NeuronState(end, end_spikes if delayed else None), saved

    def _soft(self, current, state, leak, threshold, steps, reset, mask, soft):
        """Spikes without a step, for gradient checks, where the reference is fast enough."""
        host = lambda array: None if array is None else self.to_numpy(array)
        state = None if state is None else NeuronState(*(host(x) for x in state))
        spikes, end, saved = plain_lif.lif_forward(
            host(current),
            state,
            host(leak),
            host(threshold),
            steps,
            reset=reset,
            mask=host(mask),
            soft=soft,
        )
        here = lambda array: None if array is None else self.asarray(array)
        return self.asarray(spikes), NeuronState(*(here(x) for x in end)), saved

    def lif_backward(self, saved, grad_spikes, grad_state, surrogate, reset_grad=False):
        if surrogate.kind == "rate":
            raise ValueError("the rate gradient is lif_rate_backward's")
        grad_end, grad_end_spikes = (None, None) if grad_state is None else grad_state
        if not isinstance(saved, SavedNeurons):  # soft spikes
            grad_state = NeuronState(*(None if x is None else self.to_numpy(x) for x in (grad_end, grad_end_spikes)))
            found = plain_lif.lif_backward(saved, self.to_numpy(grad_spikes), grad_state, surrogate, reset_grad)
            start = NeuronState(*(None if x is None else self.asarray(x) for x in found[1]))
            return self.asarray(found[0]), start, self.asarray(found[2]), self.asarray(found[3])
        delayed, static = saved.reset == "delayed", saved.membrane is None
        pooled = isinstance(grad_spikes, PooledGradient)
        if pooled:
            grad_spikes = grad_spikes._replace(grad=self._dense(grad_spikes.grad))
        start, start_spikes = (None, None) if saved.start is None else saved.start
        size = _count(saved.shape[1:])
        grad_current = torch.empty((1 if static else saved.shape[0], size), dtype=self.float, device=self.device)
        grad_start, grad_start_spikes = (self._like(grad_current[0]) for _ in range(2))
        grad_leak, grad_threshold = self.scans.backward(
            saved.current.reshape(1, -1) if static else None,
            saved.membrane,
            _flat(start),
            _flat(start_spikes),
            saved.leak,
            saved.threshold,
            delayed,
            saved.keep,
            saved.scale,
            grad_spikes if pooled else self._dense(grad_spikes).reshape(saved.shape[0], -1),
            _flat(grad_end),
            _flat(grad_end_spikes),
            surrogate,
            reset_grad,
            grad_current,
            grad_start,
            grad_start_spikes,
        )
        grad_start, grad_start_spikes = (a.reshape(saved.shape[1:]) for a in (grad_start, grad_start_spikes))
        grad_start = NeuronState(grad_start, grad_start_spikes if delayed and reset_grad else None)
        grad_current = grad_current.reshape(len(grad_current), *saved.shape[1:])
        return grad_current, grad_start, *(g.to(self.float).reshape(1) for g in (grad_leak, grad_threshold))

    def lif_rate_backward(self, saved, grad_spikes):
        if not isinstance(saved, SavedNeurons):  # soft spikes
            return self.asarray(plain_lif.lif_rate_backward(saved, self.to_numpy(grad_spikes)))
        steps = saved.shape[0]
        lam, v, g = saved.leak, saved.threshold, self._dense(grad_spikes).reshape(steps, -1).sum(dim=0)
        start, start_spikes = (None, None) if saved.start is None else (_flat(x) for x in saved.start)
        if saved.keep is not None:
            g = g * saved.keep * saved.scale
        if saved.membrane is None:
            current = saved.current.reshape(-1) * steps
        else:
            current = torch.zeros_like(g)
            for t in range(steps):
                before = lif.before(saved.membrane, t, start, v, saved.reset == "delayed")
                current += saved.membrane[t] if before is None else saved.membrane[t] - lam * before
            if saved.reset == "delayed":
                current += v * (saved.membrane[:-1] > v).sum(dim=0)
                current += 0 if start_spikes is None else v * start_spikes
        rate = current / steps / v - (1 - lam) / 2
        every_step = torch.where((rate > 0) & (rate < 1), g / (v * steps), 0).reshape(1, *saved.shape[1:])
        return every_step * steps if saved.membrane is None else every_step.expand(saved.shape)

    def _like(self, tensor):
        return torch.empty_like(tensor, dtype=self.float)

    def relu(self, x, mask=None):
        out = self._dense(x).clamp(min=0)
        return out if mask is None else out.mul_(self._dense(mask))

    def relu_gradient(self, grad, x, mask=None):
        grad = self._dense(grad) * (self._dense(x) > 0)
        return grad if mask is None else grad.mul_(self._dense(mask))

    # ---------------------------------------------------------------- loss and optimisers

    def cross_entropy(self, logits, labels, weight):
        log_softmax = torch.log_softmax(logits, dim=1)
        chosen = torch.as_tensor(labels, device=self.device)[:, None]
        grad = log_softmax.exp()
        grad.scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=grad.dtype))
        return -log_softmax.gather(1, chosen)[:, 0], grad.mul_(_rounded(weight, self.float))

    def tally(self, losses, logits, labels):
        right = (logits.argmax(dim=1) == torch.as_tensor(labels, device=self.device)).sum()
        count = torch.full((), len(logits), dtype=torch.float64, device=self.device)
        return torch.stack((losses.sum(dtype=torch.float64), right.double(), count))

    def _by_rows(self, grad, *arrays):
        """(gradient, *arrays) in parts that cover them all; None stays None. A handle is computed part by part."""
        if not isinstance(grad, OuterProduct):
            yield self._dense(grad), *arrays
            return
        x, grad, scale = self._factors(grad)
        rows = ROWS if self.device == "cpu" else max(1, ENTRIES // grad.shape[1])
        for first in range(0, x.shape[1], rows):
            part = slice(first, first + rows)
            found = self._times(x[:, part].T, grad)
            yield self._product(found, scale), *(None if a is None else a[part] for a in arrays)

    def sgd_step(self, parameter, grad, velocity, rate, momentum, decay, low, high):
        for g, w, u in self._by_rows(grad, parameter, velocity):
            if not momentum:  # torch's kernel then takes no velocity
                torch.add(g, w, alpha=decay, out=u)
            torch._fused_sgd_(
                [w],
                [g],
                [u] if momentum else [],
                lr=_rate(rate),
                momentum=momentum,
                weight_decay=decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
            _clip(w, low, high)

    def adam_step(self, parameter, grad, mean, square, largest, rate, decays, epsilon, step, low, high):
        count = torch.full((), 0.0, dtype=torch.float32, device=self.device).add_(step)
        for g, w, m, s, most in self._by_rows(grad, parameter, mean, square, largest):
            torch._fused_adam_(
                [w],
                [g],
                [m],
                [s],
                [] if most is None else [most],
                [count],
                lr=_rate(rate),
                beta1=decays[0],
                beta2=decays[1],
                weight_decay=0.0,
                eps=epsilon,
                amsgrad=most is not None,
                maximize=False,
            )
            _clip(w, low, high)


def _nothing(line: str) -> None:
    """What is said to nobody."""


def _device(name: str) -> str:
    """The device's name, if there is one; else one sentence."""
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = None
    if kind not in ("cpu", "cuda"):
        raise BackendError(f"the torch backend runs on cpu or cuda, not on {name!r}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise BackendError(
                "no CUDA device was found: use --device cpu, or a CUDA build of torch on a machine with a GPU"
            )
        count, index = torch.cuda.device_count(), torch.device(name).index or 0
        if index >= count:
            raise BackendError(f"there is no {name}: this machine has {count} CUDA device{'s' * (count > 1)}")
    return "cpu" if kind == "cpu" else name


def _scans(device: str):
    """The module with the neuron's two scans: Triton's on CUDA, where there is Triton."""
    if device.startswith("cuda"):
        with contextlib.suppress(ImportError):
            from backends.torch_any import triton_lif

            return triton_lif
    return lif


def _count(shape) -> int:
    count = 1
    for n in shape:
        count *= int(n)
    return count


def _flat(tensor):
    return None if tensor is None else tensor.reshape(-1).contiguous()


def _rate(rate):
    """A learning rate as torch's fused optimisers take it: on a GPU as float32, whatever the weights are."""
    return rate.float() if isinstance(rate, torch.Tensor) and rate.device.type != "cpu" else rate


def _widens(device: str) -> bool:
    """Whether this torch multiplies bf16 matrices on this device into float32 results, without rounding them between."""
    factor = torch.full((32, 32), 1.0 + 2**-7, dtype=torch.bfloat16, device=device)
    try:
        found = torch.mm(factor, factor, out_dtype=torch.float32)
    except (RuntimeError, TypeError):  # not on CPUs, and not before torch 2.8
        return False
    return bool((found == 32 * (1.0 + 2**-7) ** 2).all())


def _rounded(number, dtype):
    """A Python number with the value that it has in this type."""
    return float(number if dtype == torch.float64 else np.float32(number))


def _reflected(index, size):
    """Positions beyond an edge, mirrored at it."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)


def _sum_of_windows(x):
    """Sums over 2×2 windows of [T, B, H, W, C]; an odd last row or column is left out."""
    x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return (x[:, :, ::2, ::2] + x[:, :, ::2, 1::2]).add_(x[:, :, 1::2, ::2]).add_(x[:, :, 1::2, 1::2])


def _convolution_backward(grad, x, weight, stride, padding, wanted):
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted
    )


def _clip(parameter, low, high):
    if low > float("-inf") or high < float("inf"):
        parameter.clamp_(low, high)
