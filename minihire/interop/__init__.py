"""Interoperability: checkpoints in the format of the paper's authors, and networks from and to PyTorch.

minihire.interop.from_torch(module, images) a trained torch module as an ANN of minihire, which `convert` makes an SNN
minihire.interop.torch_module(network)      a torch module, which foolbox, torchattacks, ART and AutoAttack can attack
"""


def __getattr__(name):
    if name == "from_torch":
        from minihire.interop import torch_import

        return torch_import.from_torch
    if name in ("torch_module", "TorchModule"):  # imported on first use, because it needs torch
        from minihire.interop import module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
