"""Classification of errors: errors of the machine, after which another attempt may succeed, and the trial's own."""

import torch

_MACHINE_ERRORS = (OSError, MemoryError, torch.OutOfMemoryError)
_GPU_OUT_OF_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of torch's allocator, of CUDA (before torch has an allocator) and of cuBLAS when GPU memory is exhausted."""
_OUT_OF_MEMORY = ("can't allocate memory", *_GPU_OUT_OF_MEMORY)
"""Messages of a plain RuntimeError of torch when the memory of the CPU or of a GPU is exhausted."""


def is_machine_fault(error: BaseException) -> bool:
    """Return True if disk or memory was exhausted: an OSError, or an allocation that failed on the CPU or a GPU."""
    return isinstance(error, _MACHINE_ERRORS) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )


def is_gpu_out_of_memory(error: BaseException) -> bool:
    """Return True if the memory of a GPU was exhausted: fewer trials per GPU may succeed."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _GPU_OUT_OF_MEMORY)
    )
