"""The cells to measure, in order of importance, and the sides of each cell."""

from typing import NamedTuple

from backends import get_backend
from benchmarks.peers import PEERS, missing

MODELS = ("vgg5", "vgg11", "resnet12")
BATCHES = (32, 256)
TASKS = ("train", "attack", "forward")
OWN = {  # side → (task if it differs from the cell's, whether a CUDA graph is used)
    "minihire": (None, True),
    "minihire HIRE": ("hire", True),
    "minihire eager": (None, False),
    "minihire HIRE eager": ("hire", False),
}
ANY_ALGORITHM = "minihire, any cuDNN algorithm"  # shows the cost of deterministic algorithms
PEER_SIDES = {  # side → (peer, how its steps are launched)
    "torch": ("torch", "eager"),
    "torch recorded": ("torch", "recorded"),
    "torch compiled": ("torch", "compiled"),
    "SpikingJelly": ("spikingjelly", "eager"),
    "SpikingJelly recorded": ("spikingjelly", "recorded"),
    "ANN in torch": ("ann", "eager"),
    "ANN in torch recorded": ("ann", "recorded"),
}
RANKS = {  # added up for a cell; the smallest sum is measured first
    "vgg5": 0,
    "vgg11": 2,
    "resnet12": 2,
    "train": 0,
    "attack": 3,
    "forward": 3,
    "tf32": 0,
    "bf16": 1,
    "float32": 5,
}


class Settings(NamedTuple):
    """The settings of a measurement.

    quick: use tiny networks. compiled: measure torch.compile. data: CIFAR-10 is available, so epochs are timed.
    """

    device: str
    models: tuple[str, ...]
    batches: tuple[int, ...]
    precisions: tuple[str, ...]
    rounds: int
    quick: bool
    compiled: bool
    data: bool

    @property
    def epochs(self) -> tuple[int, ...]:
        """The batch sizes for which whole epochs are timed."""
        return self.batches if self.data else ()

    @property
    def records(self) -> bool:
        """Whether the device supports CUDA graphs."""
        return self.device != "cpu"

    def backend(self, precision: str = "float32", record: bool = True):
        """minihire's Torch backend on the device. record: use CUDA graphs."""
        return get_backend("torch", self.device, precision=precision, record=record)

    def describe(self) -> dict:
        """The settings as plain data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self._asdict().items()}


class Cell(NamedTuple):
    """A model, batch size, precision and task. Its sides are measured in turn and share a table."""

    model: str
    batch: int
    precision: str
    task: str

    @property
    def rank(self) -> int:
        """The order of measurement, smallest first: VGG5, training and TF32, a GPU's usual form of float32, come first."""
        return sum(RANKS[value] for value in (self.model, self.task, self.precision))

    def __str__(self):
        return f"{self.model}, batch {self.batch}, {self.precision}, {self.task}"


def planned(settings: Settings) -> list[Cell]:
    """All cells, the most important first."""
    cells = [
        Cell(model, batch, precision, task)
        for model in settings.models
        for precision in settings.precisions
        for task in TASKS
        for batch in settings.batches
    ]
    return sorted(cells, key=lambda cell: cell.rank)


def sides(cell: Cell, settings: Settings) -> dict[str, tuple]:
    """The available sides of a cell: name → (peer, or None for minihire; task; how steps are launched)."""
    found = {}
    for name, (task, recorded) in OWN.items():
        if (
            (task is None or cell.task == "train")
            and recorded <= settings.records
            and (recorded or cell.task != "forward")
        ):
            found[name] = (None, task or cell.task, "recorded" if recorded else "eager")
    if cell.task == "train" and settings.records:
        found[ANY_ALGORITHM] = (None, "train", "free")
    if cell.task == "forward":  # minihire never records inference
        found["minihire"] = (None, "forward", "eager")
    for name, (peer, how) in PEER_SIDES.items():
        available = {
            "eager": True,
            "recorded": settings.records,
            "compiled": settings.compiled and cell.task == "train",
        }
        if available[how] and not missing(PEERS[peer]):
            found[name] = (peer, cell.task, how)
    return found
