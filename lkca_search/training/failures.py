"""Whose fault an error is: the trial's own, or the machine's, on which another attempt may go well."""

import torch

_OF_THE_MACHINE = (OSError, MemoryError, torch.OutOfMemoryError)
_NO_GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch says where a GPU has no memory left: its allocator, CUDA (before there is an allocator), cuBLAS."""
_NO_MEMORY = ("can't allocate memory", *_NO_GPU_MEMORY)
"""What it says in a plain RuntimeError where memory gave out, the CPU's or a GPU's."""


def is_machine_fault(error: BaseException) -> bool:
    """Whether disk or memory gave out: an error of the system, of a GPU's memory, or of torch's own allocator."""
    return isinstance(error, _OF_THE_MACHINE) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )


def is_gpu_out_of_memory(cause: str) -> bool:
    """Whether an error, told by its last line, says that a GPU's memory gave out: fewer trials on it may go well."""
    return "torch.OutOfMemoryError" in cause or any(words in cause for words in _NO_GPU_MEMORY)
