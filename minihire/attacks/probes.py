"""Attacks on the first 200 images of the data, from which the red flags and the curves are computed.

Each of these attacks runs on all of the 200 images, unlike those of the cascade.
"""

from typing import Any

import numpy as np

from minihire.analysis.statistics import Score
from minihire.attacks.evaluate import attack_accuracy
from minihire.attacks.gradient import Attack
from minihire.attacks.members import MEMBERS
from minihire.data.dataset import Dataset
from minihire.network import Network

IMAGES = 200


def strongest(network: Network) -> tuple[str, Network]:
    """The name of the strongest member of the ensemble, and the network through which it crafts images.

    An ANN has no ensemble: the name is "own", and the network is the ANN itself.
    """
    return (MEMBERS[0].name, MEMBERS[0].source(network)) if network.spiking else ("own", network)


class Probes:
    """Runs attacks on the first images of the data. state: the `State` of the suite, which keeps their answers."""

    def __init__(self, network: Network, data: Dataset, *, samples: int, seed: int, state: Any):
        self.network, self.samples, self.seed, self.state = network, samples, seed, state
        self.images, self._all = data.limit(min(IMAGES, len(data))), len(data)

    def score(self, label: str, source: Network, attack: Attack) -> Score:
        """How many of the images withstand an attack. label: the name of the attack in the state."""

        def compute():
            right, own = np.zeros(self._all, bool), attack.changed(name=label, samples=self.samples)
            more = self.state.partial(label)
            answers = attack_accuracy(self.network, self.images, own, source=source, seed=self.seed, **more)
            right[: len(self.images)] = answers
            return right

        return self.first(self.state.once(label, compute))

    def first(self, right: np.ndarray) -> Score:
        """The score on the first images. right: bool [N], the answers to all images."""
        count = len(self.images)
        return Score(int(right[:count].sum()), count)
