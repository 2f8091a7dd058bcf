"""Base class of the torch peers: weights and images, training step, attack step, forward pass."""

import torch
from torch.nn import functional

from benchmarks.peers.layouts import Layout
from minihire.layers import THRESHOLD_FLOOR, Neuron


class TorchSide:
    """One network in torch. A subclass defines `logits`, and `trained` if it trains other tensors than `weights`.

    task: "train", "hire", "attack" or "forward". Weights have gradients only in the first two, so an attack computes only the
    input gradient. precision: "bf16" uses torch.autocast; "tf32" is a setting of the whole process, which the caller sets.
    compiled: compile the network from images to logits, and with it the backward pass, with torch.compile.
    """

    channels_first = False  # whether images are flattened as (C, H, W); in memory channels are last
    spiking = True

    def __init__(
        self, problem, task: str, threads: int, device: str = "cpu", precision: str = "float32", compiled: bool = False
    ):
        torch.set_flush_denormal(task in ("train", "hire"))  # as minihire does; threads that start later do the same
        torch.set_num_threads(threads)
        self.device, self.precision, self.compiled = torch.device(device), precision, compiled
        self.compute = torch.compile(self.outputs, dynamic=False) if compiled else self.outputs
        self.autocast = lambda: torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")
        self.problem, self.model, self.task = problem, problem.model, task
        self.steps = problem.steps // problem.periods if task == "hire" else problem.steps
        self.layout = Layout(self.model, self.channels_first)
        self.dtype = getattr(torch, problem.dtype)
        images, labels = problem.batch()
        self.images = self.to_device(
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        )
        self.labels = self.to_device(torch.from_numpy(labels))
        self.mean, self.std = (
            self.to_device(torch.tensor(v, dtype=self.dtype).reshape(1, -1, 1, 1))
            for v in (self.model.mean, self.model.std)
        )
        self.clean = self.images
        self.spike_counts = None  # layer → (spikes, neurons · steps), while densities are measured
        self.build()
        self.kappa = torch.zeros_like(self.clean) if task == "hire" else None
        self.set_training(task in ("train", "hire"))
        if self.training:
            self.start_optimiser()

    def to_device(self, tensor):
        """Copy a tensor to this side's device; its memory layout is kept."""
        return tensor.to(self.device)

    def build(self) -> None:
        """Create the weights from the problem."""
        self.weights = {n: self.to_device(self.layout.to_torch(n, self.problem.parameter(n))) for n in self.names()}
        constant = self.task in ("attack", "forward")  # the weights stay, so one conversion suffices
        if self.precision == "bf16" and constant:
            self.weights = {n: w.bfloat16() if n.endswith(".weight") else w for n, w in self.weights.items()}

    def names(self):
        """The names of the parameters."""
        return self.model.parameters(self.spiking)

    def trained(self) -> dict:
        """The trained tensors by minihire's names. A tensor without a counterpart in minihire has another name."""
        return self.weights

    def logits(self, x):
        """Compute logits [B, classes] of normalised images [B, C, H, W]."""
        raise NotImplementedError

    def outputs(self, images):
        """Logits [B, classes] of images [B, C, H, W] in [0, 1], in the precision of the last product."""
        with self.autocast():
            return self.logits(self.normalised(images))

    def set_training(self, on: bool) -> None:
        """Switch weight gradients and dropout on or off."""
        self.training = on
        for tensor in self.trained().values():
            tensor.requires_grad_(on)

    def start_optimiser(self) -> None:
        """Create fused Adam with the problem's moments, or fused SGD with momentum."""
        tensors = self.trained()
        if self.problem.optimiser == "sgd":
            self.optimiser = torch.optim.SGD(
                tensors.values(), lr=self.problem.learning_rate, momentum=0.9, weight_decay=5e-4, fused=True
            )
            return
        self.optimiser = torch.optim.Adam(
            tensors.values(), lr=self.problem.learning_rate, fused=True, capturable=self.device.type == "cuda"
        )
        for name, tensor in tensors.items():
            moments = self.problem.moments(name)
            if moments is not None:
                mean, square = (self.to_device(self.layout.to_torch(name, m)) for m in moments)
                step = self.to_device(torch.tensor(float(self.problem.optimiser_steps)))
                self.optimiser.state[tensor] = {"step": step, "exp_avg": mean, "exp_avg_sq": square}

    def step(self) -> None:
        """One step of the task."""
        steps = {"train": self.train_step, "hire": self.hire_batch, "attack": self.attack_step, "forward": self.forward}
        steps[self.task]()

    def hire_batch(self) -> None:
        """A batch of HIRE training (algorithm 1), as minihire's training loop computes it. κ continues in the next batch."""
        rule = self.problem.noise
        for _ in range(self.problem.periods):
            kappa = self.kappa.detach().requires_grad_()
            self.train_step((self.clean + kappa).clamp(0, 1))
            with torch.no_grad():
                self.kappa.add_(kappa.grad.sign_(), alpha=rule.step).clamp_(-rule.bound, rule.bound)

    def train_step(self, images=None) -> float:
        """Forward pass, backward pass and update. Returns the loss: a number on a CPU, a tensor on a GPU."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.images if images is None else images)
        loss.backward()
        self.optimiser.step()
        self.constrain()
        return loss.item() if self.device.type == "cpu" else loss  # item() would make the host wait for the GPU

    def loss(self, images, reduction: str = "mean"):
        """Cross-entropy loss of images [B, C, H, W] in [0, 1]."""
        self.start_batch()
        logits = self.compute(images).to(self.dtype)
        return functional.cross_entropy(logits, self.labels, reduction=reduction)

    def start_batch(self) -> None:
        """Reset the state of the previous batch. Subclasses whose modules have a state override it."""

    def constrain(self) -> None:
        """Clamp leaks to [0, 1] and thresholds to their floor, as minihire does."""
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
        """One PGD step (equation 4): a step along the sign of the input gradient, projected onto the ε ball and [0, 1]."""
        attack = self.problem.attack
        x = self.clean.detach().requires_grad_()
        (grad,) = torch.autograd.grad(self.loss(x, "sum"), x)
        with torch.no_grad():
            x = torch.add(self.clean, grad.sign_(), alpha=attack.alpha)
            x = torch.clamp(x, self.clean - attack.epsilon, self.clean + attack.epsilon)
            return x.clamp_(0, 1)

    def forward(self):
        """Logits of the batch in inference mode, without storing anything for a backward pass."""
        self.start_batch()
        with torch.inference_mode():
            return self.compute(self.images)

    def normalised(self, x):
        """Normalise images in [0, 1] per channel."""
        return (x - self.mean) / self.std

    def densities(self) -> dict[str, float]:
        """Mean fraction of neurons that fire per time step, by layer, in evaluation mode. For an ANN: fraction above zero."""
        before = self.training, self.compute, self.steps
        self.training, self.compute, self.steps, self.spike_counts = False, self.outputs, self.problem.steps, {}
        self.set_mode(False)
        self.forward()
        counts, self.spike_counts = self.spike_counts, None
        self.training, self.compute, self.steps = before
        self.set_mode(self.training)
        return {name: spikes / size for name, (spikes, size) in counts.items()}

    def set_mode(self, training: bool) -> None:
        """Switch modules between training and evaluation. Subclasses with torch modules override it."""

    def count_spikes(self, layer: Neuron, spikes) -> None:
        """Count the spikes of a layer while densities are measured."""
        if self.spike_counts is not None:
            count, size = self.spike_counts.get(layer.name, (0, 0))
            self.spike_counts[layer.name] = (count + int(torch.count_nonzero(spikes)), size + spikes.numel())

    def gradients(self) -> dict:
        """Arrays for tests, in minihire's layout: weight gradients by name, "logits" and "image"; without dropout."""
        self.training = False
        self.set_mode(False)
        x = self.images.detach().requires_grad_()
        self.start_batch()
        logits = self.compute(x).to(self.dtype)
        functional.cross_entropy(logits, self.labels).backward()
        found = {n: self.layout.to_minihire(n, t.grad) for n, t in self.trained().items() if t.grad is not None}
        return {"logits": logits.detach().cpu().numpy(), "image": x.grad.permute(0, 2, 3, 1).cpu().numpy(), **found}
