"""CUDA graphs: a sequence of kernels is recorded once and replayed with one launch.

At batch 32 a training period has about 300 kernels of a few microseconds each. The host cannot launch them as fast as the GPU
runs them. A graph has fixed addresses and fixed numbers. So a recorded function reads its arguments from fixed tensors, which
every call fills first. Arrays are copied; numbers, such as a learning rate, become tensors with one element.
"""

import contextlib
import functools
import gc
import threading
import weakref

import torch
from torch.utils import _pytree as trees

from backends import BackendError
from backends.torch_any.memory import says_when_memory_is_short

EAGER_CALLS = 2  # calls before recording, in which kernels are compiled and libraries loaded
# By device. All graphs of a device share one memory pool, because only one runs at a time. The last of them frees it.
POOLS: weakref.WeakValueDictionary[str, "Pool"] = weakref.WeakValueDictionary()


class Pool:
    """The memory pool of a device's graphs, and the stream on which they are recorded.

    keeper: a graph that keeps the pool alive, because torch rejects a pool without graphs.
    """

    def __init__(self, device: str):
        self.handle, self.stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)
        self.keeper = torch.cuda.CUDAGraph()
        with self.recording(self.keeper):
            torch.zeros(1, device=device)  # torch warns about an empty graph

    @contextlib.contextmanager
    def recording(self, graph):
        """Record what runs in this context. After an error, the pool must not be used again."""
        try:
            with torch.cuda.graph(graph, pool=self.handle, stream=self.stream):
                yield
        except BaseException:
            with contextlib.suppress(Exception):  # torch's own functions, which may change
                _end_allocation()(torch.cuda.current_device(), self.handle)
            raise


def _end_allocation():
    """Torch's function after which the allocator no longer records into a pool; until torch 2.13, a failed recording omits it."""
    new = getattr(torch._C, "_cuda_endAllocateToPool", None)
    return new or torch._C._cuda_endAllocateCurrentStreamToPool  # before torch 2.8


def record(function, device: str):
    """Record a function without arguments, without running it. Returns (replay, results)."""
    with torch.cuda.device(device), _undisturbed(device):
        pool = POOLS.get(device) or Pool(device)
        POOLS[device] = pool
        graph = torch.cuda.CUDAGraph()
        try:
            with pool.recording(graph):
                results = function()
        except BaseException:
            del POOLS[device]
            raise
    return functools.partial(_replay, graph, pool), results


def _replay(graph, pool):
    """Run the graph. The pool is an argument so that it lives as long as the graph."""
    graph.replay()


@contextlib.contextmanager
def _undisturbed(device):
    """Disable garbage collection while a graph is recorded, because it may free other graphs. Restore the stream on errors."""
    stream, collects = torch.cuda.current_stream(device), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    except BaseException:
        torch.cuda.set_stream(stream)
        raise
    finally:
        if collects:
            gc.enable()


@says_when_memory_is_short("__call__")
class Captured:
    """A function as `Services.captured` describes it: a recording for each set of shapes that it is called with.

    running: whether a captured function runs. One that it calls then becomes part of its recording. lock: the other threads of
    the process wait, because torch records one graph at a time.
    """

    running, lock = False, threading.RLock()

    def __init__(self, function, device: str, say, versions):
        self.function, self.device, self.say, self.versions, self.recordings = function, device, say, versions, {}

    def __call__(self, *arguments):
        with Captured.lock:
            if Captured.running:
                return self.function(*arguments)
            leaves, form = trees.tree_flatten(arguments)
            key = str(form), tuple(_kind(leaf) for leaf in leaves)
            if key not in self.recordings:
                self.recordings[key] = Recording(self.function, leaves, form, self.device, self.say, self.versions)
            Captured.running = True
            try:
                return self.recordings[key](leaves)
            finally:
                Captured.running = False


class Recording:
    """A function with its arguments in fixed tensors. The third call records a graph; it and all later calls replay the graph.

    A replay updates the same parameters as the recorded call, and counts these updates in `versions`.
    """

    def __init__(self, function, leaves, form, device: str, say, versions):
        self.device, self.say, self.calls, self.replay, self.results = device, say, 0, None, None
        self.versions, self.updated = versions, []
        self.places = [_place(leaf, device) for leaf in leaves]
        arguments = trees.tree_unflatten(self.places, form)
        self.function = lambda: function(*arguments)

    def __call__(self, leaves):
        for place, leaf in zip(self.places, leaves, strict=True):
            if isinstance(leaf, torch.Tensor):
                place.copy_(leaf)
            elif leaf is not None:
                place.fill_(leaf if isinstance(leaf, float) else _signed(int(leaf)))
        self.calls += 1
        if self.calls == EAGER_CALLS + 1:
            self.record_graph()
        if self.replay is None:
            return self.function()
        self.replay()
        for parameter in self.updated:
            self.versions.updated(parameter)
        return self.results

    def record_graph(self):
        self.versions.log = self.updated
        try:
            self.replay, self.results = record(self.function, self.device)
        except (RuntimeError, BackendError) as error:  # such as too little memory
            self.say(f"no CUDA graph could be recorded, kernels are launched one by one: {str(error).splitlines()[0]}")
        finally:
            self.versions.log = None


def _signed(whole):
    """The lower 64 bits of a whole number as a signed one: a seed may be 2⁶³ or more."""
    return (whole + 2**63) % 2**64 - 2**63


def _kind(leaf):
    """The properties of an argument on which a recording depends."""
    return (leaf.shape, leaf.dtype) if isinstance(leaf, torch.Tensor) else type(leaf)


def _place(leaf, device):
    """A tensor that holds an argument: of the same shape for an array, of shape [] for a number."""
    if isinstance(leaf, torch.Tensor):
        return torch.empty_like(leaf, memory_format=torch.contiguous_format)
    if leaf is None:
        return None
    return torch.zeros((), dtype=torch.float64 if isinstance(leaf, float) else torch.int64, device=device)
