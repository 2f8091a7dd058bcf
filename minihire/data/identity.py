"""Hashes of a network and a data set. A file with a state has them, so that no call resumes from the state of another network."""

import hashlib

import numpy as np

from minihire.data.dataset import Dataset
from minihire.network import Network


def fingerprint(network: Network, data: Dataset) -> str:
    """A hash of a network's weights and of a data set. A training resumes only if it started from the same hash."""
    digest = hashlib.blake2b(data.images, digest_size=16)
    digest.update(np.ascontiguousarray(data.labels))
    for name, array in network.parameters.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(network.backend.to_numpy(array)).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def identity(network: Network, data: Dataset) -> str:
    """A hash of everything that decides a network's answers: weights, images, layers, normalisation, steps, coding, neuron."""
    settings = network.model, network.spiking, network.steps, network.coding, network.readout, network.neuron
    text = fingerprint(network, data) + repr(settings)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
