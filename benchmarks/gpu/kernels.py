"""Times of single kernels: the neuron, and Adam with the gradient of a linear layer, compared with memory bounds."""

from backends.torch_any import lif as plain
from benchmarks.gpu.cells import Settings
from benchmarks.lif import LAYERS, copy_rate, measure, seconds
from minihire.training.optimisers import ADAM_EPSILON

STEPS = 6


def neurons(settings: Settings) -> dict:
    """Measure the neuron as benchmarks.lif does: the speed of a copy, and one row per layer, batch and kernel."""
    k, rounds = settings.backend(), settings.rounds
    chosen = [plain] if k.lif_kernels is plain else [k.lif_kernels, plain]
    size = 2**16 if settings.quick else 2**26
    rate = copy_rate(k, rounds, size)
    rows = [
        measure(k, name, kernels, batch, STEPS, rounds, rate)
        for batch in settings.batches
        for name in LAYERS
        for kernels in chosen
    ]
    return {"copy_bytes_per_s": rate, "steps": STEPS, "rows": rows}


def adam(settings: Settings) -> list[dict]:
    """Time Adam's step on VGG5's largest matrix, including its gradient, for several numbers of entries per update."""
    import backends.torch_any.updates as module

    inputs, outputs, batch, before = (64, 32, 2, module.ENTRIES) if settings.quick else (8192, 4096, 32, module.ENTRIES)
    rows, copy = [], None
    for precision in settings.precisions:
        k = settings.backend(precision)
        weight, mean, square = (k.zeros((inputs, outputs)) for _ in range(3))
        x, grad = k.zeros((3, batch, inputs)) + 0.5, k.zeros((3, batch, outputs)) + 0.25
        found = k.linear_backward(k.linear(x, weight)[1], grad, want_input=False)[1]
        copy = copy or copy_rate(k, settings.rounds, 2**16 if settings.quick else 2**26)

        def step(k=k, found=found, arrays=(weight, mean, square)):
            weight, mean, square = arrays
            infinite = float("inf")
            k.adam_step(
                weight, found, mean, square, None, 1e-4, (0.9, 0.999), ADAM_EPSILON, 3, -infinite, infinite
            )  # fmt: skip

        for entries in (1 << 22, 1 << 23, 1 << 24, 1 << 25):
            module.ENTRIES = entries
            try:
                taken = seconds(k, step, settings.rounds)
            finally:
                module.ENTRIES = before
            moved = 6 * 4 * inputs * outputs  # weight and both moments, read and written
            rows.append(
                {"precision": precision, "entries": entries, "seconds": taken, "share_of_floor": moved / copy / taken}
            )
    return rows
