"""The peers: the same networks in other libraries, with the same weights and images. Each runs in its own process."""

import importlib
import importlib.util
import logging
from typing import Any, NamedTuple

from minihire.runtime.errors import MinihireError


class Peer(NamedTuple):
    """The implementation of a side: module and class, title in tables, required packages, and whether it spikes.

    options: further arguments of the class. Torch peers know "precision" and "compiled" (see `side.TorchSide`).
    """

    module: str
    cls: str
    title: str
    needs: tuple[str, ...] = ("torch",)
    spiking: bool = True
    options: dict[str, Any] = {}

    @property
    def precision(self) -> str:
        """The type of the operands of products: "float32" or "bf16"."""
        return self.options.get("precision", "float32")

    @property
    def compiled(self) -> bool:
        """Whether torch.compile compiles the network."""
        return self.options.get("compiled", False)


class CannotCompile(MinihireError):
    """torch.compile failed, for example because there is no C++ compiler. The peer takes no part in the comparison."""


def variants(name: str, peer: Peer) -> dict[str, Peer]:
    """A torch peer in float32 and under bf16 autocast, each without and with torch.compile, by name."""
    found = {}
    for precision in ("float32", "bf16"):
        for compiled in (False, True):
            words = ["bf16"] * (precision == "bf16") + ["compiled"] * compiled
            title = f"{peer.title}, {', '.join(words)}" if words else peer.title
            options = {"precision": precision, "compiled": compiled}
            found["-".join([name, *words])] = peer._replace(title=title, options=options)
    return found


PEERS = {
    **variants("torch", Peer("benchmarks.peers.dense", "Dense", "dense PyTorch")),
    **variants(
        "spikingjelly",
        Peer("benchmarks.peers.spiking_jelly", "Jelly", "SpikingJelly", ("torch", "spikingjelly", "loguru")),
    ),
    "snntorch": Peer("benchmarks.peers.snn_torch", "TimeLoop", "snnTorch", ("torch", "snntorch")),
    "spyx": Peer(
        "benchmarks.peers.spyx_jax",
        "Spyx",
        "Spyx, compiled",
        ("jax", "flax", "optax", "spyx"),
        options={"compiled": True},
    ),
    **variants("ann", Peer("benchmarks.peers.ann", "ANN", "ANN in PyTorch", spiking=False)),
}
USUAL = (*variants("torch", PEERS["torch"]), "spikingjelly", "spikingjelly-compiled", "snntorch", "ann")
MINIHIRE = {
    "numba": Peer("benchmarks.own", "Minihire", "minihire", ("numba",)),
    "torch": Peer("benchmarks.own", "MinihireOnTorch", "minihire on torch", ("torch",)),
}


def missing(peer: Peer) -> list[str]:
    """The required packages of a peer that are not installed."""
    return [name for name in peer.needs if importlib.util.find_spec(name) is None]


def side_class(peer: Peer):
    """Import the library of a side and return the side's class."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # hides its warning that Triton is missing
    return getattr(importlib.import_module(peer.module), peer.cls)


def create(peer: Peer, problem, task: str, threads: int):
    """A side for a problem and a task: an object of the peer's class with the peer's options."""
    return side_class(peer)(problem, task, threads, **peer.options)
