"""Communication between the processes that torchrun started: torch.distributed with NCCL (GPUs) or Gloo (CPUs)."""

import atexit
import os
from datetime import timedelta

import numpy as np
import torch
from torch import distributed

from backends import BackendError, torchrun_rank

TIMEOUT = timedelta(minutes=30)  # long, because rank 0 may be downloading a data set
ENDED = "another process of this run has ended (see its error message): resume from the last checkpoint"


def own_device(device: str) -> str:
    """Return the device of this process: "cuda" becomes the GPU with its local rank. Raises BackendError for "cuda:N"."""
    if not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise BackendError(f"each of torchrun's processes takes its own GPU: choose the device cuda, not {device}")
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"


def join(device: str) -> None:
    """Connect to the other processes; later calls do nothing. Raises BackendError if the connection fails."""
    if distributed.is_initialized():
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(device)
    rank, ranks = torchrun_rank()
    try:
        distributed.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=ranks, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        cause = str(error).strip().split("\n")[0]
        raise BackendError(
            f"process {rank} of {ranks} could not meet the others: start them all with torchrun ({cause})"
        ) from error
    if not cuda:  # else Gloo's threads abort the process at exit; NCCL could wait for a lost rank
        atexit.register(distributed.destroy_process_group)


def sums(arrays: list, dense, dtype: torch.dtype, device: str) -> list:
    """Sum each array over all processes. All arrays are copied into one buffer of type `dtype` and reduced at once.

    dense(array) converts a backend array to a tensor. Results for backend arrays are parts of the buffer; results for NumPy
    arrays are float64. Raises BackendError if a process has ended.
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
