"""Training checkpoints: save a training, resume it bit-identically, and refuse to resume a different one."""

import numpy as np

from minihire.training import checkpoint
from minihire.training.checkpoint import Checkpoint, CheckpointError


class OtherStart(CheckpointError):
    """The checkpoint of a training that started from other images or other weights."""


def save(training) -> None:
    """Write the training's checkpoint: network, optimiser, κ of all ranks, position, recipe, history, warnings.

    Rank 0 writes it; all ranks wait until it is written.
    """
    position = {
        "epoch": training.epoch,
        "batch": training.batch,
        "sums": training.sums,
        "optimiser_steps": training.optimiser.steps,
        "seed": training.seed,
        "images": len(training.data),
        "origin": training.start_fingerprint,
        "finished": training.epoch == training.recipe.epochs,
    }
    content = {
        "label": training.label,
        "recipe": training.described_recipe,
        "position": position,
        "history": training.history,
        "warnings": training.warnings,
    }
    extra = {"about": training.about, "data": training.described_data, "training": content}
    kappa = {} if training.kappa is None else {"kappa": _kappa_of_all(training)}
    checkpoint.save(training.path, training.network, extra=extra, arrays={**_slots(training), **kappa})
    training.network.backend.services.wait_for_all_ranks()


def restore(training, saved: Checkpoint) -> None:
    """Load the state of a training checkpoint. Raises CheckpointError if it is damaged or of a different training.

    The arrays of `saved` are removed from it as they are copied, because a large network and the optimiser's state hardly fit
    into memory twice.
    """
    restored = saved.network(training.network.backend)
    for name in restored.parameters:
        del saved.arrays[f"parameter/{name}"]
    try:
        content = saved.meta["training"]
        _require_same_training(training, saved, content, restored)
        _load_state(training, saved, content, restored)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{saved.path} holds no training to resume, or it is damaged ({error}): "
            f"choose another {training.names['path']}"
        ) from error


def require_same_start_on_all_ranks(training) -> None:
    """Raise CheckpointError if the ranks would start from different images, weights or positions."""
    k = training.network.backend
    mine = np.array([*bytes.fromhex(training.start_fingerprint), training.epoch, training.batch], float)
    if not np.array_equal(k.services.sum_over_ranks([mine])[0], mine * k.services.ranks):
        raise CheckpointError(
            f"the {k.services.ranks} processes would start {training.label} from different images, weights or checkpoints: "
            f"give all of them the same {training.names['data']} and {training.names['path']}, in a file system that they share"
        )


def _require_same_training(training, saved, content, restored):
    position, mine, theirs = content["position"], training.described_recipe, content["recipe"]
    other = f"or choose another {training.names['path']}"
    if mine["batch_size"] != theirs["batch_size"]:
        raise CheckpointError(
            f"{saved.path} was trained with other batches, of {theirs['batch_size']} images over all processes, not of "
            f"{mine['batch_size']}: choose batch size × number of processes = {theirs['batch_size']}, {other}"
        )
    pairs = {
        "settings": (mine, theirs),
        "seed": (training.seed, position["seed"]),
        "network options": (_network_options(training.network), _network_options(restored)),
        "images or starting weights": (training.start_fingerprint, position["origin"]),
    }
    for what, (ours, saved_value) in pairs.items():
        if _as_json(ours) != _as_json(saved_value):
            other_start = what.startswith("images")
            same = "ones, delete it to train again" if other_start else "settings"
            kind = OtherStart if other_start else CheckpointError
            raise kind(f"{saved.path} was trained with other {what}: resume with the same {same}, {other}")


def _load_state(training, saved, content, restored):
    position, k = content["position"], training.network.backend
    shapes = {name: tuple(fresh.shape) for name, fresh in _slots(training).items()}
    if training.kappa is not None:
        shapes["kappa"] = (training.batches.image_count(0), *training.data.shape)
    arrays = {name: _native(saved.arrays.pop(name)) for name in shapes}
    for name, shape in shapes.items():  # compiled kernels do not check bounds
        dtype = arrays[name].dtype
        required = None if name == "kappa" else training.optimiser.slot_type(name.split("/", 2)[2])
        right_type = dtype == required if required else dtype.kind == "f"
        if arrays[name].shape != shape or not right_type:
            raise ValueError(f"{name} is {dtype} {list(arrays[name].shape)}")
    if len(content["history"]) != position["epoch"]:
        raise ValueError(f"{len(content['history'])} epochs of history at epoch {position['epoch']}")
    training.network.parameters.update(restored.parameters)
    for slot, group in training.optimiser.slots.items():
        for name in group:
            group[name] = k.asarray(arrays.pop(f"optimiser/{slot}/{name}"))
    if training.kappa is not None:
        training.kappa = k.asarray(arrays["kappa"][training.share])
    training.optimiser.steps = int(position["optimiser_steps"])
    training.epoch, training.batch = int(position["epoch"]), int(position["batch"])
    training.sums = {key: position["sums"][key] for key in training.sums}
    training.history, training.warnings = list(content["history"]), list(content["warnings"])


def _native(array):
    """The array in this machine's byte order."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _slots(training):
    """The optimiser's arrays by entry name."""
    slots = training.optimiser.slots.items()
    return {f"optimiser/{slot}/{name}": array for slot, group in slots for name, array in group.items()}


def _kappa_of_all(training):
    """κ [images of a batch, H, W, C] of all ranks together."""
    k = training.network.backend
    whole = k.zeros((training.batches.image_count(0), *training.data.shape))
    k.write_rows(whole, training.share.start, training.kappa)
    return k.services.sum_over_ranks([whole])[0]


def _network_options(network):
    return network.model, network.spiking, network.steps, network.coding, network.readout, network.neuron


def _as_json(value):
    """The value as JSON returns it, with lists instead of tuples."""
    if isinstance(value, dict):
        return {str(k): _as_json(v) for k, v in value.items()}
    return [_as_json(v) for v in value] if isinstance(value, list | tuple) else value
