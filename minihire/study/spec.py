"""The specification of a network: settings, method and seed. It is the key under which the study trains and loads it."""

from dataclasses import fields
from typing import NamedTuple

from minihire.study.settings import ANN_METHODS, Config

ANN_GROUPS = ("data", "network", "ANN training")  # groups of settings that an ANN depends on
CONVERTED_GROUPS = (*ANN_GROUPS, "conversion")
TRAINED_GROUPS = (*CONVERTED_GROUPS, "SNN training")
GROUPS = {
    "ann": ANN_GROUPS,
    "converted": CONVERTED_GROUPS,
    "adversarial": (*TRAINED_GROUPS, "adversarial training"),
    "adversarial-ann": (*ANN_GROUPS, "adversarial training"),
}
NETWORK_SETTINGS_OF_SNNS_ONLY = ("steps", "readout", "reset", "reset_grad", "gamma", "time_chunk")
CRAFTING_SETTINGS = ("noise_bound", "carry_noise", "craft_after_update", "noise_iterations", "craft_surrogate")
NOISE_SETTINGS = ("noise_step", *CRAFTING_SETTINGS, "clip_noise")
PERIOD_SETTINGS = ("periods", "time_division", "carry_membranes")
UNUSED = {  # settings of its own groups that a method does not read
    "traditional": (*PERIOD_SETTINGS, *NOISE_SETTINGS),
    "control": NOISE_SETTINGS,
    "gaussian": CRAFTING_SETTINGS,
    "hire": (),
    "hire-4x": (),
    "adversarial": (*PERIOD_SETTINGS, *NOISE_SETTINGS),
    "adversarial-ann": ("adversarial_epochs",),
}
# Settings that version 0.1.0 did not have. They are in a key only where they differ from the default, so that the keys of
# networks without them stay the same.
LATER = ("noise_iterations", "craft_surrogate", "time_division")
WITHOUT_EFFECT = ("data_dir", "methods", "time_chunk")  # settings that change no trained weight


def reads(method: str, name: str) -> bool:
    """Whether the training of `method` depends on the setting `name`."""
    group = Config.__dataclass_fields__[name].metadata["group"]
    return group in GROUPS.get(method, TRAINED_GROUPS) and name not in UNUSED.get(method, ())


class NetworkSpec(NamedTuple):
    """One network: its settings, how it was made ("ann", "converted" or a training method), and its seed."""

    config: Config
    method: str
    seed: int

    @property
    def start(self) -> "NetworkSpec | None":
        """The network that this one is made from: the ANN of a conversion, the converted SNN of a training; None for an ANN."""
        if self.method in ANN_METHODS:
            return None
        return self._replace(method="ann" if self.method == "converted" else "converted")

    def describe(self) -> dict:
        """Method, seed and the settings that this network depends on, and no others: the key in a cache folder.

        A network of "hire-4x" is described as one of "hire" with more noise, which it is.
        """
        if self.method == "hire-4x":
            return self._replace(config=self.config.with_more_noise(), method="hire").describe()
        groups = GROUPS.get(self.method, TRAINED_GROUPS)
        left_out = {*WITHOUT_EFFECT, *UNUSED.get(self.method, ())}
        left_out |= {name for name in LATER if getattr(self.config, name) == Config.__dataclass_fields__[name].default}
        if self.method in ANN_METHODS:
            left_out |= {*NETWORK_SETTINGS_OF_SNNS_ONLY}
        chosen = [f.name for f in fields(Config) if f.metadata.get("group") in groups and f.name not in left_out]
        return {"method": self.method, "seed": self.seed, **{name: getattr(self.config, name) for name in chosen}}
