"""A network as a `torch.nn.Module`: foolbox, torchattacks, ART and AutoAttack attack it unchanged.

    module = torch_module(network)        # images [B, C, H, W] in [0, 1] → logits [B, classes]

To torch the whole network is one operation, whose gradient with respect to the images is our engine's: BPTT with the
surrogate. A network may run on any backend: on the Torch backend images and gradients stay on its device, to the others
they cross over as NumPy arrays.
"""

import numpy as np

from backends.surrogates import Surrogate
from minihire.layers import Draws
from minihire.network import Network
from minihire.runtime.errors import MinihireError

try:
    import torch
except ImportError as error:
    raise MinihireError("a network becomes a torch.nn.Module with PyTorch only: pip install torch") from error


def torch_module(network: Network, *, seed: int = 0, surrogate: Surrogate | None = None) -> "TorchModule":
    """A network that PyTorch can attack. Raises MinihireError for what is not a minihire Network.

    seed: of a rate-coded network's spikes (see TorchModule). surrogate: the attacker's own f(z), in place of the
    network's.
    """
    if not isinstance(network, Network):
        raise MinihireError(
            f"torch_module takes a minihire Network, not {type(network).__name__}: load a checkpoint with "
            f"minihire.training.checkpoint.load(path).network(backend)"
        )
    return TorchModule(network, seed, surrogate)


class TorchModule(torch.nn.Module):
    """Logits [B, classes] of images [B, C, H, W] in [0, 1], differentiable once, with respect to the images only.

    Always in evaluation mode: `train()` is accepted and turns no dropout on. There are no parameters: the weights stay
    minihire's, get no gradient, and `to(device)` moves nothing. Results have the images' dtype and device and are
    computed in the backend's precision (of float16 images too). A rate-coded network draws new spikes in every call,
    number `calls` (from 1) of `seed`: minihire's Draws(seed, calls), never those of its own evaluation with that seed.
    Set `calls` back to 0 to see the same spikes again.
    """

    def __init__(self, network: Network, seed: int = 0, surrogate: Surrogate | None = None):
        super().__init__()
        self.network, self.seed, self.surrogate, self.calls = network, seed, surrogate, 0
        self.eval()  # the libraries warn of a module in training mode

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, classes]. Raises MinihireError for another shape, whole numbers, and numbers that are not finite."""
        self._check(images)
        self.calls += 1
        draws = Draws(self.seed, self.calls)
        if torch.is_grad_enabled() and images.requires_grad:
            return _Logits.apply(images, self, draws)
        return self._tensor(self.network.forward(self._array(images.permute(0, 2, 3, 1)), draws=draws), images)

    def record(self, images: torch.Tensor, draws: Draws):
        """Logits [B, classes], and the function from ∂L/∂logits to ∂L/∂images [B, C, H, W], which works once."""
        pixels = self._array(images.permute(0, 2, 3, 1))
        logits, pull = self.network.pullback(pixels, draws=draws, surrogate=self.surrogate)

        def pull_tensor(grad_logits):
            return self._tensor(pull(self._array(grad_logits)), images).permute(0, 3, 1, 2).contiguous()

        return self._tensor(logits, images), pull_tensor

    def _check(self, images):
        model = self.network.model
        if not isinstance(images, torch.Tensor) or not images.is_floating_point():
            given = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
            raise MinihireError(f"{model.name} takes a floating point tensor of images in [0, 1], not {given}")
        height, width, channels = model.image_shape
        if images.ndim != 4 or tuple(images.shape[1:]) != (channels, height, width):
            raise MinihireError(
                f"{model.name} was built for images [B, {channels}, {height}, {width}] in torch's layout, "
                f"not {list(images.shape)}"
            )

    def _array(self, tensor):
        """A tensor's values on the backend. Raises MinihireError where they are not finite: kernels may skip such numbers."""
        if not tensor.isfinite().all():
            raise MinihireError("images, and gradients of logits, must be finite: there is a NaN or an infinity")
        k = self.network.backend
        return k.asarray(tensor if k.name == "torch" else tensor.detach().cpu().to(getattr(torch, k.dtype)).numpy())

    def _tensor(self, array, like):
        """A backend array's values as a tensor of its own, with the dtype and on the device of another."""
        if not isinstance(array, torch.Tensor):
            array = torch.from_numpy(np.array(self.network.backend.to_numpy(array)))
        return array.clone().to(like.dtype).to(like.device)


class _Logits(torch.autograd.Function):
    """The network as one operation of torch's."""

    @staticmethod
    def forward(ctx, images, module, draws):
        logits, ctx.pull = module.record(images, draws)
        ctx.module, ctx.draws = module, draws
        ctx.save_for_backward(images)
        return logits

    @staticmethod
    def backward(ctx, grad_logits):
        (images,) = ctx.saved_tensors  # torch's own error where the graph was freed, or the images have changed
        pull = ctx.pull or ctx.module.record(images, ctx.draws)[1]  # again where the graph was retained
        ctx.pull = None
        return _Gradient.apply(images, grad_logits, pull), None, None


class _Gradient(torch.autograd.Function):
    """The gradient as an operation that depends on the images, so that nobody takes it for a constant."""

    @staticmethod
    def forward(ctx, images, grad_logits, pull):
        return pull(grad_logits)

    @staticmethod
    def backward(ctx, grad):
        raise MinihireError("a minihire network can be differentiated only once: leave out create_graph=True")
