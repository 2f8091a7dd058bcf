"""A network as a `torch.nn.Module`, which foolbox, torchattacks, ART and AutoAttack can attack.

    module = torch_module(network)        # images [B, C, H, W] in [0, 1] → logits [B, classes]

For torch, the whole network is one operation. Its gradient with respect to the images comes from minihire's engine: BPTT with
the surrogate. The network may use any backend. With the Torch backend, images and gradients stay on the device. For the
other backends they are converted to NumPy arrays.
"""

import numpy as np

from backends.randomness import Draws
from backends.surrogates import Surrogate
from minihire.interop.packages import require
from minihire.network import Network
from minihire.runtime import checks
from minihire.runtime.errors import MinihireError

torch = require("torch", "torch_module")


def torch_module(network: Network, *, seed: int = 0, surrogate: Surrogate | None = None) -> "TorchModule":
    """Wrap a network as a torch module that maps images [B, C, H, W] in [0, 1] to logits [B, classes].

    seed: seed of the input spikes of a rate-coded network. surrogate: the attacker's surrogate f(z), if it differs from the
    network's. Raises MinihireError if `network` is not a minihire Network.
    """
    if not isinstance(network, Network):
        raise MinihireError(
            f"torch_module takes a minihire Network, not {type(network).__name__}: load a checkpoint with "
            f"minihire.training.checkpoint.load(path).network(backend)"
        )
    return TorchModule(network, seed, surrogate)


class TorchModule(torch.nn.Module):
    """A network as a torch module. It is differentiable once, and only with respect to the images.

    - The network is always in evaluation mode; `train()` does not enable dropout.
    - The module has no parameters. The weights belong to the minihire network and get no gradient, and `to(device)` has no
      effect.
    - Results have the dtype and device of the images. They are computed in the precision of the backend.
    - A rate-coded network draws new spikes in every call, with Draws(seed, calls), where `calls` counts from 1. Set `calls`
      to 0 to get the same spikes again. Minihire's own evaluation with this seed uses other spikes.
    """

    def __init__(self, network: Network, seed: int = 0, surrogate: Surrogate | None = None):
        super().__init__()
        self.network, self.seed, self.surrogate, self.calls = network, seed, surrogate, 0
        self.eval()  # attack libraries print a warning for modules in training mode

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images [B, C, H, W]. Raises MinihireError for wrong shapes, integers and pixels outside [0, 1]."""
        self._check(images)
        self.calls += 1
        draws = Draws(self.seed, self.calls)
        if torch.is_grad_enabled() and images.requires_grad:
            return _Logits.apply(images, self, draws)
        return self._tensor(self.network.forward(self._array(images.permute(0, 2, 3, 1)), draws=draws), images)

    def record(self, images: torch.Tensor, draws: Draws):
        """Return logits [B, classes] and a function from ∂L/∂logits to ∂L/∂images [B, C, H, W], which can be called once."""
        pixels = self._array(images.permute(0, 2, 3, 1))
        with self._own_precision():
            wanted = dict(weights=False, image=True, training=False)
            logits, pull = self.network.pullback(pixels, **wanted, draws=draws, surrogate=self.surrogate)

        def pull_tensor(grad_logits):
            with self._own_precision():
                grad = pull(self._array(grad_logits)).image
            return self._tensor(grad, images).permute(0, 3, 1, 2).contiguous()

        return self._tensor(logits, images), pull_tensor

    def _own_precision(self):
        """Context manager: torch.autocast does not change the products of the backend."""
        return torch.autocast(torch.device(self.network.backend.device).type, enabled=False)

    def _check(self, images):
        model = self.network.model
        if not isinstance(images, torch.Tensor) or not images.is_floating_point():
            given = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
            raise MinihireError(f"{model.name} needs a floating-point tensor of images in [0, 1], not {given}")
        height, width, channels = model.image_shape
        if images.ndim != 4 or tuple(images.shape[1:]) != (channels, height, width):
            raise MinihireError(
                f"{model.name} needs images [B, {channels}, {height}, {width}] in torch's layout, not {list(images.shape)}"
            )
        if images.numel():
            checks.pixels(*images.detach().aminmax())  # which propagate NaN

    def _array(self, tensor):
        """Convert a tensor to a backend array. Raises MinihireError for NaN and infinity, which kernels do not propagate."""
        if not tensor.isfinite().all():
            raise MinihireError("images and gradients of logits must be finite, but there is a NaN or an infinity")
        k = self.network.backend
        return k.asarray(tensor if k.name == "torch" else tensor.detach().cpu().to(getattr(torch, k.dtype)).numpy())

    def _tensor(self, array, like):
        """Copy a backend array to a tensor with the dtype and device of `like`."""
        if not isinstance(array, torch.Tensor):
            array = torch.from_numpy(np.array(self.network.backend.to_numpy(array)))
        return array.clone().to(like.dtype).to(like.device)


class _Logits(torch.autograd.Function):
    """The network as one torch operation."""

    @staticmethod
    def forward(ctx, images, module, draws):
        logits, ctx.pull = module.record(images, draws)
        ctx.weights = module.network.weight_versions()
        ctx.module, ctx.draws = module, draws
        ctx.save_for_backward(images)
        return logits

    @staticmethod
    def backward(ctx, grad_logits):
        (images,) = ctx.saved_tensors  # torch raises an error if the graph was freed or the images were changed
        if ctx.weights != ctx.module.network.weight_versions():
            raise MinihireError(
                "the network was trained between this forward pass and its backward pass: call it again"
            )
        pull = ctx.pull or ctx.module.record(images, ctx.draws)[1]  # recorded again if the graph was retained
        ctx.pull = None
        return _Gradient.apply(images, grad_logits, pull), None, None


class _Gradient(torch.autograd.Function):
    """The gradient as a torch operation on the images. Differentiating it raises an error instead of returning zeros."""

    @staticmethod
    def forward(ctx, images, grad_logits, pull):
        return pull(grad_logits)

    @staticmethod
    def backward(ctx, grad):
        raise MinihireError("a minihire network can be differentiated only once: omit create_graph=True")
