"""Faults of the machine under a training, as opposed to faults of the trial itself."""

import torch

_MACHINE_ERRORS = (OSError, MemoryError, torch.OutOfMemoryError)
_GPU_OUT_OF_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of torch's allocator, of CUDA (before torch has an allocator) and of cuBLAS when GPU memory is exhausted."""
_OUT_OF_MEMORY = ("can't allocate memory", *_GPU_OUT_OF_MEMORY)
"""Messages of a plain RuntimeError of torch when the memory of the CPU or of a GPU is exhausted."""
_GPU_FAULTS = (
    "CUDA error:",  # every error of the CUDA runtime: illegal memory access, device-side assert, ECC, launch failure
    "CUDA driver error:",
    "HIP error:",
    "CUBLAS_STATUS_",
    "CUSPARSE_STATUS_",
    "CUSOLVER_STATUS_",
    "CUFFT_",
    "cuFFT error:",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_MAPPING_ERROR",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "device-side assert",
    "CUDA driver initialization failed",
    "CUDA unknown error",
    "No CUDA GPUs are available",
    "Found no NVIDIA driver",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED",
)
"""Messages of CUDA and its libraries after which a process cannot use its GPU any more."""
_GPU_USER_ERRORS = ("CUBLAS_STATUS_INVALID_VALUE", "CUBLAS_STATUS_NOT_SUPPORTED")
"""Statuses of cuBLAS for arguments that it refuses: the process stays usable."""


def is_gpu_fault(error: BaseException) -> bool:
    """Return True if CUDA failed, so that the process can no longer use its GPU; False if its memory was exhausted.

    CUDA reports such an error at a later call, and repeats it at every further call of the process.
    """
    if is_gpu_out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    text = str(error)
    return (
        isinstance(error, RuntimeError)
        and any(fault in text for fault in _GPU_FAULTS)
        and not any(status in text for status in _GPU_USER_ERRORS)
    )


def is_usable(device: torch.device) -> bool:
    """Return True if this process can still compute on a device. An error of CUDA stays until the process ends."""
    if device.type != "cuda":
        return True
    try:
        torch.zeros(1, device=device).add_(1)
        torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        return True
    except RuntimeError:
        return False
    return True


def is_machine_fault(error: BaseException) -> bool:
    """Return True if disk, memory or a GPU failed: an OSError, an allocation that failed, or an error of CUDA."""
    return (
        isinstance(error, _MACHINE_ERRORS)
        or (isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY))
        or is_gpu_fault(error)
    )


def is_gpu_out_of_memory(error: BaseException) -> bool:
    """Return True if the memory of a GPU was exhausted: fewer trials per GPU may succeed."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _GPU_OUT_OF_MEMORY)
    )
