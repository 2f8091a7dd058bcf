"""minihire: HIRE-SNN (Kundu, Pedram and Beerel, ICCV 2021) from first principles.

The public names can be imported from here. Each is loaded when it is first used, so that `import minihire` is fast.

    >>> from minihire import build, get_backend
    >>> build("vgg5", classes=10).steps
    6
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends import get_backend
    from minihire.analysis.accuracy import accuracy
    from minihire.attacks.evaluate import attack_accuracy
    from minihire.attacks.gradient import Attack, fgsm, pgd
    from minihire.attacks.suite import evaluate_robustness
    from minihire.data.loading import load as load_data
    from minihire.models import build
    from minihire.network import Network, initialise
    from minihire.runtime.errors import MinihireError
    from minihire.training.calibration import Calibration
    from minihire.training.checkpoint import load as load_checkpoint
    from minihire.training.checkpoint import save as save_checkpoint
    from minihire.training.convert import convert
    from minihire.training.cost import cost_per_batch, epochs_at_equal_cost
    from minihire.training.loop import train
    from minihire.training.noise import Adversarial, CraftedNoise, GaussianNoise, NoNoise, training_attack
    from minihire.training.recipe import Recipe

__version__ = "0.1.0"
__all__ = [
    "Adversarial",
    "Attack",
    "Calibration",
    "CraftedNoise",
    "GaussianNoise",
    "MinihireError",
    "Network",
    "NoNoise",
    "Recipe",
    "accuracy",
    "attack_accuracy",
    "build",
    "convert",
    "cost_per_batch",
    "epochs_at_equal_cost",
    "evaluate_robustness",
    "fgsm",
    "get_backend",
    "initialise",
    "load_checkpoint",
    "load_data",
    "pgd",
    "save_checkpoint",
    "train",
    "training_attack",
]

# Public name → (module, name in that module). The imports above list the same names for type checkers and editors, which
# do not run __getattr__.
_LOCATIONS = {
    "Adversarial": ("minihire.training.noise", "Adversarial"),
    "Attack": ("minihire.attacks.gradient", "Attack"),
    "Calibration": ("minihire.training.calibration", "Calibration"),
    "CraftedNoise": ("minihire.training.noise", "CraftedNoise"),
    "GaussianNoise": ("minihire.training.noise", "GaussianNoise"),
    "MinihireError": ("minihire.runtime.errors", "MinihireError"),
    "Network": ("minihire.network", "Network"),
    "NoNoise": ("minihire.training.noise", "NoNoise"),
    "Recipe": ("minihire.training.recipe", "Recipe"),
    "accuracy": ("minihire.analysis.accuracy", "accuracy"),
    "attack_accuracy": ("minihire.attacks.evaluate", "attack_accuracy"),
    "build": ("minihire.models", "build"),
    "convert": ("minihire.training.convert", "convert"),
    "cost_per_batch": ("minihire.training.cost", "cost_per_batch"),
    "epochs_at_equal_cost": ("minihire.training.cost", "epochs_at_equal_cost"),
    "evaluate_robustness": ("minihire.attacks.suite", "evaluate_robustness"),
    "fgsm": ("minihire.attacks.gradient", "fgsm"),
    "get_backend": ("backends", "get_backend"),
    "initialise": ("minihire.network", "initialise"),
    "load_checkpoint": ("minihire.training.checkpoint", "load"),
    "load_data": ("minihire.data.loading", "load"),
    "pgd": ("minihire.attacks.gradient", "pgd"),
    "save_checkpoint": ("minihire.training.checkpoint", "save"),
    "train": ("minihire.training.loop", "train"),
    "training_attack": ("minihire.training.noise", "training_attack"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _LOCATIONS:
        raise AttributeError(f"minihire has no {name!r}: the public names are {', '.join(__all__)}")
    module, attribute = _LOCATIONS[name]
    globals()[name] = value = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    """The public names, whether or not they have been loaded, and those of every module, such as __file__."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
