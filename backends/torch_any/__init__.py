"""The same kernels on torch tensors, on a CPU or a GPU: forward passes and gradients both by hand, never by autograd.

storage.py: arrays and random numbers; products.py: convolutions and linear layers; neurons.py: ReLU and LIF neurons; updates.py:
loss and optimisers; fused.py: whether Triton works; memory.py: too little memory. This file: the device, its precision and its
services.
"""

import numpy as np
import torch

from backends import BackendError, processors, torchrun_rank
from backends.arguments import checked
from backends.interface import Backend
from backends.randomness import NORMAL_QUANTILES
from backends.services import Services
from backends.torch_any import fused, graphs, lif, ranks
from backends.torch_any.memory import says_when_memory_is_short
from backends.torch_any.updates import Updates

PRECISIONS = ("float32", "tf32", "bf16")
THREADS = torch.get_num_threads()  # torch's default


@says_when_memory_is_short("sum_over_ranks", "fetch_async")
class TorchServices(Services):
    """torchrun's processes, CUDA graphs (graphs.py), and the memory of a GPU. records: whether `captured` records graphs."""

    def __init__(self, backend):
        super().__init__(backend)
        self.rank, self.ranks = torchrun_rank()
        self.device, self.asynchronous = backend.device, backend.device != "cpu"
        self.say, self.records = _say_nothing, False

    def announce(self, say):
        self.say = say
        if self.backend.lif_kernels is not lif:
            say("compiling kernels for this GPU as they are needed: some seconds in all, cached for later runs")
        elif self.device != "cpu":
            say(f"the neurons run without their fused kernels: {fused.obstacle(self.device)}")

    def device_memory(self):
        return torch.cuda.max_memory_allocated(self.device) if self.device.startswith("cuda") else None

    def reset_device_memory(self):
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)

    def are_finite(self, arrays):
        if self.device == "cpu":
            return super().are_finite(arrays)
        sums = [self.backend._dense(array).sum(dtype=torch.float64) for array in arrays]
        return not sums or bool(np.isfinite(self.backend.to_numpy(torch.stack(sums))).all())

    def sum_over_ranks(self, arrays):
        k = self.backend
        return arrays if self.ranks == 1 else ranks.sums(arrays, k._dense, k.float, self.device)

    def captured(self, function):
        return graphs.Captured(function, self.device, self.say, self.backend.versions) if self.records else function

    def fetch_async(self, array):
        array = self.backend._dense(array)
        if self.device == "cpu":
            return super().fetch_async(array.clone())
        values, done = torch.empty(array.shape, dtype=array.dtype, device="cpu", pin_memory=True), torch.cuda.Event()
        values.copy_(array, non_blocking=True)
        done.record(torch.cuda.current_stream(self.device))
        return lambda: (done.synchronize(), values.numpy())[1]


@says_when_memory_is_short(*Backend.__abstractmethods__, "conv_lif_forward", "top_k", "__init__")
@checked
class TorchBackend(Updates):
    """Arrays are torch tensors on one device or have a type of arrays.py.

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
        super().__init__(dtype=dtype, threads=threads, device=device, precision=precision, record=record)
        own = ranks.own_device(device) if torchrun_rank()[1] > 1 else device
        self.device, self.dtype, self.precision = find_device(own), dtype, precision
        if precision not in PRECISIONS:
            raise BackendError(f"no precision {precision!r}: choose {', '.join(PRECISIONS)}")
        if precision != "float32" and dtype != "float32":
            raise BackendError(f"precision {precision} is for float32, not for {dtype}")
        self.services = TorchServices(self)
        self.float = getattr(torch, dtype)
        self.product_dtype = torch.bfloat16 if precision == "bf16" else self.float  # of the factors of a product
        self.threads = threads or min(processors.available(), THREADS)
        torch.set_num_threads(self.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        torch.backends.cudnn.deterministic = True
        self.multiplies_into_float32 = self.product_dtype != self.float and multiplies_into_float32(self.device)
        self.onednn = _onednn()
        self.lif_kernels = _lif_kernels(self.device)
        plain = self.lif_kernels is lif  # these neurons read numbers from the device, which a recording cannot
        self.services.records = record and not plain and self.services.ranks == 1
        self.constants: dict[tuple, torch.Tensor] = {}
        if self.services.ranks > 1:
            ranks.join(self.device)
        self.quantiles = torch.from_numpy(NORMAL_QUANTILES).to(self.device, self.float)


def _say_nothing(line: str) -> None:
    """The default of `announce`'s argument: print nothing."""


def find_device(name: str) -> str:
    """The name of the device. Raises BackendError if this machine or torch does not have it."""
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = None
    if kind not in ("cpu", "cuda"):
        raise BackendError(f"the torch backend runs on cpu or cuda, not on {name!r}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise BackendError(
                "no CUDA device was found: use the device cpu, or a CUDA build of torch on a machine with a GPU"
            )
        count, index = torch.cuda.device_count(), torch.device(name).index or 0
        if index >= count:
            raise BackendError(f"there is no {name}: this machine has {count} CUDA device{'s' * (count > 1)}")
    return "cpu" if kind == "cpu" else name


def _onednn() -> bool:
    """Whether this torch can multiply by oneDNN: a fifth faster than by MKL, which torch's own linear layer calls."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _lif_kernels(device: str):
    """The module with the kernels of LIF neurons: triton_lif on CUDA if Triton works there, else lif."""
    if fused.obstacle(device):
        return lif
    from backends.torch_any import triton_lif

    return triton_lif


def multiplies_into_float32(device: str) -> bool:
    """Whether this torch multiplies bf16 matrices on this device into float32 results, without rounding them between."""
    factor = torch.full((32, 32), 1.0 + 2**-7, dtype=torch.bfloat16, device=device)
    try:
        found = torch.mm(factor, factor, out_dtype=torch.float32)
    except (RuntimeError, TypeError):  # not on CPUs, and not before torch 2.8
        return False
    return bool((found == 32 * (1.0 + 2**-7) ** 2).all())
