"""minihire beside other libraries: checkpoints in the format of the paper's authors, networks as torch modules.

minihire.interop.torch_module(network)      so that foolbox, torchattacks, ART or AutoAttack attack it unchanged
"""


def __getattr__(name):
    if name in ("torch_module", "TorchModule"):  # not before it is asked for: it needs torch
        from minihire.interop import module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
