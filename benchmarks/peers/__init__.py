"""The peers: the same networks in other libraries, with the same weights and images. Each runs in its own process."""

import importlib
import importlib.util
import logging
from typing import NamedTuple


class Peer(NamedTuple):
    """The implementation of a side: module and class, title in tables, required packages, and whether it spikes."""

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
    """The required packages of a peer that are not installed."""
    return [name for name in peer.needs if importlib.util.find_spec(name) is None]


def side_class(peer: Peer):
    """Import the library of a side and return the side's class."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # hides its warning that Triton is missing
    return getattr(importlib.import_module(peer.module), peer.cls)
