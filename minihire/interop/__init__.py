"""Interoperability: networks in the formats of other programs, and as torch modules.

    from_torch(module, images)   a trained torch module as an ANN of minihire, which `convert` turns into an SNN
    torch_module(network)        a torch module, which foolbox, torchattacks, ART and AutoAttack can attack
    to_nir(network)              an NIR graph, for snnTorch, SpikingJelly and Sinabs
    from_nir(graph, backend)     the network of an NIR graph
    to_onnx(network)             an ONNX model, for onnxruntime

minihire.interop.published reads and writes checkpoints in the format of the paper's authors.
"""

import importlib

# the module of each name; it is imported on first use, because it needs another package
MODULES = {
    "from_torch": "torch_import",
    "torch_module": "module",
    "TorchModule": "module",
    "to_nir": "nir",
    "from_nir": "nir_reader",
    "to_onnx": "onnx",
}


def __getattr__(name):
    if name in MODULES:
        return getattr(importlib.import_module(f"minihire.interop.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
