"""What a network of the cache is: its settings, its training and its seed, and which of the settings it depends on."""

from dataclasses import asdict, fields
from typing import NamedTuple

from minihire.study.settings import Config

OF_TRAINING = {  # groups of settings that a network depends on
    "ann": ("data", "network", "ANN training"),
    "converted": ("data", "network", "ANN training", "conversion"),
}
NOT_THE_ANN_S = ("steps", "readout", "reset", "reset_grad", "gamma", "time_chunk")
NOISE = ("noise_step", "noise_bound", "carry_noise", "clip_noise", "craft_after_update")
UNUSED = {  # settings of the SNN training that a method does not look at
    "traditional": ("periods", *NOISE, "carry_membranes"),
    "control": NOISE,
    "gaussian": ("noise_bound", "carry_noise", "craft_after_update"),
    "hire": (),
}
ELSEWHERE = ("data_dir", "methods", "time_chunk")  # where data lie, what else is trained, and how much fits the memory


class Subject(NamedTuple):
    """One network: "ann", "converted" or a method of training, of a configuration and a seed."""

    config: Config
    method: str
    seed: int

    def describe(self) -> dict:
        """What it depends on, and nothing else: the cache's key."""
        groups = (*OF_TRAINING.get(self.method, (*OF_TRAINING["converted"], "SNN training")),)
        left_out = {*ELSEWHERE, *UNUSED.get(self.method, ()), *(NOT_THE_ANN_S if self.method == "ann" else ())}
        chosen = [f.name for f in fields(Config) if f.metadata.get("group") in groups and f.name not in left_out]
        values = asdict(self.config)
        return {"method": self.method, "seed": self.seed, **{name: values[name] for name in chosen}}
