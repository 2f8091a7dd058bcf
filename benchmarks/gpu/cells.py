"""What is measured: cells in order of importance, and the sides of each."""

from typing import NamedTuple

from backends import get_backend
from benchmarks.peers import PEERS, missing

MODELS = ("vgg5", "vgg11", "resnet12")
BATCHES = (32, 256)
TASKS = ("train", "attack", "forward")
OWN = {  # side → (task if it is another than the cell's, recorded)
    "minihire": (None, True),
    "minihire HIRE": ("hire", True),
    "minihire eager": (None, False),
    "minihire HIRE eager": ("hire", False),
}
FREE = "minihire, any cuDNN algorithm"  # what minihire's deterministic ones cost
RIVALS = {  # side → (peer, how its steps are launched)
    "torch": ("torch", "eager"),
    "torch recorded": ("torch", "recorded"),
    "torch compiled": ("torch", "compiled"),
    "SpikingJelly": ("spikingjelly", "eager"),
    "SpikingJelly recorded": ("spikingjelly", "recorded"),
    "ANN in torch": ("ann", "eager"),
    "ANN in torch recorded": ("ann", "recorded"),
}
COSTS = {
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
    """What was asked for. quick: tiny networks; compiled: whether torch.compile is tried; data: whether there is CIFAR-10."""

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
        """The batch sizes of which whole epochs are timed."""
        return self.batches if self.data else ()

    @property
    def records(self) -> bool:
        """Whether the device knows CUDA graphs."""
        return self.device != "cpu"

    def backend(self, precision: str = "float32", record: bool = True):
        """minihire's backend on the device."""
        return get_backend("torch", self.device, precision=precision, record=record)

    def describe(self) -> dict:
        """As plain data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self._asdict().items()}


class Cell(NamedTuple):
    """One table: some sides, measured in turn."""

    model: str
    batch: int
    precision: str
    task: str

    @property
    def rank(self) -> int:
        """Less is more important: VGG5 and training first, and TF32, which is the paper's precision as GPUs have it."""
        return sum(COSTS[value] for value in (self.model, self.task, self.precision))

    def __str__(self):
        return f"{self.model}, batch {self.batch}, {self.precision}, {self.task}"


def planned(settings: Settings) -> list[Cell]:
    """Every cell, the most important first."""
    cells = [
        Cell(model, batch, precision, task)
        for model in settings.models
        for precision in settings.precisions
        for task in TASKS
        for batch in settings.batches
    ]
    return sorted(cells, key=lambda cell: cell.rank)


def sides(cell: Cell, settings: Settings) -> dict[str, tuple]:
    """Side → (peer or None, task, how): of those that can be had here."""
    found = {}
    for name, (task, recorded) in OWN.items():
        if (
            (task is None or cell.task == "train")
            and recorded <= settings.records
            and (recorded or cell.task != "forward")
        ):
            found[name] = (None, task or cell.task, "recorded" if recorded else "eager")
    if cell.task == "train" and settings.records:
        found[FREE] = (None, "train", "free")
    if cell.task == "forward":  # is never recorded
        found["minihire"] = (None, "forward", "eager")
    for name, (peer, how) in RIVALS.items():
        wanted = {"eager": True, "recorded": settings.records, "compiled": settings.compiled and cell.task == "train"}
        if wanted[how] and not missing(PEERS[peer]):
            found[name] = (peer, cell.task, how)
    return found
