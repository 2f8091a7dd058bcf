"""The peers: the same networks, weights and images in other frameworks. Imported only in a process of their own."""

import importlib
import importlib.util
import logging
from typing import NamedTuple


class Peer(NamedTuple):
    """Where a side is written, what it is called in tables, what it needs installed, and whether it spikes."""

    module: str
    cls: str
    title: str
    needs: tuple[str, ...] = ("torch",)
    spiking: bool = True


PEERS = {
    "torch": Peer("benchmarks.peers.dense", "Dense", "dense PyTorch"),
    "spikingjelly": Peer(
        "benchmarks.peers.spiking_jelly", "Jelly", "SpikingJelly", ("torch", "spikingjelly", "loguru")
    ),
    "snntorch": Peer("benchmarks.peers.snn_torch", "TimeLoop", "snnTorch", ("torch", "snntorch")),
    "ann": Peer("benchmarks.peers.ann", "ANN", "ANN in PyTorch", spiking=False),
}
MINIHIRE = {
    "numba": Peer("benchmarks.own", "Minihire", "minihire", ("numba",)),
    "torch": Peer("benchmarks.own", "MinihireOnTorch", "minihire on torch", ("torch",)),
}


def missing(peer: Peer) -> list[str]:
    """The packages that a peer needs and that are not installed."""
    return [name for name in peer.needs if importlib.util.find_spec(name) is None]


def side_class(peer: Peer):
    """The class of a side; imports its framework."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # on a CPU nobody misses Triton
    return getattr(importlib.import_module(peer.module), peer.cls)
