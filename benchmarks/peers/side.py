"""What all torch peers share: weights and images from the problem, a training step, an attack step, a forward pass."""

import torch
from torch.nn import functional

from benchmarks.peers.layouts import Layout
from minihire.layers import THRESHOLD_FLOOR, Neuron


class TorchSide:
    """One network on torch. A peer says how its logits come about (`logits`) and which tensors it trains (`trained`).

    task: "train", "attack" or "forward". Weights learn only in "train", so an attack pays for the input gradient alone.
    precision "bf16" is torch's autocast; "tf32" is a switch of the whole process, which whoever measures turns.
    """

    channels_first = False  # whether images are flattened as (C, H, W); in memory channels are last
    spiking = True

    def __init__(self, problem, task: str, threads: int, device: str = "cpu", precision: str = "float32"):
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.casts = lambda: torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")
        self.problem, self.model, self.task, self.steps = problem, problem.model, task, problem.steps
        self.layout = Layout(self.model, self.channels_first)
        self.dtype = getattr(torch, problem.dtype)
        images, labels = problem.batch()
        self.images = self.put(
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        )
        self.labels = self.put(torch.from_numpy(labels))
        self.mean, self.std = (
            self.put(torch.tensor(v, dtype=self.dtype).reshape(1, -1, 1, 1)) for v in (self.model.mean, self.model.std)
        )
        self.clean = self.images
        self.firing = None  # a dictionary while densities are measured
        self.build()
        self.learning(task == "train")
        if task == "train":
            self.start_optimiser()

    def put(self, tensor):
        """The tensor on this side's device, in the same order in memory."""
        return tensor.to(self.device)

    def build(self) -> None:
        """Make the weights."""
        self.weights = {n: self.put(self.layout.to_torch(n, self.problem.parameter(n))) for n in self.names()}

    def names(self):
        """The parameters' names."""
        return self.model.parameters(self.spiking)

    def trained(self) -> dict:
        """The trained tensors by minihire's names; a tensor that has no counterpart there has a name of its own."""
        return self.weights

    def logits(self, x):
        """[B, classes] of normalised images [B, C, H, W]."""
        raise NotImplementedError

    def learning(self, on: bool) -> None:
        """Whether weights get gradients, and whether dropout is on."""
        self.training = on
        for tensor in self.trained().values():
            tensor.requires_grad_(on)

    def start_optimiser(self) -> None:
        """Fused Adam with the problem's moments, or fused SGD with momentum."""
        tensors = self.trained()
        if self.problem.optimiser == "sgd":
            self.optimiser = torch.optim.SGD(
                tensors.values(), lr=self.problem.rate, momentum=0.9, weight_decay=5e-4, fused=True
            )
            return
        self.optimiser = torch.optim.Adam(
            tensors.values(), lr=self.problem.rate, fused=True, capturable=self.device.type == "cuda"
        )
        for name, tensor in tensors.items():
            moments = self.problem.moments(name)
            if moments is not None:
                mean, square = (self.put(self.layout.to_torch(name, m)) for m in moments)
                step = self.put(torch.tensor(float(self.problem.optimiser_steps)))
                self.optimiser.state[tensor] = {"step": step, "exp_avg": mean, "exp_avg_sq": square}

    def step(self) -> None:
        """One step of the task."""
        {"train": self.train_step, "attack": self.attack_step, "forward": self.forward}[self.task]()

    def train_step(self) -> float:
        """Forward, backward, update; returns the loss, on a CPU as a number, as a training loop would show it."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.images)
        loss.backward()
        self.optimiser.step()
        self.constrain()
        return loss.item() if self.device.type == "cpu" else loss  # a GPU is not waited for

    def loss(self, images, reduction: str = "mean"):
        """Cross-entropy of images in [0, 1]."""
        with self.casts():
            logits = self.logits(self.normalised(images))
        return functional.cross_entropy(logits.to(self.dtype), self.labels, reduction=reduction)

    def constrain(self) -> None:
        """Leaks stay in [0, 1], thresholds above their floor, as in minihire."""
        leaks, thresholds = (
            [tensor for name, tensor in self.trained().items() if name.endswith(end)] for end in (".leak", ".threshold")
        )
        with torch.no_grad():
            if leaks:
                torch._foreach_clamp_min_(leaks, 0.0)
                torch._foreach_clamp_max_(leaks, 1.0)
            if thresholds:
                torch._foreach_clamp_min_(thresholds, THRESHOLD_FLOOR)

    def attack_step(self):
        """One PGD step (equation 4): the input gradient's sign, projected on the ε ball and [0, 1]."""
        attack = self.problem.attack
        x = self.clean.detach().requires_grad_()
        (grad,) = torch.autograd.grad(self.loss(x, "sum"), x)
        with torch.no_grad():
            x = torch.add(self.clean, grad.sign_(), alpha=attack.alpha)
            x = torch.clamp(x, self.clean - attack.epsilon, self.clean + attack.epsilon)
            return x.clamp_(0, 1)

    def forward(self):
        """Logits, without anything kept for a backward pass."""
        with torch.inference_mode(), self.casts():
            return self.logits(self.normalised(self.images))

    def normalised(self, x):
        """Images in [0, 1] as the first layer wants them."""
        return (x - self.mean) / self.std

    def densities(self) -> dict[str, float]:
        """Mean share of firing neurons per layer and time step, in evaluation mode (an ANN: the share above zero)."""
        before, self.training, self.firing = self.training, False, {}
        self.mode(False)
        self.forward()
        found, self.firing, self.training = self.firing, None, before
        self.mode(before)
        return {name: events / size for name, (events, size) in found.items()}

    def mode(self, training: bool) -> None:
        """For peers made of modules."""

    def fired(self, layer: Neuron, spikes) -> None:
        """Count a layer's spikes (and chances to spike) while densities are measured."""
        if self.firing is not None:
            events, chances = self.firing.get(layer.name, (0, 0))
            self.firing[layer.name] = (events + int(torch.count_nonzero(spikes)), chances + spikes.numel())

    def gradients(self) -> dict:
        """Weight gradients by name in minihire's layout, and "logits" and "image" [B, H, W, C]: for tests, without dropout."""
        self.training = False
        self.mode(False)
        x = self.images.detach().requires_grad_()
        logits = self.logits(self.normalised(x))
        functional.cross_entropy(logits, self.labels).backward()
        found = {n: self.layout.to_minihire(n, t.grad) for n, t in self.trained().items() if t.grad is not None}
        return {"logits": logits.detach().cpu().numpy(), "image": x.grad.permute(0, 2, 3, 1).cpu().numpy(), **found}
