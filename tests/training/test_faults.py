"""Faults of the machine by the texts of torch: each is told from the faults of a trial."""

import pytest
import torch

from lkca_search.training.faults import is_gpu_fault, is_gpu_out_of_memory, is_machine_fault, is_usable

HINT = """
Search for `cudaErrorIllegalAddress' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html.
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
GPU_FAULTS = [
    "CUDA error: an illegal memory access was encountered" + HINT,
    "CUDA error: device-side assert triggered" + HINT,
    "CUDA error: unspecified launch failure" + HINT,
    "CUDA error: uncorrectable ECC error encountered" + HINT,
    "CUDA error: misaligned address" + HINT,
    "CUDA error: an illegal instruction was encountered" + HINT,
    "CUDA error: the launch timed out and was terminated" + HINT,
    "CUDA error: no CUDA-capable device is detected" + HINT,
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable" + HINT,
    "CUDA error: invalid device ordinal" + HINT,
    "CUDA error: unknown error" + HINT,
    "CUDA driver error: unknown error",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k, &alpha, a, lda)`",
    "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasGemmEx( handle, opa, opb, m, n, k)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_MAPPING_ERROR",
    "cuFFT error: CUFFT_INTERNAL_ERROR",
    "cuFFT error: CUFFT_EXEC_FAILED",
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable "
    "CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero.",
    "No CUDA GPUs are available",
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1131',
    "HIP error: an illegal memory access was encountered",
]
OWN = [
    "mat1 and mat2 shapes cannot be multiplied (128x64 and 32x10)",
    "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa, opb, m, n, k)`",
    "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set "
    "'torch.use_deterministic_algorithms(True)'.",
    "the loss of step 3 of 20 is not finite",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
]


@pytest.mark.parametrize("text", GPU_FAULTS, ids=lambda text: text.splitlines()[0][:60])
@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_an_error_of_cuda_or_its_libraries_is_a_fault_of_the_gpu(text: str, kind: type[Exception]) -> None:
    error = kind(text)
    assert (is_gpu_fault(error), is_machine_fault(error), is_gpu_out_of_memory(error)) == (True, True, False)


@pytest.mark.parametrize("text", OWN, ids=lambda text: text[:60])
def test_an_error_of_the_trial_is_no_fault_of_the_machine(text: str) -> None:
    error = RuntimeError(text)
    assert (is_gpu_fault(error), is_machine_fault(error), is_gpu_out_of_memory(error)) == (False, False, False)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory" + HINT),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_exhausted_gpu_memory_is_no_error_of_cuda(error: Exception) -> None:
    assert (is_gpu_fault(error), is_machine_fault(error), is_gpu_out_of_memory(error)) == (False, True, True)


def test_a_text_of_cuda_in_an_error_of_another_type_is_the_trials_own() -> None:
    assert not is_gpu_fault(ValueError("CUDA error: unknown error"))


def test_the_cpu_is_always_usable() -> None:
    assert is_usable(torch.device("cpu"))
