"""What every side of a benchmark is given: model, weights, images, moments of Adam. Written once into a folder.

A `Problem` is small and goes to every process by pickle; its arrays stay in files, one for each, so that a process
reads what it needs when it needs it.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minihire.attacks import Attack, pgd
from minihire.engine.lif import NeuronOptions
from minihire.models import Model


@dataclass(frozen=True)
class Problem:
    """One network and one batch. optimiser_steps: how many steps Adam counts so far; rate: so low that densities stay.

    own_optimiser: what minihire's side takes in the optimiser's place, None for the same.
    """

    folder: Path
    model: Model
    spiking: bool
    steps: int
    neuron: NeuronOptions = NeuronOptions()
    optimiser: str = "adam"
    own_optimiser: str | None = None
    optimiser_steps: int = 0
    rate: float = 1e-6
    dtype: str = "float32"
    attack: Attack = field(default_factory=lambda: pgd(iterations=1, random_start=False))

    def parameter(self, name: str) -> np.ndarray:
        """A weight, threshold or leak, in minihire's layout."""
        return self._read("parameter", name)

    def moments(self, name: str):
        """Adam's (mean, square) of a parameter, or None where it starts from zero."""
        if not self._path("mean", name).exists():
            return None
        return self._read("mean", name), self._read("square", name)

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch's images uint8 [B, H, W, C] and labels int64 [B]."""
        return self._read("batch", "images"), self._read("batch", "labels")

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch's images in [0, 1] and labels."""
        images, labels = self.pixels()
        return images.astype(self.dtype) * np.array(1 / 255, self.dtype), labels

    def write(self, group: str, arrays: dict[str, np.ndarray]) -> None:
        """Put arrays into the folder: group "parameter", "mean", "square", or "batch" (images, labels)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(self._path(group, name), array)

    @property
    def surrogate(self) -> tuple[float, float]:
        """Height and width of the triangle that is the network's surrogate."""
        kind, height, width = self.neuron.surrogate
        if kind != "triangle":
            raise ValueError(f"the peers know the triangle surrogate, not {kind!r}")
        return height, width

    def _path(self, group, name):
        return self.folder / f"{group}.{name}.npy"

    def _read(self, group, name):
        return np.load(self._path(group, name))
