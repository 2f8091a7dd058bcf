"""Too little memory on a device: torch's errors become BackendError, which says what to do."""

import functools

import torch

from backends.errors import BackendError

# Texts in the messages of a plain RuntimeError where memory is short
MEMORY_TEXTS = (
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
)


def says_when_memory_is_short(*names):
    """Decorate a class: its methods of these names raise BackendError if `self.device` has too little memory."""

    def guarded(method):
        @functools.wraps(method)
        def call(self, *arguments, **options):
            try:
                return method(self, *arguments, **options)
            except RuntimeError as error:  # the base class of torch.OutOfMemoryError, which the CPU does not raise
                if not isinstance(error, torch.OutOfMemoryError) and not any(
                    text in str(error) for text in MEMORY_TEXTS
                ):
                    raise
                raise BackendError(f"{self.device} has too little memory: use a smaller batch") from error

        return call

    def decorate(cls):
        for name in names:
            setattr(cls, name, guarded(getattr(cls, name)))
        return cls

    return decorate
