"""Interoperability: checkpoints in the format of the paper's authors, and networks as torch modules.

minihire.interop.torch_module(network)      a torch module, which foolbox, torchattacks, ART and AutoAttack can attack
"""


def __getattr__(name):
    if name in ("torch_module", "TorchModule"):  # imported on first use, because it needs torch
        from minihire.interop import module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
