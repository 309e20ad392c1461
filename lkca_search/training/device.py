"""Device of a training, and torch settings of its process."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from lkca_search.errors import UserError
from lkca_search.records.provenance import TorchBuild
from lkca_search.spec.resources import GpuShare

_DRIVER = Path("/proc/driver/nvidia/version")


def choose_device(gpu: GpuShare) -> torch.device:
    """Return the first visible GPU if a share of one is requested and torch sees one, else the CPU."""
    return torch.device("cuda", 0) if gpu != 0 and torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def torch_build(device: torch.device) -> TorchBuild:
    """Return the libraries and instructions that torch uses on a device."""
    instructions = torch.backends.cpu.get_cpu_capability()
    if device.type != "cuda":
        return TorchBuild(instructions=instructions)
    cudnn: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return TorchBuild(
        instructions=instructions, cuda=torch.version.cuda, cudnn=None if cudnn is None else format_cudnn(cudnn)
    )


def format_cudnn(number: int) -> str:
    """Return cuDNN's version for its number: 9.10.2 for 91002, and 8.9.7 for 8907."""
    major, rest = divmod(number, 10_000 if number >= 90_000 else 1_000)
    return f"{major}.{rest // 100}.{rest % 100}"


def describe_gpu(driver: Path = _DRIVER) -> str:
    """Return the name, memory and CUDA version of the first visible GPU; `none` on a machine without one.

    Args:
        driver: File that exists if NVIDIA's driver is loaded.

    Raises:
        UserError: The machine has a GPU that torch cannot use.
    """
    version = torch.version.cuda
    if torch.cuda.is_available():
        memory = torch.cuda.mem_get_info(0)[1] / 1e9
        return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB, CUDA {version}"
    if not driver.exists() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "none"
    got = f"torch {torch.__version__}, which has no CUDA" if version is None else f"CUDA {version} in torch"
    remedy = "install a torch for your driver (nvidia-smi shows its CUDA version): https://pytorch.org/get-started"
    raise UserError(f"torch must be able to use the GPU of this machine, got {got}: {remedy}")


def gpu_memory_bytes() -> int | None:
    """Return the total memory of the first visible GPU in bytes, or None if torch sees no GPU."""
    return torch.cuda.mem_get_info(0)[1] if torch.cuda.is_available() else None


def configure_torch(*, num_threads: int, deterministic: Literal["strict", "warn"] = "strict") -> None:
    """Make torch deterministic in this process, with this number of threads.

    An operation without a deterministic implementation raises an error; with `warn`, it runs and gives a warning, which
    `record_nondeterminism` collects.

    Call it before each training: the number of threads decides the order of floating-point sums. The workspace of
    cuBLAS must be fixed before the first use of CUDA.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(num_threads)
    # `use_deterministic_algorithms` sets the same, and imports torch's compiler, which takes a second.
    torch.set_deterministic_debug_mode("warn" if deterministic == "warn" else "error")
    # Otherwise some warnings would come once per process, which trains many trials.
    torch.set_warn_always(deterministic == "warn")
    torch.backends.cudnn.benchmark = False


_NONDETERMINISTIC = re.compile(
    r"(?P<name>.+?) (?:does not have a deterministic implementation|defaults to a non-deterministic algorithm)"
)
"""Start of torch's warnings on an operation, and on an algorithm of attention."""


@contextmanager
def record_nondeterminism(names: set[str]) -> Iterator[None]:
    """Add the operations without a deterministic implementation that run in the block to `names`.

    It has an effect only after `configure_torch` with `warn`. Other warnings are shown as usual.
    """
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if match := _NONDETERMINISTIC.match(str(warning.message)):
            names.add(match["name"])
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
