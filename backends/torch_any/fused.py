"""Whether the kernels that Triton compiles can run on a device."""

import functools

import torch


@functools.cache
def obstacle(device: str) -> str | None:
    """None if Triton's kernels run on this device; else the reason, in a few words.

    Triton needs a C compiler and Python's headers when it starts its first kernel, so one is started here.
    """
    if torch.device(device).type != "cuda":
        return "they need CUDA"
    try:
        from backends.torch_any import triton_philox

        triton_philox.at_least(0, 1, [0, 0, 0], (0, 0), 1, device)
    except torch.OutOfMemoryError:
        raise
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("backends", "minihire"):  # a fault of this project
            raise
        return "they need Triton: pip install triton" if error.name == "triton" else f"Triton failed: {error}"
    except Exception as error:
        return f"Triton failed: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return None
