"""Device of a training, and torch settings of its process."""

import os

import torch

from lkca_search.spec.resources import GpuShare


def choose_device(gpu: GpuShare) -> torch.device:
    """Return the first visible GPU if a share of one is requested and torch sees one, else the CPU."""
    return torch.device("cuda", 0) if gpu != 0 and torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def gpu_memory_bytes() -> int | None:
    """Return the total memory of the first visible GPU in bytes, or None if torch sees no GPU."""
    return torch.cuda.mem_get_info(0)[1] if torch.cuda.is_available() else None


def configure_torch(*, num_threads: int) -> None:
    """Make torch deterministic in this process, with this number of threads.

    Call it before each training: the number of threads decides the order of floating-point sums. The workspace of
    cuBLAS must be fixed before the first use of CUDA.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
