"""Causes of a failed training: the trial itself, or the machine, where another attempt may succeed."""

import torch

_OF_THE_MACHINE = (OSError, MemoryError, torch.OutOfMemoryError)
_NO_GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of torch's allocator, of CUDA and of cuBLAS when a GPU has no memory left."""
_NO_MEMORY = ("can't allocate memory", *_NO_GPU_MEMORY)
"""Messages of a plain RuntimeError when the memory of the CPU or of a GPU is exhausted."""


def is_machine_fault(error: BaseException) -> bool:
    """Return True for an operating-system error or exhausted memory, of the CPU or a GPU."""
    return isinstance(error, _OF_THE_MACHINE) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )


def is_gpu_out_of_memory(cause: str) -> bool:
    """Return True if the last line of an error reports exhausted GPU memory: fewer trials per GPU may succeed."""
    return "torch.OutOfMemoryError" in cause or any(words in cause for words in _NO_GPU_MEMORY)
