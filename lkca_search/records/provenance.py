"""Provenance of a result: code, versions, machine, and the backends that were measured on it."""

import os
import platform
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lkca_search import __version__
from lkca_search.environment.checkout import git_commit, read_commit, read_diff
from lkca_search.environment.hardware import cpu_model, gpu_driver, memory_bytes
from lkca_search.environment.packages import computing_packages, content_hash, packages_text
from lkca_search.layout import SearchFolder
from lkca_search.own_code import code_hashes, describe_code, import_from
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.finding import DamagedError, read_stored
from lkca_search.spec.base import FrozenModel

BackendName = Literal["conv", "attention", "fft"]
"""Name of a backend of LKCA. All compute the same map; their results differ by rounding."""


ContentHash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
"""Hash of a file of a search, and its name without the suffix."""


class LayerBackend(FrozenModel):
    """Backend that computes all LKCA layers of one shape in a training, and the measurement that decided it."""

    grid: tuple[int, int]
    """Height and width of the token grid."""
    kernel_size: int
    """Side of the kernels in tokens."""
    num_kernels: int
    """Kernels of the layer."""
    channels: int
    """Channels of a token."""
    backend: BackendName
    """Backend of the training."""
    batch_size: int
    """Images per measured batch."""
    precision: str
    """Precision of the measured layer, such as `float32`."""
    milliseconds: dict[BackendName, float]
    """Measured milliseconds of a forward and backward pass; a backend that is missing was far slower or cannot run.

    Empty if nothing was measured, and the backend is an estimate.
    """

    @property
    def shape(self) -> tuple[tuple[int, int], int, int, int]:
        """Shape of the layers: grid, kernel size, number of kernels, channels."""
        return self.grid, self.kernel_size, self.num_kernels, self.channels


class Provenance(FrozenModel):
    """Code, versions and machine of one training."""

    git_commit: str
    """Commit of the checkout, with `-dirty` appended if files differ; `unknown` outside a checkout."""
    package_version: str
    python_version: str
    torch_version: str
    ray_version: str
    optuna_version: str
    node: str
    """Machine of the training: LKCA_NODE if set, else the host name."""
    device: str
    """`cpu`, or the name of the GPU."""
    num_threads: int
    """Number of CPU threads of PyTorch."""
    git_problem: str | None = None
    """Reason why the commit is unknown; None if it is known, and in records of earlier versions."""
    own_code: str | None = None
    """Modules of your own code that the training used, with their hashes; None without such code, and in records of
    earlier versions."""
    git_diff: ContentHash | None = None
    """Hash of the differences of the checkout from the commit, in `provenance/HASH.diff` of the search. None without
    differences. Like all fields below, None or empty in records of earlier versions."""
    packages_hash: ContentHash | None = None
    """Hash of the versions of all installed packages, in `provenance/HASH.json` of the search."""
    packages: Mapping[str, str] = {}
    """Versions of the packages besides torch that compute images, models or steps."""
    cpu_model: str | None = None
    """Name of the processor, and the instructions that torch uses on it."""
    memory_bytes: int | None = None
    """Memory of the machine or its container."""
    gpu_driver: str | None = None
    """Version of NVIDIA's driver; None without one."""
    cuda_version: str | None = None
    """Version of CUDA that torch was built for; None for a training on the CPU."""
    cudnn_version: str | None = None
    """Version of cuDNN; None for a training on the CPU."""
    command_line: str | None = None
    """Command that started the search or rerun, without secrets."""

    @property
    def code(self) -> str:
        """Commit; if it is unknown, also the reason."""
        return f"{self.git_commit} ({self.git_problem})" if self.git_problem else self.git_commit


class SearchCode(FrozenModel):
    """Own code of a search, written when it starts. A resume and a confirmation must have the same."""

    modules: Mapping[str, str]
    """Hash of each top-level module."""
    folders: tuple[str, ...]
    """Folders in which the modules are searched, after the installed packages."""


def read_search_code(folder: SearchFolder) -> SearchCode | None:
    """Return the own code of a search; None if it has none, an older version started it, or all copies are damaged."""
    for path in folder.code_files:
        with suppress(DamagedError, FileNotFoundError):
            return read_stored(path, SearchCode, remedy="run the space file of the search again under this name")
    return None


def import_search_code(folder: SearchFolder) -> None:
    """Find the own code of a search in the folders in which it was found at its start."""
    if (code := read_search_code(folder)) is not None:
        import_from(*map(Path, code.folders))


class TorchBuild(FrozenModel):
    """Libraries and instructions that torch uses on the device of a training."""

    instructions: str | None = None
    """Instructions of the CPU, such as AVX512."""
    cuda: str | None = None
    """Version of CUDA; None on the CPU."""
    cudnn: str | None = None
    """Version of cuDNN; None on the CPU."""


def gather_provenance(
    *, device: str, num_threads: int, own_code: Iterable[str] = (), build: TorchBuild | None = None
) -> Provenance:
    """Return the provenance of this process. `own_code` has the dotted paths of the training's own code."""
    build = build or TorchBuild()
    diff = read_diff()
    return Provenance(
        git_commit=git_commit(),
        package_version=__version__,
        python_version=platform.python_version(),
        torch_version=version("torch"),
        ray_version=version("ray"),
        optuna_version=version("optuna"),
        node=node_name(),
        device=device,
        num_threads=num_threads,
        git_problem=read_commit().problem,
        own_code=describe_code(code_hashes(own_code)),
        git_diff=None if diff is None else content_hash(diff),
        packages_hash=content_hash(packages_text()),
        packages=computing_packages(),
        cpu_model=_join(cpu_model(), build.instructions),
        memory_bytes=memory_bytes(),
        gpu_driver=gpu_driver() if build.cuda else None,
        cuda_version=build.cuda,
        cudnn_version=build.cudnn,
    )


def _join(model: str | None, instructions: str | None) -> str | None:
    return f"{model} ({instructions})" if model and instructions else model


def provenance_folder(folder: SearchFolder) -> AnyPath:
    """Return the folder of package versions and differences from a commit, by their hashes: HASH.json, HASH.diff."""
    return (folder.storage or folder.root) / "provenance"


def write_environment(folder: AnyPath) -> None:
    """Write the package versions and the differences of the checkout, each under its hash, unless they are there."""
    texts = {"json": packages_text(), "diff": read_diff()}
    for suffix, text in texts.items():
        if text is not None and not (path := folder / f"{content_hash(text)}.{suffix}").exists():
            write_atomically(path, text.encode("utf-8", errors="replace"))


def environment_files(provenance: Provenance) -> list[str]:
    """Return the names of the files that `write_environment` has written for a training."""
    hashes = {"json": provenance.packages_hash, "diff": provenance.git_diff}
    return [f"{value}.{suffix}" for suffix, value in hashes.items() if value is not None]


def node_name() -> str:
    """Return the name of this machine: LKCA_NODE if set (nodes may share a host name), else the host name."""
    return os.environ.get("LKCA_NODE") or socket.gethostname()
