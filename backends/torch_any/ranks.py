"""The processes that torchrun started as one: torch.distributed, NCCL between GPUs and Gloo between CPUs."""

import atexit
import os
from datetime import timedelta

import numpy as np
import torch
from torch import distributed

from backends import BackendError, launched

PATIENCE = timedelta(minutes=30)  # with a process that is alive but late: rank 0 may be downloading a data set
ENDED = "another process of this run has ended, see what it said: --resume goes on from the last checkpoint"


def own_device(device: str) -> str:
    """cuda → this process's own GPU on its machine. Raises BackendError for one GPU that all would share."""
    if not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise BackendError(f"each of torchrun's processes takes its own GPU: give --device cuda, not {device}")
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"


def join(device: str) -> None:
    """Meet the other processes, once in a process's life. Raises BackendError where they cannot be reached."""
    if distributed.is_initialized():
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(device)
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # a sum that fails raises, in place of aborting
    rank, ranks = launched()
    try:
        distributed.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=ranks, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        cause = str(error).strip().split("\n")[0]
        raise BackendError(
            f"process {rank} of {ranks} could not meet the others: start them all with torchrun ({cause})"
        ) from error
    if not cuda:  # or Gloo's threads abort the process as it ends; NCCL's group might wait for a rank that is gone
        atexit.register(distributed.destroy_process_group)


def sums(arrays: list, dense, dtype: torch.dtype, device: str) -> list:
    """The sum of each array over all processes, as one reduction of one bucket of this type.

    dense(array) is a tensor. Backend arrays come back as parts of the bucket, NumPy arrays as float64. Raises BackendError
    where a process has ended.
    """
    sizes = [int(np.prod(array.shape)) for array in arrays]
    bucket = torch.empty(sum(sizes), dtype=dtype, device=device)
    for part, array in zip(bucket.split(sizes), arrays, strict=True):
        values = torch.from_numpy(array) if isinstance(array, np.ndarray) else dense(array)
        part.copy_(values.reshape(-1))
    try:
        distributed.all_reduce(bucket)
    except RuntimeError as error:
        raise BackendError(ENDED) from error
    return [
        part.double().cpu().numpy().reshape(array.shape)
        if isinstance(array, np.ndarray)
        else part.view(tuple(array.shape))
        for part, array in zip(bucket.split(sizes), arrays, strict=True)
    ]
