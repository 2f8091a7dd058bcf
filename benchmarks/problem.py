"""The input of every side of a benchmark: model, weights, images and Adam's moments, written once into a folder.

A `Problem` is small and is pickled to every process. Its arrays stay in files, one file per array, and a process reads the
arrays that it needs.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minihire.attacks import Attack, pgd
from minihire.engine.lif import NeuronOptions
from minihire.models import Model
from minihire.training import CraftedNoise


@dataclass(frozen=True)
class Problem:
    """One network and one batch.

    optimiser_steps: number of steps that Adam has already made. learning_rate: so low that firing densities do not change
    during the measurement. own_optimiser: minihire's optimiser, if it differs from `optimiser`. periods, noise: those of a HIRE
    batch.
    """

    folder: Path
    model: Model
    spiking: bool
    steps: int
    neuron: NeuronOptions = NeuronOptions()
    optimiser: str = "adam"
    own_optimiser: str | None = None
    optimiser_steps: int = 0
    learning_rate: float = 1e-6
    dtype: str = "float32"
    periods: int = 2
    noise: CraftedNoise = CraftedNoise(step=0.013, bound=0.013)
    attack: Attack = field(default_factory=lambda: pgd(iterations=1, random_start=False))

    def parameter(self, name: str) -> np.ndarray:
        """A weight, threshold or leak, in minihire's layout."""
        return self._read("parameter", name)

    def moments(self, name: str):
        """Adam's moments (mean, square) of a parameter, or None if they start from zero."""
        if not self._path("mean", name).exists():
            return None
        return self._read("mean", name), self._read("square", name)

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch's images uint8 [B, H, W, C] and labels int64 [B]."""
        return self._read("batch", "images"), self._read("batch", "labels")

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch's images in [0, 1], [B, H, W, C], and labels int64 [B]."""
        images, labels = self.pixels()
        return images.astype(self.dtype) * np.array(1 / 255, self.dtype), labels

    def write(self, group: str, arrays: dict[str, np.ndarray]) -> None:
        """Write arrays into the folder. group: "parameter", "mean", "square", or "batch" for images and labels."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(self._path(group, name), array)

    @property
    def surrogate(self) -> tuple[float, float]:
        """Height and width of the network's triangle surrogate. Raises ValueError for another surrogate."""
        kind, height, width = self.neuron.surrogate
        if kind != "triangle":
            raise ValueError(f"the other libraries support only the triangle surrogate here, not {kind!r}")
        return height, width

    def _path(self, group, name):
        return self.folder / f"{group}.{name}.npy"

    def _read(self, group, name):
        return np.load(self._path(group, name))
