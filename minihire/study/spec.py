"""The specification of a network: settings, method and seed. It is the key under which the study trains and loads it."""

from dataclasses import asdict, fields
from typing import NamedTuple

from minihire.study.settings import Config

ANN_GROUPS = ("data", "network", "ANN training")  # groups of settings that an ANN depends on
CONVERTED_GROUPS = (*ANN_GROUPS, "conversion")
TRAINED_GROUPS = (*CONVERTED_GROUPS, "SNN training")
NETWORK_SETTINGS_OF_SNNS_ONLY = ("steps", "readout", "reset", "reset_grad", "gamma", "time_chunk")
NOISE_SETTINGS = ("noise_step", "noise_bound", "carry_noise", "clip_noise", "craft_after_update")
UNUSED = {  # settings of the SNN training that a method does not read
    "traditional": ("periods", *NOISE_SETTINGS, "carry_membranes"),
    "control": NOISE_SETTINGS,
    "gaussian": ("noise_bound", "carry_noise", "craft_after_update"),
    "hire": (),
}
WITHOUT_EFFECT = ("data_dir", "methods", "time_chunk")  # settings that change no trained weight


class NetworkSpec(NamedTuple):
    """One network: its settings, how it was made ("ann", "converted" or a training method), and its seed."""

    config: Config
    method: str
    seed: int

    @property
    def start(self) -> "NetworkSpec | None":
        """The network that this one is made from: the ANN of a conversion, the converted SNN of a training; None for an ANN."""
        if self.method == "ann":
            return None
        return self._replace(method="ann" if self.method == "converted" else "converted")

    def describe(self) -> dict:
        """Method, seed and the settings that this network depends on, and no others: the key in a cache folder."""
        groups = {"ann": ANN_GROUPS, "converted": CONVERTED_GROUPS}.get(self.method, TRAINED_GROUPS)
        left_out = {*WITHOUT_EFFECT, *UNUSED.get(self.method, ())}
        if self.method == "ann":
            left_out |= {*NETWORK_SETTINGS_OF_SNNS_ONLY}
        chosen = [f.name for f in fields(Config) if f.metadata.get("group") in groups and f.name not in left_out]
        values = asdict(self.config)
        return {"method": self.method, "seed": self.seed, **{name: values[name] for name in chosen}}
