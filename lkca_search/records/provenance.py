"""Provenance of a result: code, versions, machine, and the backends that were measured on it."""

import os
import platform
import shlex
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

from lkca_search import __version__
from lkca_search.layout import SearchFolder
from lkca_search.own_code import code_hashes, describe_code, import_from
from lkca_search.records.finding import DamagedError, read_stored
from lkca_search.spec.base import FrozenModel

BackendName = Literal["conv", "attention", "fft"]
"""Name of a backend of LKCA. All compute the same map; their results differ by rounding."""


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


def gather_provenance(*, device: str, num_threads: int, own_code: Iterable[str] = ()) -> Provenance:
    """Return the provenance of this process. `own_code` has the dotted paths of the training's own code."""
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
    )


def node_name() -> str:
    """Return the name of this machine: LKCA_NODE if set (nodes may share a host name), else the host name."""
    return os.environ.get("LKCA_NODE") or socket.gethostname()


class Commit(NamedTuple):
    """Commit of this package's checkout."""

    text: str
    """Hash, with `-dirty` appended if files differ; `unknown` if it cannot be read."""
    problem: str | None
    """Reason why the commit is unknown; None if it is known."""
    is_checkout: bool
    """False if the package is installed, so that no commit can be expected."""


def git_commit() -> str:
    """Return the commit of this package's checkout; LKCA_GIT_COMMIT, if set, for code shipped without its history."""
    return read_commit().text


@cache
def read_commit() -> Commit:
    """Return the commit as `git_commit` does, and the reason if it is unknown."""
    if commit := os.environ.get("LKCA_GIT_COMMIT"):
        return Commit(commit, None, True)
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # fails in a checkout of another project
        return Commit(_git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"), None, True)
    except FileNotFoundError:
        return _unknown("git is not installed")
    except subprocess.TimeoutExpired as error:
        return _unknown(f"git did not respond within {error.timeout:g} s")
    except subprocess.CalledProcessError as error:
        first = next(iter(error.stderr.strip().splitlines()), f"git ended with exit code {error.returncode}")
        if "dubious ownership" in first:
            folder = first.rpartition(" at ")[2].strip("'")
            allow = f"git config --global --add safe.directory {shlex.quote(folder)}"
            return _unknown(f"git refuses the checkout of another user, {folder}; to allow it: {allow}")
        if "not a git repository" in first or "did not match any file" in first:
            return Commit("unknown", "the package is in no Git checkout", False)
        return _unknown(first)
    except (OSError, subprocess.SubprocessError) as error:
        return _unknown(f"git cannot be run: {error}")


def _unknown(problem: str) -> Commit:
    """Return an unknown commit; the package lies in a checkout if a folder above it has a `.git`."""
    return Commit("unknown", problem, any((folder / ".git").exists() for folder in Path(__file__).parents))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    environment = {**os.environ, "LC_ALL": "C"}  # messages in English
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10, env=environment)
    return done.stdout.strip()
